//! The 1-bit family: sign, Heaviside, and the magnitudes that scale a sign.

use crate::memory::reserve;
use crate::quantizer::Levels;
use crate::{Element, Error, Operand, Result};
use ndarray::{ArrayView, Axis, Dimension};

/// Where a 1-bit code turns from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Threshold<T> {
    /// 1 where `x >= t`.
    AtLeast(T),
    /// 1 where `x > t`.
    Above(T),
}

impl<T: Element> Threshold<T> {
    /// The sign. A comparison, not the raw sign bit: -0 counts as +1.
    pub(crate) fn sign() -> Self {
        Threshold::AtLeast(T::zero())
    }

    pub(crate) fn heaviside() -> Self {
        Threshold::Above(T::zero())
    }

    /// The number at which the code turns.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) fn number(self) -> T {
        match self {
            Threshold::AtLeast(t) | Threshold::Above(t) => t,
        }
    }

    /// The same of a number that is made of it.
    pub(crate) fn map<U>(self, f: impl Fn(T) -> U) -> Threshold<U> {
        match self {
            Threshold::AtLeast(t) => Threshold::AtLeast(f(t)),
            Threshold::Above(t) => Threshold::Above(f(t)),
        }
    }

    /// Whether that number itself still has the code 0.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Threshold::Above(_))
    }

    #[inline]
    pub(crate) fn code(self, x: T) -> u32 {
        match self {
            Threshold::AtLeast(t) => u32::from(x >= t),
            Threshold::Above(t) => u32::from(x > t),
        }
    }
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
