//! Max pooling over any number of spatial axes.

use ndarray::{ArrayD, Dimension, IxDyn, indices};
use ndarray_qnn::Element;

/// The greatest number of each window of `x` (N, C, spatial...), where padding is -∞. Of each axis
/// a window has `[kernel, stride, padding before, padding after]`.
pub(crate) fn max_pool<T: Element>(x: &ArrayD<T>, windows: &[[usize; 4]]) -> ArrayD<T> {
    let mut shape = x.shape().to_vec();
    for (len, &[kernel, stride, before, after]) in shape[2..].iter_mut().zip(windows) {
        *len = (*len + before + after - kernel) / stride + 1;
    }
    let kernel: Vec<usize> = windows.iter().map(|window| window[0]).collect();
    ArrayD::from_shape_fn(shape, |at| {
        let seen = indices(IxDyn(&kernel)).into_iter().filter_map(|tap| {
            let mut place = at.slice().to_vec();
            let axes = place[2..].iter_mut().zip(tap.slice()).zip(windows);
            for ((place, tap), &[_, stride, before, _]) in axes {
                *place = (*place * stride + tap).checked_sub(before)?;
            }
            x.get(IxDyn(&place)).copied()
        });
        seen.fold(T::neg_infinity(), T::max)
    })
}
