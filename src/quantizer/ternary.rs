//! Ternary weights: -1, 0, +1.

use crate::quantizer::sign::{finite_scale, mean_magnitude};
use crate::{Element, Error, Operand, Result};
use ndarray::{ArrayView, Dimension};

/// Where the zero of ternary weights ends: `|w| < t` becomes 0, the rest its sign.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum TernaryThreshold {
    /// The same `t` for every tensor. Larq's `ste_tern` has 0.05.
    Fixed(f64),
    /// `t = 0.7 mean|w|` over the tensor: Ternary Weight Networks
    /// (<https://arxiv.org/abs/1605.04711>).
    MeanMagnitude,
}

impl TernaryThreshold {
    pub(super) fn of<T: Element, D: Dimension>(&self, w: &ArrayView<'_, T, D>) -> Result<T> {
        match *self {
            TernaryThreshold::Fixed(t) => Ok(T::of(t)),
            TernaryThreshold::MeanMagnitude => {
                finite_scale(Operand::Weight, 0, 0.7 * mean_magnitude(w))
            }
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        match *self {
            TernaryThreshold::Fixed(t) if t.is_nan() || t < 0.0 => Err(Error::Parameter {
                parameter: "ternary threshold",
                expected: "a number of at least 0",
                value: t,
            }),
            _ => Ok(()),
        }
    }
}

/// 0, 1, 2 for -1, 0, +1. The interval of the zero is open, and 0 itself is always 0.
pub(super) fn ternary_code<T: Element>(w: T, threshold: T) -> u32 {
    let zero = T::zero();
    1 + u32::from(w >= threshold && w > zero) - u32::from(w <= -threshold && w < zero)
}
