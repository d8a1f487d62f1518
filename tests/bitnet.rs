//! BitNet b1.58 (Ma et al. 2024, <https://arxiv.org/abs/2402.17764>) as its authors wrote it down,
//! in f32 and number by number, against the preset.

use ndarray::{Array1, Array2, Array4, ArrayView2, Axis, array, s};
use ndarray_qnn::{
    ActivationQuantizer, Error, Operand, QActivation, QConvolution, QFullyConnected, Rounding,
    WeightQuantizer,
};
use proptest::prelude::*;

/// `scale = 127 / max|x|.clamp(1e-5)`, `codes = (x scale).round().clamp(-128, 127)`, for a row.
fn activation_quant(x: &[f32]) -> (Vec<f32>, f32) {
    let scale = 127.0 / x.iter().fold(1e-5f32, |max, x| max.max(x.abs()));
    (x.iter().map(|x| (x * scale).round_ties_even().clamp(-128.0, 127.0)).collect(), scale)
}

/// `scale = 1 / mean|w|.clamp(1e-5)`, `codes = (w scale).round().clamp(-1, 1)`, for all weights.
fn weight_quant(w: ArrayView2<'_, f32>) -> (Array2<f32>, f32) {
    let mean = w.iter().map(|w| f64::from(w.abs())).sum::<f64>() / w.len() as f64;
    let scale = 1.0 / (mean as f32).max(1e-5);
    (w.mapv(|w| (w * scale).round_ties_even().clamp(-1.0, 1.0)), scale)
}

/// Codes and scale of every row.
fn quantize_rows(x: &Array2<f32>) -> (Array2<f32>, Array1<f32>) {
    let (mut codes, mut scales) = (x.clone(), Array1::zeros(x.nrows()));
    for (mut row, scale) in codes.outer_iter_mut().zip(&mut scales) {
        let (quantized, row_scale) = activation_quant(&row.to_vec());
        row.assign(&Array1::from(quantized));
        *scale = row_scale;
    }
    (codes, scales)
}

fn assert_close(found: &Array2<f32>, expected: &Array2<f64>, size: &Array2<f64>) {
    assert_eq!(found.shape(), expected.shape());
    for ((&found, &expected), &size) in found.iter().zip(expected).zip(size) {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= 8.0 * f64::from(f32::EPSILON) * size, "{found} for {expected}");
    }
}

fn wide(values: &Array2<f32>) -> Array2<f64> {
    values.mapv(f64::from)
}

/// Normal numbers of many magnitudes, grids with ties, and zeros.
fn numbers() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => -3.0f32..3.0,
        3 => (-64i8..=64).prop_map(|i| f32::from(i) / 16.0),
        1 => (-1.0f32..1.0, -40i32..40).prop_map(|(x, exponent)| x * 2f32.powi(exponent)),
        1 => Just(0.0f32),
    ]
}

fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = Array2<f32>> {
    prop::collection::vec(numbers(), rows * columns)
        .prop_map(move |values| Array2::from_shape_vec((rows, columns), values).expect("a matrix"))
}

fn layers() -> impl Strategy<Value = [Array2<f32>; 3]> {
    (1usize..=5, 1usize..=40, 1usize..=6).prop_flat_map(|(batch, inputs, filters)| {
        (matrix(batch, inputs), matrix(filters, inputs), matrix(batch, filters))
            .prop_map(<[Array2<f32>; 3]>::from)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn layers_are_those_of_the_authors([x, w, dy] in layers()) {
        let layer = QFullyConnected::bitnet_b158();
        let (x_codes, x_scales) = quantize_rows(&x);
        let (w_codes, w_scale) = weight_quant(w.view());

        let codes = layer.activation().codes(x.view()).expect("codes");
        prop_assert_eq!(codes.mapv(|code| code as f32 - 127.0), x_codes.clone());
        let codes = layer.weight().codes(w.view()).expect("codes");
        // Mean and quotient are rounded elsewhere: next to a tie a code may be its neighbour.
        for ((&code, &expected), &w) in codes.iter().zip(&w_codes).zip(&w) {
            let at_a_tie = ((w * w_scale).abs() - 0.5).abs() < 1e-6;
            prop_assert!(at_a_tie || code as f32 - 1.0 == expected, "{code} for {w}");
        }
        let w_codes = codes.mapv(|code| f64::from(code) - 1.0);

        let qx = wide(&x_codes) / x_scales.mapv(f64::from).insert_axis(Axis(1));
        let qw = &w_codes / f64::from(w_scale);
        let abs = |values: &Array2<f64>| values.mapv(f64::abs);
        assert_close(&layer.activation().quantize(x.view()).expect("numbers"), &qx, &abs(&qx));
        assert_close(&layer.weight().quantize(w.view()).expect("numbers"), &qw, &abs(&qw));

        // Sums of codes are exact: what is off is off by the roundings of their scales alone.
        let y = layer.forward(x.view(), w.view(), None).expect("a result");
        let scales = x_scales.mapv(|scale| f64::from(scale) * f64::from(w_scale));
        let expected = wide(&x_codes).dot(&w_codes.t()) / scales.insert_axis(Axis(1));
        assert_close(&y, &expected, &abs(&expected));
        let packed = layer.pack(w.view()).expect("packed weights");
        prop_assert_eq!(layer.forward_packed(x.view(), &packed, None), Ok(y));

        // Straight through: y = (x + (q(x) - x).detach()) @ (w + (q(w) - w).detach()).T
        let gradients = layer.backward(dy.view(), x.view(), w.view()).expect("gradients");
        let dy = wide(&dy);
        assert_close(&gradients.input, &dy.dot(&qw), &abs(&dy).dot(&abs(&qw)));
        assert_close(&gradients.weight, &dy.t().dot(&qx), &abs(&dy).t().dot(&abs(&qx)));
    }

    /// What a row becomes is its own affair.
    #[test]
    fn rows_do_not_know_of_each_other([x, w, _] in layers()) {
        let layer = QFullyConnected::bitnet_b158();
        let y = layer.forward(x.view(), w.view(), None).expect("a result");
        for row in 0..x.nrows() {
            let alone = s![row..row + 1, ..];
            let found = layer.forward(x.slice(alone), w.view(), None);
            prop_assert_eq!(found, Ok(y.slice(alone).to_owned()));
        }
    }
}

#[test]
fn a_layer_by_hand() {
    let x = array![[127.0f32, 2.5, 3.5, -0.5], [0.0, 0.0, 0.0, 0.0], [-4.0, 2.0, 1.0, 0.0]];
    let w = array![[1.5f32, 0.5, -0.75, 0.0], [-2.5, 0.25, 0.5, 2.0]]; // mean|w| = 1
    let layer = QFullyConnected::bitnet_b158();
    let codes = layer.activation().codes(x.view()).expect("codes").mapv(|code| code as i32 - 127);
    // Scales 1, 12.7e6 and 31.75; ties go to even, also 2 * 31.75 = 63.5.
    assert_eq!(codes, array![[127, 2, 4, 0], [0, 0, 0, 0], [-127, 64, 32, 0]]);
    let codes = layer.weight().codes(w.view()).expect("codes").mapv(|code| code as i32 - 1);
    assert_eq!(codes, array![[1, 0, -1, 0], [-1, 0, 0, 1]]);
    let y = layer.forward(x.view(), w.view(), Some(array![1.0, 2.0].view())).expect("a result");
    let expected = array![[124.0f32, -125.0], [1.0, 2.0], [1.0 - 159.0 / 31.75, 6.0]];
    assert!((&y - &expected).iter().all(|error| error.abs() < 1e-5), "{y}");

    // Away from zero 2.5 and -0.5 are 3 and -1, and 0.5 is 1.
    let away = layer.activation().rounding(Rounding::HalfAwayFromZero);
    let codes = away.codes(x.view()).expect("codes").mapv(|code| code as i32 - 127);
    assert_eq!(codes.row(0), array![127, 3, 4, -1]);
    let away = layer.weight().rounding(Rounding::HalfAwayFromZero);
    let codes = away.codes(w.view()).expect("codes").mapv(|code| code as i32 - 1);
    assert_eq!(codes, array![[1, 1, -1, 0], [-1, 0, 1, 1]]);
}

#[test]
fn packed_weights_know_how_they_were_rounded() {
    let layer = QFullyConnected::bitnet_b158();
    let w = array![[0.5f32, 1.5]];
    let packed = layer.pack(w.view()).expect("packed weights");
    let x = array![[1.0f32, 1.0]];
    assert!(layer.forward_packed(x.view(), &packed, None).is_ok());
    let other = QFullyConnected::new(*layer.activation(), WeightQuantizer::absmean());
    let refused = other.forward_packed(x.view(), &packed, None);
    assert!(matches!(refused, Err(Error::PackedMismatch { property: "quantizer", .. })));
}

/// Rows of zeros, of numbers too small for a code, of the largest there are.
#[test]
fn rows_of_any_magnitude() {
    let layer = QFullyConnected::bitnet_b158();
    let tiny = f32::from_bits(1);
    let x = array![[0.0f32, -0.0], [tiny, -tiny], [1e-8, 1e-9], [f32::MAX, f32::MIN], [1e-5, 5e-6]];
    let w = array![[1.0f32, 0.0], [1.0, -1.0]]; // mean|w| = 0.75
    let quantized = layer.activation().quantize(x.view()).expect("numbers");
    let expected = array![[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [f32::MAX, f32::MIN]];
    assert_eq!(quantized.slice(s![..4, ..]), expected);
    let y = layer.forward(x.view(), w.view(), None).expect("a result");
    assert_eq!(y.slice(s![..3, ..]), Array2::<f32>::zeros((3, 2)));
    assert_eq!(y[(3, 0)], 0.75 * f32::MAX);
    assert_eq!(y[(3, 1)], f32::INFINITY); // 1.5 times the largest number
    assert!((y[(4, 1)] - 0.75 * (1.0 - 64.0 / 127.0) * 1e-5).abs() < 1e-11);

    // The same sizes as weights: scales of at least 1e-5, and codes of whatever the mean says.
    for (w, codes) in [
        (array![[0.0f32, -0.0]], [0, 0]),
        (array![[tiny, -tiny]], [0, 0]),
        (array![[4e-6f32, -6e-6]], [0, -1]),
        (array![[f32::MAX, f32::MIN]], [1, -1]),
    ] {
        let found = layer.weight().codes(w.view()).expect("codes").mapv(|code| code as i32 - 1);
        assert_eq!(found, array![codes]);
        let quantized = layer.weight().quantize(w.view()).expect("numbers");
        assert!(quantized.iter().all(|w| w.is_finite()));
    }
}

#[test]
fn a_row_with_an_infinity_has_no_scale() {
    let refused =
        |index| Error::NonFiniteScale { operand: Operand::Input, index, value: f64::INFINITY };
    let mut x = Array2::<f32>::ones((3, 2));
    x[(1, 0)] = f32::NEG_INFINITY;
    let w = array![[1.0f32, -1.0]];
    let layer = QFullyConnected::bitnet_b158();
    let packed = layer.pack(w.view()).expect("packed weights");
    assert_eq!(layer.forward(x.view(), w.view(), None), Err(refused(1)));
    assert_eq!(layer.forward_packed(x.view(), &packed, None), Err(refused(1)));
    let dy = Array2::ones((3, 1));
    assert_eq!(layer.backward(dy.view(), x.view(), w.view()), Err(refused(1)));
    // Floats on the other side: another path.
    let float = QFullyConnected::new(*layer.activation(), WeightQuantizer::identity());
    assert_eq!(float.forward(x.view(), w.view(), None), Err(refused(1)));
    assert_eq!(layer.activation().codes(x.view()), Err(refused(1)));
    let activation = QActivation::new(*layer.activation());
    let mut out = Array2::from_elem((3, 2), 7.0);
    assert_eq!(activation.forward_into(x.view(), out.view_mut()), Err(refused(1)));
    assert_eq!(out, Array2::from_elem((3, 2), 7.0));
    // As an image.
    let x = x.into_shape_with_order((3, 1, 1, 2)).expect("images");
    let conv = QConvolution::<2>::new(*layer.activation(), *layer.weight());
    let w = Array4::ones((1, 1, 1, 1));
    assert_eq!(conv.forward(x.view(), w.view(), None), Err(refused(1)));
    // A NaN comes first.
    let x = array![[f32::INFINITY, f32::NAN]];
    let nan = Err(Error::NaN { operand: Operand::Input });
    assert_eq!(layer.activation().codes(x.view()), nan);

    let w = array![[1.0f32, f32::INFINITY]];
    let refused =
        Error::NonFiniteScale { operand: Operand::Weight, index: 0, value: f64::INFINITY };
    assert_eq!(layer.pack(w.view()), Err(refused));
}

#[test]
fn layers_of_nothing() {
    let layer = QFullyConnected::bitnet_b158();
    for (batch, inputs, filters) in [(0, 3, 2), (2, 0, 3), (2, 3, 0), (0, 0, 2), (0, 0, 0)] {
        let (x, w) = (Array2::<f32>::ones((batch, inputs)), Array2::ones((filters, inputs)));
        let bias = Array1::from_elem(filters, 0.5);
        let y = layer.forward(x.view(), w.view(), Some(bias.view())).expect("a result");
        let expected = if inputs == 0 { 0.5 } else { 3.5 };
        assert_eq!(y, Array2::from_elem((batch, filters), expected));
        let dy = Array2::ones((batch, filters));
        let gradients = layer.backward(dy.view(), x.view(), w.view()).expect("gradients");
        assert_eq!(gradients.input, Array2::from_elem((batch, inputs), filters as f32));
        assert_eq!(gradients.weight, Array2::from_elem((filters, inputs), batch as f32));
        let activation = QActivation::new(*layer.activation());
        assert_eq!(activation.forward(x.view()), Ok(x));
    }
    // A number has no axis of samples, and is one.
    let one = ndarray::arr0(-3.0f32);
    assert_eq!(layer.activation().quantize(one.view()), Ok(one));
}

/// A convolution scales whole images, as the quantizer does that is given them.
#[test]
fn convolutions_scale_by_image() {
    let x = Array4::from_shape_fn((3, 2, 5, 4), |(n, c, h, w)| {
        ((7 * n + 5 * c + 3 * h + w) as f32).sin() * 10f32.powi(n as i32)
    });
    let w = Array4::from_shape_fn((4, 2, 3, 3), |(f, c, h, w)| ((f + 2 * c + h * w) as f32).cos());
    let absmax = ActivationQuantizer::absmax(8).expect("a width");
    let conv =
        |activation| QConvolution::<2>::new(activation, WeightQuantizer::absmean()).padding([1, 1]);
    let y = conv(absmax).forward(x.view(), w.view(), None).expect("a result");
    let quantized = absmax.quantize(x.view()).expect("numbers");
    let expected = conv(ActivationQuantizer::identity()).forward(quantized.view(), w.view(), None);
    for (&found, &expected) in y.iter().zip(&expected.expect("a result")) {
        assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found}, {expected}");
    }
    let alone = conv(absmax).forward(x.slice(s![1..2, .., .., ..]), w.view(), None);
    assert_eq!(alone, Ok(y.slice(s![1..2, .., .., ..]).to_owned()));
}
