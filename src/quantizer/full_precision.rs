//! The functions of a QActivation that does not quantize (32 bits).

use crate::Element;

/// A full-precision activation: what BMXNet's QActivation computes at 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FullPrecision {
    /// `x`.
    #[default]
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `clip(x, -1, 1)`.
    Clip,
    /// `clip(x, 0, 1)`, with the gradient straight through: BMXNet v1 at 32 bits.
    UnitClip,
    /// `x` where `|x| <= 1`, else `0.1 x`: BMXNet-v2.
    LeakyClip,
    /// `sign(x) (2|x| - x^2)` where `|x| <= 1`, else `sign(x)`: Bi-Real Net, BMXNet-v2.
    ApproxSign,
}

impl FullPrecision {
    /// The function at `x`.
    pub fn value<T: Element>(&self, x: T) -> T {
        let (zero, one) = (T::zero(), T::one());
        match self {
            FullPrecision::Identity => x,
            FullPrecision::Relu => x.max(zero),
            FullPrecision::Clip => x.max(-one).min(one),
            FullPrecision::UnitClip => x.max(zero).min(one),
            FullPrecision::LeakyClip if x.abs() <= one => x,
            FullPrecision::LeakyClip => T::of(0.1) * x,
            FullPrecision::ApproxSign if x.abs() <= one => x * (T::of(2.0) - x.abs()),
            FullPrecision::ApproxSign => x.signum(),
        }
    }

    /// Its derivative at `x`, or what stands in for it; clips count their ends as inside, ReLU has
    /// 0 at 0.
    pub fn derivative<T: Element>(&self, x: T) -> T {
        let (zero, one) = (T::zero(), T::one());
        let inside = |inside: bool, outside: T| if inside { one } else { outside };
        match self {
            FullPrecision::Identity | FullPrecision::UnitClip => one,
            FullPrecision::Relu => inside(x > zero, zero),
            FullPrecision::Clip => inside(x.abs() <= one, zero),
            FullPrecision::LeakyClip => inside(x.abs() <= one, T::of(0.1)),
            FullPrecision::ApproxSign if x.abs() <= one => T::of(2.0) - T::of(2.0) * x.abs(),
            FullPrecision::ApproxSign => zero,
        }
    }
}
