//! Activations scaled by the largest magnitude of their sample: BitNet's absmax
//! (<https://arxiv.org/abs/2402.17764>).

use crate::quantizer::Rounding;
use crate::{Element, Error, Operand, Result};
use ndarray::{ArrayView, Dimension};

/// The least magnitude that anything is scaled by, that of BitNet's code: zeros divide by it too.
pub(super) const LEAST_MAGNITUDE: f64 = 1e-5;

/// The largest code of either sign.
pub(super) fn max_signed(bits: u32) -> i64 {
    (1i64 << (bits - 1)) - 1
}

/// `max(max|x|, 1e-5)` over a sample.
pub(super) fn sample_scale<T: Element, D: Dimension>(
    index: usize,
    sample: &ArrayView<'_, T, D>,
) -> Result<T> {
    let max = match sample.as_slice_memory_order() {
        Some(sample) => max_magnitude(sample),
        None => sample.fold(T::zero(), |max, x| max.max(x.abs())),
    };
    if !max.is_finite() {
        let value = max.as_f64();
        return Err(Error::NonFiniteScale { operand: Operand::Input, index, value });
    }
    Ok(max.max(T::of(LEAST_MAGNITUDE)))
}

/// `max|x|` of values that are no NaN, many at a time.
fn max_magnitude<T: Element>(x: &[T]) -> T {
    let larger = |a: T, b: T| if a > b { a } else { b };
    let (chunks, rest) = x.as_chunks::<32>();
    let mut max = [T::zero(); 32];
    for chunk in chunks {
        max.iter_mut().zip(chunk).for_each(|(max, x)| *max = larger(x.abs(), *max));
    }
    max.into_iter().chain(rest.iter().map(|x| x.abs())).fold(T::zero(), larger)
}

/// `round(x scale)` counted from `-n`. With `scale = n / max|x|` it needs no clip: roundings move
/// the product off `n` by less than one half.
pub(super) fn absmax_code<T: Element>(x: T, scale: T, bits: u32, rounding: Rounding) -> u32 {
    absmax_number(x, scale, bits, rounding).as_code()
}

/// [`absmax_code`] as a number.
#[inline(always)]
pub(super) fn absmax_number<T: Element>(x: T, scale: T, bits: u32, rounding: Rounding) -> T {
    rounding.round(x * scale) + T::of_integer(max_signed(bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::aview1;

    fn codes<T: Element>(row: &[T], bits: u32) -> Vec<i64> {
        let magnitude = sample_scale(0, &aview1(row)).expect("finite numbers");
        let n = max_signed(bits);
        let scale = T::of_integer(n) / magnitude;
        let code = |&x: &T| i64::from(absmax_code(x, scale, bits, Rounding::HalfToEven)) - n;
        row.iter().map(code).collect()
    }

    /// From subnormal magnitudes up to the largest there is.
    #[test]
    fn the_largest_has_the_largest_code_at_every_magnitude() {
        for exponent in -149..128 {
            for fraction in [1.0f32, 1.0 + f32::EPSILON, 1.3, 1.999_999_9] {
                let x = fraction * 2f32.powi(exponent);
                for bits in 2..=8 {
                    let n = max_signed(bits) as f32;
                    let least = LEAST_MAGNITUDE as f32;
                    let expected = if x >= least { n } else { (x * (n / least)).round_ties_even() };
                    let expected = expected as i64;
                    assert_eq!(codes(&[x, -x, 0.0, -0.0], bits), [expected, -expected, 0, 0]);
                }
            }
        }
        assert_eq!(codes(&[f32::MAX, f32::MIN, f32::MAX / 2.0], 8), [127, -127, 64]);
        assert_eq!(codes(&[f64::MAX, f64::MIN, f64::MIN_POSITIVE], 8), [127, -127, 0]);
    }
}
