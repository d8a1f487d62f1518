//! The case of BMXNet issue 30: a dense layer, called twice, must leave its weights alone.

use crate::compare::{Tolerance, close, same_codes};
use crate::layer::{Operands, forward};
use crate::report::{Check, Report, failed};
use crate::values::{integer, number, read, read_json, vector};
use ndarray::{Array2, ArrayD, IxDyn};
use ndarray_qnn::QFullyConnected;
use std::path::Path;

pub(crate) fn run(expected: &Path, report: &mut Report) {
    report.record("bmxnet/seed_issue30", "2 bits", check(expected));
}

fn check(path: &Path) -> Check {
    let expected = read_json(path)?;
    let dir = path.parent().unwrap_or(path);
    let w = table(&dir.join("seed_w.csv"))?.mapv(|w| w as f32);
    let x = ArrayD::ones(IxDyn(&[1, w.ncols()]));
    let layer = QFullyConnected::bmxnet_v1(2, 2)?;

    let quantizer = layer.weight();
    let codes = quantizer.codes(w.view())?;
    same_codes("codes", &codes, &table(&dir.join("seed_w_codes_2bit.csv"))?)?;
    let quantized = quantizer.quantize(w.view())?;
    let printed = table(&dir.join("seed_w_quantized_printed.csv"))?;
    close("quantized", &quantized, &printed, Tolerance::absolute(2e-7))?;
    let again = quantizer.codes(quantized.view())?;
    let changed = again.iter().zip(&codes).filter(|(a, b)| a != b).count();
    if changed != integer(&expected["requantized_codes_changed"])? {
        return failed(format!("{changed} codes changed when quantized twice"));
    }

    let operands = Operands { x: x.view(), w: w.view().into_dyn(), bias: None };
    let y = forward(&layer, &operands)?;
    let thirds = vector(&expected["output_exact_times_3"])?.mapv(|y| f64::from(y as f32 / 3.0));
    let y = y.flatten();
    close("output", &y, &thirds, Tolerance::EXACT)?;
    let printed = Tolerance { rtol: number(&expected["rel_tol_suggested"])?, atol: 0.0 };
    let by_bmxnet = vector(&expected["output_printed_by_bmxnet_f32"])?;
    close("printed output", &y, &by_bmxnet, printed)
}

/// A table of comma-separated numbers, a row a line.
fn table(path: &Path) -> Check<Array2<f64>> {
    let text = String::from_utf8(read(path)?)?;
    let mut values = Vec::new();
    let mut rows = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        for number in line.split(',') {
            values.push(number.trim().parse()?);
        }
        rows += 1;
    }
    let columns = values.len() / rows.max(1);
    Ok(Array2::from_shape_vec((rows, columns), values)?)
}
