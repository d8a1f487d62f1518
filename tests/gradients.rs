//! Gradients of more images and windows than are computed at a time, against naive loops. All terms
//! are small integers, so that sums are exact in any order.

#[path = "reference/convolution.rs"]
#[allow(dead_code)]
mod convolution;

use convolution::Correlation;
use ndarray::{Array3, Array4, Array5, ArrayView4, Axis, array};
use ndarray_qnn::{ActivationQuantizer, Element, PadValue, QConvolution, Ste, WeightQuantizer};

struct Case {
    /// (N, C, H, W)
    x: [usize; 4],
    filters: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    padding: usize,
    groups: usize,
}

const CASES: [Case; 8] = [
    // Two tiles an image, an image a part.
    Case {
        x: [9, 4, 25, 24],
        filters: 6,
        kernel: 3,
        stride: 1,
        dilation: 1,
        padding: 1,
        groups: 1,
    },
    // Two images a tile, the last alone.
    Case {
        x: [17, 6, 15, 16],
        filters: 4,
        kernel: 3,
        stride: 1,
        dilation: 2,
        padding: 2,
        groups: 2,
    },
    // Few windows: added to the pixels.
    Case {
        x: [3, 4, 25, 51],
        filters: 3,
        kernel: 3,
        stride: 2,
        dilation: 1,
        padding: 1,
        groups: 1,
    },
    Case { x: [30, 2, 5, 5], filters: 3, kernel: 4, stride: 1, dilation: 1, padding: 0, groups: 1 },
    // More filters than are gathered.
    Case {
        x: [3, 2, 23, 25],
        filters: 10,
        kernel: 3,
        stride: 1,
        dilation: 1,
        padding: 1,
        groups: 2,
    },
    // More padding than a window can see.
    Case {
        x: [2, 3, 23, 25],
        filters: 3,
        kernel: 2,
        stride: 1,
        dilation: 1,
        padding: 3,
        groups: 1,
    },
    // Windows that are pixels.
    Case {
        x: [5, 7, 23, 25],
        filters: 5,
        kernel: 1,
        stride: 1,
        dilation: 1,
        padding: 0,
        groups: 1,
    },
    Case {
        x: [4, 6, 20, 20],
        filters: 6,
        kernel: 5,
        stride: 1,
        dilation: 1,
        padding: 2,
        groups: 6,
    },
];

/// Numbers between -3.5 and 3.5, one apart, none of them 0.
fn numbers(shape: [usize; 4], seed: u64) -> Array4<f64> {
    let mut state = seed;
    Array4::from_shape_simple_fn(shape, || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((state >> 33) % 8) as f64 - 3.5
    })
}

fn sign(x: f64) -> f64 {
    if x >= 0.0 { 1.0 } else { -1.0 }
}

fn check<T: Element>(case: &Case, last: bool) {
    let Case { x: sizes, filters, kernel, stride, dilation, padding, groups } = *case;
    let window = Correlation {
        stride: [1, stride, stride],
        dilation: [1, dilation, dilation],
        padding: [[0; 2], [padding; 2], [padding; 2]],
        groups,
    };
    let x = numbers(sizes, 1);
    let w = numbers([filters, sizes[1] / groups, kernel, kernel], 2);
    let lift = |values: &Array4<f64>| values.clone().insert_axis(Axis(2));
    let (qx, qw) = (lift(&x.mapv(sign)), lift(&w.mapv(sign)));
    let y = window.forward(&qx, &qw, -1.0).index_axis_move(Axis(2), 0);
    let dy = numbers(y.dim().into(), 3).mapv(f64::round);
    let (mut dx, dw): (Array5<f64>, _) = window.backward(&lift(&dy), &qx, &qw, -1.0);
    dx.zip_mut_with(&lift(&x), |dx, x| *dx *= if x.abs() <= 1.5 { 1.0 } else { 0.0 });

    // Channels last in memory, or not.
    let hold = |values: ArrayView4<'_, f64>| {
        let values = values.mapv(T::of);
        match last {
            false => values,
            true => {
                let nhwc = values.permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned();
                nhwc.permuted_axes([0, 3, 1, 2])
            }
        }
    };
    let (x, dy, w) = (hold(x.view()), hold(dy.view()), w.mapv(T::of));
    let activation = ActivationQuantizer::sign().ste(Ste::clip(1.5));
    let gradients = QConvolution::<2>::new(activation, WeightQuantizer::sign())
        .stride([stride; 2])
        .dilation([dilation; 2])
        .padding([padding; 2])
        .groups(groups)
        .pad_value(PadValue::MinusOne)
        .backward(dy.view(), x.view(), w.view())
        .expect("gradients");
    assert_eq!(lift(&gradients.input.mapv(T::as_f64)), dx, "{sizes:?}");
    assert_eq!(lift(&gradients.weight.mapv(T::as_f64)), dw, "{sizes:?}");
    let bias = dy.mapv(T::as_f64).sum_axis(Axis(3)).sum_axis(Axis(2)).sum_axis(Axis(0));
    assert_eq!(gradients.bias.mapv(T::as_f64), bias, "{sizes:?}");
}

#[test]
fn gradients_of_many_windows_are_those_of_naive_loops() {
    for case in &CASES {
        check::<f32>(case, false);
        check::<f32>(case, true);
        check::<f64>(case, true);
    }
}

/// The last images of a part are fewer than those before, and are cut into longer tiles.
#[test]
fn fewer_images_in_longer_tiles() {
    let conv = QConvolution::<1>::new(ActivationQuantizer::sign(), WeightQuantizer::sign());
    for (images, width) in [(7, 130), (5, 172), (9, 100), (130, 7), (17, 66)] {
        let (x, w) = (Array3::<f32>::ones((images, 1, width)), Array3::ones((1, 1, 3)));
        let dy = Array3::from_elem((images, 1, width - 2), 3.0);
        let gradients = conv.backward(dy.view(), x.view(), w.view()).expect("sizes fit");
        let tap = 3.0 * (images * (width - 2)) as f32;
        assert_eq!(gradients.weight, array![[[tap, tap, tap]]], "{images} x {width}");
        assert_eq!(gradients.bias, array![tap]);
        assert!(gradients.input.iter().all(|&dx| [3.0, 6.0, 9.0].contains(&dx)));
    }
}
