//! Folded thresholds give the signs of the floats they stand for.

use crate::case::{Case, cases};
use crate::forward::{Quantized, lift};
use crate::number::{Number, Random};
use ndarray::{Array, ArrayD, Axis, array};
use ndarray_qnn::{
    ActivationQuantizer, Affine, BatchNorm, Error, InputScaling, Operand, OutputForm,
    QFullyConnected, Scaling, SignThresholds, WeightQuantizer,
};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

const fn shared_between_threads<T: Send + Sync>() {}
const _: () = shared_between_threads::<SignThresholds>();
const _: () = shared_between_threads::<Affine<f32>>();

fn thresholds_have_the_signs_of_floats<T: Number>(case: &Case, seed: u64) -> TestCaseResult {
    let operands = case.operands::<T>();
    let before = operands.buffer_bits();
    let (layer, filters) = (case.layer(), case.sizes.filters());
    let packed = layer.pack(operands.w.view()).expect("packed weights");
    let random = &mut Random(seed);
    let mut numbers = || (0..filters).map(|_| random.number()).collect::<Vec<T>>();
    let affine = Affine::new(numbers(), numbers()).expect("finite numbers");
    let affine = (!seed.is_multiple_of(4)).then_some(affine);
    let sign = ActivationQuantizer::sign();
    let folded = layer.fold(&packed, operands.bias(), affine.as_ref(), &sign);
    prop_assert!(operands.buffer_bits() == before, "fold wrote to an operand");
    if !case.quantizers.are_exact() {
        let refused = matches!(folded, Err(Error::BitWidth { expected: "1 to 8", .. }));
        prop_assert!(refused, "{folded:?}");
        return Ok(());
    }
    let scaled = case.options.input_scaling != InputScaling::None;
    if scaled && !case.quantizers.scale_samples() {
        let refused = matches!(folded, Err(Error::Unsupported { option: "input scaling", .. }));
        prop_assert!(refused, "{folded:?}");
        return Ok(());
    }
    if case.quantizers.scale_samples() {
        let refused =
            matches!(folded, Err(Error::Unsupported { option: "activation quantizer", .. }));
        prop_assert!(refused, "{folded:?}");
        return Ok(());
    }
    let folded = folded.expect("thresholds");
    prop_assert_eq!(folded.filters(), filters);

    let y = layer.forward_packed(operands.x.view(), &packed, operands.bias()).expect("a result");
    let z = affine.map_or(y.clone(), |affine| affine.forward(y.view()).expect("a result"));
    let codes = sign.codes(z.view()).expect("numbers");
    let Quantized { x, w, x_denominator, w_denominator, pad } = Quantized::new(case, &operands);
    let mut numerators = case.sizes.window.forward(&x, &w, pad);
    if case.options.form != OutputForm::Dot {
        numerators += case.sizes.row_len() as f64 * x_denominator * w_denominator;
    }
    let codes = lift(codes.mapv(f64::from));
    for (((n, f, d, h, w), &code), &numerator) in codes.indexed_iter().zip(&numerators) {
        let found = folded.is_positive(f, numerator as i64);
        prop_assert_eq!(found, Some(code == 1.0), "{:?}", (n, f, d, h, w));
    }
    Ok(())
}

/// As its formula, but for a few roundings.
fn batch_norm_is_its_formula<T: Number>(y: &ArrayD<T>, seed: u64) -> TestCaseResult {
    let random = &mut Random(seed);
    let mut numbers = || Array::from_shape_simple_fn(y.shape()[1], || random.number::<T>());
    let (gamma, beta, mean) = (numbers(), numbers(), numbers());
    let variance = numbers().mapv(T::abs);
    let (gamma, beta, mean) = (gamma.view(), beta.view(), mean.view());
    let norm = BatchNorm { gamma, beta, mean, variance: variance.view(), epsilon: 1e-3 };
    let affine = norm.affine().expect("finite numbers");
    let z = affine.forward(y.view()).expect("a result");
    for (c, (y, z)) in y.axis_iter(Axis(1)).zip(z.axis_iter(Axis(1))).enumerate() {
        let [gamma, beta, mean] = [gamma[c], beta[c], mean[c]].map(T::f64);
        let root = (variance[c].f64() + 1e-3).sqrt();
        for (&y, &z) in y.iter().zip(&z) {
            let expected = gamma * (y.f64() - mean) / root + beta;
            let size = gamma.abs() * (y.f64().abs() + mean.abs()) / root + beta.abs();
            let error = (z.f64() - expected).abs();
            prop_assert!(error <= 8.0 * T::EPSILON * size, "{z} for {expected}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn thresholds_have_the_signs_of_floats_in_f32(case in cases(), seed: u64) {
        thresholds_have_the_signs_of_floats::<f32>(&case, seed)?;
    }

    #[test]
    fn thresholds_have_the_signs_of_floats_in_f64(case in cases(), seed: u64) {
        thresholds_have_the_signs_of_floats::<f64>(&case, seed)?;
    }

    #[test]
    fn batch_norms_are_their_formula(case in cases(), seed: u64) {
        batch_norm_is_its_formula(&case.operands::<f32>().dy.logical(), seed)?;
        batch_norm_is_its_formula(&case.operands::<f64>().dy.logical(), seed)?;
    }
}

/// A scale that turns an infinity into a NaN, and one that does not.
#[test]
fn what_has_no_sign_is_not_folded() {
    let sign = ActivationQuantizer::sign();
    let layer = QFullyConnected::new(sign, WeightQuantizer::sign());
    let layer = layer.scaling(Scaling::Given(vec![1e308]));
    let packed = layer.pack(array![[1.0f64, 1.0]].view()).expect("packed weights");
    let x = array![[1.0f64, 1.0]];
    let affine = |scale| Affine::new(vec![scale], vec![0.0]).expect("finite numbers");
    let z = |affine: &Affine<f64>| {
        let y = layer.forward_packed(x.view(), &packed, None).expect("a result");
        affine.forward(y.view()).expect("a result")
    };
    assert!(z(&affine(0.0))[[0, 0]].is_nan());
    let folded = layer.fold(&packed, None, Some(&affine(0.0)), &sign);
    assert_eq!(folded, Err(Error::NaN { operand: Operand::Output }));
    assert_eq!(z(&affine(-1.0))[[0, 0]], f64::NEG_INFINITY);
    let folded = layer.fold(&packed, None, Some(&affine(-1.0)), &sign).expect("thresholds");
    assert_eq!([-2, 0, 2].map(|n| folded.is_positive(0, n)), [Some(true), Some(true), Some(false)]);
}
