//! Straight-through estimators: what stands in for the derivative of a staircase.

use crate::{Element, Error, Result};

/// The factor that a straight-through estimator (STE) puts on the gradient at `x`.
///
/// The derivative of a quantizer is zero nearly everywhere; training replaces it by one of these
/// (Bengio et al. 2013, <https://arxiv.org/abs/1308.3432>).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Ste {
    /// 1 everywhere: the gradient passes unchanged.
    #[default]
    Identity,
    /// 1 where `low <= x <= high`, else 0.
    Interval {
        /// The least `x` that the gradient passes at.
        low: f64,
        /// The greatest `x` that the gradient passes at.
        high: f64,
    },
    /// `2 - 2|x|` where `|x| <= threshold`, else 0. Bi-Real Net
    /// (<https://arxiv.org/abs/1808.00278>) and Larq have `threshold = 1`.
    ApproxSign {
        /// The greatest `|x|` that the gradient passes at.
        threshold: f64,
    },
    /// `beta (2 - beta x tanh(beta x / 2)) / (1 + cosh(beta x))`, the derivative of SignSwish:
    /// BNN+ (<https://arxiv.org/abs/1812.11800>). Larq has `beta = 5`.
    SwishSign {
        /// The steepness.
        beta: f64,
    },
}

impl Ste {
    /// 1 where `|x| <= threshold`, else 0. BMXNet v1 has 0.5 at 1 bit; BMXNet-v2 and Larq have 1.
    pub fn clip(threshold: f64) -> Self {
        Ste::Interval { low: -threshold, high: threshold }
    }

    /// 1 where `0 <= x <= 1`, else 0: the derivative of the clip in DoReFa's activations.
    pub fn unit() -> Self {
        Ste::Interval { low: 0.0, high: 1.0 }
    }

    /// The factor at `x`.
    pub fn factor<T: Element>(&self, x: T) -> T {
        let within = |inside: bool, factor: T| if inside { factor } else { T::zero() };
        match *self {
            Ste::Identity => T::one(),
            Ste::Interval { low, high } => within(x >= T::of(low) && x <= T::of(high), T::one()),
            Ste::ApproxSign { threshold } => {
                within(x.abs() <= T::of(threshold), T::of(2.0) - T::of(2.0) * x.abs())
            }
            Ste::SwishSign { beta } => {
                let beta = T::of(beta);
                let bx = beta * x;
                let numerator = T::of(2.0) - bx * (bx / T::of(2.0)).tanh();
                let cosh = bx.cosh();
                // Far out cosh overflows, and 0 is the limit; infinity / infinity would be NaN.
                within(cosh.is_finite(), beta * numerator / (T::one() + cosh))
            }
        }
    }

    /// Refuses parameters that no factor can be computed from.
    pub(crate) fn validate(&self) -> Result<()> {
        let refuse =
            |parameter, expected, value| Err(Error::Parameter { parameter, expected, value });
        match *self {
            Ste::Interval { low, high } if low.is_nan() || high.is_nan() || low > high => {
                refuse("STE interval", "low <= high", if low.is_nan() { low } else { high })
            }
            Ste::ApproxSign { threshold } if threshold.is_nan() || threshold < 0.0 => {
                refuse("STE threshold", "a number of at least 0", threshold)
            }
            Ste::SwishSign { beta } if !(beta.is_finite() && beta > 0.0) => {
                refuse("STE beta", "a finite number above 0", beta)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    #[test]
    fn windows_are_closed() {
        for ste in [Ste::clip(0.5), Ste::Interval { low: -0.5, high: 0.5 }] {
            assert_eq!(ste.factor(0.5f32), 1.0);
            assert_eq!(ste.factor(-0.5f32), 1.0);
            assert_eq!(ste.factor(0.5000001f32), 0.0);
        }
        assert_eq!(Ste::unit().factor(-0.0f64), 1.0);
        assert_eq!(Ste::ApproxSign { threshold: 1.0 }.factor(0.25f32), 1.5);
        assert_eq!(Ste::ApproxSign { threshold: 1.0 }.factor(1.5f32), 0.0);
    }

    #[test]
    fn swish_sign_is_the_derivative_of_sign_swish() {
        let beta = 5.0;
        let sign_swish = |x: f64| {
            let s = 1.0 / (1.0 + (-beta * x).exp());
            2.0 * s * (1.0 + beta * x * (1.0 - s)) - 1.0
        };
        for x in [-2.0, -0.3, 0.0, 0.1, 1.7] {
            let slope = (sign_swish(x + 1e-6) - sign_swish(x - 1e-6)) / 2e-6;
            assert_relative_eq!(Ste::SwishSign { beta }.factor(x), slope, epsilon = 1e-6);
        }
        assert_eq!(Ste::SwishSign { beta }.factor(1e30f32), 0.0);
        assert_eq!(Ste::SwishSign { beta }.factor(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn bad_parameters_are_refused() {
        assert!(Ste::clip(-1.0).validate().is_err());
        assert!(Ste::clip(f64::NAN).validate().is_err());
        assert!(Ste::ApproxSign { threshold: -0.1 }.validate().is_err());
        assert!(Ste::SwishSign { beta: 0.0 }.validate().is_err());
        assert!(Ste::clip(f64::INFINITY).validate().is_ok());
    }
}
