//! Widths, thresholds and scales out of their range.

use crate::{conv, dense};
use ndarray::{Array2, Array4, array};
use ndarray_qnn::{
    ActivationQuantizer, Error, Operand, QActivation, QConvolution, QFullyConnected, Scaling, Ste,
    TernaryThreshold, WeightQuantizer,
};

fn width<T>(result: Result<T, Error>) -> (Operand, &'static str, u32) {
    match result.map(|_| ()) {
        Err(Error::BitWidth { operand, expected, bits }) => (operand, expected, bits),
        other => panic!("expected a bit width error, got {other:?}"),
    }
}

#[test]
fn widths() {
    for bits in [0, 32, 33, u32::MAX] {
        let expected = |operand| (operand, "1 to 31", bits);
        assert_eq!(width(ActivationQuantizer::dorefa(bits)), expected(Operand::Input));
        assert_eq!(width(WeightQuantizer::dorefa(bits)), expected(Operand::Weight));
        assert_eq!(width(WeightQuantizer::uniform(bits)), expected(Operand::Weight));
    }
    for bits in [0, 33, u32::MAX] {
        let (input, weight) =
            ((Operand::Input, "1 to 32", bits), (Operand::Weight, "1 to 32", bits));
        assert_eq!(width(QActivation::bmxnet_v1(bits)), input);
        assert_eq!(width(QActivation::bmxnet_v2(bits, 1.0)), input);
        assert_eq!(width(QActivation::larq(bits)), input);
        assert_eq!(width(QFullyConnected::bmxnet_v1(bits, 1)), input);
        assert_eq!(width(QFullyConnected::bmxnet_v2(1, bits)), weight);
        assert_eq!(width(QFullyConnected::larq(1, bits)), weight);
        assert_eq!(width(QConvolution::<1>::bmxnet_v1(1, bits)), weight);
        assert_eq!(width(QConvolution::<2>::bmxnet_v2(bits, 1)), input);
        assert_eq!(width(QConvolution::<3>::larq(bits, 1)), input);
    }
    for bits in 1..=31 {
        assert_eq!(ActivationQuantizer::dorefa(bits).expect("a width").bits(), bits);
        assert_eq!(WeightQuantizer::dorefa(bits).expect("a width").bits(), bits);
        assert_eq!(WeightQuantizer::uniform(bits).expect("a width").bits(), bits);
    }
    assert!(QConvolution::<2>::larq(32, 32).is_ok());
    for bits in [0, 1, 9, 32, u32::MAX] {
        let expected = (Operand::Input, "2 to 8", bits);
        assert_eq!(width(ActivationQuantizer::absmax(bits)), expected);
    }
    for bits in 2..=8 {
        assert_eq!(ActivationQuantizer::absmax(bits).expect("a width").bits(), bits);
    }
}

fn parameter<T>(result: Result<T, Error>) -> (&'static str, &'static str) {
    match result.map(|_| ()) {
        Err(Error::Parameter { parameter, expected, .. }) => (parameter, expected),
        other => panic!("expected a parameter error, got {other:?}"),
    }
}

fn bad_stes() -> Vec<(Ste, (&'static str, &'static str))> {
    let interval = ("STE interval", "low <= high");
    let threshold = ("STE threshold", "a number of at least 0");
    let beta = ("STE beta", "a finite number above 0");
    vec![
        (Ste::clip(-0.5), interval),
        (Ste::clip(f64::NAN), interval),
        (Ste::Interval { low: f64::NAN, high: 1.0 }, interval),
        (Ste::Interval { low: 1.0, high: 0.5 }, interval),
        (Ste::ApproxSign { threshold: -1.0 }, threshold),
        (Ste::ApproxSign { threshold: f64::NAN }, threshold),
        (Ste::SwishSign { beta: 0.0 }, beta),
        (Ste::SwishSign { beta: f64::INFINITY }, beta),
        (Ste::SwishSign { beta: f64::NAN }, beta),
    ]
}

#[test]
fn straight_through_estimators() {
    let x = array![[0.5f32]];
    for (ste, expected) in bad_stes() {
        let activation = ActivationQuantizer::sign().ste(ste);
        assert_eq!(parameter(activation.backward(x.view(), x.view())), expected);
        let layer = QActivation::new(activation);
        assert_eq!(parameter(layer.backward(x.view(), x.view())), expected);
        let weight = WeightQuantizer::sign().ste(ste);
        assert_eq!(parameter(weight.quantize(x.view())), expected);
        assert_eq!(parameter(weight.backward(x.view(), x.view())), expected);
        let dense = QFullyConnected::new(ActivationQuantizer::sign(), weight);
        assert_eq!(parameter(dense.pack(x.view())), expected);
        assert_eq!(parameter(dense.forward(x.view(), x.view(), None)), expected);
        let dense = QFullyConnected::new(activation, WeightQuantizer::sign());
        assert_eq!(parameter(dense.backward(x.view(), x.view(), x.view())), expected);
        assert_eq!(parameter(dense.forward(x.view(), x.view(), None)), expected);
    }
    for bits in [1, 2, 32] {
        let layer = QActivation::bmxnet_v2(bits, f64::NAN).expect("a width");
        let interval = ("STE interval", "low <= high");
        assert_eq!(parameter(layer.backward(x.view(), x.view())), interval);
    }
}

#[test]
fn ternary_thresholds() {
    let w = array![[0.5f32, -2.0]];
    let expected = ("ternary threshold", "a number of at least 0");
    for threshold in [-0.1, f64::NEG_INFINITY, f64::NAN] {
        let quantizer = WeightQuantizer::ternary(TernaryThreshold::Fixed(threshold));
        assert_eq!(parameter(quantizer.quantize(w.view())), expected);
        assert_eq!(parameter(quantizer.codes(w.view())), expected);
        assert_eq!(parameter(quantizer.backward(w.view(), w.view())), expected);
        let layer = QFullyConnected::new(ActivationQuantizer::sign(), quantizer);
        assert_eq!(parameter(layer.pack(w.view())), expected);
    }
    let none = WeightQuantizer::ternary(TernaryThreshold::Fixed(f64::INFINITY));
    assert_eq!(none.quantize(w.view()), Ok(array![[0.0, 0.0]]));
}

/// Where a scale is not finite: its operand, its index, and its value as bits.
fn scale<T>(result: Result<T, Error>) -> (Operand, usize, u64) {
    match result.map(|_| ()) {
        Err(Error::NonFiniteScale { operand, index, value }) => (operand, index, value.to_bits()),
        other => panic!("expected a scale error, got {other:?}"),
    }
}

#[test]
fn scales_of_infinite_weights() {
    let infinity = f64::INFINITY.to_bits();
    let w = array![[1.0f32, 2.0], [f32::NEG_INFINITY, 3.0]];
    let magnitude_aware = WeightQuantizer::magnitude_aware_sign();
    assert_eq!(scale(magnitude_aware.quantize(w.view())), (Operand::Weight, 1, infinity));
    assert_eq!(scale(magnitude_aware.backward(w.view(), w.view())), (Operand::Weight, 1, infinity));
    for quantizer in
        [WeightQuantizer::bwn(), WeightQuantizer::ternary(TernaryThreshold::MeanMagnitude)]
    {
        assert_eq!(scale(quantizer.codes(w.view())), (Operand::Weight, 0, infinity));
    }
    let layer = dense().scaling(Scaling::PerFilter);
    assert_eq!(scale(layer.forward(w.view(), w.view(), None)), (Operand::Weight, 1, infinity));
    assert_eq!(scale(layer.pack(w.view())), (Operand::Weight, 1, infinity));
    let layer = dense().scaling(Scaling::PerTensor);
    assert_eq!(scale(layer.pack(w.view())), (Operand::Weight, 0, infinity));
    assert_eq!(scale(layer.backward(w.view(), w.view(), w.view())), (Operand::Weight, 0, infinity));
    // A sign alone has no scale to lose.
    assert_eq!(dense().forward(w.view(), w.view(), None), Ok(array![[2.0, 0.0], [0.0, 2.0]]));
}

#[test]
fn given_scales() {
    let (x, w) = (Array2::<f32>::ones((2, 3)), Array2::<f32>::ones((2, 3)));
    for bad in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e300, -1e39] {
        let layer = dense().scaling(Scaling::Given(vec![1.0, bad]));
        let expected = (Operand::Scale, 1, bad.to_bits());
        assert_eq!(scale(layer.forward(x.view(), w.view(), None)), expected);
        assert_eq!(scale(layer.pack(w.view())), expected);
        assert_eq!(
            scale(layer.backward(x.slice(ndarray::s![.., ..2]), x.view(), w.view())),
            expected
        );
    }
    let layer = dense().scaling(Scaling::Given(vec![1.0, 1e300]));
    assert!(layer.forward(x.mapv(f64::from).view(), w.mapv(f64::from).view(), None).is_ok());

    for scales in [vec![], vec![1.0], vec![1.0; 3]] {
        let found = scales.len();
        let expected = Error::AxisLength { operand: Operand::Scale, axis: 0, expected: 2, found };
        let layer = dense().scaling(Scaling::Given(scales.clone()));
        assert_eq!(layer.forward(x.view(), w.view(), None), Err(expected.clone()));
        assert_eq!(layer.pack(w.view()), Err(expected.clone()));
        let (x, w) = (Array4::<f32>::ones((1, 1, 2, 2)), Array4::ones((2, 1, 1, 1)));
        let layer = conv().scaling(Scaling::Given(scales));
        assert_eq!(layer.forward(x.view(), w.view(), None), Err(expected.clone()));
        let dy = Array4::ones((1, 2, 2, 2));
        assert_eq!(layer.backward(dy.view(), x.view(), w.view()), Err(expected));
    }
}

/// A scale of the quantizer and one of the operator may only together be too large.
#[test]
fn products_of_scales() {
    let (x, w) = (Array2::<f32>::ones((1, 3)), Array2::from_elem((1, 3), 1e30f32));
    let layer =
        QFullyConnected::new(ActivationQuantizer::sign(), WeightQuantizer::magnitude_aware_sign());
    let expected = (Operand::Scale, 0, f64::INFINITY.to_bits());
    let scaled = layer.clone().scaling(Scaling::Given(vec![1e30]));
    assert_eq!(scale(scaled.forward(x.view(), w.view(), None)), expected);
    assert_eq!(scale(scaled.pack(w.view())), expected);
    assert!(layer.forward(x.view(), w.view(), None).is_ok());
}
