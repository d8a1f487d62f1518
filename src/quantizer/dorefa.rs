//! DoReFa-Net's quantizers (<https://arxiv.org/abs/1606.06160>): weights through tanh, activations
//! on the unit interval.

use crate::Element;
use crate::quantizer::{Rounding, max_code};
use ndarray::{Array, ArrayView, Dimension, Zip};

/// What DoReFa's weight quantizer hands down as the gradient of the latent weights, where `g` is
/// the gradient of the quantized ones, `t = tanh w` and `M = max|t|`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DorefaGradient {
    /// `g`: the straight-through estimator over the whole quantizer. BMXNet v1. The default.
    #[default]
    Identity,
    /// The derivative of `t / M`: straight through the rounding alone. Weights that share the
    /// maximum share its part. tensorpack, BMXNet-v2.
    True,
    /// `g (1 - t^2) / M`: as `True`, with `M` taken for a constant. Larq.
    StopMax,
}

/// `round(n clip(x, 0, 1))`, `n = 2^bits - 1`.
pub(super) fn unit_code<T: Element>(x: T, bits: u32, rounding: Rounding) -> u32 {
    // In f32 `n` rounds up to 2^k above 24 bits; the code must not.
    unit_number(x, bits, rounding).as_code().min(max_code(bits) as u32)
}

/// [`unit_code`] as a number.
#[inline(always)]
pub(super) fn unit_number<T: Element>(x: T, bits: u32, rounding: Rounding) -> T {
    rounding.round(unit(x) * T::of_integer(max_code(bits)))
}

/// `clip(x, 0, 1)`.
#[inline(always)]
pub(super) fn unit<T: Element>(x: T) -> T {
    x.max(T::zero()).min(T::one())
}

/// `max|tanh w|` over the tensor, 0 if it is empty.
pub(super) fn max_tanh<T: Element, D: Dimension>(w: &ArrayView<'_, T, D>) -> T {
    w.iter().fold(T::zero(), |max, &w| max.max(w.tanh().abs()))
}

/// `round(n (tanh w / 2M + 1/2))`; an all-zero tensor has `tanh w / M := 0`.
pub(super) fn dorefa_code<T: Element>(w: T, max_tanh: T, bits: u32, rounding: Rounding) -> u32 {
    let half = T::of(0.5);
    let unit = if max_tanh > T::zero() { w.tanh() / (T::of(2.0) * max_tanh) + half } else { half };
    unit_code(unit, bits, rounding)
}

/// Turns the gradient `g` of the quantized weights into that of the latent ones, `w`. All-zero
/// weights have none but with [`DorefaGradient::Identity`].
pub(super) fn dorefa_backward<T: Element, D: Dimension>(
    gradient: DorefaGradient,
    w: &ArrayView<'_, T, D>,
    g: &mut Array<T, D>,
) {
    if gradient == DorefaGradient::Identity {
        return;
    }
    let max = max_tanh(w);
    if max == T::zero() {
        return g.fill(T::zero());
    }
    // d(t_i / M) = dt_i / M - t_i dM / M^2, and M moves with the weights that reach it.
    let slope = |t: T| T::one() - t * t;
    let is_max = |w: T| w.tanh().abs() == max;
    let pull = if gradient == DorefaGradient::True {
        let ties = w.iter().filter(|&&w| is_max(w)).count();
        // Divided by M twice, as M^2 may be too small for a number.
        let pull: T = g.iter().zip(w).map(|(&g, &w)| g * (w.tanh() / max)).sum();
        pull / (max * T::of_integer(ties as i64))
    } else {
        T::zero()
    };
    Zip::from(g).and(w).for_each(|g, &w| {
        let pull = if is_max(w) { pull * w.signum() } else { T::zero() };
        *g = (*g / max - pull) * slope(w.tanh());
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;
    use ndarray::array;

    #[test]
    fn true_gradient_is_the_finite_difference_of_tanh_over_max() {
        let w = array![0.3f64, -1.2, 0.8, 0.05];
        let g = array![0.7, -0.4, 1.1, 0.2];
        let loss = |w: &ndarray::Array1<f64>| {
            let max = max_tanh(&w.view());
            w.iter().zip(&g).map(|(w, g)| g * w.tanh() / max).sum::<f64>()
        };
        let mut dw = g.clone();
        dorefa_backward(DorefaGradient::True, &w.view(), &mut dw);
        for i in 0..w.len() {
            let (mut up, mut down) = (w.clone(), w.clone());
            up[i] += 1e-6;
            down[i] -= 1e-6;
            assert_relative_eq!(dw[i], (loss(&up) - loss(&down)) / 2e-6, epsilon = 1e-7);
        }
    }

    #[test]
    fn true_gradient_of_tiny_weights_is_finite() {
        let w = array![1e-25f32, 5e-26];
        let mut dw = array![1.0, 0.5];
        dorefa_backward(DorefaGradient::True, &w.view(), &mut dw);
        // (1 - (1 + 0.5 / 2)) / M and 0.5 / M
        assert_relative_eq!(dw[0], -0.25e25, max_relative = 1e-6);
        assert_relative_eq!(dw[1], 0.5e25, max_relative = 1e-6);
    }

    #[test]
    fn codes_stay_in_range_at_every_width() {
        for bits in 1..=31 {
            for rounding in [Rounding::HalfAwayFromZero, Rounding::HalfToEven] {
                let n = max_code(bits) as u32;
                assert_eq!(unit_code(f32::INFINITY, bits, rounding), n);
                assert_eq!(unit_code(2.0f64, bits, rounding), n);
                assert_eq!(unit_code(f32::NEG_INFINITY, bits, rounding), 0);
                assert_eq!(dorefa_code(-3.0f32, 3.0f32.tanh(), bits, rounding), 0);
                assert_eq!(dorefa_code(3.0f32, 3.0f32.tanh(), bits, rounding), n);
            }
        }
    }
}
