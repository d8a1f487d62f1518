//! The input packed to bits: what `lanes` is to codes and numbers.
//!
//! Pixels are packed once, each group's channels starting a new word, the first channel lowest.
//! The pixels of a pointwise operator are its windows, so they are chained where they lie.

use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel, chain, chain_words};
use crate::lanes::channels_are_closest;
use crate::parallel::any_chunk;
use crate::quantizer::Threshold;
use crate::scratch::product;
use crate::{Element, Result};
use ndarray::{ArrayView4, ArrayView5, Axis, s};

/// Words that the channels of a group take in a pixel.
pub(crate) fn pixel_words(geometry: &Geometry) -> usize {
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
        match channels_are_closest(&image) {
            true if image.strides()[0] == 1 => self.pixels(image, lanes),
            false if image.index_axis(Axis(0), 0).as_slice().is_some() => self.planes(image, lanes),
            _ => self.any(image, lanes),
        }
    }

    /// The channels of a pixel are a slice: pixel by pixel.
    fn pixels(&self, image: ArrayView4<'_, T>, lanes: &mut [u32]) -> bool {
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
