//! BMXNet's quantizers, by themselves and as QActivation.

use crate::compare::{Tolerance, close, same_codes};
use crate::quantizer::Quantizer;
use crate::report::{Check, Report, failed, unsupported};
use crate::values::{array, bits, cast, flag, list, number, read_json, real, shape, text, vector};
use ndarray::{ArrayD, array as numbers};
use ndarray_qnn::{
    ActivationQuantizer, Element, FullPrecision, QActivation, QFullyConnected, Rounding, Ste,
};
use serde_json::Value;
use std::path::Path;

pub(crate) fn run_quantizers(path: &Path, report: &mut Report) {
    let op = "bmxnet/quantizers";
    let Some(json) = report.require(op, "file", read_json(path)) else {
        return;
    };
    for (kind, check) in [
        ("activation", activation as fn(&Value) -> Check),
        ("weight", weight),
        ("boundary_f32", boundary),
    ] {
        run_list(&json[kind], &format!("{op}/{kind}"), report, check);
    }
}

pub(crate) fn run_qactivation(path: &Path, report: &mut Report) {
    let op = "bmxnet/qactivation";
    let Some(json) = report.require(op, "file", read_json(path)) else {
        return;
    };
    run_list(&json["v1"], &format!("{op}/v1"), report, qactivation_v1);
    run_list(&json["v2"], &format!("{op}/v2"), report, qactivation_v2);
}

fn run_list(cases: &Value, op: &str, report: &mut Report, check: fn(&Value) -> Check) {
    for (i, case) in list(cases).iter().enumerate() {
        let width = case.get("bits").unwrap_or(&case["act_bit"]);
        let method = case.get("method").unwrap_or(&Value::Null);
        report.record(op, &format!("{i}: bits {width} {method}"), check(case));
    }
}

fn activation(case: &Value) -> Check {
    let width = bits(&case["bits"])?;
    let quantizer = *QFullyConnected::bmxnet_v1(width, width)?.activation();
    let x = vector(&case["x"])?;
    values_and_codes(case, Quantizer::Activation(quantizer), x, "y")
}

fn weight(case: &Value) -> Check {
    let width = bits(&case["bits"])?;
    let quantizer = Quantizer::Weight(*QFullyConnected::bmxnet_v1(width, width)?.weight());
    let w = array(&case["w"], &shape(&case["shape"])?)?;
    if let Some(twice) = case["codes_if_quantized_twice"].as_array() {
        let once = quantizer.quantize(cast::<f32>(&w).view())?;
        let codes = quantizer.codes(once.view())?;
        let expected = array(&Value::from(twice.clone()), w.shape())?;
        same_codes("codes if quantized twice", &codes, &expected)?;
    }
    values_and_codes(case, quantizer, w, "wq")
}

fn values_and_codes(case: &Value, quantizer: Quantizer, x: ArrayD<f64>, name: &str) -> Check {
    fn check<T: Element>(case: &Value, quantizer: Quantizer, x: &ArrayD<f64>, name: &str) -> Check {
        let x = cast::<T>(x);
        let (values, _) = quantizer.both_ways(x.view(), x.view())?;
        let expected = array(&case[name], x.shape())?;
        let tolerance = Tolerance::absolute(number(&case["atol"])?).of::<T>();
        close(name, &values, &expected, tolerance)?;
        if case["codes"].is_array() {
            let expected = array(&case["codes"], x.shape())?;
            same_codes("codes", &quantizer.codes(x.view())?, &expected)?;
        }
        Ok(())
    }
    check::<f32>(case, quantizer, &x, name)?;
    check::<f64>(case, quantizer, &x, name)
}

/// Inputs beside the boundary of two codes, where single precision and rounding mode decide.
fn boundary(case: &Value) -> Check {
    fn code<T: Element>(case: &Value, rounding: Rounding) -> Check<u32> {
        let quantizer = ActivationQuantizer::dorefa(bits(&case["bits"])?)?.rounding(rounding);
        let x = numbers![real::<T>(number(&case["x"])?)];
        Ok(quantizer.codes(x.view())?[0])
    }
    let away = Rounding::HalfAwayFromZero;
    for (name, found) in [
        ("bmxnet_f32_code", code::<f32>(case, away)?),
        ("half_even_f32_code", code::<f32>(case, Rounding::HalfToEven)?),
        ("exact_code", code::<f64>(case, away)?),
    ] {
        let expected = bits(&case[name])?;
        if found != expected {
            return failed(format!("{name}: {found}, expected {expected}"));
        }
    }
    Ok(())
}

fn qactivation_v1(case: &Value) -> Check {
    let layer = QActivation::bmxnet_v1(bits(&case["act_bit"])?)?;
    qactivation(case, layer.backward_only(flag(&case["backward_only"])))
}

fn qactivation_v2(case: &Value) -> Check {
    let width = bits(&case["bits"])?;
    let threshold = number(&case["threshold"])?;
    let full_precision = |function| {
        let quantizer = ActivationQuantizer::full_precision(function);
        QActivation::new(quantizer.ste(Ste::clip(threshold)))
    };
    let layer = match (text(&case["method"])?, width) {
        ("det_sign", 1) | ("round", 2..=31) => QActivation::bmxnet_v2(width, threshold)?,
        ("sign_approx_sign", 1) => {
            QActivation::new(ActivationQuantizer::sign().ste(Ste::ApproxSign { threshold }))
        }
        ("identity", 32) => full_precision(FullPrecision::Identity),
        ("relu", 32) => full_precision(FullPrecision::Relu),
        ("clip", 32) => full_precision(FullPrecision::Clip),
        ("leaky_clip", 32) => full_precision(FullPrecision::LeakyClip),
        ("approx_sign", 32) => full_precision(FullPrecision::ApproxSign),
        (method, _) => return unsupported(format!("{method} at {width} bits")),
    };
    qactivation(case, layer)
}

fn qactivation(case: &Value, layer: QActivation) -> Check {
    fn check<T: Element>(case: &Value, layer: QActivation) -> Check {
        let vector = |name: &str| vector(&case[name]);
        let tolerance = Tolerance::absolute(number(&case["atol"])?).of::<T>();
        let (x, dy) = (cast::<T>(&vector("x")?), cast::<T>(&vector("gy")?));
        let y = layer.forward(x.view())?;
        close("y", &y, &vector("y")?, tolerance)?;
        let dx = layer.backward(dy.view(), x.view())?;
        close("gx", &dx, &vector("gx")?, tolerance)?;
        close("x after the calls", &x, &vector("x")?, Tolerance::EXACT)?;
        close("gy after the calls", &dy, &vector("gy")?, Tolerance::EXACT)
    }
    check::<f32>(case, layer)?;
    check::<f64>(case, layer)
}
