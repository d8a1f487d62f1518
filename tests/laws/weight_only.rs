//! Activations that are not quantized, with weights of few bits, in batches of few and many rows.

use crate::number::{Number, Random, bits};
use ndarray::{Array2, Axis, array};
use ndarray_qnn::{
    ActivationQuantizer, FullPrecision, QFullyConnected, TernaryThreshold, WeightQuantizer,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;

fn layer(weight: WeightQuantizer) -> QFullyConnected {
    QFullyConnected::new(ActivationQuantizer::full_precision(FullPrecision::Identity), weight)
}

fn weights() -> impl Strategy<Value = WeightQuantizer> {
    let others = vec![
        WeightQuantizer::sign(),
        WeightQuantizer::bwn(),
        WeightQuantizer::heaviside(),
        WeightQuantizer::ternary(TernaryThreshold::Fixed(0.4)),
        WeightQuantizer::absmean(),
    ];
    let uniform = (1..=8u32).prop_map(|bits| WeightQuantizer::uniform(bits).expect("a width"));
    prop_oneof![select(others), uniform]
}

/// Sums in f64 of the products with the numbers that weights are quantized to.
fn outputs_are_sums_of_products<T: Number>(
    weight: WeightQuantizer,
    [rows, filters, inputs]: [usize; 3],
    seed: u64,
) -> TestCaseResult {
    let mut random = Random(seed);
    let x = Array2::from_shape_simple_fn((rows, inputs), || random.number::<T>());
    let w = Array2::from_shape_simple_fn((filters, inputs), || random.number::<T>());
    let layer = layer(weight);
    let y = layer.forward(x.view(), w.view(), None).expect("a result");
    let wide = x.mapv(T::f64);
    let quantized = weight.quantize(w.view()).expect("numbers").mapv(T::f64);
    let size = wide.mapv(f64::abs).dot(&quantized.mapv(f64::abs).t());
    let tolerance = (8.0 + (inputs as f64).sqrt()) * T::EPSILON;
    for ((y, expected), size) in y.iter().zip(wide.dot(&quantized.t())).zip(size) {
        let error = (y.f64() - expected).abs();
        prop_assert!(error <= size * tolerance, "{y} for {expected}");
    }
    // Whatever other rows there are, as long as they are few.
    if rows < 32 {
        for (x, y) in x.axis_chunks_iter(Axis(0), 1).zip(y.axis_chunks_iter(Axis(0), 1)) {
            let alone = layer.forward(x, w.view(), None).expect("a result");
            prop_assert_eq!(bits(&alone.into_dyn()), bits(&y.to_owned().into_dyn()));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn outputs_are_sums_of_products_in_f32(
        weight in weights(),
        rows in prop_oneof![4 => 1usize..=9, 1 => 30usize..=80],
        filters in 1usize..=70,
        inputs in prop_oneof![2 => 1usize..=130, 1 => 600usize..=2200],
        seed in any::<u64>(),
    ) {
        outputs_are_sums_of_products::<f32>(weight, [rows, filters, inputs], seed)?;
    }

    #[test]
    fn outputs_are_sums_of_products_in_f64(
        weight in weights(),
        rows in prop_oneof![4 => 1usize..=9, 1 => 30usize..=80],
        filters in 1usize..=70,
        inputs in prop_oneof![2 => 1usize..=130, 1 => 600usize..=2200],
        seed in any::<u64>(),
    ) {
        outputs_are_sums_of_products::<f64>(weight, [rows, filters, inputs], seed)?;
    }
}

/// Nothing overflows or is lost that is in the range of floats.
#[test]
fn largest_and_smallest_activations() {
    let w = array![[1.0f32, 1.0], [-1.0, -1.0]];
    for bits in 1..=8 {
        let layer = layer(WeightQuantizer::uniform(bits).expect("a width"));
        for x in [f32::MAX, f32::MIN_POSITIVE, f32::INFINITY] {
            let y = layer.forward(array![[x, 0.0]].view(), w.view(), None).expect("a result");
            let near = |y: f32| y == x || (y / x - 1.0).abs() <= f32::EPSILON;
            assert!(near(y[(0, 0)]) && near(-y[(0, 1)]), "{bits} bits: {y} of {x}");
        }
    }
    let ternary = layer(WeightQuantizer::ternary(TernaryThreshold::Fixed(0.5)));
    let y = ternary.forward(array![[f32::INFINITY]].view(), array![[0.0], [1.0]].view(), None);
    let y = y.expect("a result");
    assert!(y[(0, 0)].is_nan() && y[(0, 1)] == f32::INFINITY, "{y}");
}
