//! Gradients are those of naive loops over the quantized operands, through the STEs.

use crate::case::{Case, Quantizers, cases};
use crate::forward::{Quantized, input_scales, lift, scale_samples, scales};
use crate::number::{Number, bits, widen};
use crate::reference::{Activation, Weight, ste_factor, ste_size};
use ndarray::{Array5, ArrayD, Axis};
use ndarray_qnn::{OutputForm, ScaleGradient, Scaling, Ste};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

/// Gradients in the shapes of their operands, and how large their terms are at most.
struct Expected {
    input: ArrayD<f64>,
    weight: ArrayD<f64>,
    bias: ArrayD<f64>,
    input_size: f64,
    weight_size: f64,
}

fn largest(values: &ArrayD<f64>) -> f64 {
    values.iter().fold(0.0, |max, value| max.max(value.abs()))
}

/// Multiplies each filter by its factor.
fn scaled(w: &Array5<f64>, factors: &[f64]) -> Array5<f64> {
    let mut w = w.clone();
    for (mut filter, &factor) in w.outer_iter_mut().zip(factors) {
        filter *= factor;
    }
    w
}

fn expected<T: Number>(case: &Case) -> Expected {
    let operands = case.operands::<T>();
    let quantized = Quantized::new(case, &operands);
    let (x, w, dy) = (&operands.x, &operands.w, &operands.dy);
    let (latent_x, latent_w) = (widen(&x.logical()), widen(&w.logical()));
    let qx = quantized.x / quantized.x_denominator;
    let pad = quantized.pad / quantized.x_denominator;
    let magnitudes = case.quantizers.weight.scales(&latent_w);
    let scales = scales(case, &operands);
    let qw = scaled(&(quantized.w / quantized.w_denominator), &magnitudes);
    let scaled_w = scaled(&qw, &scales);

    let dy = lift(widen(&dy.logical()));
    let bias = dy.sum_axis(Axis(4)).sum_axis(Axis(3)).sum_axis(Axis(2)).sum_axis(Axis(0));
    let mut dots = dy;
    if case.options.form == (OutputForm::Offset { halve_gradient: true }) {
        dots /= 2.0;
    }
    if let Some(k) = input_scales(case, &operands) {
        dots *= &k;
    }
    let window = &case.sizes.window;
    let (mut d_x, d_w) = window.backward(&dots, &qx, &scaled_w, pad);
    let abs = |values: &Array5<f64>| values.mapv(f64::abs);
    let (mut x_size, w_size) = window.backward(&abs(&dots), &abs(&qx), &abs(&scaled_w), pad.abs());
    // `qx` is what the magnitudes have been taken from; the gradient of `x` is not.
    let samples = case.quantizers.activation.magnitudes(&latent_x);
    for d in [&mut d_x, &mut x_size] {
        scale_samples(d, samples.iter().map(|magnitude| 1.0 / magnitude));
    }

    let Quantizers { activation, activation_ste, weight, weight_ste, .. } = case.quantizers;
    let factor = |x: f64| activation.slope(x) * ste_factor(activation_ste, x);
    let through_ste = |d: Array5<f64>| {
        let d = d.into_shape_with_order(latent_x.shape()).expect("as x");
        d * latent_x.mapv(factor)
    };
    let as_latent =
        |d: &Array5<f64>| scaled(d, &scales).into_shape_with_order(latent_w.shape()).expect("as w");
    let mut d_latent = weight.gradient(&as_latent(&d_w), &latent_w, weight_ste);
    let mut weight_size = weight.gradient_size(&as_latent(&w_size), &latent_w);
    weight_size *= ste_size(weight_ste);
    if case.options.scale_gradient == ScaleGradient::Flow {
        let mut d_scales = of_filters(&(&qw * &d_w));
        let mut size = (qw.mapv(f64::abs) * &w_size).sum();
        if case.options.form != OutputForm::Dot {
            let offsets = magnitudes.iter().map(|m| m * case.sizes.row_len() as f64);
            let dots = dots.clone().permuted_axes([1, 0, 2, 3, 4]);
            for ((d, offset), dots) in d_scales.iter_mut().zip(offsets).zip(dots.outer_iter()) {
                *d += offset * dots.sum();
                size += offset * dots.mapv(f64::abs).sum();
            }
        }
        let share = scale_share(case, &d_scales, qw.len());
        for ((mut d, w), share) in d_latent.outer_iter_mut().zip(latent_w.outer_iter()).zip(share) {
            d.zip_mut_with(&w, |d, &w| *d += if w == 0.0 { 0.0 } else { share * w.signum() });
        }
        weight_size += size;
    }
    Expected {
        input: through_ste(d_x),
        weight: d_latent,
        bias: bias.into_dyn(),
        input_size: largest(&x_size.into_dyn()) * ste_size(activation_ste),
        weight_size,
    }
}

fn of_filters(values: &Array5<f64>) -> Vec<f64> {
    values.outer_iter().map(|filter| filter.sum()).collect()
}

/// What `|w|` of each of `weights` receives through the scale of its filter.
fn scale_share(case: &Case, d_scales: &[f64], weights: usize) -> Vec<f64> {
    let filters = d_scales.len();
    match case.scaling() {
        Scaling::PerFilter => {
            let len = (weights / filters) as f64;
            d_scales.iter().map(|d| d / len).collect()
        }
        Scaling::PerTensor => vec![d_scales.iter().sum::<f64>() / weights as f64; filters],
        _ => vec![0.0; filters],
    }
}

fn assert_close<T: Number>(
    what: &str,
    found: &ArrayD<T>,
    expected: &ArrayD<f64>,
    tolerance: f64,
) -> TestCaseResult {
    prop_assert_eq!(found.shape(), expected.shape());
    for (&found, &expected) in found.iter().zip(expected) {
        let error = (found.f64() - expected).abs();
        prop_assert!(error <= tolerance, "{what}: {found} for {expected}, tolerance {tolerance}");
    }
    Ok(())
}

fn gradients_are_those_of_naive_loops<T: Number>(case: &Case) -> TestCaseResult {
    let operands = case.operands::<T>();
    let gradients = case.layer().backward(operands.dy.view(), operands.x.view(), operands.w.view());
    let gradients = gradients.expect("gradients");
    let expected = expected::<T>(case);
    let tolerance =
        |terms: usize, size: f64| (12.0 + 2.0 * (terms as f64).sqrt()) * T::EPSILON * size;
    let outputs: usize = case.sizes.y_shape().iter().product();
    let row_len = case.sizes.row_len();
    let of_input = tolerance(case.sizes.filters() * row_len, expected.input_size);
    assert_close("input", &gradients.input, &expected.input, of_input)?;
    let of_weight = tolerance(outputs, expected.weight_size);
    assert_close("weight", &gradients.weight, &expected.weight, of_weight)?;
    // Summed in f64, whatever the type.
    let of_bias = T::EPSILON * largest(&expected.bias) + 4.0 * f64::EPSILON * outputs as f64;
    assert_close("bias", &gradients.bias, &expected.bias, of_bias)
}

/// With identity STEs and no scales, dW is `Σ dy Q(x)` and dX is `Σ dy Q(w)`, bit for bit where
/// all terms are small integers.
fn straight_through_is_exact<T: Number>(case: &Case) -> TestCaseResult {
    let mut case = case.plain();
    case.quantizers.activation = Activation::Sign;
    case.quantizers.weight = Weight::Sign;
    (case.quantizers.activation_ste, case.quantizers.weight_ste) = (Ste::Identity, Ste::Identity);
    let operands = case.operands::<T>();
    let dy = operands.dy.logical().mapv(|dy| T::of_f64((dy.f64() * 8.0).round()));
    let gradients = case.layer().backward(dy.view(), operands.x.view(), operands.w.view());
    let gradients = gradients.expect("gradients");
    let Quantized { x, w, pad, .. } = Quantized::new(&case, &operands);
    let (dx, dw) = case.sizes.window.backward(&lift(widen(&dy)), &x, &w, pad);
    prop_assert_eq!(lift(widen(&gradients.input)), dx);
    prop_assert_eq!(lift(widen(&gradients.weight)), dw);
    Ok(())
}

fn layout_does_not_matter<T: Number>(case: &Case) -> TestCaseResult {
    let operands = case.operands::<T>();
    let (dy, x, w) = (&operands.dy, &operands.x, &operands.w);
    let layer = case.layer();
    let found = layer.backward(dy.view(), x.view(), w.view()).expect("gradients");
    let (dy, x, w) = (dy.logical(), x.logical(), w.logical());
    let standard = layer.backward(dy.view(), x.view(), w.view()).expect("gradients");
    prop_assert_eq!(bits(&found.input), bits(&standard.input));
    prop_assert_eq!(bits(&found.weight), bits(&standard.weight));
    prop_assert_eq!(bits(&found.bias), bits(&standard.bias));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn gradients_are_those_of_naive_loops_in_f32(case in cases()) {
        gradients_are_those_of_naive_loops::<f32>(&case)?;
    }

    #[test]
    fn gradients_are_those_of_naive_loops_in_f64(case in cases()) {
        gradients_are_those_of_naive_loops::<f64>(&case)?;
    }

    #[test]
    fn straight_through_gradients_of_signs_are_exact(case in cases()) {
        straight_through_is_exact::<f32>(&case)?;
        straight_through_is_exact::<f64>(&case)?;
    }

    #[test]
    fn gradients_do_not_depend_on_memory_layout(case in cases()) {
        layout_does_not_matter::<f32>(&case)?;
        layout_does_not_matter::<f64>(&case)?;
    }
}
