//! Slices as arrays, and arrays that there may be no memory for.

use crate::memory::{product, zeros};
use crate::{Error, Result};
use ndarray::{Array, ArrayView2, ArrayView5, ArrayViewMut2, Dimension};

/// A slice as a tensor in standard layout.
pub(crate) fn view5<T>(shape: [usize; 5], values: &[T]) -> ArrayView5<'_, T> {
    ArrayView5::from_shape(shape, values).expect("sizes agree")
}

/// The first `rows * columns` elements as a matrix.
pub(crate) fn matrix<T>(rows: usize, columns: usize, values: &[T]) -> ArrayView2<'_, T> {
    ArrayView2::from_shape((rows, columns), &values[..rows * columns]).expect("sizes agree")
}

/// The same, to write to.
pub(crate) fn matrix_mut<T>(rows: usize, columns: usize, values: &mut [T]) -> ArrayViewMut2<'_, T> {
    ArrayViewMut2::from_shape((rows, columns), &mut values[..rows * columns]).expect("sizes agree")
}

/// An array of zeros, if there is memory for it.
pub(crate) fn zeros_array<T: Copy + Default, D: Dimension>(
    shape: D,
    what: &'static str,
) -> Result<Array<T, D>> {
    let zeros = zeros(product(shape.slice(), what)?, what)?;
    let elements = zeros.len();
    Array::from_shape_vec(shape, zeros).map_err(|_| Error::TooLarge { what, elements })
}
