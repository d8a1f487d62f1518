//! Ternary weights: -1, 0, +1.

use crate::quantizer::Rounding;
use crate::quantizer::absmax::LEAST_MAGNITUDE;
use crate::quantizer::sign::{finite_scale, mean_magnitude, tensor_magnitude};
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

/// BitNet's scale: `max(mean|w|, 1e-5)` over the tensor.
pub(super) fn absmean<T: Element, D: Dimension>(w: &ArrayView<'_, T, D>) -> Result<T> {
    Ok(tensor_magnitude(w)?.max(T::of(LEAST_MAGNITUDE)))
}

/// 0, 1, 2 for `clip(round(w / g), -1, 1)`, given `g / 2`: only there the rounding has a choice.
pub(super) fn absmean_code<T: Element>(w: T, half: T, rounding: Rounding) -> u32 {
    match rounding {
        Rounding::HalfAwayFromZero => ternary_code(w, half),
        Rounding::HalfToEven => 1 + u32::from(w > half) - u32::from(w < -half),
    }
}
