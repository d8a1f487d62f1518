//! Zero-point terms: from what a kernel sums to the numerator of a dot product, without rounding.
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
use crate::kernel::{PANEL, Vector};
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

/// From a kernel's sum to twice the numerator of the dot product.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ZeroPoints {
    /// Factor of the kernel's sum.
    pub(crate) sum_factor: i64,
    /// Factor of `Σ c_a`.
    pub(crate) row_factor: i64,
    /// Factor of `Σ c_w`.
    filter_factor: i64,
    /// The rest.
    constant: i64,
    pub(crate) denominator: i64,
}

impl ZeroPoints {
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
        let (sum_factor, row_half, filter_half) = match summed {
            Summed::DifferingBits => {
                (-both, both * weight.largest_code(), both * activation.largest_code())
            }
            Summed::CodeProducts { center } => (2 * both, 2 * both * i64::from(center), 0),
        };
        let terms = ZeroPoints {
            sum_factor,
            row_factor: row_half + 2 * row,
            filter_factor: filter_half + 2 * filter,
            constant: 2 * constant,
            denominator,
        };
        terms.in_form(row_len, form)
    }

    /// Of sums that are numerators of dot products themselves.
    pub(crate) fn of_numerators(
        activation: Levels,
        weight: Levels,
        row_len: usize,
        form: OutputForm,
    ) -> Self {
        let denominator = activation.denominator() * weight.denominator();
        ZeroPoints { sum_factor: 2, denominator, ..Default::default() }.in_form(row_len, form)
    }

    fn in_form(self, row_len: usize, form: OutputForm) -> Self {
        match form {
            OutputForm::Dot => self,
            // (K + n / d) / 2 = (K d + n) / 2d
            OutputForm::Offset { .. } => ZeroPoints {
                constant: self.constant + 2 * row_len as i64 * self.denominator,
                denominator: 2 * self.denominator,
                ..self
            },
        }
    }

    /// What everything that is computed with it fits into, with what padding adds, and thresholds
    /// no larger than numerators.
    pub(crate) fn accumulator(
        &self,
        activation: Levels,
        weight: Levels,
        row_len: usize,
    ) -> Accumulator {
        let (a, w) = (activation.largest_code(), weight.largest_code());
        let filter = self.filter_factor.abs() * w;
        let sums = self.sum_factor.abs() * a * w + self.row_factor.abs() * a + filter;
        let largest = activation.denominator().max(activation.largest_numerator());
        let padding = 2 * largest * weight.largest_numerator();
        let threshold = 4 * self.denominator;
        let each = i128::from(sums + padding + threshold);
        match each * row_len as i128 + i128::from(self.constant.abs()) {
            all if all <= 1 << f32::MANTISSA_DIGITS => Accumulator::F32,
            all if all <= i128::from(i32::MAX) => Accumulator::I32,
            _ => Accumulator::I64,
        }
    }

    /// What is added to the sums of a filter whose codes sum up to this.
    pub(crate) fn offset(&self, code_sum: i64) -> i64 {
        self.filter_factor * code_sum + self.constant
    }
}

/// What numerators are computed in: see [`Exact`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Accumulator {
    /// Needs no conversion at last.
    F32,
    I32,
    #[default]
    I64,
}

/// A type that numerators are computed in, without rounding. Integers hold twice the numerator.
pub(crate) trait Exact:
    Copy + Default + PartialOrd + Add<Output = Self> + Mul<Output = Self>
{
    /// From twice a value that is known to fit.
    fn of_twice(twice: i64) -> Self;
    fn of_sum(sum: i32) -> Self;
    fn to_float<T: Element>(self) -> T;
    /// The slice of this type.
    fn pick<'a>(f32: &'a [f32], i32: &'a [i32], i64: &'a [i64]) -> &'a [Self];
}

impl Exact for f32 {
    #[inline(always)]
    fn of_twice(twice: i64) -> Self {
        twice as f32 * 0.5
    }
    #[inline(always)]
    fn of_sum(sum: i32) -> Self {
        sum as f32
    }
    #[inline(always)]
    fn to_float<T: Element>(self) -> T {
        T::of_f32(self)
    }
    #[inline(always)]
    fn pick<'a>(f32: &'a [f32], _: &'a [i32], _: &'a [i64]) -> &'a [Self] {
        f32
    }
}

impl Exact for i32 {
    #[inline(always)]
    fn of_twice(twice: i64) -> Self {
        twice as i32
    }
    #[inline(always)]
    fn of_sum(sum: i32) -> Self {
        sum
    }
    #[inline(always)]
    fn to_float<T: Element>(self) -> T {
        T::of_i32(self >> 1) // it is even
    }
    #[inline(always)]
    fn pick<'a>(_: &'a [f32], i32: &'a [i32], _: &'a [i64]) -> &'a [Self] {
        i32
    }
}

impl Exact for i64 {
    #[inline(always)]
    fn of_twice(twice: i64) -> Self {
        twice
    }
    #[inline(always)]
    fn of_sum(sum: i32) -> Self {
        sum.into()
    }
    #[inline(always)]
    fn to_float<T: Element>(self) -> T {
        T::of_integer(self >> 1)
    }
    #[inline(always)]
    fn pick<'a>(_: &'a [f32], _: &'a [i32], i64: &'a [i64]) -> &'a [Self] {
        i64
    }
}

/// A sum of a kernel, which an accumulator holds.
pub(crate) trait Sum<A>: Copy {
    fn accumulated(self) -> A;
}

impl<A: Exact> Sum<A> for i32 {
    #[inline(always)]
    fn accumulated(self) -> A {
        A::of_sum(self)
    }
}

impl Sum<i64> for i64 {
    #[inline(always)]
    fn accumulated(self) -> i64 {
        self
    }
}

/// An accumulator in vectors. Lanes of no filter may hold anything.
pub(crate) trait ExactLanes: Exact {
    type Lanes<V: Vector>: Copy;
    fn splat<V: Vector>(self, v: V) -> Self::Lanes<V>;
    fn load<V: Vector>(v: V, from: &[Self; PANEL]) -> Self::Lanes<V>;
    /// `factor * sums + (offsets + of_row)`.
    fn numerators<V: Vector>(
        v: V,
        factor: Self::Lanes<V>,
        sums: V::Ints,
        offsets: [Self::Lanes<V>; 2],
    ) -> Self::Lanes<V>;
    fn to_floats<V: Vector>(v: V, numerators: Self::Lanes<V>) -> V::Floats;
    /// Bit `f` is set where lane `f` is 0 or more.
    fn are_positive<V: Vector>(v: V, numerators: Self::Lanes<V>) -> u16;
}

impl ExactLanes for f32 {
    type Lanes<V: Vector> = V::Floats;
    #[inline(always)]
    fn splat<V: Vector>(self, v: V) -> V::Floats {
        v.floats(self)
    }
    #[inline(always)]
    fn load<V: Vector>(v: V, from: &[f32; PANEL]) -> V::Floats {
        v.load(from)
    }
    #[inline(always)]
    fn numerators<V: Vector>(
        v: V,
        factor: V::Floats,
        sums: V::Ints,
        [offsets, of_row]: [V::Floats; 2],
    ) -> V::Floats {
        v.mul_add_exact(factor, v.to_floats(sums), v.add(offsets, of_row))
    }
    #[inline(always)]
    fn to_floats<V: Vector>(_: V, numerators: V::Floats) -> V::Floats {
        numerators
    }
    #[inline(always)]
    fn are_positive<V: Vector>(v: V, numerators: V::Floats) -> u16 {
        v.at_least(numerators, v.floats(0.0))
    }
}

impl ExactLanes for i32 {
    type Lanes<V: Vector> = V::Ints;
    #[inline(always)]
    fn splat<V: Vector>(self, v: V) -> V::Ints {
        v.ints(self)
    }
    #[inline(always)]
    fn load<V: Vector>(v: V, from: &[i32; PANEL]) -> V::Ints {
        v.load_ints(from)
    }
    #[inline(always)]
    fn numerators<V: Vector>(
        v: V,
        factor: V::Ints,
        sums: V::Ints,
        [offsets, of_row]: [V::Ints; 2],
    ) -> V::Ints {
        v.add_ints(v.mul_ints(factor, sums), v.add_ints(offsets, of_row))
    }
    #[inline(always)]
    fn to_floats<V: Vector>(v: V, numerators: V::Ints) -> V::Floats {
        v.to_floats(v.shift_right_1(numerators))
    }
    #[inline(always)]
    fn are_positive<V: Vector>(v: V, numerators: V::Ints) -> u16 {
        v.ints_at_least(numerators, v.ints(0))
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
