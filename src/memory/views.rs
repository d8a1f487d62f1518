//! Slices as arrays, and arrays that there may be no memory for.

use crate::memory::{product, zeros};
use crate::{Error, Result};
use ndarray::{
    Array, ArrayView, ArrayView2, ArrayView5, ArrayViewMut, ArrayViewMut2, Axis, Dimension,
};

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

/// Calls `f` with the elements that lie at the same places of two arrays of one shape: with all of
/// them, or with pieces of a line where memory is not in the same order. What `f` does to many is
/// compiled once for each float, which a closure for each element would not be.
pub(crate) fn each_slice<A: Copy + Default, B: Copy + Default, D: Dimension>(
    from: &ArrayView<'_, A, D>,
    mut to: ArrayViewMut<'_, B, D>,
    f: &dyn Fn(&[A], &mut [B]),
) {
    const PIECE: usize = 128;
    if from.is_empty() {
        return; // there may be more lines than could be counted
    }
    if from.strides() == to.strides()
        && let Some(from) = from.as_slice_memory_order()
        && let Some(to) = to.as_slice_memory_order_mut()
    {
        return f(from, to);
    }
    let (mut a, mut b) = ([A::default(); PIECE], [B::default(); PIECE]);
    for (from, mut to) in from.rows().into_iter().zip(to.rows_mut()) {
        if let (Some(from), Some(to)) = (from.to_slice(), to.as_slice_mut()) {
            f(from, to);
            continue;
        }
        let pieces = from.axis_chunks_iter(Axis(0), PIECE);
        for (from, mut to) in pieces.zip(to.axis_chunks_iter_mut(Axis(0), PIECE)) {
            let (a, b) = (&mut a[..from.len()], &mut b[..from.len()]);
            a.iter_mut().zip(from).for_each(|(a, &from)| *a = from);
            b.iter_mut().zip(&to).for_each(|(b, &to)| *b = to);
            f(a, b);
            to.iter_mut().zip(b).for_each(|(to, &mut b)| *to = b);
        }
    }
}
