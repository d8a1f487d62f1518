//! Packed weights in front of another operator than theirs.

use crate::{conv, dense};
use ndarray::{Array2, Array3, Array4};
use ndarray_qnn::{
    ActivationQuantizer, DorefaGradient, Error, PackedWeights, QConvolution, QFullyConnected,
    Rounding, Scaling, Scratch, Ste, WeightQuantizer,
};

fn mismatch(layer: &QFullyConnected, packed: &PackedWeights<f32>) -> Option<&'static str> {
    let x = Array2::<f32>::ones((1, 1));
    let result = layer.forward_packed(x.view(), packed, None);
    let (scratch, mut out) = (&mut Scratch::new(), Array2::ones((1, 1)));
    let into = layer.forward_packed_into(x.view(), packed, None, scratch, out.view_mut());
    assert_eq!(result.clone().map(|_| ()), into);
    match result {
        Ok(_) => None,
        Err(Error::PackedMismatch { property, expected, found }) => {
            assert_ne!(expected, found);
            Some(property)
        }
        other => panic!("expected a mismatch, got {other:?}"),
    }
}

fn dense_with(weight: WeightQuantizer) -> QFullyConnected {
    QFullyConnected::new(ActivationQuantizer::sign(), weight)
}

#[test]
fn quantizers_must_agree_in_the_forward() {
    let w = Array2::<f32>::ones((1, 1));
    let dorefa = |bits| WeightQuantizer::dorefa(bits).expect("a width");
    let packed = dense_with(dorefa(2)).pack(w.view()).expect("packed weights");
    for other in [
        dorefa(3),
        dorefa(2).rounding(Rounding::HalfToEven),
        WeightQuantizer::uniform(2).expect("a width"),
        WeightQuantizer::sign(),
        WeightQuantizer::identity(),
    ] {
        assert_eq!(mismatch(&dense_with(other), &packed), Some("quantizer"));
    }
    // Gradients have no part in a forward, nor have the activations in the weights.
    for same in [dorefa(2).ste(Ste::clip(1.0)), dorefa(2).dorefa_gradient(DorefaGradient::True)] {
        assert_eq!(mismatch(&dense_with(same), &packed), None);
    }
    // Nor has the rounding in a sign.
    let packed_sign = dense().pack(w.view()).expect("packed weights");
    let larq = QFullyConnected::larq(1, 1).expect("widths");
    assert_eq!(mismatch(&larq, &packed_sign), None);
    let other_input = QFullyConnected::new(ActivationQuantizer::identity(), dorefa(2));
    assert_eq!(mismatch(&other_input, &packed), None);
}

#[test]
fn scalings_must_agree() {
    let w = Array2::<f32>::ones((1, 1));
    let scalings = [
        Scaling::None,
        Scaling::PerTensor,
        Scaling::PerFilter,
        Scaling::Given(vec![1.0]),
        Scaling::Given(vec![2.0]),
    ];
    for own in &scalings {
        let packed = dense().scaling(own.clone()).pack(w.view()).expect("packed weights");
        for other in &scalings {
            let expected = (own != other).then_some("scaling");
            assert_eq!(mismatch(&dense().scaling(other.clone()), &packed), expected);
        }
    }
}

#[test]
fn spatial_dimensions_must_agree() {
    let of_conv = conv().pack(Array4::<f32>::ones((1, 1, 1, 1)).view()).expect("packed weights");
    assert_eq!(mismatch(&dense(), &of_conv), Some("spatial dimensions"));
    let line = QConvolution::<1>::new(ActivationQuantizer::sign(), WeightQuantizer::sign());
    let x = Array3::<f32>::ones((1, 1, 1));
    let result = line.forward_packed(x.view(), &of_conv, None);
    let error = result.expect_err("weights of two spatial dimensions");
    assert_eq!(error.to_string(), "packed weights: expected spatial dimensions 1, got 2");
}

#[test]
fn empty_packed_weights_fit_nothing() {
    let packed = PackedWeights::<f32>::default();
    assert_eq!(mismatch(&dense(), &packed), Some("quantizer"));
    assert_eq!(packed.to_quantized().expect("nothing").shape(), [0, 0]);
}
