//! Floating-point numbers and their matrix product, which the quantized ones are compared with.

use gemm::{Parallelism, gemm};
use ndarray::{Array, ArrayView2, ArrayViewMut2, ShapeBuilder};

/// Numbers of both signs.
pub(crate) fn numbers<S: ShapeBuilder>(shape: S, seed: u64) -> Array<f32, S::Dim> {
    let mut state = seed | 1;
    Array::from_shape_simple_fn(shape, || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
}

/// `y = x w` by the gemm crate, on one thread.
pub(crate) fn float_gemm(x: ArrayView2<f32>, w: ArrayView2<f32>, y: ArrayViewMut2<f32>) {
    call_gemm(x, w, y, false);
}

/// `y += x w` by the gemm crate, on one thread.
pub(crate) fn add_float_gemm(x: ArrayView2<f32>, w: ArrayView2<f32>, y: ArrayViewMut2<f32>) {
    call_gemm(x, w, y, true);
}

#[allow(unsafe_code)]
fn call_gemm(x: ArrayView2<f32>, w: ArrayView2<f32>, mut y: ArrayViewMut2<f32>, add: bool) {
    let ((m, k), n) = (x.dim(), w.ncols());
    assert!(w.nrows() == k && y.dim() == (m, n));
    // SAFETY: views hold what their strides reach, and their sizes have just been checked.
    unsafe {
        gemm(
            m,
            n,
            k,
            y.as_mut_ptr(),
            y.strides()[1],
            y.strides()[0],
            add,
            x.as_ptr(),
            x.strides()[1],
            x.strides()[0],
            w.as_ptr(),
            w.strides()[1],
            w.strides()[0],
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// The first `rows * columns` numbers as a matrix.
pub(crate) fn matrix(rows: usize, columns: usize, values: &[f32]) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape((rows, columns), &values[..rows * columns]).expect("sizes agree")
}

/// The same, to write to.
pub(crate) fn matrix_mut(
    rows: usize,
    columns: usize,
    values: &mut [f32],
) -> ArrayViewMut2<'_, f32> {
    ArrayViewMut2::from_shape((rows, columns), &mut values[..rows * columns]).expect("sizes agree")
}
