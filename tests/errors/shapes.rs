//! Operands that do not fit each other: errors speak of the shapes that the caller sees.

use crate::{conv, dense};
use ndarray::{Array1, Array2, Array3, Array4, Array5};
use ndarray_qnn::{
    ActivationQuantizer, Error, Operand, QActivation, QConvolution, Scratch, WeightQuantizer,
};

fn shape<T>(operand: Operand, expected: &[usize], found: &[usize]) -> Result<T, Error> {
    Err(Error::Shape { operand, expected: expected.into(), found: found.into() })
}

#[test]
fn dense_operands() {
    let (x, w) = (Array2::<f32>::ones((5, 7)), Array2::<f32>::ones((3, 7)));
    let (layer, scratch) = (dense(), &mut Scratch::new());
    let narrow = Array2::ones((3, 6));
    let expected = Error::AxisLength { operand: Operand::Weight, axis: 1, expected: 7, found: 6 };
    assert_eq!(layer.forward(x.view(), narrow.view(), None), Err(expected.clone()));
    let packed = layer.pack(narrow.view()).expect("packed weights");
    assert_eq!(layer.forward_packed(x.view(), &packed, None), Err(expected.clone()));
    let dy = Array2::ones((5, 3));
    assert_eq!(layer.backward(dy.view(), x.view(), narrow.view()), Err(expected));

    let bias = Array1::ones(4);
    let result = layer.forward(x.view(), w.view(), Some(bias.view()));
    assert_eq!(result, shape(Operand::Bias, &[3], &[4]));

    let packed = layer.pack(w.view()).expect("packed weights");
    for found in [[3, 5], [5, 2], [4, 3], [0, 0]] {
        let mut out = Array2::ones(found);
        let expected = shape(Operand::Output, &[5, 3], &found);
        let result = layer.forward_into(x.view(), w.view(), None, scratch, out.view_mut());
        assert_eq!(result, expected);
        let result = layer.forward_packed_into(x.view(), &packed, None, scratch, out.view_mut());
        assert_eq!(result, expected);
        let expected = shape(Operand::OutputGradient, &[5, 3], &found);
        assert_eq!(layer.backward(out.view(), x.view(), w.view()), expected);
    }
}

#[test]
fn convolution_operands() {
    let (x, w) = (Array4::<f64>::ones((2, 6, 9, 8)), Array4::<f64>::ones((4, 6, 3, 2)));
    let (layer, scratch) = (conv(), &mut Scratch::new());
    let narrow = Array4::ones((4, 5, 3, 2));
    let expected = Error::AxisLength { operand: Operand::Weight, axis: 1, expected: 6, found: 5 };
    assert_eq!(layer.forward(x.view(), narrow.view(), None), Err(expected));
    let expected = Error::AxisLength { operand: Operand::Weight, axis: 1, expected: 3, found: 6 };
    assert_eq!(layer.clone().groups(2).forward(x.view(), w.view(), None), Err(expected));
    let bias = Array1::ones(2);
    let result = layer.forward(x.view(), w.view(), Some(bias.view()));
    assert_eq!(result, shape(Operand::Bias, &[4], &[2]));

    let expected = [2, 4, 7, 7];
    let packed = layer.pack(w.view()).expect("packed weights");
    for found in [[2, 4, 7, 8], [2, 7, 4, 7], [4, 2, 7, 7], [2, 4, 9, 8]] {
        let mut out = Array4::ones(found);
        let result = layer.forward_into(x.view(), w.view(), None, scratch, out.view_mut());
        assert_eq!(result, shape(Operand::Output, &expected, &found));
        let result = layer.forward_packed_into(x.view(), &packed, None, scratch, out.view_mut());
        assert_eq!(result, shape(Operand::Output, &expected, &found));
        let result = layer.backward(out.view(), x.view(), w.view());
        assert_eq!(result, shape(Operand::OutputGradient, &expected, &found));
    }
}

/// One and three spatial dimensions have shapes of three and five axes.
#[test]
fn convolutions_of_other_ranks() {
    let sign = || (ActivationQuantizer::sign(), WeightQuantizer::sign());
    let scratch = &mut Scratch::new();
    let line = QConvolution::<1>::new(sign().0, sign().1);
    let (x, w) = (Array3::<f32>::ones((2, 3, 9)), Array3::ones((4, 3, 2)));
    let mut out = Array3::ones((2, 4, 9));
    let result = line.forward_into(x.view(), w.view(), None, scratch, out.view_mut());
    assert_eq!(result, shape(Operand::Output, &[2, 4, 8], &[2, 4, 9]));
    let volume = QConvolution::<3>::new(sign().0, sign().1);
    let (x, w) = (Array5::<f32>::ones((2, 3, 9, 8, 7)), Array5::ones((4, 3, 2, 2, 2)));
    let mut out = Array5::ones((2, 4, 7, 7, 6));
    let result = volume.forward_into(x.view(), w.view(), None, scratch, out.view_mut());
    assert_eq!(result, shape(Operand::Output, &[2, 4, 8, 7, 6], &[2, 4, 7, 7, 6]));
}

#[test]
fn groups_that_divide_nothing() {
    let (x, w) = (Array4::<f32>::ones((1, 6, 4, 4)), Array4::ones((4, 3, 1, 1)));
    // 3 divides the channels alone, 4 the filters alone.
    for groups in [0, 3, 4, 5, usize::MAX] {
        let layer = conv().groups(groups);
        let expected = Error::Groups { groups, channels: 6, filters: 4 };
        assert_eq!(layer.forward(x.view(), w.view(), None), Err(expected.clone()));
        assert_eq!(layer.output_shape(x.raw_dim(), w.raw_dim()), Err(expected.clone()));
        assert_eq!(layer.backward(x.view(), x.view(), w.view()), Err(expected));
    }
    assert!(conv().groups(2).forward(x.view(), w.view(), None).is_ok());
}

#[test]
fn windows_of_nothing() {
    let (x, w) = (Array4::<f32>::ones((1, 1, 4, 4)), Array4::ones((1, 1, 2, 2)));
    let zero = |parameter, axis| Err(Error::Zero { parameter, axis });
    let result = conv().stride([1, 0]).forward(x.view(), w.view(), None);
    assert_eq!(result, zero("stride", 1));
    let result = conv().dilation([0, 1]).forward(x.view(), w.view(), None);
    assert_eq!(result, zero("dilation", 0));
    let flat = Array4::ones((1, 1, 2, 0));
    assert_eq!(conv().forward(x.view(), flat.view(), None), zero("kernel", 1));
    let packed = conv().pack(flat.view()).expect("packed weights");
    assert_eq!(conv().forward_packed(x.view(), &packed, None), zero("kernel", 1));
    let gradients = conv().backward(x.view(), x.view(), flat.view());
    assert_eq!(gradients, Err(Error::Zero { parameter: "kernel", axis: 1 }));
    let line = QConvolution::<1>::new(ActivationQuantizer::sign(), WeightQuantizer::sign());
    let (x, w) = (Array3::<f32>::ones((1, 1, 4)), Array3::ones((1, 1, 2)));
    let result = line.stride([0]).forward(x.view(), w.view(), None);
    assert_eq!(result, Err(Error::Zero { parameter: "stride", axis: 0 }));
}

#[test]
fn kernels_larger_than_the_padded_input() {
    let (x, w) = (Array4::<f32>::ones((1, 1, 9, 4)), Array4::ones((1, 1, 3, 3)));
    let layer = conv().dilation([1, 3]).padding_sides([[0, 0], [1, 1]]);
    let expected = Error::KernelTooLarge { axis: 1, kernel: 7, padded_input: 6 };
    assert_eq!(layer.forward(x.view(), w.view(), None), Err(expected));
    let fits = layer.padding_sides([[0, 0], [1, 2]]).forward(x.view(), w.view(), None);
    assert_eq!(fits.expect("a result").dim(), (1, 1, 7, 1));
}

#[test]
fn gradients_of_another_shape() {
    let (dy, x) = (Array2::<f32>::ones((2, 3)), Array2::<f32>::ones((3, 2)));
    let expected = shape(Operand::OutputGradient, &[3, 2], &[2, 3]);
    let activation = ActivationQuantizer::sign();
    assert_eq!(activation.backward(dy.view(), x.view()), expected);
    assert_eq!(QActivation::new(activation).backward(dy.view(), x.view()), expected);
    assert_eq!(WeightQuantizer::sign().backward(dy.view(), x.view()), expected);
    let mut out = Array2::ones((2, 3));
    let result = QActivation::new(activation).forward_into(x.view(), out.view_mut());
    assert_eq!(result, shape(Operand::Output, &[3, 2], &[2, 3]));
}

/// Filters lie along axis 0, so weights must have one.
#[test]
fn weights_without_an_axis() {
    let w = ndarray::arr0(0.5f32).into_dyn();
    for quantizer in [WeightQuantizer::sign(), WeightQuantizer::magnitude_aware_sign()] {
        let expected = shape(Operand::Weight, &[1], &[]);
        assert_eq!(quantizer.quantize(w.view()), expected);
        assert_eq!(quantizer.codes(w.view()).map(|_| ()), shape(Operand::Weight, &[1], &[]));
        assert_eq!(quantizer.backward(w.view(), w.view()), expected);
    }
    let x = ActivationQuantizer::sign().quantize(w.view()).expect("one number");
    assert_eq!(x, ndarray::arr0(1.0).into_dyn());
}

#[test]
fn messages_name_operand_expected_and_found() {
    let (x, w) = (Array2::<f32>::ones((5, 7)), Array2::<f32>::ones((3, 6)));
    let error = dense().forward(x.view(), w.view(), None).expect_err("6 is not 7");
    assert_eq!(error.to_string(), "weight: expected length 7 along axis 1, got 6");
    let error = conv()
        .groups(4)
        .forward(Array4::<f32>::ones((1, 6, 4, 4)).view(), Array4::ones((4, 3, 1, 1)).view(), None)
        .expect_err("4 does not divide 6");
    let expected = "groups: expected a divisor of 6 channels and 4 filters, got 4";
    assert_eq!(error.to_string(), expected);
}
