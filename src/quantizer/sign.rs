//! The 1-bit family: sign, Heaviside, and the magnitudes that scale a sign.

use crate::memory::reserve;
use crate::quantizer::Levels;
use crate::{Element, Error, Operand, Result};
use ndarray::{ArrayView, Axis, Dimension};

/// The code of the sign. A comparison, not the raw sign bit: -0 counts as +1.
#[inline(always)]
pub(super) fn sign_code<T: Element>(x: T) -> u32 {
    u32::from(x >= T::zero())
}

#[inline(always)]
pub(super) fn heaviside_code<T: Element>(x: T) -> u32 {
    u32::from(x > T::zero())
}

/// The `t` with which `x >= t` is `x > limit`: the next number, as there is none between the two.
/// Heaviside's is the smallest denormal, which gets the code 1 itself, and 0 and -0 the code 0.
/// Above 0 that is a denormal: a host that has the CPU read denormals as 0 has 0 reach it.
pub(super) fn above<T: Element>(limit: T) -> T {
    limit.next_up()
}

/// Codes 0 and 1 for 0 and 1.
pub(super) fn heaviside_levels() -> Levels {
    Levels::unit(1)
}

/// `mean|w|` over a whole tensor, 0 if it is empty.
pub(crate) fn mean_magnitude<T: Element, D: Dimension>(w: &ArrayView<'_, T, D>) -> f64 {
    // Summed in f64 and in logical order: the same whatever the memory layout.
    let sum: f64 = w.iter().map(|x| x.abs().as_f64()).sum();
    sum / w.len().max(1) as f64
}

/// `mean|w|` of each filter, that is of each index along axis 0.
pub(crate) fn filter_magnitudes<T: Element, D: Dimension + ndarray::RemoveAxis>(
    w: &ArrayView<'_, T, D>,
) -> Result<Vec<T>> {
    let mut magnitudes = Vec::new();
    reserve(&mut magnitudes, w.len_of(Axis(0)), "filter scales")?;
    for (f, filter) in w.axis_iter(Axis(0)).enumerate() {
        magnitudes.push(finite_scale(Operand::Weight, f, mean_magnitude(&filter))?);
    }
    Ok(magnitudes)
}

/// `mean|w|` of the tensor, as one scale.
pub(crate) fn tensor_magnitude<T: Element, D: Dimension>(w: &ArrayView<'_, T, D>) -> Result<T> {
    finite_scale(Operand::Weight, 0, mean_magnitude(w))
}

/// A scale as a number of the operator's type, which must be able to hold it.
pub(crate) fn finite_scale<T: Element>(operand: Operand, index: usize, value: f64) -> Result<T> {
    let scale = T::of(value);
    if scale.is_finite() { Ok(scale) } else { Err(Error::NonFiniteScale { operand, index, value }) }
}
