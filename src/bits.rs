//! The 1-bit way: windows gathered as bits, XNOR and popcount.
//!
//! A window is the bits of its taps side by side, then chained as the kernels want it.

use crate::Element;
use crate::bit_lanes::pixel_words;
use crate::epilogue::{Epilogue, Row};
use crate::gemm::{Product, Tile};
use crate::geometry::Geometry;
use crate::kernel::{Kernel, PANEL, chain, chain_words};
use ndarray::ArrayViewMut1;

/// 1-bit weights, to be multiplied with 1-bit activations.
pub(crate) struct Bits<'a> {
    pub(crate) kernel: Kernel,
    /// Panels of filters, the last one perhaps not full.
    pub(crate) panels: &'a [u32],
    /// The last panel filled up, if it is not full.
    pub(crate) last: &'a [u32],
    /// The bit of a padded position.
    pub(crate) pad: bool,
}

impl<T: Element> Product<T> for Bits<'_> {
    type Lane = u32;
    type Sum = i32;
    const PRODUCTS_PER_BLOCK: usize = 1 << 22;

    fn pixel_lanes(&self, geometry: &Geometry) -> usize {
        geometry.groups() * pixel_words(geometry)
    }

    fn row_lanes(&self, geometry: &Geometry) -> usize {
        chain_words(geometry.row_len())
    }

    fn sums_per_row(&self, filters: usize) -> usize {
        // A group may start and end within a panel.
        (filters + PANEL - 1).div_ceil(PANEL) * PANEL
    }

    #[inline(always)]
    fn gather(
        &self,
        geometry: &Geometry,
        image: &[u32],
        group: usize,
        position: usize,
        row: &mut [u32],
    ) {
        if row.is_empty() {
            return; // without channels a kernel may be longer than could ever be walked through
        }
        let channels = geometry.group_channels();
        let words = channels.div_ceil(32);
        let whole = channels % 32 == 0 && geometry.groups() == 1;
        let padding = if self.pad { u32::MAX } else { 0 };
        row.fill(0);
        geometry.for_each_run(position, |taps, first| {
            if whole {
                // Pixels fill their words: a run is one copy.
                let row = &mut row[taps.start * words..taps.end * words];
                return match first {
                    Some(first) => row.copy_from_slice(&image[first * words..][..row.len()]),
                    None => row.fill(padding),
                };
            }
            for (i, tap) in taps.enumerate() {
                let pixel = first.map(|first| ((first + i) * geometry.groups() + group) * words);
                for word in 0..words {
                    let at = tap * channels + 32 * word;
                    let len = (channels - 32 * word).min(32);
                    let bits = pixel.map_or(padding, |pixel| image[pixel + word]);
                    append(row, at, bits & (u32::MAX >> (32 - len)));
                }
            }
        });
        chain(row);
    }

    #[inline(always)]
    fn multiply(&self, tile: Tile<'_, u32>, sums: &mut [i32]) {
        let Tile { rows, row_lanes, first, filters, .. } = tile;
        if row_lanes == 0 {
            return sums.fill(0);
        }
        let stride = <Self as Product<T>>::sums_per_row(self, filters);
        let panels = first / PANEL..(first + filters).div_ceil(PANEL);
        for (i, panel) in panels.enumerate() {
            let panel = self.panels.chunks_exact(PANEL * row_lanes).nth(panel);
            let panel = panel.unwrap_or(self.last);
            let sums = &mut sums[i * PANEL..];
            self.kernel.count_differing(rows, panel, sums, stride);
        }
    }

    fn code_sum(row: &[u32]) -> i64 {
        let mut parity = 0;
        let ones = row.chunks_exact(2).map(|pair| {
            let second = parity ^ pair[0] ^ pair[1];
            parity = pair[0];
            i64::from(pair[1].count_ones() + second.count_ones())
        });
        ones.sum()
    }

    #[inline(always)]
    fn finish(
        epilogue: &Epilogue<'_, T>,
        row: &Row<'_, T>,
        sums: &mut [i32],
        out: ArrayViewMut1<'_, T>,
    ) {
        let sums = &mut sums[row.first % PANEL..];
        epilogue.finish_integers(row, sums, out);
    }
}

/// Sets bits of a zeroed row from bit `at` on.
fn append(row: &mut [u32], at: usize, bits: u32) {
    let (word, shift) = (at / 32, at % 32);
    let wide = u64::from(bits) << shift;
    row[word] |= wide as u32;
    if wide >> 32 != 0 {
        row[word + 1] |= (wide >> 32) as u32;
    }
}
