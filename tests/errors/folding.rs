//! Affine functions that are none, and layers that cannot be folded.

use crate::{conv, dense};
use ndarray::{Array1, Array2, Array4, array};
use ndarray_qnn::{
    ActivationQuantizer, Affine, BatchNorm, Error, InputScaling, Operand, QFullyConnected, Scaling,
    WeightQuantizer,
};

const SIGN: fn() -> ActivationQuantizer = ActivationQuantizer::sign;

fn parameter<T>(result: Result<T, Error>) -> (&'static str, &'static str) {
    match result.map(|_| ()) {
        Err(Error::Parameter { parameter, expected, .. }) => (parameter, expected),
        other => panic!("expected a parameter error, got {other:?}"),
    }
}

fn shape<T>(operand: Operand, expected: usize, found: usize) -> Result<T, Error> {
    Err(Error::Shape { operand, expected: vec![expected], found: vec![found] })
}

#[test]
fn affine_parameters() {
    assert_eq!(Affine::new(vec![1.0f32; 3], vec![0.0; 2]), shape(Operand::Shift, 3, 2));
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let finite = "a finite number";
        let scale = Affine::new(vec![1.0, bad], vec![0.0; 2]);
        assert_eq!(parameter(scale), ("affine scale", finite));
        let shift = Affine::new(vec![1.0; 2], vec![0.0, bad]);
        assert_eq!(parameter(shift), ("affine shift", finite));
    }
    let affine = Affine::new(vec![1.0f32; 3], vec![0.0; 3]).expect("finite numbers");
    let dimensions =
        Error::Dimensions { operand: Operand::Input, expected: "at least 2", found: 1 };
    assert_eq!(affine.forward(array![1.0f32, 2.0, 3.0].view()), Err(dimensions));
    let mismatch = Error::AxisLength { operand: Operand::Input, axis: 1, expected: 3, found: 2 };
    let y = Array4::<f32>::ones((3, 2, 3, 3));
    assert_eq!(affine.forward(y.view()), Err(mismatch));
    let y = array![[1.0f32, f32::NAN, 1.0]];
    assert_eq!(affine.forward(y.view()), Err(Error::NaN { operand: Operand::Input }));
    let (y, mut out) = (Array2::<f32>::ones((2, 3)), Array2::ones((3, 2)));
    let result = affine.forward_into(y.view(), out.view_mut());
    let (expected, found) = (vec![2, 3], vec![3, 2]);
    assert_eq!(result, Err(Error::Shape { operand: Operand::Output, expected, found }));
}

#[test]
fn batch_norm_parameters() {
    let norm = |index: usize, value: f32, epsilon: f64| {
        let [mut gamma, mut beta, mut mean, mut variance] = [(); 4].map(|()| Array1::ones(3));
        [&mut gamma, &mut beta, &mut mean, &mut variance][index][1] = value;
        let (gamma, beta) = (gamma.view(), beta.view());
        BatchNorm { gamma, beta, mean: mean.view(), variance: variance.view(), epsilon }.affine()
    };
    assert!(norm(0, -0.0, 0.0).is_ok());
    let (finite, not_negative) = ("a finite number", "a finite number of at least 0");
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(parameter(norm(0, bad, 1e-5)), ("gamma", finite));
        assert_eq!(parameter(norm(1, bad, 1e-5)), ("beta", finite));
        assert_eq!(parameter(norm(2, bad, 1e-5)), ("mean", finite));
        assert_eq!(parameter(norm(3, bad, 1e-5)), ("variance", not_negative));
        assert_eq!(parameter(norm(0, 1.0, bad.into())), ("epsilon", not_negative));
    }
    assert_eq!(parameter(norm(3, -1e-30, 1e-5)), ("variance", not_negative));
    assert_eq!(parameter(norm(0, 1.0, -1e-300)), ("epsilon", not_negative));
    // A variance of 0 needs an epsilon, and one that the root of which f32 can divide by.
    assert_eq!(parameter(norm(3, 0.0, 0.0)), ("affine scale", finite));
    assert_eq!(parameter(norm(3, 0.0, 1e-80)), ("affine scale", finite));
    assert_eq!(parameter(norm(2, f32::MAX, 1e-5).and(norm(3, 0.0, 0.0))), ("affine scale", finite));

    let (three, two) = (Array1::<f32>::ones(3), Array1::<f32>::ones(2));
    let plain = BatchNorm {
        gamma: three.view(),
        beta: three.view(),
        mean: three.view(),
        variance: three.view(),
        epsilon: 1e-5,
    };
    let two = two.view();
    assert_eq!(BatchNorm { beta: two, ..plain }.affine(), shape(Operand::Shift, 3, 2));
    assert_eq!(BatchNorm { mean: two, ..plain }.affine(), shape(Operand::Mean, 3, 2));
    assert_eq!(BatchNorm { variance: two, ..plain }.affine(), shape(Operand::Variance, 3, 2));

    let one = array![1.0f32];
    let gamma = one.broadcast(1 << 60).expect("a shape");
    let huge = BatchNorm { gamma, beta: gamma, mean: gamma, variance: gamma, epsilon: 0.0 };
    assert!(matches!(huge.affine(), Err(Error::TooLarge { .. })));
}

#[test]
fn what_cannot_be_folded() {
    let w = array![[1.0f32, -1.0], [1.0, 1.0], [-1.0, 1.0]];
    let packed = dense().pack(w.view()).expect("packed weights");
    let affine = Affine::new(vec![1.0f32; 2], vec![0.0; 2]).expect("finite numbers");
    let fold = |layer: &QFullyConnected| {
        let packed = layer.pack(w.view()).expect("packed weights");
        layer.fold(&packed, None, None, &SIGN())
    };
    assert_eq!(dense().fold(&packed, None, Some(&affine), &SIGN()), shape(Operand::Scale, 3, 2));
    let bias = |last| array![0.0f32, 1.0, last];
    let with = |bias: Array1<f32>| dense().fold(&packed, Some(bias.view()), None, &SIGN());
    assert!(with(bias(f32::MAX)).is_ok());
    assert_eq!(with(array![0.0, 1.0]), shape(Operand::Bias, 3, 2));
    assert_eq!(with(bias(f32::NAN)), Err(Error::NaN { operand: Operand::Bias }));
    assert_eq!(parameter(with(bias(f32::INFINITY))), ("bias", "a finite number"));

    let heaviside = dense().fold(&packed, None, None, &ActivationQuantizer::heaviside());
    assert!(matches!(heaviside, Err(Error::Unsupported { option: "activation quantizer", .. })));
    let k_map = dense().input_scaling(InputScaling::KMap);
    assert!(matches!(fold(&k_map), Err(Error::Unsupported { option: "input scaling", .. })));
    let width = |operand, bits| Err(Error::BitWidth { operand, expected: "1 to 8", bits });
    let wide = QFullyConnected::new(SIGN(), WeightQuantizer::identity());
    assert_eq!(fold(&wide), width(Operand::Weight, 32));
    let wide = ActivationQuantizer::dorefa(9).expect("a width");
    let wide = QFullyConnected::new(wide, WeightQuantizer::sign());
    assert_eq!(fold(&wide), width(Operand::Input, 9));
    let other = dense().scaling(Scaling::PerFilter).fold(&packed, None, None, &SIGN());
    assert!(matches!(other, Err(Error::PackedMismatch { property: "scaling", .. })));
    let other = conv().fold(&packed, None, None, &SIGN());
    assert!(matches!(other, Err(Error::PackedMismatch { property: "spatial dimensions", .. })));
}

/// Sizes of nothing: no filters, or no inputs.
#[test]
fn folding_nothing() {
    let fold = |w: Array2<f32>, shift| {
        let packed = dense().pack(w.view()).expect("packed weights");
        let affine = Affine::new(vec![1.0; w.nrows()], vec![shift; w.nrows()]).expect("numbers");
        dense().fold(&packed, None, Some(&affine), &SIGN()).expect("thresholds")
    };
    assert_eq!(fold(Array2::zeros((0, 3)), 0.0).filters(), 0);
    assert_eq!(fold(Array2::zeros((2, 0)), 0.5).is_positive(1, 0), Some(true));
    assert_eq!(fold(Array2::zeros((2, 0)), -0.5).is_positive(1, 0), Some(false));
}
