//! The only place where integers become floats.
//!
//! 1. exact integer: what the kernel summed becomes the numerator of the dot product
//! 2. one division by the common denominator (none for signs)
//! 3. BMXNet's offset, folded into 1. for integers
//! 4. the filter's scale, XNOR-Net's K, the bias
//!
//! With activations `(s_a c_a + o_a) / d_a` and weights `(s_w c_w + o_w) / d_w` (see
//! [`Levels`]), sums over the K products of a dot give
//!
//! ```text
//! d_a d_w dot = s_a s_w Σ c_a c_w + s_a o_w Σ c_a + o_a s_w Σ c_w + K o_a o_w
//! ```
//!
//! and for bits `2 Σ c_a c_w = Σ c_a + Σ c_w - popcount(a xor b)`. Everything is kept doubled, so
//! that the halves stay integers.

use crate::Element;
use crate::geometry::Geometry;
use crate::options::{OutputForm, PadValue};
use crate::quantizer::Levels;
use ndarray::ArrayViewMut1;
use std::ops::{Add, Mul, Shr};

/// Length of rows from which on the sums of bits no longer fit into `i32` with their factors.
pub(crate) const LONG_ROW: usize = 1 << 26;

/// Longest row whose sums of products of bytes fit into `i64` with their factors. Only operands
/// without elements have longer ones.
pub(crate) const LONGEST_ROW: u64 = 1 << 43;

/// What a kernel sums over a row and a filter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Summed {
    /// `popcount(a xor b)`.
    DifferingBits,
    /// `Σ c_a c_w`.
    CodeProducts,
}

/// From kernel sums to twice the numerator of the dot product.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numerator {
    /// Factor of the kernel's sum.
    product: i64,
    /// Factor of `Σ c_a`.
    row: i64,
    /// Factor of `Σ c_w`.
    filter: i64,
    /// The rest.
    constant: i64,
    denominator: i64,
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
        let (product, half) = match summed {
            Summed::DifferingBits => (-both, both),
            Summed::CodeProducts => (2 * both, 0),
        };
        let numerator = Numerator {
            product,
            row: half + 2 * row,
            filter: half + 2 * filter,
            constant: 2 * constant,
            denominator,
        };
        match form {
            OutputForm::Dot => numerator,
            // (K + n / d) / 2 = (K d + n) / 2d
            OutputForm::Offset { .. } => Numerator {
                constant: numerator.constant + 2 * k * denominator,
                denominator: 2 * denominator,
                ..numerator
            },
        }
    }

    /// What is added for a filter whose codes have the given sum.
    pub(crate) fn addend(&self, code_sum: i64) -> i64 {
        self.filter * code_sum + self.constant
    }
}

/// How a padded position enters exact arithmetic: as a code, and as a multiple of the sum of its
/// tap's weights that makes up for what no code stands for.
pub(crate) fn pad_code(activation: Levels, pad: PadValue) -> (u8, i64) {
    let wanted = pad.as_integer() * activation.denominator();
    let largest = (1u32 << activation.bits()) - 1;
    match [0, largest].into_iter().find(|&code| activation.numerator(code) == wanted) {
        Some(code) => (code as u8, 0),
        None => (0, wanted - activation.numerator(0)),
    }
}

/// Everything that happens to a sum on its way to the output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epilogue<'a, T> {
    pub(crate) numerator: Numerator,
    /// [`Numerator::addend`] of each filter.
    pub(crate) addends: &'a [i64],
    /// Twice the numerator that each padded `[tap][filter]` adds, or nothing.
    pub(crate) pad_addends: &'a [i64],
    pub(crate) form: OutputForm,
    /// Products in a dot product.
    pub(crate) row_len: usize,
    /// Scale of each filter, or nothing.
    pub(crate) factors: &'a [T],
    /// Bias of each filter, or nothing.
    pub(crate) bias: &'a [T],
}

/// What the epilogue has to know of a row besides its sums.
pub(crate) struct Row<'a, T> {
    pub(crate) geometry: &'a Geometry,
    /// The output position that the row is the window of.
    pub(crate) position: usize,
    /// The filter of the first sum.
    pub(crate) first: usize,
    /// `Σ c_a`, if it is wanted.
    pub(crate) code_sum: i64,
    /// XNOR-Net's K, or 1.
    pub(crate) k: T,
}

impl<T: Element> Epilogue<'_, T> {
    /// The sum of a row's codes, computed only if it is wanted.
    pub(crate) fn row_sum(&self, sum: impl FnOnce() -> i64) -> i64 {
        if self.numerator.row == 0 { 0 } else { sum() }
    }

    /// Writes the outputs of one position from its integer sums, which are used up.
    #[inline(always)]
    pub(crate) fn finish_integers<I: Integer>(
        &self,
        row: &Row<'_, T>,
        sums: &mut [I],
        mut out: ArrayViewMut1<'_, T>,
    ) {
        let numerator = &self.numerator;
        let product = I::of(numerator.product);
        let row_addend = I::of(numerator.row * row.code_sum);
        let sums = &mut sums[..out.len()];
        for (sum, &addend) in sums.iter_mut().zip(&self.addends[row.first..]) {
            *sum = product * *sum + (row_addend + I::of(addend));
        }
        if !self.pad_addends.is_empty() {
            row.geometry.for_each_tap(row.position, |tap, pixel| {
                if pixel.is_none() {
                    let addends = &self.pad_addends[tap * self.addends.len() + row.first..];
                    for (sum, &addend) in sums.iter_mut().zip(addends) {
                        *sum = *sum + I::of(addend);
                    }
                }
            });
        }
        // Twice a numerator is even, so nothing is lost.
        zip(&mut out, sums, |out, sum| *out = T::of_integer((sum >> 1).into()));
        if numerator.denominator != 1 {
            let denominator = T::of_integer(numerator.denominator);
            each(&mut out, |out| *out /= denominator);
        }
        self.scale(row, out);
    }

    /// Writes the outputs of one position from its dot products.
    #[inline(always)]
    pub(crate) fn finish_floats(
        &self,
        row: &Row<'_, T>,
        dots: &[T],
        mut out: ArrayViewMut1<'_, T>,
    ) {
        match self.form {
            OutputForm::Dot => zip(&mut out, dots, |out, dot| *out = dot),
            OutputForm::Offset { .. } => {
                let len = T::of_integer(self.row_len as i64);
                zip(&mut out, dots, |out, dot| *out = (len + dot) / T::of(2.0));
            }
        }
        self.scale(row, out);
    }

    #[inline(always)]
    fn scale(&self, row: &Row<'_, T>, mut out: ArrayViewMut1<'_, T>) {
        if !self.factors.is_empty() {
            zip(&mut out, &self.factors[row.first..], |out, factor| *out *= factor);
        }
        if row.k != T::one() {
            each(&mut out, |out| *out *= row.k);
        }
        if !self.bias.is_empty() {
            zip(&mut out, &self.bias[row.first..], |out, bias| *out += bias);
        }
    }
}

/// What integer sums are held in.
pub(crate) trait Integer:
    Copy + Add<Output = Self> + Mul<Output = Self> + Shr<u32, Output = Self> + Into<i64>
{
    /// A value that is known to fit.
    fn of(value: i64) -> Self;
}

impl Integer for i32 {
    fn of(value: i64) -> Self {
        value as i32
    }
}

impl Integer for i64 {
    fn of(value: i64) -> Self {
        value
    }
}

/// Visits the outputs with one value each. Slices apart, so that their loop is vectorized.
#[inline(always)]
fn zip<T, V: Copy>(out: &mut ArrayViewMut1<'_, T>, values: &[V], f: impl Fn(&mut T, V)) {
    match out.as_slice_mut() {
        Some(out) => out.iter_mut().zip(values).for_each(|(out, &value)| f(out, value)),
        None => out.iter_mut().zip(values).for_each(|(out, &value)| f(out, value)),
    }
}

#[inline(always)]
fn each<T>(out: &mut ArrayViewMut1<'_, T>, f: impl Fn(&mut T)) {
    match out.as_slice_mut() {
        Some(out) => out.iter_mut().for_each(f),
        None => out.iter_mut().for_each(f),
    }
}
