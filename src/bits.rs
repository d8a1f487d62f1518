//! The 1-bit way: activations packed to bits, windows gathered as bits, XNOR and popcount.
//!
//! Pixels are packed once, each group's channels starting a new word, the first channel lowest.
//! A window is the bits of its taps side by side, then chained as the kernels want it. The pixels
//! of a pointwise operator are its windows, so they are chained where they lie.

use crate::epilogue::{Epilogue, Row};
use crate::gemm::{Product, Tile};
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel, PANEL, chain, chain_words};
use crate::parallel::any_chunk;
use crate::quantizer::Threshold;
use crate::scratch::product;
use crate::{Element, Result};
use ndarray::{ArrayView4, ArrayView5, ArrayViewMut1, Axis, s};

/// Words that the channels of a group take in a pixel.
fn pixel_words(geometry: &Geometry) -> usize {
    if geometry.is_pointwise() {
        chain_words(geometry.channels)
    } else {
        geometry.group_channels().div_ceil(32)
    }
}

/// Words that the packed input takes.
pub(crate) fn packed_len(geometry: &Geometry) -> Result<usize> {
    let sizes = [geometry.batch, geometry.pixels(), geometry.groups(), pixel_words(geometry)];
    product(&sizes, "packed activations")
}

/// Packs the 1-bit codes of `x` (N, C, D, H, W), whatever its strides. Returns whether there is a
/// NaN among its numbers, in which case the codes mean nothing.
pub(crate) fn pack_input<T: Element>(
    kernel: Kernel,
    geometry: &Geometry,
    x: &ArrayView5<'_, T>,
    threshold: Threshold<T>,
    lanes: &mut [u32],
) -> bool {
    let pixel_words = pixel_words(geometry);
    let image_words = geometry.pixels() * geometry.groups() * pixel_words;
    if image_words == 0 {
        return false;
    }
    let pack = Pack { kernel, groups: geometry.groups(), pixel_words, threshold };
    any_chunk(lanes, image_words, |image, lanes| {
        let nan = pack.image(x.index_axis(Axis(0), image), lanes);
        if geometry.is_pointwise() {
            lanes.chunks_mut(pixel_words).for_each(chain);
        }
        nan
    })
}

/// How pixels are packed.
struct Pack<T> {
    kernel: Kernel,
    groups: usize,
    pixel_words: usize,
    threshold: Threshold<T>,
}

impl<T: Element> Pack<T> {
    fn image(&self, image: ArrayView4<'_, T>, lanes: &mut [u32]) -> bool {
        let stride = |axis: usize| image.strides()[axis].unsigned_abs();
        if (1..4).all(|axis| stride(axis) >= stride(0)) {
            self.pixels(image, lanes)
        } else if image.index_axis(Axis(0), 0).as_slice().is_some() {
            self.planes(image, lanes)
        } else {
            self.any(image, lanes)
        }
    }

    /// Channels lie closest: pixel by pixel.
    fn pixels(&self, image: ArrayView4<'_, T>, lanes: &mut [u32]) -> bool {
        if image.strides()[0] != 1 {
            return self.any(image, lanes);
        }
        let width = image.len_of(Axis(0)) / self.groups;
        let mut lanes = lanes.chunks_exact_mut(self.pixel_words);
        let mut nan = false;
        for pixel in image.permuted_axes([1, 2, 3, 0]).lanes(Axis(3)) {
            let groups = pixel.to_slice().unwrap_or_default().chunks_exact(width);
            for (channels, words) in groups.zip(&mut lanes) {
                nan |= self.kernel.pack_row(channels, self.threshold, words);
            }
        }
        nan
    }

    /// Each channel is a slice: plane by plane, as many channels at a time as go into a word.
    fn planes(&self, image: ArrayView4<'_, T>, lanes: &mut [u32]) -> bool {
        let width = image.len_of(Axis(0)) / self.groups;
        let mut nan = false;
        for group in 0..self.groups {
            for first in (0..width).step_by(32) {
                let word = group * self.pixel_words + first / 32;
                let channels = group * width + first..group * width + width.min(first + 32);
                nan |= self.kernel.vectorize(PackPlanes {
                    threshold: self.threshold,
                    planes: image.slice(s![channels, .., .., ..]),
                    lanes: &mut lanes[word..],
                    step: self.groups * self.pixel_words,
                });
            }
        }
        // The word that a pointwise operator may have to even out its pairs.
        if width.div_ceil(32) < self.pixel_words {
            lanes.chunks_mut(self.pixel_words).for_each(|pixel| pixel[self.pixel_words - 1] = 0);
        }
        nan
    }

    /// Any strides: number by number.
    fn any(&self, image: ArrayView4<'_, T>, lanes: &mut [u32]) -> bool {
        let width = image.len_of(Axis(0)) / self.groups;
        let mut nan = false;
        lanes.fill(0);
        for (channel, plane) in image.outer_iter().enumerate() {
            let (group, channel) = (channel / width, channel % width);
            let lanes = &mut lanes[group * self.pixel_words + channel / 32..];
            let words = lanes.iter_mut().step_by(self.groups * self.pixel_words);
            for (word, &x) in words.zip(&plane) {
                *word |= self.threshold.code(x) << (channel % 32);
                nan |= x.is_nan();
            }
        }
        nan
    }
}

/// Packs up to 32 channels into one word of every pixel.
struct PackPlanes<'a, T> {
    threshold: Threshold<T>,
    /// (channels, depth, height, width), each channel a slice.
    planes: ArrayView4<'a, T>,
    /// From the word of the first pixel on.
    lanes: &'a mut [u32],
    /// Words from one pixel to the next.
    step: usize,
}

impl<T: Element> Code for PackPlanes<'_, T> {
    /// Whether there is a NaN.
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        /// Pixels at a time, so that their words stay in the first cache.
        const BLOCK: usize = 256;
        let pixels = self.planes.len() / self.planes.len_of(Axis(0));
        let mut nans = [false; BLOCK];
        for start in (0..pixels).step_by(BLOCK) {
            let len = BLOCK.min(pixels - start);
            let mut words = [0; BLOCK];
            for (channel, plane) in self.planes.outer_iter().enumerate() {
                let plane = &plane.to_slice().unwrap_or_default()[start..start + len];
                for ((word, nan), &x) in words.iter_mut().zip(&mut nans).zip(plane) {
                    *word |= self.threshold.code(x) << channel;
                    *nan |= x.is_nan();
                }
            }
            let lanes = self.lanes[start * self.step..].iter_mut().step_by(self.step);
            for (lane, &word) in lanes.zip(&words[..len]) {
                *lane = word;
            }
        }
        nans.contains(&true)
    }
}

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
