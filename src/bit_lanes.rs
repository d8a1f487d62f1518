//! The input packed to bits: what `lanes` is to codes and numbers.
//!
//! Pixels are packed once, each group's channels starting a new word, the first channel lowest.

use crate::Element;
use crate::bit_tensor::BitTensor;
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel};
use crate::lanes::channels_are_closest;
use crate::parallel::any_chunk;
use crate::quantizer::Threshold;
use crate::word_layout::WordLayout;
use ndarray::{ArrayView4, ArrayView5, Axis, s};

/// Numbers that are packed at a time, by one thread.
const PART: usize = 1 << 15;

/// Packs the 1-bit codes of `x` (N, C, D, H, W), whatever its strides. Returns whether there is a
/// NaN among its numbers, in which case the codes mean nothing.
pub(crate) fn pack_input<T: Element>(
    kernel: Kernel,
    geometry: &Geometry,
    layout: &WordLayout,
    x: &ArrayView5<'_, T>,
    threshold: Threshold<T>,
    words: &mut [u32],
) -> bool {
    if words.is_empty() {
        return false;
    }
    let pack = Pack { kernel, groups: geometry.groups(), layout, threshold };
    // Parts are made along the first spatial axis of some length: its slices are consecutive.
    let axis = (1..4).find(|axis| geometry.input[axis - 1] > 1).unwrap_or(3);
    let slice_pixels: usize = geometry.input[axis..].iter().product();
    let slices = (PART / (slice_pixels * geometry.channels)).max(1);
    let image_words = geometry.pixels() * layout.pixel_words;
    let part_words = slices * slice_pixels * layout.pixel_words;
    let parts = image_words.div_ceil(part_words);
    let part = |image: usize, part: usize, words: &mut [u32]| {
        let range = part * slices..geometry.input[axis - 1].min((part + 1) * slices);
        let image = x.index_axis(Axis(0), image);
        pack.image(image.slice_axis(Axis(axis), range.into()), words)
    };
    if parts == 1 {
        return any_chunk(words, image_words, |image, words| part(image, 0, words));
    }
    let images = words.chunks_mut(image_words).enumerate();
    let nans =
        images.map(|(image, words)| any_chunk(words, part_words, |i, words| part(image, i, words)));
    nans.fold(false, |nan, other| nan | other)
}

/// Copies signs that are bits already, from pixels whose groups lie without gaps.
pub(crate) fn regroup(
    geometry: &Geometry,
    layout: &WordLayout,
    signs: &BitTensor,
    words: &mut [u32],
) {
    let channels = geometry.group_channels();
    let per_word = 32 / layout.code_bits;
    words.fill(0);
    if words.is_empty() {
        return;
    }
    let pixels = signs.words().chunks_exact(signs.pixel_words());
    for (pixel, words) in pixels.zip(words.chunks_exact_mut(layout.pixel_words)) {
        for (group, words) in words.chunks_exact_mut(layout.group_words).enumerate() {
            for i in 0..channels {
                let channel = group * channels + i;
                let bit = pixel[channel / 32] >> (channel % 32) & 1;
                words[i / per_word] |= bit << (i % per_word * layout.code_bits);
            }
        }
    }
}

/// How pixels are packed.
struct Pack<'a, T> {
    kernel: Kernel,
    groups: usize,
    layout: &'a WordLayout,
    threshold: Threshold<T>,
}

impl<T: Element> Pack<'_, T> {
    fn image(&self, image: ArrayView4<'_, T>, words: &mut [u32]) -> bool {
        match channels_are_closest(&image) {
            true if image.strides()[0] == 1 => self.pixels(image, words),
            false if image.index_axis(Axis(0), 0).as_slice().is_some() => self.planes(image, words),
            _ => self.any(image, words),
        }
    }

    /// The channels of a pixel are a slice: pixel by pixel, or all at once where they fill words.
    fn pixels(&self, image: ArrayView4<'_, T>, words: &mut [u32]) -> bool {
        let width = image.len_of(Axis(0)) / self.groups;
        let pixels = image.permuted_axes([1, 2, 3, 0]);
        if let Some(numbers) = pixels.to_slice().filter(|_| width.is_multiple_of(32)) {
            return self.kernel.pack_row(numbers, self.threshold, words);
        }
        let mut words = words.chunks_exact_mut(self.layout.group_words);
        let mut nan = false;
        for pixel in pixels.lanes(Axis(3)) {
            let groups = pixel.to_slice().unwrap_or_default().chunks_exact(width);
            for (channels, words) in groups.zip(&mut words) {
                nan |= self.kernel.pack_row(channels, self.threshold, words);
            }
        }
        nan
    }

    /// Each channel is a slice: plane by plane, as many channels at a time as go into a word.
    fn planes(&self, image: ArrayView4<'_, T>, words: &mut [u32]) -> bool {
        let width = image.len_of(Axis(0)) / self.groups;
        let mut nan = false;
        for group in 0..self.groups {
            for first in (0..width).step_by(32) {
                let word = group * self.layout.group_words + first / 32;
                let channels = group * width + first..group * width + width.min(first + 32);
                nan |= self.kernel.vectorize(PackPlanes {
                    threshold: self.threshold,
                    planes: image.slice(s![channels, .., .., ..]),
                    words: &mut words[word..],
                    step: self.layout.pixel_words,
                });
            }
        }
        nan
    }

    /// Any strides: number by number.
    fn any(&self, image: ArrayView4<'_, T>, words: &mut [u32]) -> bool {
        let width = image.len_of(Axis(0)) / self.groups;
        let mut nan = false;
        words.fill(0);
        for (channel, plane) in image.outer_iter().enumerate() {
            let (group, channel) = (channel / width, channel % width);
            let words = &mut words[group * self.layout.group_words + channel / 32..];
            let words = words.iter_mut().step_by(self.layout.pixel_words);
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
    words: &'a mut [u32],
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
            let to = self.words[start * self.step..].iter_mut().step_by(self.step);
            for (to, &word) in to.zip(&words[..len]) {
                *to = word;
            }
        }
        nans.contains(&true)
    }
}
