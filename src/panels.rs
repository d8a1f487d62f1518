//! Weight codes in memory: panels of filters, as the kernels want them.

use crate::Result;
use crate::kernel::{PANEL, Weights, Width};
use crate::scratch::{product, take};

/// Rows of codes, one a filter, in panels that follow each other; the last is filled up with zeros.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Panels {
    words: Vec<u32>,
    row_len: usize,
    held: Held,
}

/// How codes are held.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Held {
    /// A bit each, for XNOR and popcount.
    Bits,
    /// For products with codes of a byte.
    Codes {
        width: Width,
        /// What is subtracted from a code.
        center: u32,
        largest: u32,
    },
}

impl Held {
    /// How codes of so many bits are held.
    fn new(bits: u32) -> Self {
        let codes = |width| Held::Codes { width, center: 0, largest: (1 << bits) - 1 };
        match bits {
            1 => Held::Bits,
            2 => codes(Width::Bits2),
            3 | 4 => codes(Width::Bits4),
            5..=7 => codes(Width::Bits8),
            _ => Held::Codes { width: Width::Bits8, center: 128, largest: 128 },
        }
    }

    /// Words of a row of activations that so many codes are multiplied with.
    fn row_words(self, row_len: usize) -> usize {
        match self {
            Held::Bits => row_len.div_ceil(32),
            Held::Codes { .. } => row_len.div_ceil(4),
        }
    }

    fn panel_words(self, row_len: usize) -> usize {
        match self {
            Held::Bits => row_len.div_ceil(32),
            Held::Codes { width, .. } => width.panel_words(row_len.div_ceil(4)),
        }
    }
}

impl Default for Panels {
    fn default() -> Self {
        Panels { words: Vec::new(), row_len: 0, held: Held::Bits }
    }
}

impl Panels {
    /// Makes room for filters of so many codes of `bits` bits each.
    pub(crate) fn reset(&mut self, filters: usize, row_len: usize, bits: u32) -> Result<()> {
        self.row_len = row_len;
        self.held = Held::new(bits);
        self.words.clear();
        let sizes = [filters.div_ceil(PANEL), PANEL, self.held.panel_words(row_len)];
        take(&mut self.words, product(&sizes, "packed weights")?, "packed weights")?;
        Ok(())
    }

    /// The words of all panels.
    pub(crate) fn words(&self) -> &[u32] {
        &self.words
    }

    /// Whether codes are held as bits, for XNOR and popcount.
    pub(crate) fn are_bits(&self) -> bool {
        self.held == Held::Bits
    }

    /// What was subtracted from the codes.
    pub(crate) fn center(&self) -> u32 {
        match self.held {
            Held::Bits => 0,
            Held::Codes { center, .. } => center,
        }
    }

    /// Words of a filter.
    pub(crate) fn panel_words(&self) -> usize {
        self.held.panel_words(self.row_len)
    }

    /// Words that a row of activations needs at least.
    pub(crate) fn padded_row_words(&self) -> usize {
        let words = self.held.row_words(self.row_len);
        match self.held {
            Held::Bits => words,
            Held::Codes { width, .. } => width.padded_words(words),
        }
    }

    /// Words of rows of activations that share a word of a filter.
    pub(crate) fn span(&self) -> usize {
        match self.held {
            Held::Bits => 1,
            Held::Codes { width, .. } => width.span(),
        }
    }

    /// Some panels for the product with codes of a byte, none larger than `largest`.
    pub(crate) fn weights<'a>(&self, panels: &'a [u32], largest: u32) -> Weights<'a> {
        let (width, weight) = match self.held {
            Held::Bits => (Width::Bits8, 0),
            Held::Codes { width, largest, .. } => (width, largest),
        };
        Weights { panels, width, largest: largest * weight }
    }

    /// From the first word of a filter's panel on.
    fn start(&self, filter: usize) -> usize {
        filter / PANEL * PANEL * self.panel_words()
    }

    /// Sets the codes of a filter, the first lowest, in the place of zeros. Returns their sum.
    pub(crate) fn set(&mut self, filter: usize, codes: impl Iterator<Item = u32>) -> i64 {
        let (start, filter) = (self.start(filter), filter % PANEL);
        // A filter without weights has no words.
        let panel = self.words.get_mut(start..).unwrap_or_default();
        let mut sum = 0;
        let codes = codes.inspect(|&code| sum += i64::from(code)).enumerate();
        match self.held {
            Held::Bits => {
                codes.for_each(|(i, code)| panel[i / 32 * PANEL + filter] |= code << (i % 32));
            }
            Held::Codes { width, center, .. } => codes.for_each(|(i, code)| {
                let byte = code.wrapping_sub(center) & 0xff;
                width.insert(panel, i / 4, filter, byte << (i % 4 * 8));
            }),
        }
        sum
    }

    /// The codes of a filter.
    pub(crate) fn codes(&self, filter: usize) -> impl Iterator<Item = u32> {
        let bits = if self.are_bits() { 1 } else { 8 };
        let (center, mask) = (self.center(), u32::MAX >> (32 - bits));
        self.row(filter)
            .flat_map(move |word| (0..32).step_by(bits).map(move |shift| word >> shift))
            .map(move |held| held.wrapping_add(center) & mask)
            .take(self.row_len)
    }

    /// Calls `visit` with the number of each part of `len` weights of a filter of bits, and how
    /// many of these are 1; more than once where a part lies in several words.
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

    /// The words of a filter as a row of activations is multiplied with them.
    pub(crate) fn row(&self, filter: usize) -> impl Iterator<Item = u32> {
        let panel = self.words.get(self.start(filter)..).unwrap_or_default();
        let (held, filter) = (self.held, filter % PANEL);
        (0..held.row_words(self.row_len)).map(move |i| match held {
            Held::Bits => panel[i * PANEL + filter],
            Held::Codes { width, .. } => width.extract(panel, i, filter),
        })
    }
}
