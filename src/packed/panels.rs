//! Weight codes in memory: panels of filters, as the kernels want them.

use crate::Result;
use crate::kernel::{Code, FilterPlanes, Kernel, PANEL, Weights, Width};
use crate::memory::Aligned;
use crate::memory::parallel::blocks;
use crate::memory::{product, zeros};
use crate::packed::format::Form;
use rayon::prelude::*;
use std::ops::Range;

/// Rows of codes, one a filter, in panels that follow each other; the last is filled up with zeros.
/// Of codes in planes, there are the panels of the lowest bits, then those of the next.
#[derive(Clone, Debug)]
pub(crate) struct Panels {
    words: Aligned<u32>,
    filters: usize,
    row_len: usize,
    held: Held,
}

/// The codes decide, not how they are held.
impl PartialEq for Panels {
    fn eq(&self, other: &Self) -> bool {
        let same_codes = |filter| self.codes(filter).eq(other.codes(filter));
        (self.filters, self.row_len) == (other.filters, other.row_len)
            && match self.held == other.held {
                true => *self.words == *other.words,
                false => (0..self.filters).all(same_codes),
            }
    }
}

/// How codes are held.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Held {
    /// In so many bit planes, for XNOR and popcount.
    Planes(usize),
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
    fn new(form: Form, bits: u32) -> Self {
        let codes = |width| Held::Codes { width, center: 0, largest: (1 << bits) - 1 };
        match (form, bits) {
            (Form::Planes, _) => Held::Planes(bits as usize),
            (Form::Bytes, 1 | 2) => codes(Width::Bits2),
            (Form::Bytes, 3 | 4) => codes(Width::Bits4),
            (Form::Bytes, 5..=7) => codes(Width::Bits8),
            (Form::Bytes, _) => Held::Codes { width: Width::Bits8, center: 128, largest: 128 },
        }
    }

    fn planes(self) -> usize {
        match self {
            Held::Planes(planes) => planes,
            Held::Codes { .. } => 1,
        }
    }

    /// Sets the codes of a filter in the planes of its panel, in the place of zeros.
    fn set(self, planes: &mut [&mut [u32]], filter: usize, codes: &[u8]) {
        match self {
            Held::Planes(_) => {
                for (i, codes) in codes.chunks(32).enumerate() {
                    for (bit, plane) in planes.iter_mut().enumerate() {
                        let bits = codes.iter().map(|&code| u32::from(code >> bit & 1));
                        let word = bits.rev().fold(0, |word, bit| word << 1 | bit);
                        plane[i * PANEL + filter] = word;
                    }
                }
            }
            Held::Codes { width, center, .. } => {
                for (i, codes) in codes.chunks(4).enumerate() {
                    let mut bytes = [0; 4];
                    let centered = codes.iter().map(|code| code.wrapping_sub(center as u8));
                    bytes.iter_mut().zip(centered).for_each(|(byte, code)| *byte = code);
                    width.insert(planes[0], i, filter, u32::from_le_bytes(bytes));
                }
            }
        }
    }

    /// Words of a row of activations that so many codes are multiplied with.
    fn row_words(self, row_len: usize) -> usize {
        match self {
            Held::Planes(_) => row_len.div_ceil(32),
            Held::Codes { .. } => row_len.div_ceil(4),
        }
    }

    fn panel_words(self, row_len: usize) -> usize {
        match self {
            Held::Planes(_) => row_len.div_ceil(32),
            Held::Codes { width, .. } => width.panel_words(row_len.div_ceil(4)),
        }
    }
}

/// Weights below which a second thread costs more than it saves.
const WEIGHTS_PER_BLOCK: usize = 1 << 16;

/// Where the codes of a filter are written to.
#[derive(Debug)]
pub(crate) enum Row<'a> {
    /// Codes of a bit, the first lowest. Bits that are left over must be written as zeros.
    Bits(&'a mut [u32]),
    /// Any codes.
    Codes(&'a mut [u8]),
}

impl Default for Panels {
    fn default() -> Self {
        Panels { words: Aligned::default(), filters: 0, row_len: 0, held: Held::Planes(1) }
    }
}

impl Panels {
    /// Makes room for filters of so many codes of `bits` bits each.
    pub(crate) fn reset(
        &mut self,
        filters: usize,
        row_len: usize,
        form: Form,
        bits: u32,
    ) -> Result<()> {
        self.filters = filters;
        self.row_len = row_len;
        self.held = Held::new(form, bits);
        let panels = filters.div_ceil(PANEL);
        let sizes = [self.held.planes(), panels, PANEL, self.held.panel_words(row_len)];
        self.words.zeros(product(&sizes, "packed weights")?, "packed weights")?;
        Ok(())
    }

    /// The words of all panels.
    pub(crate) fn words(&self) -> &[u32] {
        &self.words
    }

    /// Some panels in all planes.
    pub(crate) fn all_planes(&self, panels: Range<usize>) -> FilterPlanes<'_> {
        let panel_len = self.panel_words() * PANEL;
        FilterPlanes {
            words: &self.words[panels.start * panel_len..],
            panels: panels.len(),
            planes: self.planes(),
            step: self.plane_len(),
        }
    }

    /// The words of some panels of a plane; codes that are not held in planes have one.
    pub(crate) fn plane(&self, plane: usize, panels: Range<usize>) -> &[u32] {
        let panel_len = self.panel_words() * PANEL;
        &self.words[plane * self.plane_len()..][panels.start * panel_len..panels.end * panel_len]
    }

    pub(crate) fn form(&self) -> Form {
        match self.held {
            Held::Planes(_) => Form::Planes,
            Held::Codes { .. } => Form::Bytes,
        }
    }

    pub(crate) fn planes(&self) -> usize {
        self.held.planes()
    }

    /// How narrow codes are held, if not in planes.
    pub(crate) fn width(&self) -> Option<Width> {
        match self.held {
            Held::Planes(_) => None,
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
            Held::Planes(_) => 0,
            Held::Codes { center, .. } => center,
        }
    }

    /// Words of a filter in a plane.
    pub(crate) fn panel_words(&self) -> usize {
        self.held.panel_words(self.row_len)
    }

    /// Words that a row of activations needs at least.
    pub(crate) fn padded_row_words(&self) -> usize {
        let words = self.held.row_words(self.row_len);
        match self.held {
            Held::Planes(_) => words,
            Held::Codes { width, .. } => width.padded_words(words),
        }
    }

    /// Words of rows of activations that share a word of a filter.
    pub(crate) fn span(&self) -> usize {
        match self.held {
            Held::Planes(_) => 1,
            Held::Codes { width, .. } => width.span(),
        }
    }

    /// Some panels for the product with codes of a byte, none larger than `largest`.
    pub(crate) fn weights<'a>(&self, panels: &'a [u32], largest: u32) -> Weights<'a> {
        let (width, weight) = match self.held {
            Held::Planes(_) => (Width::Bits8, 0),
            Held::Codes { width, largest, .. } => (width, largest),
        };
        Weights { panels, width, largest: largest * weight }
    }

    /// Words of the panels of a plane.
    fn plane_len(&self) -> usize {
        self.words.len() / self.planes()
    }

    /// From the first word of a filter's panel on.
    fn start(&self, filter: usize) -> usize {
        filter / PANEL * PANEL * self.panel_words()
    }

    /// Sets the codes of all filters in the place of zeros, and writes the sum of each. `write` is
    /// given a filter, and where to write its codes to.
    pub(crate) fn set(
        &mut self,
        sums: &mut [i64],
        write: impl Fn(usize, Row<'_>) -> Result<()> + Sync,
    ) -> Result<()> {
        let (held, row_len, plane_len) = (self.held, self.row_len, self.plane_len());
        let panel_len = self.panel_words() * PANEL;
        if self.words.is_empty() {
            return Ok(()); // no filters, or filters without weights
        }
        // The planes of each panel.
        let mut panels: Vec<Vec<&mut [u32]>> = Vec::new();
        panels.resize_with(sums.len().div_ceil(PANEL), Vec::new);
        for plane in self.words.chunks_mut(plane_len) {
            let planes = panels.iter_mut().zip(plane.chunks_mut(panel_len));
            planes.for_each(|(panel, plane)| panel.push(plane));
        }
        let set_panel = |(i, (mut panel, sums)): (usize, (Vec<&mut [u32]>, &mut [i64]))| {
            let first = i * PANEL;
            if let (Held::Planes(1), [plane]) = (held, &mut panel[..]) {
                let mut bits = zeros(row_len.div_ceil(32), "packed weights")?;
                for (filter, sum) in sums.iter_mut().enumerate() {
                    write(first + filter, Row::Bits(&mut bits))?;
                    *sum = bits.iter().map(|word| i64::from(word.count_ones())).sum();
                    let words = plane[filter..].iter_mut().step_by(PANEL);
                    words.zip(&bits).for_each(|(word, &bits)| *word = bits);
                }
                return Ok(());
            }
            let mut codes = zeros(row_len, "weight codes")?;
            for (filter, sum) in sums.iter_mut().enumerate() {
                write(first + filter, Row::Codes(&mut codes))?;
                *sum = codes.iter().map(|&code| i64::from(code)).sum();
                held.set(&mut panel, filter, &codes);
            }
            Ok(())
        };
        let work = sums.len().saturating_mul(row_len);
        let sums = sums.chunks_mut(PANEL);
        match blocks(work, WEIGHTS_PER_BLOCK) {
            1 => panels.into_iter().zip(sums).enumerate().try_for_each(set_panel),
            _ => {
                let panels: Vec<_> = panels.into_iter().zip(sums).collect();
                panels.into_par_iter().enumerate().try_for_each(set_panel)
            }
        }
    }

    /// The codes of a filter.
    pub(crate) fn codes(&self, filter: usize) -> impl Iterator<Item = u32> {
        let (held, plane_len) = (self.held, self.plane_len());
        let panel = self.words.get(self.start(filter)..).unwrap_or_default();
        let filter = filter % PANEL;
        (0..self.row_len).map(move |i| match held {
            Held::Planes(planes) => {
                let words = panel[i / 32 * PANEL + filter..].iter().step_by(plane_len);
                let bits = words.map(|word| word >> (i % 32) & 1).take(planes).enumerate();
                bits.fold(0, |code, (plane, bit)| code | bit << plane)
            }
            Held::Codes { width, center, .. } => {
                let byte = width.extract(panel, i / 4, filter) >> (i % 4 * 8);
                byte.wrapping_add(center) & 0xff
            }
        })
    }

    /// The codes at one place of each filter of a panel.
    #[inline(always)]
    pub(crate) fn column(&self, panel: usize, i: usize) -> [u32; PANEL] {
        let words = &self.words[self.start(panel * PANEL)..];
        match self.held {
            Held::Planes(planes) => {
                let mut codes = [0; PANEL];
                for plane in 0..planes {
                    let words = &words[plane * self.plane_len() + i / 32 * PANEL..][..PANEL];
                    for (code, word) in codes.iter_mut().zip(words) {
                        *code |= (word >> (i % 32) & 1) << plane;
                    }
                }
                codes
            }
            Held::Codes { width, center, .. } => std::array::from_fn(|filter| {
                let byte = width.extract(words, i / 4, filter) >> (i % 4 * 8);
                byte.wrapping_add(center) & 0xff
            }),
        }
    }

    /// Sums the codes of each part of `len` weights: `sums` are `[part][filter]`.
    pub(crate) fn sum_parts(&self, kernel: Kernel, len: usize, filters: usize, sums: &mut [i64]) {
        if self.form() == Form::Planes {
            sums.fill(0);
            for plane in 0..self.planes() {
                kernel.vectorize(CountParts { panels: self, plane, len, filters, sums });
            }
            return;
        }
        for filter in 0..filters {
            let mut codes = self.codes(filter);
            for sum in sums[filter..].iter_mut().step_by(filters) {
                *sum = codes.by_ref().take(len).map(i64::from).sum();
            }
        }
    }

    /// Writes the codes, which are held in planes, into panels for products with bytes.
    pub(crate) fn expand(&self, bytes: &mut Panels) -> Result<()> {
        let planes = self.planes();
        bytes.reset(self.filters, self.row_len, Form::Bytes, planes as u32)?;
        let Held::Codes { width, center, .. } = bytes.held else { return Ok(()) };
        let panel_len = bytes.panel_words() * PANEL;
        for (i, panel) in bytes.words.chunks_mut(panel_len.max(1)).enumerate() {
            for plane in 0..planes {
                let words = self.plane(plane, i..i + 1);
                for row_word in 0..self.row_len.div_ceil(4) {
                    let four = row_word % 8 * 4;
                    let words = words[row_word / 8 * PANEL..][..PANEL].iter();
                    let weights = words.map(|word| spread(word >> four & 0xf) << plane);
                    width.insert_all(panel, row_word, weights);
                }
            }
        }
        if center > 0 {
            // Of the highest bit alone. Codes past the end of a row are multiplied with zeros.
            let center = u32::from_ne_bytes([center as u8; 4]);
            bytes.words.iter_mut().for_each(|word| *word ^= center);
        }
        Ok(())
    }

    /// Whether codes are held as one bit each.
    pub(crate) fn hold_bits(&self) -> bool {
        self.held == Held::Planes(1)
    }

    /// The words of a filter in a plane.
    pub(crate) fn row(&self, plane: usize, filter: usize) -> impl Iterator<Item = u32> {
        let start = plane * self.plane_len() + self.start(filter) + filter % PANEL;
        let words = self.words.get(start..).unwrap_or_default();
        words.iter().step_by(PANEL).take(self.panel_words()).copied()
    }
}

/// Adds up the ones of each part of `len` bits of a plane, worth what they are in a code, of the
/// filters of a panel at a time.
struct CountParts<'a> {
    panels: &'a Panels,
    plane: usize,
    len: usize,
    filters: usize,
    /// `[part][filter]`.
    sums: &'a mut [i64],
}

impl Code for CountParts<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let row_len = self.panels.row_len;
        let panel_len = self.panels.panel_words() * PANEL;
        let words = &self.panels.words[self.plane * self.panels.plane_len()..];
        let words = &words[..self.panels.plane_len()];
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
                sums.zip(counts).for_each(|(sum, count)| *sum += i64::from(count) << self.plane);
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

/// Four bits, one in each byte.
#[inline(always)]
fn spread(bits: u32) -> u32 {
    (bits | bits << 7 | bits << 14 | bits << 21) & 0x0101_0101
}
