//! Sums of the codes of weights, tap by tap: what padded positions take away from dot products.

use crate::kernel::{Code, Kernel, PANEL};
use crate::packed::format::CodeFormat;
use crate::packed::panels::Panels;

impl Panels {
    /// Sums the codes of each part of `len` weights: `sums` are `[part][filter]`.
    pub(crate) fn sum_parts(&self, kernel: Kernel, len: usize, filters: usize, sums: &mut [i64]) {
        if self.storage.format() == CodeFormat::Planes {
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
        let row_len = self.panels.row_len();
        let panel_len = self.panels.panel_words() * PANEL;
        let words = self.panels.plane(self.plane, 0..self.filters.div_ceil(PANEL));
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
