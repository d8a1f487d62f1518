//! Codes of weights, for kernels: panels of 16 filters, `[plane][panel][word][filter]`.

use crate::Result;
use crate::kernel::{FilterPlanes, PANEL, Weights, Width};
use crate::memory::Aligned;
use crate::memory::parallel::blocks;
use crate::memory::{product, zeros};
use crate::packed::format::{CodeFormat, Storage};
use crate::tuning::WEIGHTS_PER_THREAD;
use rayon::prelude::*;
use std::ops::Range;

/// Rows of codes, one a filter, in panels that follow each other; the last is filled up with zeros.
/// Of codes in planes, there are the panels of the lowest bits, then those of the next.
#[derive(Clone, Debug)]
pub(crate) struct Panels {
    words: Aligned<u32>,
    filters: usize,
    row_len: usize,
    pub(crate) storage: Storage,
}

/// The codes decide, not their format.
impl PartialEq for Panels {
    fn eq(&self, other: &Self) -> bool {
        let same_codes = |filter| self.codes(filter).eq(other.codes(filter));
        (self.filters, self.row_len) == (other.filters, other.row_len)
            && match self.storage == other.storage {
                true => *self.words == *other.words,
                false => (0..self.filters).all(same_codes),
            }
    }
}

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
        let storage = Storage::new(CodeFormat::Planes, 1);
        Panels { words: Aligned::default(), filters: 0, row_len: 0, storage }
    }
}

impl Panels {
    /// Makes room for filters of so many codes of `bits` bits each.
    pub(crate) fn reset(
        &mut self,
        filters: usize,
        row_len: usize,
        format: CodeFormat,
        bits: u32,
    ) -> Result<()> {
        self.filters = filters;
        self.row_len = row_len;
        self.storage = Storage::new(format, bits);
        let panels = filters.div_ceil(PANEL);
        let sizes = [self.storage.planes(), panels, PANEL, self.storage.panel_words(row_len)];
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

    /// The words of some panels of a plane; codes in fields have one.
    pub(crate) fn plane(&self, plane: usize, panels: Range<usize>) -> &[u32] {
        let panel_len = self.panel_words() * PANEL;
        &self.words[plane * self.plane_len()..][panels.start * panel_len..panels.end * panel_len]
    }

    pub(crate) fn planes(&self) -> usize {
        self.storage.planes()
    }

    /// Codes of a filter.
    pub(crate) fn row_len(&self) -> usize {
        self.row_len
    }

    /// Words of a filter in a plane.
    pub(crate) fn panel_words(&self) -> usize {
        self.storage.panel_words(self.row_len)
    }

    /// Words of a row of activations that is multiplied with a filter.
    pub(crate) fn row_words(&self) -> usize {
        self.storage.row_words(self.row_len)
    }

    /// Some panels for the product with codes of a byte, none larger than `largest`.
    pub(crate) fn weights<'a>(&self, panels: &'a [u32], largest: u32) -> Weights<'a> {
        let width = self.storage.width.unwrap_or(Width::Bits8);
        Weights { panels, width, largest: largest * self.storage.largest() }
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
        let (storage, row_len, plane_len) = (self.storage, self.row_len, self.plane_len());
        let (panel_len, is_bits) = (self.panel_words() * PANEL, self.is_bits());
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
            if let (true, [plane]) = (is_bits, &mut panel[..]) {
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
                storage.set(&mut panel, filter, &codes);
            }
            Ok(())
        };
        let work = sums.len().saturating_mul(row_len);
        let sums = sums.chunks_mut(PANEL);
        match blocks(work, WEIGHTS_PER_THREAD) {
            1 => panels.into_iter().zip(sums).enumerate().try_for_each(set_panel),
            _ => {
                let panels: Vec<_> = panels.into_iter().zip(sums).collect();
                panels.into_par_iter().enumerate().try_for_each(set_panel)
            }
        }
    }

    /// The codes of a filter.
    pub(crate) fn codes(&self, filter: usize) -> impl Iterator<Item = u32> {
        let (storage, plane_len) = (self.storage, self.plane_len());
        let panel = self.words.get(self.start(filter)..).unwrap_or_default();
        let filter = filter % PANEL;
        (0..self.row_len).map(move |i| match storage.width {
            None => {
                let words = panel[i / 32 * PANEL + filter..].iter().step_by(plane_len);
                let bits = words.map(|word| word >> (i % 32) & 1).take(storage.planes());
                bits.enumerate().fold(0, |code, (plane, bit)| code | bit << plane)
            }
            Some(width) => {
                let byte = width.extract(panel, i / 4, filter) >> (i % 4 * 8);
                byte.wrapping_add(storage.center) & 0xff
            }
        })
    }

    /// The codes at one place of each filter of a panel.
    #[inline(always)]
    pub(crate) fn column(&self, panel: usize, i: usize) -> [u32; PANEL] {
        let words = &self.words[self.start(panel * PANEL)..];
        let Some(width) = self.storage.width else {
            let mut codes = [0; PANEL];
            for plane in 0..self.planes() {
                let words = &words[plane * self.plane_len() + i / 32 * PANEL..][..PANEL];
                for (code, word) in codes.iter_mut().zip(words) {
                    *code |= (word >> (i % 32) & 1) << plane;
                }
            }
            return codes;
        };
        std::array::from_fn(|filter| {
            let byte = width.extract(words, i / 4, filter) >> (i % 4 * 8);
            byte.wrapping_add(self.storage.center) & 0xff
        })
    }

    /// Writes codes in planes into panels for products with bytes.
    pub(crate) fn expand(&self, bytes: &mut Panels) -> Result<()> {
        let planes = self.planes();
        bytes.reset(self.filters, self.row_len, CodeFormat::Bytes, planes as u32)?;
        let (Some(width), center) = (bytes.storage.width, bytes.storage.center) else {
            return Ok(());
        };
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

    /// Whether codes are one plane of bits.
    pub(crate) fn is_bits(&self) -> bool {
        self.storage == Storage::new(CodeFormat::Planes, 1)
    }

    /// The words of a filter in a plane.
    pub(crate) fn row(&self, plane: usize, filter: usize) -> impl Iterator<Item = u32> {
        let start = plane * self.plane_len() + self.start(filter) + filter % PANEL;
        let words = self.words.get(start..).unwrap_or_default();
        words.iter().step_by(PANEL).take(self.panel_words()).copied()
    }
}

/// Four bits, one in each byte.
#[inline(always)]
fn spread(bits: u32) -> u32 {
    (bits | bits << 7 | bits << 14 | bits << 21) & 0x0101_0101
}
