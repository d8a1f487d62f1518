//! NaN is refused wherever it is, infinities and both zeros are numbers.

use crate::{conv, dense};
use ndarray::{Array1, Array2, Array4, ArrayView2, array, s};
use ndarray_qnn::{
    ActivationQuantizer, Error, InputScaling, Operand, QActivation, QFullyConnected, Scratch,
    WeightQuantizer,
};

fn nan<T>(operand: Operand) -> Result<T, Error> {
    Err(Error::NaN { operand })
}

/// Calls with a view of an array that has a NaN at every place in turn: plain, and as every second
/// column, from back to front.
fn with_nan_anywhere(mut check: impl FnMut(ArrayView2<'_, f32>)) {
    for place in 0..12 {
        let mut plain = Array2::<f32>::ones((3, 4));
        *plain.iter_mut().nth(place).expect("a place") = f32::NAN;
        check(plain.view());
        let mut wide = Array2::<f32>::ones((3, 9));
        let view = s![..;-1, 1..8;2];
        wide.slice_mut(view).assign(&plain);
        check(wide.slice(view));
        check(plain.t().to_owned().t());
    }
}

#[test]
fn nan_in_dense_operands() {
    let x = Array2::<f32>::ones((3, 4));
    let square = Array2::<f32>::ones((3, 3));
    for bits in [1, 2, 8, 16, 32] {
        let layer = QFullyConnected::bmxnet_v1(bits, bits).expect("widths");
        let packed = layer.pack(x.view()).expect("packed weights");
        with_nan_anywhere(|bad| {
            assert_eq!(layer.forward(bad, x.view(), None), nan(Operand::Input));
            assert_eq!(layer.forward_packed(bad, &packed, None), nan(Operand::Input));
            assert_eq!(layer.forward(x.view(), bad, None), nan(Operand::Weight));
            assert_eq!(layer.pack(bad), nan(Operand::Weight));
            assert_eq!(layer.backward(square.view(), bad, x.view()), nan(Operand::Input));
            assert_eq!(layer.backward(square.view(), x.view(), bad), nan(Operand::Weight));
            let w = Array2::ones((4, 4));
            assert_eq!(layer.backward(bad, x.view(), w.view()), nan(Operand::OutputGradient));
        });
        for place in 0..3 {
            let mut bias = Array1::ones(6);
            bias[2 * place] = f32::NAN;
            let result = layer.forward(x.view(), x.view(), Some(bias.slice(s![..;2])));
            assert_eq!(result, nan(Operand::Bias));
        }
    }
}

#[test]
fn nan_in_quantizers() {
    let ones = Array2::<f32>::ones((3, 4));
    let activation = ActivationQuantizer::dorefa(2).expect("a width");
    let weight = WeightQuantizer::dorefa(2).expect("a width");
    with_nan_anywhere(|bad| {
        for layer in
            [QActivation::new(activation), QActivation::new(activation).backward_only(true)]
        {
            assert_eq!(layer.forward(bad), nan(Operand::Input));
            let mut out = Array2::zeros((3, 4));
            assert_eq!(layer.forward_into(bad, out.view_mut()), nan(Operand::Input));
            assert_eq!(out, Array2::zeros((3, 4)));
            assert_eq!(layer.backward(ones.view(), bad), nan(Operand::Input));
            assert_eq!(layer.backward(bad, ones.view()), nan(Operand::OutputGradient));
        }
        assert_eq!(activation.quantize(bad), nan(Operand::Input));
        assert_eq!(activation.codes(bad), nan(Operand::Input));
        assert_eq!(weight.quantize(bad), nan(Operand::Weight));
        assert_eq!(weight.codes(bad), nan(Operand::Weight));
        assert_eq!(weight.backward(ones.view(), bad), nan(Operand::Weight));
        assert_eq!(weight.backward(bad, ones.view()), nan(Operand::OutputGradient));
    });
}

/// Also where the stride of a convolution skips it.
#[test]
fn nan_that_no_window_sees() {
    let mut x = Array4::<f32>::ones((1, 1, 3, 3));
    x[(0, 0, 1, 1)] = f32::NAN;
    let w = Array4::ones((1, 1, 1, 1));
    let layer = conv().stride([2, 2]);
    assert_eq!(layer.forward(x.view(), w.view(), None), nan(Operand::Input));
    let dy = Array4::ones((1, 1, 2, 2));
    assert_eq!(layer.backward(dy.view(), x.view(), w.view()), nan(Operand::Input));
}

#[test]
fn infinities_have_signs_and_codes() {
    let x = array![[f32::INFINITY, f32::NEG_INFINITY]];
    let codes = |quantizer: ActivationQuantizer| quantizer.codes(x.view()).expect("codes");
    assert_eq!(codes(ActivationQuantizer::sign()), array![[1, 0]]);
    assert_eq!(codes(ActivationQuantizer::heaviside()), array![[1, 0]]);
    let codes = |quantizer: WeightQuantizer| quantizer.codes(x.view()).expect("codes");
    for bits in 1..=31 {
        let n = ((1u64 << bits) - 1) as u32;
        let unit = ActivationQuantizer::dorefa(bits).expect("a width");
        assert_eq!(unit.codes(x.view()), Ok(array![[n, 0]]));
        assert_eq!(codes(WeightQuantizer::dorefa(bits).expect("a width")), array![[n, 0]]);
        assert_eq!(codes(WeightQuantizer::uniform(bits).expect("a width")), array![[n, 0]]);
    }
    assert_eq!(codes(WeightQuantizer::sign()), array![[1, 0]]);
    let gradients = dense().backward(array![[1.0]].view(), x.view(), x.view());
    let gradients = gradients.expect("gradients");
    assert_eq!(gradients.input, array![[0.0, 0.0]]);
    assert_eq!(gradients.weight, array![[1.0, -1.0]]);
}

/// An infinite magnitude makes its own output infinite or undefined, and no other.
#[test]
fn infinities_under_a_k_map() {
    let x = array![[f32::INFINITY, 1.0], [1.0, 1.0]];
    let w = array![[1.0f32, 1.0]];
    let y = dense().input_scaling(InputScaling::KMap).forward(x.view(), w.view(), None);
    assert_eq!(y, Ok(array![[f32::INFINITY], [2.0]]));
}

#[test]
fn both_zeros_are_the_same_number() {
    let zeros = array![[0.0f32, -0.0]];
    assert_eq!(ActivationQuantizer::sign().quantize(zeros.view()), Ok(array![[1.0, 1.0]]));
    assert_eq!(ActivationQuantizer::heaviside().quantize(zeros.view()), Ok(array![[0.0, 0.0]]));
    let packed = dense().pack(zeros.view()).expect("packed weights");
    assert_eq!(packed.words(0), Some(vec![0b11]));
    assert_eq!(dense().forward(zeros.view(), zeros.view(), None), Ok(array![[2.0]]));
    for bits in 1..=31 {
        let weight = WeightQuantizer::dorefa(bits).expect("a width");
        let codes = weight.codes(zeros.view()).expect("codes");
        assert_eq!(codes[(0, 0)], codes[(0, 1)]);
        assert!(weight.quantize(zeros.view()).expect("numbers").iter().all(|w| w.is_finite()));
    }
}

/// A call that was refused leaves a scratch as good as new.
#[test]
fn scratch_after_an_error() {
    let (x, w) = (array![[1.0f32, -1.0]], array![[1.0f32, 1.0]]);
    let bad = array![[f32::NAN, 1.0]];
    let (scratch, mut out) = (&mut Scratch::new(), Array2::zeros((1, 1)));
    let layer = dense();
    for (x, w) in [(&bad, &w), (&x, &bad)] {
        assert!(layer.forward_into(x.view(), w.view(), None, scratch, out.view_mut()).is_err());
        assert_eq!(out, array![[0.0]]);
    }
    layer.forward_into(x.view(), x.view(), None, scratch, out.view_mut()).expect("a result");
    assert_eq!(out, array![[2.0]]);
}
