//! 1-bit weights in memory: chained bits in panels of filters, as the kernels want them.

use crate::Result;
use crate::kernel::{PANEL, chain_words, unchained};
use crate::scratch::{product, take};
use std::ops::Range;

/// Rows of bits, one a filter. Panels follow each other; the last has no more filters than there
/// are, so that a weight takes one bit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BitPanels {
    words: Vec<u32>,
    filters: usize,
    row_len: usize,
}

/// Where a panel lies.
struct Panel {
    words: Range<usize>,
    filters: usize,
}

impl BitPanels {
    /// Makes room for filters of so many weights, all 0.
    pub(crate) fn reset(&mut self, filters: usize, row_len: usize) -> Result<()> {
        (self.filters, self.row_len) = (filters, row_len);
        self.words.clear();
        let words = product(&[filters, chain_words(row_len)], "packed weights")?;
        take(&mut self.words, words, "packed weights")?;
        Ok(())
    }

    pub(crate) fn words(&self) -> &[u32] {
        &self.words
    }

    fn panel(&self, index: usize) -> Panel {
        let row_words = chain_words(self.row_len);
        let (first, end) = (index * PANEL, self.filters.min((index + 1) * PANEL));
        Panel { words: first * row_words..end * row_words, filters: end - first }
    }

    /// Chains the codes of a filter, the first lowest, in the place of zeros. Returns their sum.
    pub(crate) fn set(&mut self, filter: usize, codes: impl Iterator<Item = u32>) -> i64 {
        let Panel { words, filters: step } = self.panel(filter / PANEL);
        // A filter without weights has no words.
        let words = self.words[words].get_mut(filter % PANEL..).unwrap_or_default();
        let mut sum = 0;
        for (i, code) in codes.enumerate() {
            words[i / 32 * step] |= code << (i % 32);
            sum += i64::from(code);
        }
        let mut parity = 0;
        for pair in words.chunks_mut(2 * step) {
            let first = pair[0];
            parity ^= first ^ pair[step];
            (pair[0], pair[step]) = (parity, first);
        }
        sum
    }

    /// Calls `visit` with the number and the code of each weight of a filter.
    pub(crate) fn for_each_code(&self, filter: usize, mut visit: impl FnMut(usize, u32)) {
        for (i, word) in self.row(filter).enumerate() {
            for bit in 0..32.min(self.row_len - 32 * i) {
                visit(32 * i + bit, word >> bit & 1);
            }
        }
    }

    /// Calls `visit` with the number of each part of `len` weights of a filter, and how many of
    /// these are 1; more than once where a part lies in several words.
    pub(crate) fn for_each_part(
        &self,
        filter: usize,
        len: usize,
        mut visit: impl FnMut(usize, u32),
    ) {
        for (i, word) in self.row(filter).enumerate() {
            let (mut bit, end) = (32 * i, self.row_len.min(32 * (i + 1)));
            while bit < end {
                let part = bit / len;
                let next = end.min((part + 1) * len);
                let bits = word >> (bit - 32 * i) & u32::MAX >> (32 - (next - bit));
                visit(part, bits.count_ones());
                bit = next;
            }
        }
    }

    /// The words of a filter as they were before they were chained.
    pub(crate) fn row(&self, filter: usize) -> impl Iterator<Item = u32> {
        let Panel { words, filters: step } = self.panel(filter / PANEL);
        let words = self.words[words].get(filter % PANEL..).unwrap_or_default();
        (0..self.row_len.div_ceil(32)).map(move |i| unchained(i, |i| words[i * step]))
    }

    /// Fills the last panel up to as many filters as the kernels want, if it has fewer.
    pub(crate) fn fill_last(&self, full: &mut Vec<u32>) -> Result<()> {
        full.clear();
        let panel = self.panel(self.filters / PANEL);
        if panel.filters > 0 {
            let words = &self.words[panel.words];
            let full = take(full, chain_words(self.row_len) * PANEL, "weight panel")?;
            for (full, words) in full.chunks_mut(PANEL).zip(words.chunks(panel.filters)) {
                full[..panel.filters].copy_from_slice(words);
            }
        }
        Ok(())
    }
}
