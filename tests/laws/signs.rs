//! Layers that read or write signs in bits: the same as with the numbers that they stand for.

use crate::case::{Case, cases};
use crate::number::{Number, Random, bits};
use ndarray::{Array, ArrayD};
use ndarray_qnn::{
    ActivationQuantizer, Affine, BatchNorm, BitTensor, InputScaling, MaxPool, PadValue,
    QConvolution, Scratch, WeightQuantizer,
};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

/// Whether what comes behind the layer can be folded.
fn is_foldable(case: &Case) -> bool {
    case.quantizers.are_exact()
        && !case.quantizers.scale_samples()
        && case.options.input_scaling == InputScaling::None
}

fn signs_are_those_of_the_floats<T: Number>(case: &Case, seed: u64) -> TestCaseResult {
    if !is_foldable(case) {
        return Ok(());
    }
    let operands = case.operands::<T>();
    let before = operands.buffer_bits();
    let (layer, filters) = (case.layer(), case.sizes.filters());
    let packed = layer.pack(operands.w.view()).expect("packed weights");
    let random = &mut Random(seed);
    let mut numbers = || (0..filters).map(|_| random.number()).collect::<Vec<T>>();
    let affine = Affine::new(numbers(), numbers()).expect("finite numbers");
    let sign = ActivationQuantizer::sign();
    let thresholds =
        layer.fold(&packed, operands.bias(), Some(&affine), &sign).expect("thresholds");

    let y = layer.forward_packed(operands.x.view(), &packed, operands.bias()).expect("a result");
    let z = affine.forward(y.view()).expect("a result");
    let expected = BitTensor::pack(&sign, z.view()).expect("signs");
    let found = layer.forward_signs(operands.x.view(), &packed, &thresholds).expect("signs");
    prop_assert_eq!(&found, &expected);
    prop_assert!(operands.buffer_bits() == before, "an operand was written to");

    // The same from signs.
    let activation = case.quantizers.build_activation();
    let Ok(x) = BitTensor::pack(&activation, operands.x.view()) else { return Ok(()) };
    let from_bits = layer.forward_packed_bits(&x, &packed, operands.bias()).expect("a result");
    prop_assert_eq!(bits(&from_bits), bits(&y));
    let (mut scratch, mut out) = (Scratch::new(), expected.clone());
    for _ in 0..2 {
        layer
            .forward_signs_of_bits_into(&x, &packed, &thresholds, &mut scratch, &mut out)
            .expect("signs");
        prop_assert_eq!(&out, &expected);
    }
    Ok(())
}

fn residuals_are_added<T: Number>(case: &Case) -> TestCaseResult {
    let operands = case.operands::<T>();
    let layer = case.layer();
    let packed = layer.pack(operands.w.view()).expect("packed weights");
    let x = operands.x.view();
    let y = layer.forward_packed(x.view(), &packed, operands.bias()).expect("a result");
    let residual = operands.dy.view();
    let found = layer.forward_residual(x, &packed, operands.bias(), residual).expect("a result");
    let expected: ArrayD<T> = &y + &operands.dy.view();
    prop_assert_eq!(bits(&found), bits(&expected));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn signs_are_those_of_the_floats_in_f32(mut case in cases(), binary: bool, seed: u64) {
        if binary {
            case.quantizers.activation = crate::reference::Activation::Sign;
        }
        signs_are_those_of_the_floats::<f32>(&case, seed)?;
    }

    #[test]
    fn signs_are_those_of_the_floats_in_f64(mut case in cases(), binary: bool, seed: u64) {
        if binary {
            case.quantizers.activation = crate::reference::Activation::Sign;
        }
        signs_are_those_of_the_floats::<f64>(&case, seed)?;
    }

    #[test]
    fn residuals_are_added_at_last(case in cases()) {
        residuals_are_added::<f32>(&case)?;
        residuals_are_added::<f64>(&case)?;
    }
}

/// conv -> BN -> sign -> conv -> BN -> pool -> conv in bits, against the same in floats.
#[test]
fn a_block_stays_in_bits() {
    let sign = ActivationQuantizer::sign();
    let random = &mut Random(3);
    for (channels, pad) in [
        (1, PadValue::Zero),
        (3, PadValue::MinusOne),
        (32, PadValue::Zero),
        (70, PadValue::PlusOne),
    ] {
        let conv = QConvolution::<2>::new(sign, WeightQuantizer::magnitude_aware_sign())
            .padding([1, 1])
            .pad_value(pad);
        let mut layer = |inputs: usize| {
            let w =
                Array::from_shape_simple_fn((channels, inputs, 3, 3), || random.number::<f32>());
            let w = conv.pack(w.view()).expect("packed weights");
            let mut numbers = || Array::from_shape_simple_fn(channels, || random.number::<f32>());
            let [gamma, beta, mean] = [(); 3].map(|()| numbers());
            let variance = numbers().mapv(f32::abs);
            let norm = BatchNorm {
                gamma: gamma.view(),
                beta: beta.view(),
                mean: mean.view(),
                variance: variance.view(),
                epsilon: 1e-5,
            };
            (w, norm.affine().expect("finite numbers"))
        };
        let layers = [layer(5), layer(channels), layer(channels)];
        let x = Array::from_shape_simple_fn((2, 5, 9, 8), || random.number::<f32>());
        let pool = MaxPool::<2>::new([2, 2]);

        let mut floats = x.clone();
        let mut signs = BitTensor::pack(&sign, x.view()).expect("signs");
        for (i, (w, affine)) in layers.iter().enumerate() {
            let y = conv.forward_packed(floats.view(), w, None).expect("a result");
            floats = affine.forward(y.view()).expect("a result");
            let thresholds = conv.fold(w, None, Some(affine), &sign).expect("thresholds");
            signs = conv.forward_signs(&signs, w, &thresholds).expect("signs");
            if i == 1 {
                let (n, c, h, w) = floats.dim();
                floats = Array::from_shape_fn((n, c, h / 2, w / 2), |(n, c, h, w)| {
                    let window =
                        floats.slice(ndarray::s![n, c, 2 * h..2 * h + 2, 2 * w..2 * w + 2]);
                    window.fold(f32::NEG_INFINITY, |max, &x| max.max(x))
                });
                signs = pool.forward(&signs).expect("signs");
            }
            assert_eq!(signs, BitTensor::pack(&sign, floats.view()).expect("signs"), "layer {i}");
        }
    }
}
