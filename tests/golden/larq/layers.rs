//! Larq's layers, in our layout and in Keras's.

use super::Case;
use super::layout::{channels_first, filters_first, last_axis_first};
use super::spec::Spec;
use crate::compare::{close, same_bits};
use crate::layer::{Gradients, Layer, Operands, backward, forward};
use crate::report::{Check, unsupported};
use crate::values::{cast, cast1, integer, number, spatial};
use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn};
use ndarray_qnn::{
    PadValue, QConvolution, QFullyConnected, Rank, Scaling, SpatialRank, WeightQuantizer,
};
use serde_json::Value;

/// The letters that tensors are named by: `x_nchw`, `x_nhwc`, `w_oihw`, `w_hwio`.
struct Names {
    first: &'static str,
    last: &'static str,
    filters_first: &'static str,
    filters_last: &'static str,
}

impl Names {
    /// A tensor of activations in our layout. A dense layer's batch may have many axes.
    fn activations<'a>(&self, case: &Case<'a>, name: &str) -> Check<ArrayViewD<'a, f64>> {
        let array = case.get(&format!("{name}{}", self.first))?.view();
        if !self.first.is_empty() {
            return Ok(array);
        }
        let features = array.shape()[array.ndim() - 1];
        let rows = array.len() / features.max(1);
        Ok(array.into_shape_with_order(IxDyn(&[rows, features]))?)
    }

    /// The same as a view of Keras's.
    fn keras_activations<'a>(&self, case: &Case<'a>, name: &str) -> Check<ArrayViewD<'a, f64>> {
        if self.last.is_empty() {
            return self.activations(case, name);
        }
        let array = case.get(&format!("{name}{}", self.last))?;
        Ok(channels_first(array.view()))
    }

    fn weights<'a>(&self, case: &Case<'a>, name: &str) -> Check<ArrayViewD<'a, f64>> {
        let array = case.get(&format!("{name}{}", self.filters_first))?;
        Ok(array.view())
    }

    /// The weights as a view of Keras's.
    fn keras_weights<'a>(&self, case: &Case<'a>) -> Check<ArrayViewD<'a, f64>> {
        let array = case.get(&format!("w{}", self.filters_last))?;
        Ok(filters_first(array.view()))
    }
}

const DENSE: Names = Names { first: "", last: "", filters_first: "_oi", filters_last: "_io" };

const CONVOLUTIONS: [Names; 3] = [
    Names { first: "_ncw", last: "_nwc", filters_first: "_oiw", filters_last: "_wio" },
    Names { first: "_nchw", last: "_nhwc", filters_first: "_oihw", filters_last: "_hwio" },
    Names { first: "_ncdhw", last: "_ndhwc", filters_first: "_oidhw", filters_last: "_dhwio" },
];

pub(crate) fn dense(case: &Case<'_>) -> Check {
    let layer = QFullyConnected::new(
        Spec::input(case.param("input_quantizer"))?,
        Spec::kernel(case.param("kernel_quantizer"))?,
    );
    check(&layer, case, &DENSE, &[])?;
    both_layouts(&layer, case, &DENSE, DENSE.keras_weights(case)?)
}

pub(crate) fn convolution<const S: usize>(case: &Case<'_>) -> Check
where
    Rank<S>: SpatialRank,
    QConvolution<S>: Layer,
{
    let names = &CONVOLUTIONS[S - 1];
    let layer = configured(case, Spec::kernel(case.param("kernel_quantizer"))?)?;
    check(&layer, case, names, &[])?;
    both_layouts(&layer, case, names, names.keras_weights(case)?)
}

/// A convolution whose groups are the channels. Keras keeps its weights as (H, W, C, M), which no
/// view turns into filters.
pub(crate) fn depthwise(case: &Case<'_>) -> Check {
    let names = &CONVOLUTIONS[1];
    let weights = names.weights(case, "w")?;
    let quantizer = Spec::kernel(case.param("kernel_quantizer"))?;
    let (layer, scales) = match scaled_by_multiplier(case, quantizer)? {
        Some((scales, sign)) => {
            let filters = weights.len_of(Axis(0));
            let scales: Vec<f64> = (0..filters).map(|f| scales[f % scales.len()]).collect();
            let layer = configured::<2>(case, sign)?;
            (layer.scaling(Scaling::Given(scales.clone())), scales)
        }
        None => (configured(case, quantizer)?, vec![]),
    };
    check(&layer, case, names, &scales)?;
    both_layouts(&layer, case, names, weights)
}

/// Magnitude-aware signs of depthwise weights have one scale for each depth multiplier, over all
/// channels, where ours would have one for each filter.
fn scaled_by_multiplier(
    case: &Case<'_>,
    quantizer: WeightQuantizer,
) -> Check<Option<(Vec<f64>, WeightQuantizer)>> {
    let name = case.param("kernel_quantizer")["name"].as_str();
    if name != Some("magnitude_aware_sign") {
        return Ok(None);
    }
    let w = cast::<f32>(case.get("w_hwio")?);
    let quantized = quantizer.quantize(last_axis_first(w.view()))?;
    let scale = |multiplier: ArrayViewD<'_, f32>| multiplier.first().map_or(0.0, |w| w.abs());
    let scales = quantized.outer_iter().map(scale).map(f64::from).collect();
    // The sign with the estimator of the quantizer it stands in for.
    let mut params = case.param("kernel_quantizer").clone();
    params["name"] = Value::from("ste_sign");
    Ok(Some((scales, Spec::kernel(&params)?)))
}

fn configured<const S: usize>(case: &Case<'_>, weight: WeightQuantizer) -> Check<QConvolution<S>>
where
    Rank<S>: SpatialRank,
{
    if case.param("pad_after_quantize") == &Value::Bool(false) {
        return unsupported("padding before quantization");
    }
    let before = spatial::<S>(case.param("pads_begin"))?;
    let after = spatial::<S>(case.param("pads_end"))?;
    let groups = match case.param("groups") {
        Value::Null => 1,
        groups => integer(groups)?,
    };
    let layer = QConvolution::new(Spec::input(case.param("input_quantizer"))?, weight)
        .stride(spatial(case.param("strides"))?)
        .dilation(spatial(case.param("dilation"))?)
        .padding_sides(std::array::from_fn(|axis| [before[axis], after[axis]]))
        .pad_value(pad_value(case.param("pad_value"))?)
        .groups(groups);
    Ok(layer)
}

pub(crate) fn pad_value(value: &Value) -> Check<PadValue> {
    match number(value)? {
        0.0 => Ok(PadValue::Zero),
        1.0 => Ok(PadValue::PlusOne),
        -1.0 => Ok(PadValue::MinusOne),
        other => unsupported(format!("pad value {other}")),
    }
}

/// Output, gradients and quantized weights in our layout. `scales` of filters are those that the
/// layer has instead of its quantizer.
fn check<L: Layer>(layer: &L, case: &Case<'_>, names: &Names, scales: &[f64]) -> Check {
    let tolerance = case.tolerance()?;
    let single = |array: ArrayViewD<'_, f64>| array.mapv(|value| value as f32);
    let (x, w) = (single(names.activations(case, "x")?), single(names.weights(case, "w")?));
    let bias = case.find("b").map(cast1::<f32>);
    let operands =
        Operands { x: x.view(), w: w.view(), bias: bias.as_ref().map(|bias| bias.view()) };
    let y = forward(layer, &operands)?;
    close("y", &y, &names.activations(case, "y")?, tolerance)?;
    let dy = single(names.activations(case, "dy")?);
    let gradients = backward(layer, &operands, dy.view())?;
    close("dx", &gradients.x, &names.activations(case, "dx")?, tolerance)?;
    close("dw", &gradients.w, &names.weights(case, "dw")?, tolerance)?;
    if let Some(expected) = case.find("db") {
        close("db", &gradients.bias, expected, tolerance)?;
    }
    let mut wq = layer.weight().quantize(w.view())?;
    for (mut filter, &scale) in wq.outer_iter_mut().zip(scales) {
        filter *= scale as f32;
    }
    close("wq", &wq, &names.weights(case, "wq")?, tolerance)
}

/// Keras's tensors as permuted views must give the bits that ours do.
fn both_layouts<L: Layer>(
    layer: &L,
    case: &Case<'_>,
    names: &Names,
    keras_weights: ArrayViewD<'_, f64>,
) -> Check {
    let run = |[x, w, dy]: [ArrayViewD<'_, f64>; 3]| -> Check<(ArrayD<f32>, Gradients<f32>)> {
        // `mapv` keeps the strides.
        let [x, w, dy] = [x, w, dy].map(|array| array.mapv(|value| value as f32));
        let operands = Operands { x: x.view(), w: w.view(), bias: None };
        let y = forward(layer, &operands)?;
        Ok((y, backward(layer, &operands, dy.view())?))
    };
    let (y, gradients) = run([
        names.activations(case, "x")?,
        names.weights(case, "w")?,
        names.activations(case, "dy")?,
    ])?;
    let (keras_y, keras_gradients) = run([
        names.keras_activations(case, "x")?,
        keras_weights,
        names.keras_activations(case, "dy")?,
    ])?;
    same_bits("y of views", &keras_y, &y)?;
    same_bits("dx of views", &keras_gradients.x, &gradients.x)?;
    same_bits("dw of views", &keras_gradients.w, &gradients.w)
}
