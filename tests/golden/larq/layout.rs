//! Keras keeps channels and filters last, we keep them first: the same memory in permuted views.

use ndarray::{ArrayD, ArrayViewD};
use ndarray_qnn::Element;

/// (N, spatial..., C) as (N, C, spatial...).
pub(crate) fn channels_first<T>(x: ArrayViewD<'_, T>) -> ArrayViewD<'_, T> {
    let rank = x.ndim();
    let mut axes = vec![0, rank - 1];
    axes.extend(1..rank - 1);
    x.permuted_axes(axes)
}

/// (N, C, spatial...) as (N, spatial..., C), in that order of memory.
pub(crate) fn channels_last<T: Element>(x: ArrayD<T>) -> ArrayD<T> {
    let mut axes = vec![0];
    axes.extend(2..x.ndim());
    axes.push(1);
    x.permuted_axes(axes).as_standard_layout().into_owned()
}

/// (spatial..., I, O) as (O, I, spatial...).
pub(crate) fn filters_first<T>(w: ArrayViewD<'_, T>) -> ArrayViewD<'_, T> {
    let rank = w.ndim();
    let mut axes = vec![rank - 1, rank - 2];
    axes.extend(0..rank - 2);
    w.permuted_axes(axes)
}

/// (O, I, spatial...) as (spatial..., I, O), in that order of memory.
pub(crate) fn filters_last<T: Element>(w: ArrayD<T>) -> ArrayD<T> {
    let mut axes: Vec<usize> = (2..w.ndim()).collect();
    axes.extend([1, 0]);
    w.permuted_axes(axes).as_standard_layout().into_owned()
}

/// The last axis moved to the front, the others in their order.
pub(crate) fn last_axis_first<T>(w: ArrayViewD<'_, T>) -> ArrayViewD<'_, T> {
    let last = w.ndim() - 1;
    let mut axes = vec![last];
    axes.extend(0..last);
    w.permuted_axes(axes)
}
