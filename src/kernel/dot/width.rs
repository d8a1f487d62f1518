//! How narrow the weights of a panel are in memory.

use super::PANEL;

/// The bits that each weight takes in the words of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// Signed weights, -128..=127.
    Bits8,
    /// Unsigned weights, 0..=15.
    Bits4,
    /// Unsigned weights, 0..=3.
    Bits2,
}

impl Width {
    #[cfg(test)]
    pub(crate) const ALL: &'static [Width] = &[Width::Bits8, Width::Bits4, Width::Bits2];

    pub(crate) fn bits(self) -> usize {
        match self {
            Width::Bits8 => 8,
            Width::Bits4 => 4,
            Width::Bits2 => 2,
        }
    }

    /// Words of a row whose weights share a word of a panel: each byte of it holds, lowest first,
    /// the weights of a byte of the first, the second, ... of these words. A shift and a mask then
    /// give what one word of the row is multiplied with.
    pub(crate) fn span(self) -> usize {
        8 / self.bits()
    }

    /// The length of a row whose last words share a word of the panel: with the offsets of any
    /// words and weights of zero up to there, the sums are those of so many words.
    pub(crate) fn padded_words(self, row_words: usize) -> usize {
        row_words.next_multiple_of(self.span())
    }

    /// Words of a filter for rows of so many words.
    pub(crate) fn panel_words(self, row_words: usize) -> usize {
        row_words.div_ceil(self.span())
    }

    /// Puts four weights, a byte each, into a panel where there are zeros yet: those of a filter
    /// that are multiplied with a word of a row.
    pub(crate) fn insert(self, panel: &mut [u32], row_word: usize, filter: usize, weights: u32) {
        let place = row_word % self.span() * self.bits();
        panel[row_word / self.span() * PANEL + filter] |= weights << place;
    }

    /// The same for every filter of the panel.
    pub(crate) fn insert_all(
        self,
        panel: &mut [u32],
        row_word: usize,
        weights: impl Iterator<Item = u32>,
    ) {
        let place = row_word % self.span() * self.bits();
        let words = &mut panel[row_word / self.span() * PANEL..][..PANEL];
        words.iter_mut().zip(weights).for_each(|(word, weights)| *word |= weights << place);
    }

    /// The four weights that [`insert`](Self::insert) put there, a byte each.
    pub(crate) fn extract(self, panel: &[u32], row_word: usize, filter: usize) -> u32 {
        let place = row_word % self.span() * self.bits();
        let mask = u32::from_ne_bytes([(0xff_u32 >> (8 - self.bits())) as u8; 4]);
        panel[row_word / self.span() * PANEL + filter] >> place & mask
    }
}
