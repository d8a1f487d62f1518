//! Products of floats with weights that are packed as codes, for few rows: weights become floats in
//! registers, so that what comes from memory is the packed weights alone.
//!
//! A weight `(s c + o) / d` takes part as `(s c + o) / 2^p`, with `2^p` the first power of two from
//! `d` on: exact, and never above 1, so that products overflow only where those with the weight
//! itself do. The sum is divided by `d / 2^p`. Each output is summed in an order of its own: the
//! same whatever is computed beside it.

use crate::Element;
use crate::element::MANTISSA;
use crate::kernel::{Code, Kernel, PANEL, Width};
use crate::packed::panels::Panels;
use crate::quantizer::Levels;
use crate::tuning::SUMMED_WORDS;
use std::ops::Range;

/// Weights that are multiplied as they are packed.
#[derive(Clone, Copy)]
pub(crate) struct CodedWeights<'a, T> {
    kernel: Kernel,
    panels: &'a Panels,
    decoder: Decoder<T>,
}

impl<'a, T: Element> CodedWeights<'a, T> {
    pub(crate) fn new(kernel: Kernel, panels: &'a Panels, levels: Levels) -> Self {
        let bits = panels.storage.width.map_or(1, Width::bits);
        CodedWeights { kernel, panels, decoder: Decoder::new(levels, panels.storage.center, bits) }
    }

    /// Writes the products of rows with some filters to `dots`, `[row][filter]`.
    pub(crate) fn multiply(&self, rows: &[T], filters: Range<usize>, dots: &mut [T]) {
        self.kernel.vectorize(Product { weights: *self, rows, filters, dots });
    }
}

/// From codes to floats: a code in the first bits of a mantissa makes a float that is so many steps
/// larger.
#[derive(Clone, Copy)]
struct Decoder<T> {
    /// The float whose mantissa it is: a power of two, but for what was subtracted from the codes.
    base: T,
    /// What that float is larger than the weight.
    zero: T,
    /// What sums have to be divided by.
    denominator: T,
}

impl<T: Element> Decoder<T> {
    /// Of codes of which `center` was subtracted, in so many bits: nothing, or half of all codes.
    fn new(levels: Levels, center: u32, bits: usize) -> Self {
        let power = (levels.denominator() as u64).next_power_of_two() as f64;
        let base = (levels.step() << bits) as f64 / power;
        Decoder {
            base: T::of(base).flip_mantissa(center << (MANTISSA - bits)),
            zero: T::of(base - levels.offset() as f64 / power),
            denominator: T::of(levels.denominator() as f64 / power),
        }
    }
}

struct Product<'a, T> {
    weights: CodedWeights<'a, T>,
    rows: &'a [T],
    filters: Range<usize>,
    dots: &'a mut [T],
}

impl<T: Element> Code for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        match self.weights.panels.storage.width {
            None => self.compute::<1, 32>(),
            Some(Width::Bits2) => self.compute::<2, 16>(),
            Some(Width::Bits4) => self.compute::<4, 8>(),
            Some(Width::Bits8) => self.compute::<8, 4>(),
        }
    }
}

impl<T: Element> Product<'_, T> {
    /// Of words with `CODES` codes of `BITS` bits.
    #[inline(always)]
    fn compute<const BITS: usize, const CODES: usize>(mut self) {
        let rows = self.dots.len() / self.filters.len().max(1);
        let panels = self.filters.start / PANEL..self.filters.end.div_ceil(PANEL);
        for first in panels.clone().step_by(2) {
            let panels = first..panels.end.min(first + 2);
            let mut row = 0;
            while row < rows {
                // As many as stay in registers; a single row has two panels for that.
                row += match (rows - row, size_of::<T>()) {
                    (1 | 2, _) => self.tiles::<BITS, CODES, 1, 2>(row, panels.clone()),
                    (_, 4) => self.tiles::<BITS, CODES, 4, 1>(row, panels.clone()),
                    _ => self.tiles::<BITS, CODES, 2, 1>(row, panels.clone()),
                };
            }
        }
    }

    /// `ROWS` rows from the given one on, with `PANELS` panels at a time. Returns how many rows
    /// these are. Where there are fewer rows or panels, the last is computed again.
    #[inline(always)]
    fn tiles<const BITS: usize, const CODES: usize, const ROWS: usize, const PANELS: usize>(
        &mut self,
        row: usize,
        panels: Range<usize>,
    ) -> usize {
        let CodedWeights { panels: weights, decoder, .. } = self.weights;
        let (row_len, panel_len) = (weights.row_len(), weights.panel_words() * PANEL);
        let filters = self.filters.len();
        let last_row = self.dots.len() / filters - 1;
        for panel in panels.clone().step_by(PANELS) {
            let row_at = |r: usize| (row + r).min(last_row);
            let panel_at = |p: usize| (panel + p).min(panels.end - 1);
            let sums: [[[T; PANEL]; PANELS]; ROWS] = decoder.sum::<BITS, CODES, ROWS, PANELS>(
                std::array::from_fn(|r| &self.rows[row_at(r) * row_len..][..row_len]),
                std::array::from_fn(|p| &weights.words()[panel_at(p) * panel_len..][..panel_len]),
            );
            for (r, sums) in sums.iter().enumerate() {
                let dots = &mut self.dots[row_at(r) * filters..][..filters];
                for (p, sums) in sums.iter().enumerate() {
                    let first = panel_at(p) * PANEL;
                    let skipped = self.filters.start.saturating_sub(first);
                    let dots = &mut dots[first + skipped - self.filters.start..];
                    dots.iter_mut().zip(&sums[skipped..]).for_each(|(dot, &sum)| *dot = sum);
                }
            }
        }
        ROWS
    }
}

// Sums stay in registers only where all loops over them have a fixed length.
#[allow(clippy::needless_range_loop)]
impl<T: Element> Decoder<T> {
    /// The products of rows with the filters of panels.
    #[inline(always)]
    fn sum<const BITS: usize, const CODES: usize, const ROWS: usize, const PANELS: usize>(
        self,
        rows: [&[T]; ROWS],
        panels: [&[u32]; PANELS],
    ) -> [[[T; PANEL]; PANELS]; ROWS] {
        let rows = rows.map(|row| row.as_chunks::<CODES>());
        let panels = panels.map(|panel| panel.as_chunks::<PANEL>().0);
        let whole = rows.map(|(whole, _)| whole);
        let words = whole.iter().map(|row| row.len()).min().unwrap_or(0);
        let mut total = [[[T::zero(); PANEL]; PANELS]; ROWS];
        for start in (0..words).step_by(SUMMED_WORDS) {
            let mut sums = [[[T::zero(); PANEL]; PANELS]; ROWS];
            for i in start..words.min(start + SUMMED_WORDS) {
                self.add::<BITS, CODES, ROWS, PANELS>(
                    whole.map(|row| &row[i]),
                    panels.map(|panel| &panel[i]),
                    &mut sums,
                );
            }
            for r in 0..ROWS {
                for p in 0..PANELS {
                    for f in 0..PANEL {
                        total[r][p][f] += sums[r][p][f];
                    }
                }
            }
        }
        if panels.iter().all(|panel| panel.len() > words) {
            let rest = rows.map(|(_, rest)| {
                let mut word = [T::zero(); CODES];
                word[..rest.len()].copy_from_slice(rest);
                word
            });
            let last = panels.map(|panel| &panel[words]);
            self.add::<BITS, CODES, ROWS, PANELS>(rest.each_ref(), last, &mut total);
        }
        for r in 0..ROWS {
            for p in 0..PANELS {
                for f in 0..PANEL {
                    total[r][p][f] /= self.denominator;
                }
            }
        }
        total
    }

    /// Adds the products of a word of each row and filter.
    #[inline(always)]
    fn add<const BITS: usize, const CODES: usize, const ROWS: usize, const PANELS: usize>(
        self,
        rows: [&[T; CODES]; ROWS],
        words: [&[u32; PANEL]; PANELS],
        sums: &mut [[[T; PANEL]; PANELS]; ROWS],
    ) {
        let mask = ((1 << BITS) - 1) << (MANTISSA - BITS);
        for i in 0..CODES {
            // The order of codes of several bits is that of `Width`.
            let place = if BITS == 1 { i } else { i % 4 * 8 + i / 4 * BITS };
            for p in 0..PANELS {
                let mut weights = [T::zero(); PANEL];
                for f in 0..PANEL {
                    let code = words[p][f] << (32 - BITS - place) >> (32 - MANTISSA) & mask;
                    weights[f] = self.base.flip_mantissa(code) - self.zero;
                }
                for r in 0..ROWS {
                    for f in 0..PANEL {
                        sums[r][p][f] += rows[r][i] * weights[f];
                    }
                }
            }
        }
    }
}
