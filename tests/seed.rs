//! The case of BMXNet issue 30: a dense layer, called twice, must leave its weights alone.

use ndarray::{Array2, array};
use ndarray_qnn::QFullyConnected;

/// The 4x64 weights of the issue.
fn weights() -> Array2<f32> {
    let text = include_str!("golden/data/bmxnet/seed_issue30/seed_w.csv");
    let values = text.split([',', '\n']).map(str::trim).filter(|v| !v.is_empty());
    let values = values.map(|v| v.parse().expect("a number")).collect();
    Array2::from_shape_vec((4, 64), values).expect("4x64")
}

#[test]
fn weights_stay_and_results_repeat() {
    let w = weights();
    let before: Vec<u32> = w.iter().map(|w| w.to_bits()).collect();
    let data = Array2::<f32>::ones((1, 64));
    let fc = QFullyConnected::bmxnet_v1(2, 2).expect("widths");
    let expected = array![[-8.0f32, -10.0, 6.0, -16.0]] / 3.0;
    for _ in 0..2 {
        let y = fc.forward(data.view(), w.view(), None).expect("a result");
        assert_eq!(y, expected);
        let after: Vec<u32> = w.iter().map(|w| w.to_bits()).collect();
        assert_eq!(after, before);
    }
}
