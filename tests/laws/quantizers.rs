//! Quantizers are their formulas: codes, numbers, scales, gradients.

use crate::case::{Quantizers, quantizers};
use crate::layout::{Layout, Stored, layouts};
use crate::number::{Number, Random, bits, widen};
use crate::reference::{Activation, Weight, round, ste_factor, ste_size};
use ndarray::{Array1, ArrayD, array};
use ndarray_qnn::{ActivationQuantizer, Levels, QActivation, Rounding, Ste, WeightQuantizer};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

/// How far computing a position in `T` may move it: a few roundings of numbers up to 2^bits.
fn slack<T: Number>(bits: u32) -> f64 {
    4.0 * T::EPSILON * f64::from(bits).exp2()
}

/// A code is the position rounded, as ties say; next to a tie, either neighbour of it, if the
/// position was rounded on its way.
fn assert_code<T: Number>(
    code: u32,
    position: f64,
    rounding: Rounding,
    bits: u32,
) -> TestCaseResult {
    let nearest = round(position, rounding);
    let code = f64::from(code);
    let on_a_grid = (position * 64.0).fract() == 0.0 && bits <= 8;
    if on_a_grid {
        prop_assert_eq!(code, nearest, "at {}", position);
    }
    assert_neighbour::<T>(code, position, bits)
}

/// A code is the position rounded; next to a tie, either neighbour of it.
fn assert_neighbour<T: Number>(code: f64, position: f64, bits: u32) -> TestCaseResult {
    let error = (code - position).abs();
    prop_assert!(error <= 0.5 + slack::<T>(bits), "{code} at {position} of {bits} bits");
    Ok(())
}

/// Equal but for the rounding of a few operations in `T`.
fn assert_near<T: Number>(found: T, expected: f64, size: f64) -> TestCaseResult {
    let error = (found.f64() - expected).abs();
    prop_assert!(error <= 8.0 * T::EPSILON * size.max(expected.abs()), "{found} for {expected}");
    Ok(())
}

fn activations_are_their_formulas<T: Number>(spec: &Quantizers, x: &Stored<T>) -> TestCaseResult {
    let quantizer = spec.build_activation();
    let levels = quantizer.levels();
    let codes = quantizer.codes(x.view()).expect("codes");
    let values = quantizer.quantize(x.view()).expect("numbers");
    let layer = QActivation::new(quantizer);
    prop_assert_eq!(bits(&layer.forward(x.view()).expect("numbers")), bits(&values));
    let magnitudes = spec.activation.magnitudes(&widen(&x.logical()));
    let sample_len = values.len() / magnitudes.len();
    for (i, ((&x, &code), &value)) in x.logical().iter().zip(&codes).zip(&values).enumerate() {
        let magnitude = magnitudes[i / sample_len];
        let x = x.f64() / magnitude;
        if let Some(levels) = levels {
            prop_assert_eq!(value, levels.value::<T>(code) * T::of_f64(magnitude));
        }
        match spec.activation.position(x) {
            Some(position) => {
                let rounded = f64::from(code) + spec.activation.first_position();
                // Where a scale has been rounded, so has every tie.
                match spec.activation {
                    Activation::AbsMax(bits) => assert_neighbour::<T>(rounded, position, bits)?,
                    _ => assert_code::<T>(code, position, spec.rounding, quantizer.bits())?,
                }
                assert_near(value, spec.activation.value_at(rounded) * magnitude, 0.0)?;
            }
            None => assert_near(value, spec.activation.value(x, spec.rounding), 0.0)?,
        }
    }
    let copy = layer.backward_only(true).forward(x.view()).expect("numbers");
    prop_assert_eq!(bits(&copy), bits(&x.logical()));
    Ok(())
}

fn activation_gradients_are_their_formulas<T: Number>(
    spec: &Quantizers,
    x: &Stored<T>,
    dy: &Stored<T>,
) -> TestCaseResult {
    let quantizer = spec.build_activation();
    let dx = quantizer.backward(dy.view(), x.view()).expect("gradients");
    let layer = QActivation::new(quantizer).backward(dy.view(), x.view()).expect("gradients");
    prop_assert_eq!(bits(&layer), bits(&dx));
    for ((&x, &dy), &dx) in x.logical().iter().zip(&dy.logical()).zip(&dx) {
        let factor = spec.activation.slope(x.f64()) * ste_factor(spec.activation_ste, x.f64());
        assert_near(dx, dy.f64() * factor, dy.f64().abs() * ste_size(spec.activation_ste))?;
    }
    Ok(())
}

fn weights_are_their_formulas<T: Number>(spec: &Quantizers, w: &Stored<T>) -> TestCaseResult {
    let quantizer = spec.build_weight();
    let latent = widen(&w.logical());
    let codes = quantizer.codes(w.view()).expect("codes");
    let values = quantizer.quantize(w.view()).expect("numbers");
    let scales = spec.weight.scales(&latent);
    let filter_len = latent.len() / scales.len().max(1);
    let positions = spec.weight.positions(&latent);
    let threshold = spec.weight.threshold(&latent);
    let formula = spec.weight.values(&latent, spec.rounding);
    for (i, (&code, &value)) in codes.iter().zip(&values).enumerate() {
        let scale = scales[i / filter_len];
        if let Some(levels) = quantizer.levels() {
            assert_near(value, levels.value::<f64>(code) * scale, 0.0)?;
        }
        let w = latent.iter().nth(i).expect("a weight");
        let at_threshold = threshold.is_some_and(|t| (w.abs() - t).abs() < 1e-6);
        if let Some(positions) = &positions {
            let position = positions.iter().nth(i).expect("a position");
            let is_tanh = matches!(spec.weight, Weight::Dorefa(..));
            // A tanh is right but for a few units in its last place.
            let position = if is_tanh && *w != 0.0 { position + 1e-9 } else { *position };
            assert_code::<T>(code, position, spec.rounding, quantizer.bits())?;
            assert_near(value, spec.weight.value_at(code.into()), 1.0)?;
        } else if !at_threshold {
            assert_near(value, formula.iter().nth(i).expect("a number") * scale, 0.0)?;
        }
    }
    Ok(())
}

fn weight_gradients_are_their_formulas<T: Number>(
    spec: &Quantizers,
    w: &Stored<T>,
    dq: &Stored<T>,
) -> TestCaseResult {
    let quantizer = spec.build_weight();
    let found = quantizer.backward(dq.view(), w.view()).expect("gradients");
    let (w, dq) = (widen(&w.logical()), widen(&dq.logical()));
    let expected = spec.weight.gradient(&dq, &w, spec.weight_ste);
    let size = spec.weight.gradient_size(&dq, &w) * ste_size(spec.weight_ste);
    let size = size * (w.len() as f64).sqrt();
    for (&found, &expected) in found.iter().zip(&expected) {
        assert_near(found, expected, size)?;
    }
    if spec.weight_ste == Ste::Identity && matches!(spec.weight, Weight::Sign | Weight::Uniform(_))
    {
        prop_assert_eq!(widen(&found), dq);
    }
    Ok(())
}

fn layout_does_not_matter<T: Number>(spec: &Quantizers, w: &Stored<T>) -> TestCaseResult {
    let (activation, weight) = (spec.build_activation(), spec.build_weight());
    let (view, logical): (_, ArrayD<T>) = (|| w.view(), w.logical());
    let same = |found: ArrayD<T>, standard: ArrayD<T>| {
        prop_assert_eq!(bits(&found), bits(&standard));
        Ok(())
    };
    let numbers = "numbers";
    let standard = || logical.view();
    same(
        activation.quantize(view()).expect(numbers),
        activation.quantize(standard()).expect(numbers),
    )?;
    same(weight.quantize(view()).expect(numbers), weight.quantize(standard()).expect(numbers))?;
    let (found, standard) =
        (weight.backward(view(), view()), weight.backward(standard(), standard()));
    same(found.expect(numbers), standard.expect(numbers))
}

fn all_laws<T: Number>(
    spec: &Quantizers,
    shape: &[usize],
    layouts: &[Layout; 2],
    seed: u64,
) -> TestCaseResult {
    let random = &mut Random(seed);
    let [x, dy] =
        [&layouts[0], &layouts[1]].map(|layout| Stored::<T>::random(shape, layout, random));
    activations_are_their_formulas(spec, &x)?;
    activation_gradients_are_their_formulas(spec, &x, &dy)?;
    weights_are_their_formulas(spec, &x)?;
    weight_gradients_are_their_formulas(spec, &x, &dy)?;
    layout_does_not_matter(spec, &x)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn quantizers_are_their_formulas(
        spec in quantizers(),
        shape in prop::collection::vec(1usize..=5, 1..=4),
        first in layouts(),
        second in layouts(),
        seed: u64,
    ) {
        let layouts = [first, second];
        all_laws::<f32>(&spec, &shape, &layouts, seed)?;
        all_laws::<f64>(&spec, &shape, &layouts, seed)?;
    }

    /// Codes on both sides of every boundary, and small numbers next to zero.
    #[test]
    fn uniform_weights_are_idempotent(w in -1.5f64..1.5, small in -30i32..=0, bits in 1u32..=31) {
        uniform_is_idempotent::<f32>(w * f64::from(small).exp2(), bits)?;
        uniform_is_idempotent::<f64>(w * f64::from(small).exp2(), bits)?;
    }
}

fn uniform_is_idempotent<T: Number>(w: f64, bits: u32) -> TestCaseResult {
    for rounding in [Rounding::HalfAwayFromZero, Rounding::HalfToEven] {
        let quantizer = WeightQuantizer::uniform(bits).expect("a width").rounding(rounding);
        let once = quantizer.quantize(array![T::of_f64(w)].view()).expect("numbers");
        let twice = quantizer.quantize(once.view()).expect("numbers");
        prop_assert_eq!(once[0].bits(), twice[0].bits(), "{} of {} bits", w, bits);
    }
    Ok(())
}

/// Every level up to 16 bits, and a comb of them above.
#[test]
fn uniform_levels_quantize_to_themselves() {
    for bits in 1..=31 {
        let quantizer = WeightQuantizer::uniform(bits).expect("a width");
        let levels: Levels = quantizer.levels().expect("levels");
        let n = (1u64 << bits) - 1;
        let step = (n >> 16).max(1) as usize;
        let codes: Vec<u32> = (0..=n).step_by(step).map(|code| code as u32).collect();
        let values: Array1<f64> = codes.iter().map(|&code| levels.value(code)).collect();
        assert_eq!(quantizer.codes(values.view()).expect("codes").to_vec(), codes);
        let values: Array1<f32> = codes.iter().map(|&code| levels.value(code)).collect();
        assert_eq!(quantizer.quantize(values.view()).expect("numbers"), values);
    }
}

/// BMXNet issue 35: DoReFa's weights move when they are quantized again, from 4 bits on. Their tanh
/// pulls the levels between 0 and the maximum away from the grid.
#[test]
fn dorefa_weights_are_not_idempotent_from_4_bits_on() {
    for bits in 1..=8 {
        let quantizer = WeightQuantizer::dorefa(bits).expect("a width");
        let levels = quantizer.levels().expect("levels");
        // All levels there are, as weights: they already are what quantized weights look like.
        let once: Array1<f64> = (0..1u32 << bits).map(|code| levels.value(code)).collect();
        let twice = quantizer.quantize(once.view()).expect("numbers");
        assert_eq!(once == twice, bits < 4, "{bits} bits");
    }
}

#[test]
fn ties_round_as_told() {
    // 2 bits, n = 3: 1/6, 1/2 and 5/6 are ties, and 1/2 is one exactly.
    let quantizer = ActivationQuantizer::dorefa(2).expect("a width");
    let half = array![0.5f32];
    assert_eq!(quantizer.codes(half.view()), Ok(array![2]));
    assert_eq!(quantizer.rounding(Rounding::HalfToEven).codes(half.view()), Ok(array![2]));
    // 1 bit, n = 1: 1/2 goes up or to the even 0.
    let quantizer = ActivationQuantizer::dorefa(1).expect("a width");
    assert_eq!(quantizer.codes(half.view()), Ok(array![1]));
    assert_eq!(quantizer.rounding(Rounding::HalfToEven).codes(half.view()), Ok(array![0]));
    // A weight of 0 is the tie in the middle: n / 2.
    for (bits, away, even) in [(1, 1, 0), (2, 2, 2), (3, 4, 4), (8, 128, 128)] {
        for quantizer in [WeightQuantizer::dorefa(bits), WeightQuantizer::uniform(bits)] {
            let quantizer = quantizer.expect("a width");
            let zero = array![0.0f32, -0.0];
            assert_eq!(quantizer.codes(zero.view()), Ok(array![away, away]));
            let to_even = quantizer.rounding(Rounding::HalfToEven);
            assert_eq!(to_even.codes(zero.view()), Ok(array![even, even]));
        }
    }
}
