//! Depthwise convolutions of more channels than a vector has lanes: the same bits as convolutions
//! of each channel alone.

use crate::number::{Random, bits as bits_of};
use ndarray::{Array4, s};
use ndarray_qnn::{
    ActivationQuantizer, Affine, BitTensor, PadValue, QConvolution, WeightQuantizer,
};

fn bits(y: Array4<f32>) -> (Vec<usize>, Vec<u64>) {
    bits_of(&y.into_dyn())
}

fn check(activation: ActivationQuantizer, weight: WeightQuantizer, pad: PadValue) {
    let random = &mut Random(5);
    for (channels, copies) in [(2, 1), (31, 1), (33, 1), (70, 1), (9, 4), (17, 2)] {
        let conv = QConvolution::<2>::new(activation, weight)
            .padding([1, 2])
            .stride([2, 1])
            .pad_value(pad);
        let grouped = conv.clone().groups(channels);
        let x = Array4::from_shape_simple_fn((2, channels, 7, 6), || random.number::<f32>());
        let w = Array4::from_shape_simple_fn((channels * copies, 1, 3, 3), || random.number());
        let y = grouped.forward(x.view(), w.view(), None).expect("a result");
        let closest = x.view().permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned();
        let closest = closest.view().permuted_axes([0, 3, 1, 2]);
        let of_closest = grouped.forward(closest, w.view(), None).expect("a result");
        assert_eq!(bits(of_closest), bits(y.clone()));
        if let Ok(signs) = BitTensor::pack(&activation, x.view()) {
            let packed = grouped.pack(w.view()).expect("packed weights");
            let of_signs = grouped.forward_packed(&signs, &packed, None).expect("a result");
            assert_eq!(bits(of_signs), bits(y.clone()));
        }
        check_signs(&grouped, &x, &w, &y);
        for c in 0..channels {
            let filters = c * copies..(c + 1) * copies;
            let x = x.slice(s![.., c..c + 1, .., ..]);
            let w = w.slice(s![filters.clone(), .., .., ..]);
            let alone = conv.forward(x, w, None).expect("a result");
            let together = y.slice(s![.., filters, .., ..]).to_owned();
            assert_eq!(bits(alone), bits(together), "channel {c} of {channels}");
        }
    }
}

/// Signs in bits, of numbers and of bits, are those of the outputs.
fn check_signs(conv: &QConvolution<2>, x: &Array4<f32>, w: &Array4<f32>, y: &Array4<f32>) {
    let filters = y.dim().1;
    let scale: Vec<f32> = (0..filters).map(|f| [1.0, -1.0, 0.5][f % 3]).collect();
    let shift: Vec<f32> = (0..filters).map(|f| (f % 13) as f32 - 6.0).collect();
    let expected = Array4::from_shape_fn(y.dim(), |at| y[at] * scale[at.1] + shift[at.1]);
    let sign = ActivationQuantizer::sign();
    let expected = BitTensor::pack(&sign, expected.view()).expect("signs");
    let packed = conv.pack(w.view()).expect("packed weights");
    let affine = Affine::new(scale, shift).expect("finite numbers");
    let thresholds = conv.fold(&packed, None, Some(&affine), &sign).expect("thresholds");
    let found = conv.forward_signs(x.view(), &packed, &thresholds).expect("signs");
    assert_eq!(found, expected, "{filters} filters");
    if let Ok(signs) = BitTensor::pack(conv.activation(), x.view()) {
        let found = conv.forward_signs(&signs, &packed, &thresholds).expect("signs");
        assert_eq!(found, expected, "{filters} filters, of bits");
    }
}

#[test]
fn channels_are_convolved_alone() {
    let dorefa = |bits| ActivationQuantizer::dorefa(bits).expect("a width");
    // No weight quantizer here has a scale that depends on other filters.
    let uniform = |bits| WeightQuantizer::uniform(bits).expect("a width");
    for pad in [PadValue::Zero, PadValue::PlusOne, PadValue::MinusOne] {
        check(ActivationQuantizer::sign(), WeightQuantizer::sign(), pad);
        check(ActivationQuantizer::heaviside(), WeightQuantizer::heaviside(), pad);
        check(dorefa(2), uniform(2), pad);
        check(dorefa(8), WeightQuantizer::sign(), pad);
        check(dorefa(8), uniform(8), pad);
    }
}
