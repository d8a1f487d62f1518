//! From what a kernel sums to the numerator of a dot product.
//!
//! With activations `(s_a c_a + o_a) / d_a` and weights `(s_w c_w + o_w) / d_w` (see
//! [`Levels`]), sums over the K products of a dot give
//!
//! ```text
//! d_a d_w dot = s_a s_w Σ c_a c_w + s_a o_w Σ c_a + o_a s_w Σ c_w + K o_a o_w
//! ```
//!
//! Codes of `m` and `n` bits in planes, `c_a = Σ 2^i a_i` and `c_w = Σ 2^j b_j`, are multiplied bit
//! by bit, and `2 a b = a + b - (a xor b)` makes
//!
//! ```text
//! 2 Σ c_a c_w = (2^n - 1) Σ c_a + (2^m - 1) Σ c_w - Σ 2^(i + j) popcount(a_i xor b_j)
//! ```
//!
//! Everything is kept doubled, so that the halves stay integers.

use crate::Element;
use crate::epilogue::padding::Padding;
use crate::kernel::Kernel;
use crate::options::{OutputForm, PadValue};
use crate::quantizer::Levels;
use std::ops::{Add, Mul};

/// Whether the sums of [`Summed::DifferingBits`] fit into 32 bits.
pub(crate) fn differing_bits_fit(activation: Levels, weight: Levels, row_len: usize) -> bool {
    let largest = i128::from(activation.largest_code() * weight.largest_code());
    largest * row_len as i128 <= i128::from(i32::MAX)
}

/// What a kernel sums over a row and a filter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Summed {
    /// `Σ 2^(i + j) popcount(a_i xor b_j)`.
    DifferingBits,
    /// `Σ c_a (c_w - center)`.
    CodeProducts {
        /// What was subtracted from the codes of the weights.
        center: u32,
    },
}

/// From kernel sums to twice the numerator of the dot product.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numerator {
    /// Factor of the kernel's sum.
    pub(crate) product: i64,
    /// Factor of `Σ c_a`.
    pub(crate) row: i64,
    /// Factor of `Σ c_w`.
    filter: i64,
    /// The rest.
    constant: i64,
    pub(crate) denominator: i64,
}

impl Numerator {
    pub(crate) fn new(
        summed: Summed,
        activation: Levels,
        weight: Levels,
        row_len: usize,
        form: OutputForm,
    ) -> Self {
        let k = row_len as i64;
        let both = activation.step() * weight.step();
        let row = activation.step() * weight.offset();
        let filter = activation.offset() * weight.step();
        let constant = k * activation.offset() * weight.offset();
        let denominator = activation.denominator() * weight.denominator();
        let (product, row_half, filter_half) = match summed {
            Summed::DifferingBits => {
                (-both, both * weight.largest_code(), both * activation.largest_code())
            }
            Summed::CodeProducts { center } => (2 * both, 2 * both * i64::from(center), 0),
        };
        let numerator = Numerator {
            product,
            row: row_half + 2 * row,
            filter: filter_half + 2 * filter,
            constant: 2 * constant,
            denominator,
        };
        numerator.in_form(row_len, form)
    }

    /// Of sums that are numerators of dot products themselves.
    pub(crate) fn of_numerators(
        activation: Levels,
        weight: Levels,
        row_len: usize,
        form: OutputForm,
    ) -> Self {
        let denominator = activation.denominator() * weight.denominator();
        Numerator { product: 2, denominator, ..Default::default() }.in_form(row_len, form)
    }

    fn in_form(self, row_len: usize, form: OutputForm) -> Self {
        match form {
            OutputForm::Dot => self,
            // (K + n / d) / 2 = (K d + n) / 2d
            OutputForm::Offset { .. } => Numerator {
                constant: self.constant + 2 * row_len as i64 * self.denominator,
                denominator: 2 * self.denominator,
                ..self
            },
        }
    }

    /// What everything that is computed with it fits into, with what padding adds, and thresholds
    /// no larger than numerators.
    pub(crate) fn precision(
        &self,
        activation: Levels,
        weight: Levels,
        row_len: usize,
    ) -> Precision {
        let (a, w) = (activation.largest_code(), weight.largest_code());
        let sums = self.product.abs() * a * w + self.row.abs() * a + self.filter.abs() * w;
        let largest = activation.denominator().max(activation.largest_numerator());
        let padding = 2 * largest * weight.largest_numerator();
        let threshold = 4 * self.denominator;
        let each = i128::from(sums + padding + threshold);
        match each * row_len as i128 + i128::from(self.constant.abs()) {
            all if all <= 1 << f32::MANTISSA_DIGITS => Precision::Float,
            all if all <= i128::from(i32::MAX) => Precision::Narrow,
            _ => Precision::Wide,
        }
    }

    /// What is added for a filter whose codes have the given sum.
    pub(crate) fn addend(&self, code_sum: i64) -> i64 {
        self.filter * code_sum + self.constant
    }
}

/// What numerators are computed in: see [`Carrier`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Precision {
    /// `f32`: needs no conversion at last.
    Float,
    /// `i32`.
    Narrow,
    /// `i64`.
    #[default]
    Wide,
}

/// A type that numerators are computed in, without rounding.
pub(crate) trait Carrier:
    Copy + PartialOrd + Add<Output = Self> + Mul<Output = Self>
{
    /// From twice a value that is known to fit.
    fn of_twice(twice: i64) -> Self;
    fn to_float<T: Element>(self) -> T;
    /// What is added to the sum of each filter, `[kind of position][filter]`.
    fn addends(padding: &Padding) -> &[Self];
}

impl Carrier for f32 {
    #[inline(always)]
    fn of_twice(twice: i64) -> Self {
        twice as f32 * 0.5
    }
    #[inline(always)]
    fn to_float<T: Element>(self) -> T {
        T::of_f32(self)
    }
    #[inline(always)]
    fn addends(padding: &Padding) -> &[Self] {
        padding.float()
    }
}

/// Twice the numerator.
impl Carrier for i32 {
    #[inline(always)]
    fn of_twice(twice: i64) -> Self {
        twice as i32
    }
    #[inline(always)]
    fn to_float<T: Element>(self) -> T {
        T::of_i32(self >> 1) // it is even
    }
    #[inline(always)]
    fn addends(padding: &Padding) -> &[Self] {
        padding.narrow()
    }
}

/// Twice the numerator.
impl Carrier for i64 {
    #[inline(always)]
    fn of_twice(twice: i64) -> Self {
        twice
    }
    #[inline(always)]
    fn to_float<T: Element>(self) -> T {
        T::of_integer(self >> 1)
    }
    #[inline(always)]
    fn addends(padding: &Padding) -> &[Self] {
        padding.wide()
    }
}

/// A kernel's sum, which a carrier holds without rounding.
pub(crate) trait SumIn<C: Carrier>: Copy {
    fn carried(self) -> C;

    /// Bit `i` is set where the numerator of `sums[i]` is `least` or more.
    #[inline(always)]
    fn at_least(_: Kernel, sums: &[Self; 32], product: C, addends: &[C; 32], least: C) -> u32 {
        let bit = |i: usize| u32::from(product * sums[i].carried() + addends[i] >= least);
        (0..32).fold(0, |bits, i| bits | bit(i) << i)
    }
}

impl SumIn<f32> for i32 {
    #[inline(always)]
    fn carried(self) -> f32 {
        self as f32
    }

    #[inline(always)]
    fn at_least(
        kernel: Kernel,
        sums: &[i32; 32],
        product: f32,
        addends: &[f32; 32],
        least: f32,
    ) -> u32 {
        kernel.at_least(sums, product, addends, least)
    }
}

impl SumIn<i32> for i32 {
    #[inline(always)]
    fn carried(self) -> i32 {
        self
    }
}

impl<S: Copy + Into<i64>> SumIn<i64> for S {
    #[inline(always)]
    fn carried(self) -> i64 {
        self.into()
    }
}

/// How a padded position enters exact arithmetic: as a code, and as a multiple of the sum of its
/// tap's weights that makes up for what no code stands for.
pub(crate) fn pad_code(activation: Levels, pad: PadValue) -> (u8, i64) {
    let wanted = pad.as_integer() * activation.denominator();
    let mut codes = 0..1u32 << activation.bits();
    match codes.find(|&code| activation.numerator(code) == wanted) {
        Some(code) => (code as u8, 0),
        None => (0, wanted - activation.numerator(0)),
    }
}

#[cfg(test)]
mod tests;
