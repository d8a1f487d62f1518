//! Outputs are those of naive loops, exactly where integers allow it, and the same from any memory.

use crate::case::{Case, Operands, cases};
use crate::number::{Number, bits, widen};
use crate::reference::{Activation, Weight, mean_magnitude};
use ndarray::{Array5, ArrayD, Axis};
use ndarray_qnn::{InputScaling, Levels, OutputForm, PadValue, Scaling};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

/// A tensor of any layer with all five axes.
pub(crate) fn lift(tensor: ArrayD<f64>) -> Array5<f64> {
    let spatial = &tensor.shape()[2..];
    let mut shape = [1; 5];
    shape[..2].copy_from_slice(&tensor.shape()[..2]);
    shape[5 - spatial.len()..].copy_from_slice(spatial);
    tensor.into_shape_with_order(shape).expect("axes of length 1")
}

/// What a quantized tensor is a product of: integers, and one denominator.
pub(crate) fn numerators(codes: ArrayD<u32>, levels: Levels) -> (Array5<f64>, f64) {
    (lift(codes.mapv(|code| levels.numerator(code) as f64)), levels.denominator() as f64)
}

/// The quantized operands without scales, as numerators over a denominator.
pub(crate) struct Quantized {
    pub(crate) x: Array5<f64>,
    pub(crate) w: Array5<f64>,
    pub(crate) x_denominator: f64,
    pub(crate) w_denominator: f64,
    /// What is padded to `x`.
    pub(crate) pad: f64,
}

impl Quantized {
    pub(crate) fn new<T: Number>(case: &Case, operands: &Operands<T>) -> Self {
        let Case { quantizers, options, .. } = case;
        let (x, w) = (operands.x.view(), operands.w.view());
        let (activation, weight) = (quantizers.build_activation(), quantizers.build_weight());
        let (x, x_denominator) = match activation.levels() {
            Some(levels) => numerators(activation.codes(x).expect("codes"), levels),
            None => {
                let value = |x| quantizers.activation.value(x, quantizers.rounding);
                (lift(widen(&operands.x.logical()).mapv(value)), 1.0)
            }
        };
        let (w, w_denominator) = match weight.levels() {
            Some(levels) => numerators(weight.codes(w).expect("codes"), levels),
            None => (lift(widen(&operands.w.logical())), 1.0),
        };
        let pad = x_denominator
            * match options.pad {
                PadValue::PlusOne => 1.0,
                PadValue::MinusOne => -1.0,
                _ => 0.0,
            };
        Quantized { x, w, x_denominator, w_denominator, pad }
    }
}

/// The factor of each filter that [`Scaling`] gives.
pub(crate) fn scales<T: Number>(case: &Case, operands: &Operands<T>) -> Vec<f64> {
    let w = widen(&operands.w.logical());
    let filters = w.len_of(Axis(0));
    match case.scaling() {
        Scaling::PerTensor => vec![mean_magnitude(&w); filters],
        Scaling::PerFilter => w.outer_iter().map(|filter| mean_magnitude(&filter)).collect(),
        Scaling::Given(scales) => scales,
        _ => vec![1.0; filters],
    }
}

/// The factor of every output that the input gives: XNOR-Net's K, and its sample's magnitude.
pub(crate) fn input_scales<T: Number>(case: &Case, operands: &Operands<T>) -> Option<Array5<f64>> {
    let latent = widen(&operands.x.logical());
    let magnitudes = case.quantizers.activation.magnitudes(&latent);
    let w = lift(widen(&operands.w.logical())).dim().into();
    let mut scales = match case.options.input_scaling {
        InputScaling::KMap => case.sizes.window.k_map(&lift(latent), w),
        _ if magnitudes.iter().all(|&magnitude| magnitude == 1.0) => return None,
        _ => lift(ArrayD::ones(case.sizes.y_shape())),
    };
    scale_samples(&mut scales, magnitudes);
    Some(scales)
}

/// Multiplies each sample by its factor.
pub(crate) fn scale_samples(values: &mut Array5<f64>, factors: impl IntoIterator<Item = f64>) {
    for (mut sample, factor) in values.outer_iter_mut().zip(factors) {
        sample *= factor;
    }
}

/// The output of naive loops, and how far off each element may be.
fn expected<T: Number>(case: &Case, operands: &Operands<T>) -> (Array5<f64>, Array5<f64>) {
    let Quantized { x, w, x_denominator, w_denominator, pad } = Quantized::new(case, operands);
    let window = &case.sizes.window;
    let denominator = x_denominator * w_denominator;
    let mut y = window.forward(&x, &w, pad);
    let mut size = window.forward(&x.mapv(f64::abs), &w.mapv(f64::abs), pad.abs());
    if let OutputForm::Offset { .. } = case.options.form {
        let offset = case.sizes.row_len() as f64 * denominator;
        y = (y + offset) / 2.0;
        size = (size + offset) / 2.0;
    }
    y /= denominator;
    size /= denominator;

    let magnitudes = case.quantizers.weight.scales(&widen(&operands.w.logical()));
    let scales = scales(case, operands);
    let k = input_scales(case, operands);
    let bias = operands.bias().map(|bias| bias.mapv(T::f64));
    let scaled = magnitudes.iter().chain(&scales).any(|&scale| scale != 1.0);
    let rounded_once = case.quantizers.are_exact() && !scaled && k.is_none() && bias.is_none();
    let roundings = 8.0 + 2.0 * (case.sizes.row_len() as f64).sqrt();
    for ((n, f, d, h, w), y) in y.indexed_iter_mut() {
        let size = &mut size[[n, f, d, h, w]];
        let scale = magnitudes[f] * scales[f] * k.as_ref().map_or(1.0, |k| k[[n, f, d, h, w]]);
        let bias = bias.as_ref().map_or(0.0, |bias| bias[f]);
        *y = *y * scale + bias;
        *size = *size * scale.abs() + bias.abs();
        *size *= if rounded_once { 0.0 } else { roundings * T::EPSILON };
    }
    (y, size)
}

fn outputs_are_those_of_naive_loops<T: Number>(case: &Case) -> TestCaseResult {
    let operands = case.operands::<T>();
    let y = case.layer().forward(operands.x.view(), operands.w.view(), operands.bias());
    let y = y.expect("a result");
    prop_assert_eq!(y.shape(), case.sizes.y_shape());
    let (expected, tolerance) = expected(case, &operands);
    for ((&y, &expected), &tolerance) in y.iter().zip(&expected).zip(&tolerance) {
        let error = (y.f64() - T::of_f64(expected).f64()).abs();
        prop_assert!(error <= tolerance, "{y} for {expected}, tolerance {tolerance}");
    }
    Ok(())
}

fn layout_does_not_matter<T: Number>(case: &Case) -> TestCaseResult {
    let Operands { x, w, bias, .. } = case.operands::<T>();
    let bias = bias.map(|bias| (bias.logical(), bias));
    let one = |bias: &ArrayD<T>| bias.clone().into_dimensionality().expect("one axis");
    let standard_bias = bias.as_ref().map(|(logical, _)| one(logical));
    let stored_bias = bias.as_ref().map(|(_, stored)| stored.view());
    let stored_bias = stored_bias.map(|bias| bias.into_dimensionality().expect("one axis"));
    let layer = case.layer();
    let y = layer.forward(x.view(), w.view(), stored_bias).expect("a result");
    let standard_bias = standard_bias.as_ref().map(|bias| bias.view());
    let standard = layer.forward(x.logical().view(), w.logical().view(), standard_bias);
    prop_assert_eq!(bits(&y), bits(&standard.expect("a result")));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn outputs_are_those_of_naive_loops_in_f32(case in cases()) {
        outputs_are_those_of_naive_loops::<f32>(&case)?;
    }

    #[test]
    fn outputs_are_those_of_naive_loops_in_f64(case in cases()) {
        outputs_are_those_of_naive_loops::<f64>(&case)?;
    }

    #[test]
    fn outputs_do_not_depend_on_memory_layout(case in cases()) {
        layout_does_not_matter::<f32>(&case)?;
        layout_does_not_matter::<f64>(&case)?;
    }

    /// 1x1 bit: the sum of products of signs is an integer, and comes out as that integer.
    #[test]
    fn products_of_signs_are_integers(mut case in cases()) {
        case.quantizers.activation = Activation::Sign;
        case.quantizers.weight = Weight::Sign;
        let operands = case.operands::<f32>();
        let Quantized { x, w, pad, .. } = Quantized::new(&case, &operands);
        let dots = case.sizes.window.forward(&x, &w, pad);
        let plain = case.plain();
        let y = plain.layer().forward(operands.x.view(), operands.w.view(), None);
        let y = lift(y.expect("a result").mapv(f64::from));
        prop_assert_eq!(y, dots);
    }
}
