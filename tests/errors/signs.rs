//! Signs in bits: what layers refuse, and what becomes of the output then.

use ndarray::{Array2, Array3, Array4};
use ndarray_qnn::{
    ActivationQuantizer, BitTensor, Error, InputScaling, Operand, QConvolution, QFullyConnected,
    Scratch, WeightQuantizer,
};

fn signs(shape: &[usize]) -> BitTensor {
    let x = Array4::<f32>::ones([1, 1, 1, 1]);
    let x = x.broadcast(shape).expect("a broadcast");
    BitTensor::pack(&ActivationQuantizer::sign(), x).expect("signs")
}

fn conv() -> QConvolution<2> {
    QConvolution::new(ActivationQuantizer::sign(), WeightQuantizer::sign())
}

#[test]
fn signs_of_another_rank() {
    let w = conv().pack(Array4::<f32>::ones((2, 3, 1, 1)).view()).expect("packed weights");
    let cube = BitTensor::from_words(&[1, 3, 1, 1, 1], vec![0]).expect("signs");
    let expected = Error::Dimensions { operand: Operand::Input, expected: "4", found: 5 };
    assert_eq!(conv().forward_packed(&cube, &w, None), Err(expected));
    let rows = BitTensor::from_words(&[1, 3], vec![0]).expect("signs");
    let expected = Error::Dimensions { operand: Operand::Input, expected: "4", found: 2 };
    assert_eq!(conv().forward_packed(&rows, &w, None), Err(expected));
}

#[test]
fn signs_of_other_channels() {
    let w = conv().pack(Array4::<f32>::ones((2, 3, 1, 1)).view()).expect("packed weights");
    let result = conv().forward_packed(&signs(&[1, 4, 2, 2]), &w, None);
    assert!(
        matches!(result, Err(Error::AxisLength { operand: Operand::Weight, .. })),
        "{result:?}"
    );
}

#[test]
fn operators_of_other_activations() {
    let unsupported = |layer: QConvolution<2>| {
        let w = layer.pack(Array4::<f32>::ones((2, 1, 1, 1)).view()).expect("packed weights");
        let result = layer.forward_packed(&signs(&[1, 1, 2, 2]), &w, None);
        assert!(matches!(result, Err(Error::Unsupported { .. })), "{result:?}");
    };
    unsupported(conv().input_scaling(InputScaling::KMap));
    for activation in [
        ActivationQuantizer::heaviside(),
        ActivationQuantizer::identity(),
        ActivationQuantizer::dorefa(2).expect("a width"),
        ActivationQuantizer::absmax(8).expect("a width"),
    ] {
        unsupported(QConvolution::new(activation, WeightQuantizer::sign()));
    }
}

#[test]
fn weights_that_are_not_integers() {
    let layer = QConvolution::<2>::new(ActivationQuantizer::sign(), WeightQuantizer::identity());
    let w = layer.pack(Array4::<f32>::ones((2, 1, 1, 1)).view()).expect("packed weights");
    let result = layer.forward_packed(&signs(&[1, 1, 2, 2]), &w, None);
    let expected = Error::BitWidth { operand: Operand::Weight, expected: "1 to 8", bits: 32 };
    assert_eq!(result, Err(expected));
}

#[test]
fn thresholds_of_another_layer() {
    let pack = |filters| {
        conv().pack(Array4::<f32>::ones((filters, 3, 1, 1)).view()).expect("packed weights")
    };
    let (three, four) = (pack(3), pack(4));
    let sign = ActivationQuantizer::sign();
    let thresholds = conv().fold(&four, None, None, &sign).expect("thresholds");
    let mut out = signs(&[1, 2, 3, 4]);
    let before = out.clone();
    let (x, scratch) = (signs(&[1, 3, 2, 2]), &mut Scratch::new());
    let result = conv().forward_signs_into(&x, &three, &thresholds, scratch, &mut out);
    let expected = Error::Shape { operand: Operand::Thresholds, expected: vec![3], found: vec![4] };
    assert_eq!(result, Err(expected));
    assert_eq!(out, before);
    // A NaN is found after the output would have been made room for.
    let mut x = Array4::<f32>::ones((1, 3, 2, 2));
    x[[0, 1, 1, 0]] = f32::NAN;
    let result = conv().forward_signs_into(x.view(), &four, &thresholds, scratch, &mut out);
    assert_eq!(result, Err(Error::NaN { operand: Operand::Input }));
    assert_eq!(out, before);
    conv()
        .forward_signs_into(&signs(&[1, 3, 2, 2]), &four, &thresholds, scratch, &mut out)
        .expect("signs");
    assert_eq!(out.shape(), [1, 4, 2, 2]);
}

#[test]
fn residuals_of_another_shape() {
    let fc = QFullyConnected::new(ActivationQuantizer::sign(), WeightQuantizer::sign());
    let w = fc.pack(Array2::<f32>::ones((2, 3)).view()).expect("packed weights");
    let (x, mut residual) = (Array2::ones((4, 3)), Array2::ones((4, 3)));
    let result = fc.forward_residual(x.view(), &w, None, residual.view());
    let expected =
        Error::Shape { operand: Operand::Residual, expected: vec![4, 2], found: vec![4, 3] };
    assert_eq!(result, Err(expected));
    residual = Array2::from_elem((4, 2), f32::NAN);
    let result = fc.forward_residual(x.view(), &w, None, residual.view());
    assert_eq!(result, Err(Error::NaN { operand: Operand::Residual }));
}

#[test]
fn nothing_in_bits() {
    let line = QConvolution::<1>::new(ActivationQuantizer::sign(), WeightQuantizer::sign());
    for (n, c, f, len) in [(0, 3, 2, 4), (2, 0, 2, 4), (2, 3, 0, 4), (0, 0, 0, 1)] {
        let w = line.pack(Array3::<f32>::ones((f, c, 1)).view()).expect("packed weights");
        let sign = ActivationQuantizer::sign();
        let x = Array3::<f32>::ones((n, c, len));
        let bits = BitTensor::pack(&sign, x.view()).expect("signs");
        let thresholds = line.fold(&w, None, None, &sign).expect("thresholds");
        let y = line.forward_packed(x.view(), &w, None).expect("a result");
        let expected = BitTensor::pack(&sign, y.view()).expect("signs");
        assert_eq!(line.forward_signs(&bits, &w, &thresholds).expect("signs"), expected);
        assert_eq!(line.forward_packed(&bits, &w, None).expect("a result"), y);
    }
}
