//! Depthwise convolutions of more channels than a vector has lanes: the same bits as convolutions
//! of each channel alone.

use crate::number::{Number, Random, bits as bits_of};
use ndarray::{Array1, Array4, s};
use ndarray_qnn::{
    ActivationQuantizer, Affine, BitTensor, PadValue, QConvolution, Scaling, Scratch,
    WeightQuantizer,
};

fn bits(y: Array4<f32>) -> (Vec<usize>, Vec<u64>) {
    bits_of(&y.into_dyn())
}

fn check(activation: ActivationQuantizer, weight: WeightQuantizer, pad: PadValue) {
    let random = &mut Random(5);
    let shapes = [
        (2, 1, [2, 1], [1, 1]),
        (31, 1, [1, 1], [2, 1]),
        (33, 1, [1, 2], [1, 2]),
        (70, 1, [2, 2], [1, 1]),
        (9, 4, [1, 1], [1, 1]),
        (17, 2, [1, 3], [2, 2]),
    ];
    for (channels, copies, stride, dilation) in shapes {
        let conv = QConvolution::<2>::new(activation, weight)
            .padding([1, 2])
            .stride(stride)
            .dilation(dilation)
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

/// From planes to planes, on lines of all lengths: the same bits as from pixels to pixels.
fn check_lines<T: Number>(activation: ActivationQuantizer, weight: WeightQuantizer) {
    let random = &mut Random(6);
    for width in 6..40 {
        let (stride, dilation) = (1 + width % 5 / 4, 1 + width % 3 / 2);
        let height = stride * 256usize.div_ceil(width - 4);
        let shape = [2, 3, height, width];
        let mut x = Array4::from_shape_simple_fn(shape, || random.number::<T>());
        // Of another scale.
        x.slice_mut(s![1, .., .., ..]).mapv_inplace(|x| x * T::of_f64(0.25));
        let w = Array4::from_shape_simple_fn([6, 1, 3, 3], || random.number::<T>());
        let bias = Array1::from_shape_simple_fn(6, || random.number::<T>());
        let bias = (width % 2 == 0).then_some(bias.view());
        let scaling = [Scaling::None, Scaling::PerFilter][width / 2 % 2].clone();
        let conv = QConvolution::<2>::new(activation, weight)
            .padding([2, width % 2 * dilation])
            .stride([stride, 1])
            .dilation([2, dilation])
            .groups(3)
            .pad_value([PadValue::Zero, PadValue::MinusOne, PadValue::PlusOne][width / 3 % 3])
            .scaling(scaling);
        let packed = conv.pack(w.view()).expect("packed weights");
        let y = conv.forward_packed(x.view(), &packed, bias).expect("a result");
        let residual = Array4::from_shape_simple_fn(y.dim(), || random.number::<T>());
        let added =
            conv.forward_residual(x.view(), &packed, bias, residual.view()).expect("a result");
        let last =
            |shape: Array4<T>| shape.permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned();
        let (x, mut of_pixels) = (last(x), last(y.clone()));
        let x = x.view().permuted_axes([0, 3, 1, 2]);
        of_pixels.fill(T::nan());
        let mut of_pixels = of_pixels.permuted_axes([0, 3, 1, 2]);
        let mut scratch = Scratch::new();
        conv.forward_packed_into(x, &packed, bias, &mut scratch, of_pixels.view_mut())
            .expect("a result");
        assert_eq!(bits_of(&of_pixels.clone().into_dyn()), bits_of(&y.into_dyn()), "{width}");
        let expected = of_pixels + residual;
        assert_eq!(bits_of(&added.into_dyn()), bits_of(&expected.into_dyn()), "{width}");
    }
}

#[test]
fn lines_of_planes_are_those_of_pixels() {
    let dorefa = |bits| ActivationQuantizer::dorefa(bits).expect("a width");
    let uniform = |bits| WeightQuantizer::uniform(bits).expect("a width");
    let absmax = ActivationQuantizer::absmax(8).expect("a width");
    let sign = (ActivationQuantizer::sign(), WeightQuantizer::sign());
    for (activation, weight) in [sign, (dorefa(3), uniform(2)), (absmax, uniform(8))] {
        check_lines::<f32>(activation, weight);
        check_lines::<f64>(activation, weight);
    }
}

/// Images of more lines than are kept in memory at a time: of bytes, of 16 bits, of words of bits.
#[test]
fn large_images_are_computed_line_by_line() {
    let dorefa = ActivationQuantizer::dorefa(3).expect("a width");
    let uniform = WeightQuantizer::uniform(2).expect("a width");
    let sign = (ActivationQuantizer::sign(), WeightQuantizer::sign());
    let random = &mut Random(7);
    for (activation, weight) in [sign, (dorefa, uniform)] {
        for (channels, height, width) in [(40, 93, 85), (2, 390, 400)] {
            let conv = QConvolution::<2>::new(activation, weight)
                .padding([1, 2])
                .stride([2, 1])
                .groups(channels);
            let shape = (1, channels, height, width);
            let x = Array4::from_shape_simple_fn(shape, || random.number::<f32>());
            let w = Array4::from_shape_simple_fn((channels, 1, 3, 3), || random.number());
            let y = conv.forward(x.view(), w.view(), None).expect("a result");
            let closest = x.view().permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned();
            let closest = closest.view().permuted_axes([0, 3, 1, 2]);
            let of_closest = conv.forward(closest, w.view(), None).expect("a result");
            assert_eq!(bits(of_closest), bits(y.clone()));
            check_signs(&conv, &x, &w, &y);
        }
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
