//! Words made by BMXNet's own packers, and its product of packed matrices.

use super::words::Words;
use crate::compare::{Tolerance, close};
use crate::layer::{Operands, forward};
use crate::report::{Check, Report, failed};
use crate::values::{array, integer, list, read_json, shape, vector};
use ndarray::{Array2, ArrayD, Ix2};
use ndarray_qnn::{ActivationQuantizer, QFullyConnected, WeightQuantizer};
use serde_json::Value;
use std::path::Path;

pub(crate) fn run(path: &Path, report: &mut Report) {
    let op = "bmxnet/packing";
    let Some(json) = report.require(op, "index", read_json(path)) else {
        return;
    };
    for (kind, check) in [
        ("row", row as fn(&Value) -> Check),
        ("qfc", qfc),
        ("qconv", qconv),
        ("xnor_gemm", xnor_gemm),
    ] {
        for (i, case) in list(&json[kind]).iter().enumerate() {
            report.record(&format!("{op}/{kind}"), &i.to_string(), check(case));
        }
    }
}

fn row(case: &Value) -> Check {
    let values = vector(&case["values"])?;
    let len = values.len();
    compare(packed(values, 1, case)?, words(case, "words")?, len)
}

fn qfc(case: &Value) -> Check {
    let (filters, inputs) = (integer(&case["num_hidden"])?, integer(&case["K"])?);
    let weights = array(&case["weight"], &[filters, inputs])?;
    let found = packed(weights, filters, case)?.interleaved(filters)?;
    compare(found, words(case, "words")?, inputs)
}

/// BMXNet packs a filter in its order of memory, as if it were the row of a dense layer.
fn qconv(case: &Value) -> Check {
    let shape = shape(&case["shape"])?;
    let weights = array(&case["weight_sign"], &shape)?;
    let inputs = shape[1..].iter().product();
    compare(packed(weights, shape[0], case)?, words(case, "words")?, inputs)
}

fn xnor_gemm(case: &Value) -> Check {
    let (batch, filters) = (integer(&case["N"])?, integer(&case["M"])?);
    let x = words(case, "x_words_row")?.signs(batch)?;
    let w = words(case, "w_words_col")?.signs_of_interleaved(filters)?;
    let inputs = integer(&case["K"])?;
    if x.ncols() != inputs {
        return failed(format!("{} inputs, expected {inputs}", x.ncols()));
    }
    let operands = Operands { x: x.view().into_dyn(), w: w.view().into_dyn(), bias: None };
    let y = forward(&QFullyConnected::bmxnet_v1(1, 1)?, &operands)?;
    let expected = array(&case["out"], &[batch, filters])?;
    close("out", &y, &expected, Tolerance::EXACT)
}

fn words(case: &Value, name: &str) -> Check<Words> {
    Words::parse(list(&case[name]), integer(&case["word_bits"])?)
}

/// Our words of the rows of a matrix, row after row.
fn packed(weights: ArrayD<f64>, rows: usize, case: &Value) -> Check<Words> {
    let inputs = weights.len() / rows.max(1);
    let weights: Array2<f64> =
        weights.into_shape_with_order([rows, inputs])?.into_dimensionality::<Ix2>()?;
    let layer = QFullyConnected::new(ActivationQuantizer::sign(), WeightQuantizer::sign());
    let packed = layer.pack(weights.view())?;
    let rows = (0..rows).filter_map(|row| packed.words(row));
    Words::from_rows(rows, inputs, integer(&case["word_bits"])?)
}

fn compare(found: Words, expected: Words, inputs: usize) -> Check {
    if found == expected && inputs > 0 {
        Ok(())
    } else {
        failed(format!("words {found:x?}, expected {expected:x?}"))
    }
}
