//! How many bits of a row differ from those of a filter: the 1-bit matrix product.
//!
//! Of the words of `a ^ b`, two at a time are added up bit by bit to the running parity `s`. With
//! `x`, `y` the two words and `n` the next parity,
//!
//! ```text
//! s + x + y = 2 c + n,     n = s ^ x ^ y,     c = maj(s, x, y) = if s ^ x { y } else { x }
//! Σ popcount(words) = 2 Σ popcount(c) + popcount(last n)
//! ```
//!
//! which takes one popcount for two words: the first layer of a carry-save adder tree (Harley and
//! Seal; Muła, Kurz and Lemire, <https://arxiv.org/abs/1611.07612>). With ternary logic the two
//! xors with `b` cost nothing: `s ^ a ^ b` is one instruction, and `c` a function of the parity
//! before, between and after both words, so that two words take five. Further layers save nothing
//! more: a full adder costs as much as the popcount and the addition that it saves.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use super::{Isa, Kernel, PANEL, Rows};
use ndarray::ArrayViewMut2;
use std::any::TypeId;

/// Filters in bit planes, of whole panels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilterPlanes<'a> {
    /// From the first panel of the lowest plane on.
    pub(crate) words: &'a [u32],
    /// Words of all panels in a plane.
    pub(crate) len: usize,
    pub(crate) planes: usize,
    /// Words from a plane to the next.
    pub(crate) step: usize,
}

/// Makes an output of the bits that differ between a row and filter `f`, which count `2^(i + j)` in
/// plane `i` of the row and plane `j` of the filter:
/// `(product * differing + addend) / denominator * factors[f] + bias[f]`.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(crate) struct ToFloats<'a> {
    /// Nothing must need rounding before the division.
    pub(crate) product: f32,
    pub(crate) addends: Addends<'a>,
    /// An integer of less than 23 bits.
    pub(crate) denominator: f32,
    /// One for each filter, or nothing.
    pub(crate) factors: &'a [f32],
    /// One for each filter, or nothing.
    pub(crate) bias: &'a [f32],
}

/// Makes signs of the same: a bit that is set where `product * differing + addend` is 0 or more,
/// unless it is turned over.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(crate) struct ToSigns<'a> {
    /// Nothing must need rounding.
    pub(crate) product: f32,
    pub(crate) addends: Addends<'a>,
    /// Bits that are turned over, 32 filters a word.
    pub(crate) flips: &'a [u32],
}

/// What is added for a filter and a row: `addends[kind of the row][f] + factor * sums[row]`.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(crate) struct Addends<'a> {
    /// Those of the first kind of rows, then the others.
    pub(crate) addends: &'a [f32],
    pub(crate) filters: usize,
    /// From the addends of a kind to those of the next.
    pub(crate) stride: usize,
    /// The kind of each row, or nothing if all are of the first.
    pub(crate) kinds: &'a [u32],
    /// One of each row, or nothing.
    pub(crate) sums: &'a [i64],
    /// What they are multiplied with.
    pub(crate) factor: f32,
}

impl Addends<'_> {
    /// Whether there are addends of every kind, and a kind of every row.
    fn fit(&self, rows: usize) -> bool {
        let last = self.kinds.iter().max().map_or(0, |&kind| kind as usize);
        let end = last.checked_mul(self.stride).and_then(|start| start.checked_add(self.filters));
        [self.kinds.len(), self.sums.len()].iter().all(|len| [0, rows].contains(len))
            && end.is_some_and(|end| end <= self.addends.len())
    }
}

impl Kernel {
    /// Writes to `sums[row * stride + filter]` how many bits of a row differ from a filter.
    ///
    /// `panels` are whole panels, one after the other, of filters with as many words as the rows.
    ///
    /// # Panics
    /// If `panels` or `sums` have other lengths than that takes.
    pub(crate) fn count_differing(
        self,
        rows: Rows<'_>,
        panels: &[u32],
        sums: &mut [i32],
        stride: usize,
    ) {
        let filters = panels.len() / rows.offsets().len().max(1);
        assert!(panels.len() == filters * rows.offsets().len() && filters.is_multiple_of(PANEL));
        let Some(others) = rows.count().checked_sub(1) else { return };
        let end = others.checked_mul(stride).and_then(|start| start.checked_add(filters));
        assert!(stride >= filters && end.is_some_and(|end| end <= sums.len()));
        match self.vectors() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX-512, as `self` proves; the lengths have just been checked.
            Isa::Avx512 => unsafe { avx512::count_differing(rows, panels, sums, stride) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX2, as `self` proves; the lengths have just been checked.
            Isa::Avx2 | Isa::AvxVnni => unsafe {
                avx2::count_differing(rows, panels, sums, stride)
            },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: the CPU has NEON, as `self` proves; the lengths have just been checked.
            Isa::Neon | Isa::Dotprod => unsafe {
                neon::count_differing(rows, panels, sums, stride)
            },
            _ => portable::count_differing(rows, panels, sums, stride),
        }
    }

    /// Whether bits are counted so fast that it pays to finish them in registers.
    pub(crate) fn finishes_at_once(self) -> bool {
        self.vectors() == Isa::Avx512
    }

    /// Makes outputs of differing bits while they are in registers: `out[[filter, row]]`, those
    /// of a row side by side. They are `f32`, and the kernel [finishes](Self::finishes_at_once)
    /// them so.
    ///
    /// # Panics
    /// If that is not so, if there is an output too many or too few, or if the filters are not
    /// those of the panels.
    pub(crate) fn differing_to_floats<T: 'static>(
        self,
        rows: Rows<'_>,
        filters: FilterPlanes<'_>,
        finish: ToFloats<'_>,
        #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut))] mut out: ArrayViewMut2<'_, T>,
    ) {
        let count = self.check_finish(rows, filters, &finish.addends);
        assert!(out.dim() == (count, rows.count()) && side_by_side(&out));
        assert!([finish.factors, finish.bias].iter().all(|of| [0, count].contains(&of.len())));
        assert!(TypeId::of::<T>() == TypeId::of::<f32>());
        #[cfg(target_arch = "x86_64")]
        {
            let (to, stride) = (out.as_mut_ptr().cast(), out.strides()[1]);
            // SAFETY: the CPU has AVX-512, as `self` proves; outputs are `f32`, and the sizes have
            // just been checked.
            unsafe { avx512::differing_to_floats(rows, filters, finish, to, stride) }
        }
    }

    /// The same to signs: `out[[word, row]]`, of 32 filters a word, and 0 where there are none.
    ///
    /// # Panics
    /// As there.
    pub(crate) fn differing_to_signs(
        self,
        rows: Rows<'_>,
        filters: FilterPlanes<'_>,
        finish: ToSigns<'_>,
        #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut))] mut out: ArrayViewMut2<'_, u32>,
    ) {
        let words = self.check_finish(rows, filters, &finish.addends).div_ceil(32);
        assert!(out.dim() == (words, rows.count()) && side_by_side(&out));
        assert!(finish.flips.len() == words);
        #[cfg(target_arch = "x86_64")]
        {
            let (to, stride) = (out.as_mut_ptr(), out.strides()[1]);
            // SAFETY: the CPU has AVX-512, as `self` proves; the sizes have just been checked.
            unsafe { avx512::differing_to_signs(rows, filters, finish, to, stride) }
        }
    }

    /// Checks what is the same for both, and returns the number of filters.
    fn check_finish(
        self,
        rows: Rows<'_>,
        filters: FilterPlanes<'_>,
        addends: &Addends<'_>,
    ) -> usize {
        let FilterPlanes { words, len, planes, step } = filters;
        let row_words = rows.offsets().len();
        assert!(self.finishes_at_once() && row_words > 0 && addends.fit(rows.count()));
        assert!(addends.filters.div_ceil(PANEL) * PANEL * row_words == len);
        let last = planes.checked_sub(1).and_then(|others| others.checked_mul(step));
        assert!(last.and_then(|last| last.checked_add(len)).is_some_and(|end| end <= words.len()));
        addends.filters
    }
}

/// Whether the outputs of a row lie so.
fn side_by_side<T>(out: &ArrayViewMut2<'_, T>) -> bool {
    out.nrows() <= 1 || out.strides()[0] == 1
}

#[cfg(test)]
mod tests;
