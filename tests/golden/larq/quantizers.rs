//! Larq's and tensorpack's quantizers by themselves.

use super::Case;
use super::layout::{filters_first, last_axis_first};
use super::spec::Spec;
use crate::compare::{Tolerance, close, same_bits};
use crate::quantizer::Quantizer;
use crate::report::{Check, failed};
use crate::values::{bits, cast, flag};
use ndarray::{Array1, ArrayD, ArrayViewD};
use ndarray_qnn::{
    ActivationQuantizer, DorefaGradient, Element, Error, QActivation, Rounding, Ste,
    WeightQuantizer,
};
use serde_json::json;

/// One of Larq's quantizers, as one of activations and as one of weights.
pub(crate) fn larq(op: &str, case: &Case<'_>) -> Check {
    // The cases with special values carry a parameter in the name of the operator.
    let (name, params) = match op.rsplit_once('_') {
        Some((name, "none")) => (name, json!({ "clip_value": null })),
        Some(("dorefa", width)) => {
            ("dorefa", json!({ "k_bit": number_in(width), "mode": "activations" }))
        }
        _ => (op, case.params().clone()),
    };
    let [x, y, dy, dx] = case.both_ways()?;
    // TensorFlow takes subnormal numbers for 0; a NaN has no code.
    let comparable = |x: f64| x == 0.0 || (x.abs() as f32) >= f32::MIN_POSITIVE;
    for quantizer in Spec::new(name, &params)?.quantizers() {
        if x.iter().any(|x| x.is_nan()) {
            refuses_nan(quantizer, x)?;
        }
        if x.iter().all(|&x| comparable(x)) {
            // Larq's scales are those of the last axis, ours of the first.
            let views = [x, y, dy, dx].map(|array| last_axis_first(array.view()));
            values(quantizer, views, case.tolerance()?)?;
        } else {
            let part = |array: &ArrayD<f64>| {
                let kept = array.iter().zip(x).filter(|(_, x)| comparable(**x));
                kept.map(|(&value, _)| value).collect::<Array1<f64>>().into_dyn()
            };
            let parts = [x, y, dy, dx].map(part);
            values(quantizer, parts.each_ref().map(|part| part.view()), case.tolerance()?)?;
        }
        same_in_our_layout(quantizer, case)?;
    }
    match case.find("tie_modes_differ") {
        Some(differ) => ties(Spec::new(name, &params)?, x, differ),
        None => Ok(()),
    }
}

fn number_in(name: &str) -> Option<u32> {
    name.strip_prefix('k')?.parse().ok()
}

fn values(
    quantizer: Quantizer,
    [x, y, dy, dx]: [ArrayViewD<'_, f64>; 4],
    tolerance: Tolerance,
) -> Check {
    let (x, dy) = (x.mapv(|x| x as f32), dy.mapv(|dy| dy as f32));
    let (found_y, mut found_dx) = quantizer.both_ways(x.view(), dy.view())?;
    close("y", &found_y, &y, tolerance)?;
    // Where a gradient of TensorFlow's overflowed, nothing is known.
    let unknown = |dx: f64| !dx.is_finite();
    found_dx.zip_mut_with(&dx, |found, &dx| {
        if unknown(dx) && found.is_finite() {
            *found = 0.0;
        }
    });
    let dx = dx.mapv(|dx| if unknown(dx) { 0.0 } else { dx });
    close("dx", &found_dx, &dx, tolerance)
}

/// The twins of the tensors in our layout, where a case has them.
fn same_in_our_layout(quantizer: Quantizer, case: &Case<'_>) -> Check {
    let x = cast::<f32>(case.get("x")?);
    if let Some(twin) = case.find("x_oihw") {
        let y = quantizer.quantize(filters_first(x.view()))?;
        same_bits("y_oihw", &quantizer.quantize(cast(twin).view())?, &y)?;
    }
    if let Some(twin) = case.find("x_oi") {
        let [y, dy, dx] = ["y_oi", "dy_oi", "dx_oi"].map(|name| case.get(name));
        let views = [twin.view(), y?.view(), dy?.view(), dx?.view()];
        values(quantizer, views, case.tolerance()?)?;
    }
    Ok(())
}

/// Exactly the marked numbers have another code if halves are rounded away from zero.
fn ties(spec: Spec, x: &ArrayD<f64>, differ: &ArrayD<f64>) -> Check {
    let x = cast::<f32>(x);
    for quantizer in spec.quantizers() {
        let rounded = |rounding| {
            match quantizer {
                Quantizer::Activation(q) => Quantizer::Activation(q.rounding(rounding)),
                Quantizer::Weight(q) => Quantizer::Weight(q.rounding(rounding)),
            }
            .codes(x.view())
        };
        let even = rounded(Rounding::HalfToEven)?;
        let away = rounded(Rounding::HalfAwayFromZero)?;
        let found = (&even.mapv(f64::from) - &away.mapv(f64::from)).mapv(|d| f64::from(d != 0.0));
        close("tie_modes_differ", &found, differ, Tolerance::EXACT)?;
    }
    Ok(())
}

fn refuses_nan(quantizer: Quantizer, x: &ArrayD<f64>) -> Check {
    match quantizer.quantize(cast::<f32>(x).view()) {
        Err(Error::NaN { .. }) => Ok(()),
        other => failed(format!("a NaN among the input gave {other:?}")),
    }
}

/// BMXNet v1's own functors.
pub(crate) fn bmxnet_v1(case: &Case<'_>) -> Check {
    let quantizer = *QActivation::bmxnet_v1(bits(case.param("act_bit"))?)?.quantizer();
    let [x, y, dy, dx] = case.both_ways()?;
    let views = [x.view(), y.view(), dy.view(), dx.view()];
    values(Quantizer::Activation(quantizer), views, case.tolerance()?)?;
    match case.find("tie_modes_differ") {
        Some(differ) => {
            let params = json!({ "k_bit": case.param("act_bit"), "mode": "activations" });
            ties(Spec::new("dorefa", &params)?, x, differ)
        }
        None => Ok(()),
    }
}

pub(crate) fn tensorpack_activation(case: &Case<'_>) -> Check {
    let ste = match flag(case.param("clip")) {
        true => Ste::unit(),
        false => Ste::Identity,
    };
    let quantizer = match bits(case.param("k_bit"))? {
        32 => ActivationQuantizer::identity(),
        width => ActivationQuantizer::dorefa(width)?,
    };
    let quantizer = quantizer.rounding(Rounding::HalfToEven).ste(ste);
    let [x, y, dy, dx] = case.both_ways()?;
    let views = [x.view(), y.view(), dy.view(), dx.view()];
    values(Quantizer::Activation(quantizer), views, case.tolerance()?)
}

/// Tensorpack's weights, with the gradients that the variants of DoReFa hand down.
pub(crate) fn tensorpack_weight(case: &Case<'_>) -> Check {
    let width = bits(case.param("k_bit"))?;
    let quantizer = match width {
        1 => WeightQuantizer::bwn(),
        32 => WeightQuantizer::identity(),
        _ => WeightQuantizer::dorefa(width)?.rounding(Rounding::HalfToEven),
    };
    for suffix in ["", "_oihw"] {
        if case.find(&format!("w{suffix}")).is_none() {
            continue;
        }
        for variant in case.param("variant_names").as_array().into_iter().flatten() {
            let variant = variant.as_str().unwrap_or_default();
            let gradient = match variant {
                "grad_identity" => DorefaGradient::Identity,
                "grad_true" => DorefaGradient::True,
                "grad_stopmax" => DorefaGradient::StopMax,
                _ => return failed(format!("variant {variant}")),
            };
            let quantizer = quantizer.dorefa_gradient(gradient);
            // The peer's f32 is as far from the ideal as ours: the f64, if there is one, decides.
            let double = case.find(&format!("{variant}_f64{suffix}"));
            let single = case.find(&format!("{variant}{suffix}"));
            if let Some(gradient) = double.or(single) {
                weight_gradient::<f32>(quantizer, case, suffix, gradient)?;
            }
            if let Some(gradient) = double {
                weight_gradient::<f64>(quantizer, case, suffix, gradient)?;
            }
        }
    }
    Ok(())
}

fn weight_gradient<T: Element>(
    quantizer: WeightQuantizer,
    case: &Case<'_>,
    suffix: &str,
    gradient: &ArrayD<f64>,
) -> Check {
    let get = |name: &str| case.get(&format!("{name}{suffix}"));
    let (w, dy) = (cast::<T>(get("w")?), cast::<T>(get("dy")?));
    let (y, dw) = Quantizer::Weight(quantizer).both_ways(w.view(), dy.view())?;
    // The quantized weights are those of f32 also where the gradient is not.
    close("y", &y, get("y")?, case.tolerance()?)?;
    close("dw", &dw, gradient, case.tolerance()?.of::<T>())
}
