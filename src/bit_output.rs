//! Integer sums to the signs of what floats would have become of them (see `fold`).

use crate::epilogue::Integer;
use crate::geometry::Geometry;
use crate::numerator::Numerator;
use crate::padding::Padding;
use crate::word_tiles::{Finish, Sums};
use ndarray::{ArrayViewMut1, ArrayViewMut4, s};

/// Compares numerators with the threshold of their filter, and packs the bits: an output element
/// is a word of 32 filters.
pub(crate) struct BitOutput<'a> {
    pub(crate) geometry: &'a Geometry,
    pub(crate) numerator: Numerator,
    /// What is added to twice a numerator, less twice the threshold.
    pub(crate) padding: &'a Padding,
    /// `Σ c_a` of each row, `[image][position][group]`, or nothing where it is not wanted.
    pub(crate) code_sums: &'a [i64],
    /// Bits that are turned over, 32 filters a word.
    pub(crate) flips: &'a [u32],
}

impl BitOutput<'_> {
    #[inline(always)]
    fn finish_row<S: Copy + Into<I>, I: Integer>(
        &self,
        first_filter: usize,
        row: usize,
        sums: &[S],
        addends: &[I],
        mut out: ArrayViewMut1<'_, u32>,
    ) {
        let product = I::of(self.numerator.product);
        let code_sum = self.code_sums.get(row).copied().unwrap_or_default();
        let row_addend = I::of(self.numerator.row * code_sum);
        let addends = &addends[first_filter..][..sums.len()];
        let bit =
            |sum: S, addend: I| u32::from(product * sum.into() + (row_addend + addend) >= I::of(0));
        // A group may begin within a word.
        let mut at = first_filter % 32;
        let first_word = first_filter / 32;
        let (mut sums, mut addends) = (sums, addends);
        for (word, flips) in out.iter_mut().zip(&self.flips[first_word..]) {
            let len = sums.len().min(32 - at);
            let bits = match (sums.first_chunk::<32>(), addends.first_chunk::<32>()) {
                // Of a known length, it is vectorized.
                (Some(sums), Some(addends)) if at == 0 => {
                    (0..32).fold(0, |bits, i| bits | bit(sums[i], addends[i]) << i)
                }
                _ => (0..len).fold(0, |bits, i| bits | bit(sums[i], addends[i]) << (at + i)),
            };
            let held = u32::MAX >> (32 - len) << at;
            *word = *word & !held | (bits ^ flips) & held;
            (sums, addends) = (&sums[len..], &addends[len..]);
            at = 0;
        }
    }
}

impl Finish for BitOutput<'_> {
    type Out = u32;
    const FILTERS: usize = 32;

    fn buffer_len(&self, _: usize, _: usize) -> usize {
        0
    }

    #[inline(always)]
    fn finish(
        &self,
        tile: &Sums<'_>,
        _: &mut [u32],
        out: &mut ArrayViewMut4<'_, u32>,
        start: usize,
    ) {
        let (_, _, height, width) = out.dim();
        let first = tile.filters.start;
        for i in 0..tile.rows {
            let at = start + i;
            let out = out.slice_mut(s![.., at / (height * width), at / width % height, at % width]);
            let position = tile.position + i;
            let row = (tile.image * self.geometry.positions() + position) * self.geometry.groups()
                + tile.group;
            if !tile.wide.is_empty() {
                let addends = self.padding.wide(self.geometry, position);
                self.finish_row(first, row, tile.row(tile.wide, i), addends, out);
            } else if self.padding.is_narrow() {
                let addends = self.padding.narrow(self.geometry, position);
                self.finish_row(first, row, tile.row(tile.sums, i), addends, out);
            } else {
                let addends = self.padding.wide(self.geometry, position);
                self.finish_row(first, row, tile.row(tile.sums, i), addends, out);
            }
        }
    }
}
