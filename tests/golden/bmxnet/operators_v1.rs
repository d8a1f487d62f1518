//! BMXNet v1's QFullyConnected and QConvolution, at every pair of widths.

use crate::compare::{Tolerance, close, same_codes};
use crate::layer::{Layer, Operands, backward, forward};
use crate::report::{Check, Report, failed};
use crate::values::{Tensors, cast, cast1, integer, list, read_json, spatial};
use ndarray::{ArrayD, IxDyn};
use ndarray_qnn::{Element, QConvolution, QFullyConnected, Scaling};
use serde_json::Value;
use std::path::Path;

/// Tensors of a case, and what its layer is at given widths.
struct Case<'a, L, F: Fn(u32, u32) -> Check<L>> {
    tensors: &'a Tensors,
    prefix: String,
    layer: F,
}

pub(crate) fn run_dense(path: &Path, report: &mut Report) {
    run(path, "bmxnet/qfc_v1", report, |tensors, case, report| {
        let case = Case {
            tensors,
            prefix: format!("s{}.", case["i"]),
            layer: |a, w| Ok(QFullyConnected::bmxnet_v1(a, w)?),
        };
        case.run_pairs("bmxnet/qfc_v1", report);
    });
}

pub(crate) fn run_convolution(path: &Path, report: &mut Report) {
    run(path, "bmxnet/qconv_v1", report, |tensors, json, report| {
        let case = Case {
            tensors,
            prefix: format!("c{}.", json["i"]),
            layer: |a, w| {
                Ok(QConvolution::<2>::bmxnet_v1(a, w)?
                    .stride(spatial(&json["stride"])?)
                    .padding(spatial(&json["pad"])?)
                    .dilation(spatial(&json["dil"])?)
                    .groups(integer(&json["groups"])?))
            },
        };
        case.run_pairs("bmxnet/qconv_v1", report);
    });
}

fn run(
    path: &Path,
    op: &str,
    report: &mut Report,
    mut run_case: impl FnMut(&Tensors, &Value, &mut Report),
) {
    let tensors = Tensors::read(&path.with_extension("safetensors"));
    if let (Some(json), Some(tensors)) =
        (report.require(op, "index", read_json(path)), report.require(op, "tensors", tensors))
    {
        for case in list(&json["cases"]) {
            run_case(&tensors, case, report);
        }
    }
}

impl<L: Layer, F: Fn(u32, u32) -> Check<L>> Case<'_, L, F> {
    fn run_pairs(&self, op: &str, report: &mut Report) {
        let start = format!("{}y.", self.prefix);
        let suffixes = self.tensors.names().filter_map(|name| name.strip_prefix(&start));
        let mut found = false;
        for suffix in suffixes {
            found = true;
            let outcome = match widths(suffix) {
                Some((a, w)) => self.check::<f32>(a, w).and_then(|()| self.check::<f64>(a, w)),
                None => failed("no widths in the name"),
            };
            report.record(op, &format!("{}y.{suffix}", self.prefix), outcome);
        }
        if !found {
            report.record(op, &self.prefix, failed("there are no outputs"));
        }
    }

    fn check<T: Element>(&self, a: u32, w: u32) -> Check {
        let layer = (self.layer)(a, w)?;
        let weights = cast::<T>(self.get("w")?);
        let inputs: usize = weights.shape()[1..].iter().product();
        let x = cast::<T>(self.get("x")?);
        let x = match weights.ndim() {
            2 => x.into_shape_with_order(IxDyn(&[self.get("x")?.shape()[0], inputs]))?,
            _ => x,
        };
        let bias = cast1::<T>(self.get("b")?);
        let plain = Operands { x: x.view(), w: weights.view(), bias: None };
        let biased = Operands { bias: Some(bias.view()), ..plain.clone() };
        // Summed in f32 from K products: BMXNet's own error bound.
        let sums = Tolerance::absolute(4e-6 * (inputs as f64).sqrt()).of::<T>();
        let exact = if (a, w) == (1, 1) { Tolerance::EXACT } else { sums };

        let pair = format!("a{a}.w{w}");
        let y = self.get(&format!("y.{pair}"))?;
        close("y", &forward(&layer, &plain)?, y, exact)?;
        let along_filters = biased_output(y, self.get("b")?)?;
        close("y + b", &forward(&layer, &biased)?, &along_filters, sums)?;
        if let Some(y) = self.find(&format!("ys.{pair}")) {
            let scaled = layer.clone().scaling(Scaling::PerTensor);
            close("ys", &forward(&scaled, &plain)?, y, sums)?;
        }
        if let Some(codes) = self.find(&format!("xc.a{a}")) {
            let codes = codes.to_shape(x.shape())?;
            same_codes("xc", &layer.activation().codes(x.view())?, &codes)?;
        }
        if let Some(codes) = self.find(&format!("wc.w{w}")) {
            same_codes("wc", &layer.weight().codes(weights.view())?, codes)?;
        }
        self.check_gradients(&layer, &biased, [a, w])
    }

    fn check_gradients<T: Element>(
        &self,
        layer: &L,
        operands: &Operands<'_, T>,
        [a, w]: [u32; 2],
    ) -> Check {
        let tolerance = Tolerance { rtol: 1e-5, atol: 1e-5 }.of::<T>();
        let dy = cast::<T>(self.get("gy")?);
        let gradients = backward(layer, operands, dy.view())?;
        if let Some(expected) = self.find(&format!("gx.w{w}")) {
            let expected = expected.to_shape(operands.x.shape())?;
            close("gx", &gradients.x, &expected, tolerance)?;
        }
        if let Some(expected) = self.find(&format!("gw.a{a}")) {
            close("gw", &gradients.w, expected, tolerance)?;
        }
        // What the C++ returns: the gradient against the input as it came, padded with zeros.
        if let Some(expected) = self.find("gw_rawx").filter(|_| a == 32) {
            close("gw_rawx", &gradients.w, expected, tolerance)?;
        }
        close("gb", &gradients.bias, self.get("gb")?, tolerance)
    }

    fn get(&self, name: &str) -> Check<&ArrayD<f64>> {
        self.tensors.get(&format!("{}{name}", self.prefix))
    }

    fn find(&self, name: &str) -> Option<&ArrayD<f64>> {
        self.tensors.find(&format!("{}{name}", self.prefix))
    }
}

/// Reads `a{A}.w{W}`.
fn widths(suffix: &str) -> Option<(u32, u32)> {
    let (a, w) = suffix.strip_prefix('a')?.split_once(".w")?;
    Some((a.parse().ok()?, w.parse().ok()?))
}

/// Adds a bias along axis 1.
fn biased_output(y: &ArrayD<f64>, bias: &ArrayD<f64>) -> Check<ArrayD<f64>> {
    let mut shape = vec![1; y.ndim()];
    shape[1] = bias.len();
    Ok(y + &bias.to_shape(shape)?)
}
