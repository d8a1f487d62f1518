//! Sizes of nothing are computed, sizes beyond memory are refused before anything is read.

use crate::conv;
use ndarray::{Array1, Array2, Array4, array};
use ndarray_qnn::{
    ActivationQuantizer, Error, InputScaling, OutputForm, PadValue, QActivation, QConvolution,
    QFullyConnected, ScaleGradient, Scaling, Scratch, TernaryThreshold, WeightQuantizer,
};

/// More numbers than any address space holds, from one.
const HUGE: usize = 1 << 56;

fn is_too_large<T>(result: Result<T, Error>) -> bool {
    match result.map(|_| ()) {
        Err(Error::TooLarge { .. }) => true,
        other => panic!("expected a size error, got {other:?}"),
    }
}

fn layers() -> Vec<QFullyConnected> {
    let mut layers = Vec::new();
    for bits in [1, 4, 16, 32] {
        for form in [OutputForm::Dot, OutputForm::Offset { halve_gradient: true }] {
            let layer = QFullyConnected::bmxnet_v1(bits, bits).expect("widths").output_form(form);
            layers.push(layer.clone());
            let layer = layer.input_scaling(InputScaling::KMap);
            layers.push(layer.scaling(Scaling::PerFilter).scale_gradient(ScaleGradient::Flow));
        }
    }
    layers
}

#[test]
fn dense_layers_of_nothing() {
    let bias = |filters| Array1::from_shape_fn(filters, |f| f as f32 - 0.5);
    for layer in layers() {
        for (batch, inputs, filters) in [(0, 3, 2), (2, 0, 2), (2, 3, 0), (0, 0, 0), (0, 0, 2)] {
            let (x, w) = (Array2::<f32>::ones((batch, inputs)), Array2::ones((filters, inputs)));
            let bias = bias(filters);
            let y = layer.forward(x.view(), w.view(), Some(bias.view())).expect("a result");
            // Without inputs there is nothing but the bias.
            let expected = bias.broadcast((batch, filters)).expect("a bias a row").to_owned();
            assert_eq!(y, expected, "{layer:?}");
            let packed = layer.pack(w.view()).expect("packed weights");
            let packed = layer.forward_packed(x.view(), &packed, Some(bias.view()));
            assert_eq!(packed.expect("a result"), y);
            let gradients = layer.backward(y.view(), x.view(), w.view()).expect("gradients");
            assert_eq!(gradients.input.dim(), x.dim());
            assert_eq!(gradients.weight, Array2::<f32>::zeros(w.dim()));
            assert_eq!(gradients.bias, y.sum_axis(ndarray::Axis(0)));
        }
    }
}

#[test]
fn convolutions_of_nothing() {
    let kinds = [(1, 1), (2, 2), (1, 32), (32, 32)];
    for (activation, weight) in kinds {
        for pad in [PadValue::Zero, PadValue::PlusOne, PadValue::MinusOne] {
            let layer = QConvolution::<2>::bmxnet_v1(activation, weight).expect("widths");
            let layer = layer.padding([1, 1]).pad_value(pad).output_form(OutputForm::Dot);
            let layer = layer.input_scaling(InputScaling::KMap).scaling(Scaling::PerTensor);
            for (x, w) in [
                ([0, 2, 3, 3], [2, 2, 3, 3]),
                ([2, 0, 3, 3], [2, 0, 3, 3]),
                ([2, 2, 3, 3], [0, 2, 3, 3]),
                ([2, 2, 0, 1], [2, 2, 2, 3]),
            ] {
                let (x, w) = (Array4::<f32>::ones(x), Array4::<f32>::ones(w));
                let bias = Array1::ones(w.dim().0);
                let y = layer.forward(x.view(), w.view(), Some(bias.view())).expect("a result");
                // K is 0 where windows see nothing but padding.
                assert!(y.iter().all(|&y| y == 1.0), "{layer:?} of {:?}: {y}", x.dim());
                let gradients = layer.backward(y.view(), x.view(), w.view()).expect("gradients");
                assert_eq!(gradients.input.dim(), x.dim());
                assert_eq!(gradients.weight, Array4::<f32>::zeros(w.dim()));
            }
        }
    }
}

/// Images of nothing, seen by two groups through their padding.
#[test]
fn k_map_of_empty_images() {
    let layer = conv().padding([1, 1]).groups(2).input_scaling(InputScaling::KMap);
    let (x, w) = (Array4::<f32>::ones((1, 2, 0, 3)), Array4::<f32>::ones((2, 1, 1, 1)));
    let y = layer.forward(x.view(), w.view(), None).expect("a result");
    assert_eq!(y, Array4::<f32>::zeros((1, 2, 2, 5)));
}

/// Quantizers and activations of empty tensors are empty.
#[test]
fn quantizers_of_nothing() {
    for shape in [(0, 3), (3, 0), (0, 0)] {
        let empty = Array2::<f64>::zeros(shape);
        for quantizer in [
            WeightQuantizer::magnitude_aware_sign(),
            WeightQuantizer::bwn(),
            WeightQuantizer::ternary(TernaryThreshold::MeanMagnitude),
            WeightQuantizer::dorefa(4).expect("a width"),
            WeightQuantizer::uniform(4).expect("a width"),
        ] {
            assert_eq!(quantizer.quantize(empty.view()), Ok(empty.clone()));
            assert_eq!(quantizer.backward(empty.view(), empty.view()), Ok(empty.clone()));
        }
        let layer = QActivation::new(ActivationQuantizer::sign());
        assert_eq!(layer.forward(empty.view()), Ok(empty.clone()));
    }
}

#[test]
fn dense_operands_beyond_memory() {
    let one = array![[1.0f32]];
    let wide = one.broadcast((1, HUGE)).expect("a broadcast");
    let tall = one.broadcast((HUGE, 1)).expect("a broadcast");
    for layer in layers() {
        let x = one.view();
        assert!(is_too_large(layer.forward(wide, wide, None)));
        assert!(is_too_large(layer.forward(tall, x, None)));
        assert!(is_too_large(layer.forward(x, tall, None)));
        assert!(is_too_large(layer.pack(wide)));
        assert!(is_too_large(layer.pack(tall)));
        assert!(is_too_large(layer.backward(x, wide, wide)));
        assert!(is_too_large(layer.backward(tall, tall, x)));
        assert!(is_too_large(layer.backward(wide, x, tall)));
        let (scratch, mut out) = (&mut Scratch::new(), array![[0.0f32]]);
        let result = layer.forward_into(wide, wide, None, scratch, out.view_mut());
        assert!(is_too_large(result));
    }
}

/// Sizes of no elements, but with an axis that would be one too many for any buffer.
#[test]
fn nothing_times_much() {
    let nothing = Array2::<f32>::zeros((1, 0));
    let tall = nothing.broadcast((HUGE, 0)).expect("a broadcast");
    let (bias, one) = (array![1.0f32], Array2::<f32>::zeros((1, 0)));
    let bias = bias.broadcast(HUGE).expect("a broadcast");
    for layer in layers() {
        assert!(is_too_large(layer.forward(one.view(), tall, None)));
        assert!(is_too_large(layer.forward(tall, one.view(), None)));
        let empty = Array2::<f32>::zeros((0, 0));
        // A batch of nothing has no outputs, but its weights are packed all the same.
        assert!(is_too_large(layer.forward(empty.view(), tall, Some(bias))));
    }
}

/// Rows that nothing but weights of no filters can have, too long for exact sums.
#[test]
fn long_rows_of_no_filters() {
    for exponent in [44, 50, 56, 62] {
        let operand = Array2::<f32>::zeros((0, 1 << exponent));
        for layer in layers() {
            assert!(is_too_large(layer.forward(operand.view(), operand.view(), None)));
        }
    }
}

/// Nothing to sum takes no time, however long the axes are that it is not summed along.
#[test]
fn much_times_nothing() {
    let layer =
        QConvolution::<2>::bmxnet_v1(2, 2).expect("widths").padding_sides([[HUGE, 0], [0, 0]]);
    let layer = layer.pad_value(PadValue::Zero).input_scaling(InputScaling::KMap);
    // No filters, and more positions than could be visited.
    let (x, w) = (Array4::<f32>::ones((0, 1, 1, 1)), Array4::<f32>::ones((0, 1, 1, 1)));
    let y = layer.forward(x.view(), w.view(), None).expect("a result");
    assert_eq!(y.dim(), (0, 0, HUGE + 1, 1));
    let x = Array4::<f32>::ones((1, 1, 1, 1));
    let dy = Array4::<f32>::zeros((1, 0, 1, 1));
    let dy = dy.broadcast((1, 0, HUGE + 1, 1)).expect("a broadcast");
    let plain = layer.clone().input_scaling(InputScaling::None);
    let gradients = plain.backward(dy, x.view(), w.view()).expect("gradients");
    assert_eq!(gradients.input, array![[[[0.0]]]]);
    // No filters, and a kernel longer than could be walked through.
    let w = w.broadcast((0, 1, 1 << 42, 1)).expect("a broadcast");
    let layer_of = |pad| layer.clone().padding_sides([[pad, 0], [0, 0]]);
    let y = layer_of(1 << 42).forward(x.view(), w, None).expect("a result");
    assert_eq!(y.dim(), (1, 0, 2, 1));
    // No channels, and as long a kernel.
    let (x, w) = (Array4::<f32>::ones((1, 0, 1, 1)), Array4::<f32>::ones((1, 0, 1, 1)));
    let w = w.broadcast((1, 0, HUGE + 1, 1)).expect("a broadcast");
    let signs = conv().padding_sides([[HUGE, 0], [0, 0]]);
    for layer in [layer, plain, signs] {
        let y = layer.forward(x.view(), w, None).expect("a result");
        assert_eq!(y, array![[[[0.0]]]]);
        let gradients = layer.backward(y.view(), x.view(), w).expect("gradients");
        assert_eq!(gradients.weight.dim(), (1, 0, HUGE + 1, 1));
    }
}

#[test]
fn convolution_operands_beyond_memory() {
    let one = Array4::<f32>::ones((1, 1, 1, 1));
    let view = |shape: [usize; 4]| one.broadcast(shape).expect("a broadcast");
    let small = view([1; 4]);
    for bits in [1, 2, 32] {
        let layer = QConvolution::<2>::bmxnet_v1(bits, bits).expect("widths");
        let image = view([1, 1, HUGE, 1]);
        assert!(is_too_large(layer.forward(image, small, None)));
        // One output, so it is not the output that is too large.
        assert!(is_too_large(layer.clone().stride([HUGE, 1]).forward(image, small, None)));
        assert!(is_too_large(layer.forward(image, image, None)));
        assert!(is_too_large(layer.backward(small, image, image)));
        assert!(is_too_large(layer.forward(view([1, HUGE, 1, 1]), view([1, HUGE, 1, 1]), None)));
        assert!(is_too_large(layer.forward(small, view([HUGE, 1, 1, 1]), None)));
        let padded = layer.clone().padding([HUGE, 0]);
        assert!(is_too_large(padded.forward(small, small, None)));
        assert!(is_too_large(padded.forward(small, image, None)));
        let scaled = layer.input_scaling(InputScaling::KMap);
        assert!(is_too_large(scaled.stride([HUGE, 1]).forward(image, small, None)));
    }
}

#[test]
fn windows_that_overflow() {
    let (x, w) = (Array4::<f32>::ones((1, 1, 4, 4)), Array4::<f32>::ones((1, 1, 2, 2)));
    let forward = |layer: QConvolution<2>| layer.forward(x.view(), w.view(), None);
    for much in [usize::MAX, usize::MAX - 1, usize::MAX / 2, isize::MAX as usize - 4] {
        assert!(is_too_large(forward(conv().padding([much, 0]))));
        assert!(is_too_large(forward(conv().padding_sides([[0, much], [0, 0]]))));
        assert!(is_too_large(forward(conv().padding_sides([[much, much], [much, much]]))));
        // A stride may be as long as it likes: the first window is always there.
        let y = forward(conv().stride([much, much])).expect("one window");
        assert_eq!(y.dim(), (1, 1, 1, 1));
        match forward(conv().dilation([1, much])) {
            Err(Error::TooLarge { .. } | Error::KernelTooLarge { axis: 1, .. }) => {}
            other => panic!("expected a size error, got {other:?}"),
        }
        let shape = conv().padding([much, much]).output_shape(x.raw_dim(), w.raw_dim());
        assert!(is_too_large(shape));
    }
    // Axes that are each in order, but not together.
    assert!(is_too_large(forward(conv().padding([1 << 40, 1 << 40]))));
}

#[test]
fn quantizers_beyond_memory() {
    let one = array![[0.5f32]];
    let huge = one.broadcast((1, HUGE)).expect("a broadcast");
    for quantizer in [
        WeightQuantizer::sign(),
        WeightQuantizer::magnitude_aware_sign(),
        WeightQuantizer::bwn(),
        WeightQuantizer::ternary(TernaryThreshold::MeanMagnitude),
        WeightQuantizer::dorefa(4).expect("a width"),
        WeightQuantizer::identity(),
    ] {
        assert!(is_too_large(quantizer.quantize(huge)));
        assert!(is_too_large(quantizer.codes(huge)));
        assert!(is_too_large(quantizer.backward(huge, huge)));
    }
    let quantizer = ActivationQuantizer::dorefa(2).expect("a width");
    assert!(is_too_large(quantizer.quantize(huge)));
    assert!(is_too_large(quantizer.codes(huge)));
    assert!(is_too_large(quantizer.backward(huge, huge)));
    for layer in [QActivation::new(quantizer), QActivation::new(quantizer).backward_only(true)] {
        assert!(is_too_large(layer.forward(huge)));
        assert!(is_too_large(layer.backward(huge, huge)));
    }
}
