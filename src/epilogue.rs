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
    pub(crate) fn finish_integers(
        &self,
        row: &Row<'_, T>,
        sums: &mut [i64],
        out: ArrayViewMut1<'_, T>,
    ) {
        let numerator = &self.numerator;
        let row_addend = numerator.row * row.code_sum;
        for (sum, addend) in sums.iter_mut().zip(&self.addends[row.first..]) {
            *sum = numerator.product * *sum + row_addend + addend;
        }
        if !self.pad_addends.is_empty() {
            row.geometry.for_each_tap(row.position, |tap, pixel| {
                if pixel.is_none() {
                    let addends = &self.pad_addends[tap * self.addends.len() + row.first..];
                    for (sum, addend) in sums.iter_mut().zip(addends) {
                        *sum += addend;
                    }
                }
            });
        }
        // Twice a numerator is even, so nothing is lost.
        let denominator = T::of_integer(numerator.denominator);
        let numbers = sums.iter().map(|&sum| T::of_integer(sum / 2) / denominator);
        self.scale(row, numbers, out);
    }

    /// Writes the outputs of one position from its dot products.
    pub(crate) fn finish_floats(&self, row: &Row<'_, T>, dots: &[T], out: ArrayViewMut1<'_, T>) {
        let dots = dots.iter().copied();
        match self.form {
            OutputForm::Dot => self.scale(row, dots, out),
            OutputForm::Offset { .. } => {
                let len = T::of_integer(self.row_len as i64);
                self.scale(row, dots.map(|dot| (len + dot) / T::of(2.0)), out);
            }
        }
    }

    fn scale(&self, row: &Row<'_, T>, numbers: impl Iterator<Item = T>, out: ArrayViewMut1<'_, T>) {
        let has_factors = !self.factors.is_empty();
        let has_bias = !self.bias.is_empty();
        for (f, (out, mut number)) in (row.first..).zip(out.into_iter().zip(numbers)) {
            if has_factors {
                number *= self.factors[f];
            }
            number *= row.k;
            if has_bias {
                number += self.bias[f];
            }
            *out = number;
        }
    }
}
