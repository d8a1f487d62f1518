//! Weight codes in memory: panels of filters, as the kernels want them.

use crate::Result;
use crate::kernel::{Code, Kernel, PANEL, Weights, Width};
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

    /// How narrow codes are held, if not as bits.
    pub(crate) fn width(&self) -> Option<Width> {
        match self.held {
            Held::Bits => None,
            Held::Codes { width, .. } => Some(width),
        }
    }

    /// Codes of a filter.
    pub(crate) fn row_len(&self) -> usize {
        self.row_len
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

    /// Sums the codes of each part of `len` weights: `sums` are `[part][filter]`.
    pub(crate) fn sum_parts(&self, kernel: Kernel, len: usize, filters: usize, sums: &mut [i64]) {
        if self.are_bits() {
            return kernel.vectorize(CountParts { panels: self, len, filters, sums });
        }
        for filter in 0..filters {
            let mut codes = self.codes(filter);
            for sum in sums[filter..].iter_mut().step_by(filters) {
                *sum = codes.by_ref().take(len).map(i64::from).sum();
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

/// Counts the ones of each part of `len` bits, of the filters of a panel at a time.
struct CountParts<'a> {
    panels: &'a Panels,
    len: usize,
    filters: usize,
    /// `[part][filter]`.
    sums: &'a mut [i64],
}

impl Code for CountParts<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Panels { ref words, row_len, .. } = *self.panels;
        let panel_len = self.panels.panel_words() * PANEL;
        for (i, panel) in words.chunks_exact(panel_len.max(1)).enumerate() {
            let (words, _) = panel.as_chunks::<PANEL>();
            let first = i * PANEL;
            let end = self.filters.min(first + PANEL);
            for (part, sums) in self.sums.chunks_exact_mut(self.filters).enumerate() {
                let bits = part * self.len..row_len.min((part + 1) * self.len);
                let parts = &words[bits.start / 32..bits.end.div_ceil(32)];
                let counts = match self.len % 32 {
                    0 => count_ones(parts, |_| u32::MAX),
                    _ => count_ones(parts, |i| {
                        let start = (bits.start / 32 + i) * 32;
                        let below = bits.start.saturating_sub(start);
                        let above = (start + 32).saturating_sub(bits.end);
                        u32::MAX << below & u32::MAX >> above
                    }),
                };
                let sums = sums[first..end].iter_mut();
                sums.zip(counts).for_each(|(sum, count)| *sum = count.into());
            }
        }
    }
}

/// How many of the bits of some words are set, in each filter of a panel, where the mask of each
/// word has them too.
#[inline(always)]
fn count_ones(panel: &[[u32; PANEL]], mask: impl Fn(usize) -> u32) -> [u32; PANEL] {
    /// Words until a byte might count too far.
    const WORDS: usize = 31;
    let mut counts = [0; PANEL];
    for (chunk, words) in panel.chunks(WORDS).enumerate() {
        let mut bytes = [0u8; 4 * PANEL];
        for (i, words) in words.iter().enumerate() {
            let mask = mask(chunk * WORDS + i);
            let words = words.map(|word| (word & mask).to_ne_bytes());
            let ones = bytes.iter_mut().zip(words.as_flattened());
            ones.for_each(|(ones, bits)| *ones += bits.count_ones() as u8);
        }
        let (bytes, _) = bytes.as_chunks::<4>();
        let totals = counts.iter_mut().zip(bytes);
        totals
            .for_each(|(count, bytes)| *count += bytes.iter().map(|&b| u32::from(b)).sum::<u32>());
    }
    counts
}
