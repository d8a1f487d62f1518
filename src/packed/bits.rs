//! The input packed to bits: what `lanes` is to codes and numbers.
//!
//! Pixels are packed once, each group's channels starting a new word, the first channel lowest.

use crate::Element;
use crate::geometry::Geometry;
use crate::kernel::Kernel;
use crate::memory::parallel::any_chunk;
use crate::packed::layout::WordLayout;
use crate::packed::nhwc::channels_are_closest;
use crate::tuning::PACKED_VALUES;
use ndarray::{ArrayView4, ArrayView5, Axis, s};

/// Packs the 1-bit codes of `x` (N, C, D, H, W), whatever its strides. Returns whether there is a
/// NaN among its numbers, in which case the codes mean nothing.
pub(crate) fn pack_input<T: Element>(
    kernel: Kernel,
    groups: usize,
    x: &ArrayView5<'_, T>,
    threshold: T,
    words: &mut [u32],
) -> bool {
    if words.is_empty() {
        return false;
    }
    let (_, channels, depth, height, width) = x.dim();
    let group_words = (channels / groups).div_ceil(32);
    let pixel_words = groups * group_words;
    let pack = Pack { kernel, groups, group_words, pixel_words, threshold };
    // Parts are made along the first spatial axis of some length: its slices are consecutive.
    let lengths = [depth, height, width];
    let axis = (1..4).find(|axis| lengths[axis - 1] > 1).unwrap_or(3);
    let slice_pixels: usize = lengths[axis..].iter().product();
    let slices = (PACKED_VALUES / (slice_pixels * channels)).max(1);
    let image_words = depth * height * width * pixel_words;
    let part_words = slices * slice_pixels * pixel_words;
    let parts = image_words.div_ceil(part_words);
    let part = |image: usize, part: usize, words: &mut [u32]| {
        let range = part * slices..lengths[axis - 1].min((part + 1) * slices);
        let image = x.index_axis(Axis(0), image);
        pack.image(image.slice_axis(Axis(axis), range.into()), words)
    };
    if parts == 1 {
        return any_chunk(words, image_words, 32, |image, words| part(image, 0, words));
    }
    let images = words.chunks_mut(image_words).enumerate();
    let nans = images
        .map(|(image, words)| any_chunk(words, part_words, 32, |i, words| part(image, i, words)));
    nans.fold(false, |nan, other| nan | other)
}

/// Copies signs that are bits already, from pixels whose groups lie without gaps.
pub(crate) fn regroup(geometry: &Geometry, layout: &WordLayout, signs: &[u32], words: &mut [u32]) {
    let channels = geometry.group_channels();
    let per_word = 32 / layout.code_bits;
    words.fill(0);
    if words.is_empty() {
        return;
    }
    let pixels = signs.chunks_exact(geometry.channels.div_ceil(32));
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
struct Pack<T> {
    kernel: Kernel,
    groups: usize,
    /// Words of the channels of a group in a pixel.
    group_words: usize,
    /// Words of a pixel.
    pixel_words: usize,
    threshold: T,
}

impl<T: Element> Pack<T> {
    fn image(&self, mut image: ArrayView4<'_, T>, words: &mut [u32]) -> bool {
        let packed = match channels_are_closest(&image) {
            true if image.strides()[0] == 1 => self.pixels(&image, words),
            true => None,
            false => {
                let _ = image.merge_axes(Axis(2), Axis(3)) && image.merge_axes(Axis(1), Axis(3));
                let stride = image.strides()[3];
                (stride == 1 || image.len_of(Axis(3)) == 1).then(|| self.planes(&image, words))
            }
        };
        packed.unwrap_or_else(|| self.any(image, words))
    }

    /// The channels of a pixel are a slice, and so are the pixels of a line.
    fn pixels(&self, image: &ArrayView4<'_, T>, words: &mut [u32]) -> Option<bool> {
        let width = image.len_of(Axis(0)) / self.groups;
        let pixels = image.view().permuted_axes([1, 2, 3, 0]);
        if let Some(numbers) = pixels.to_slice() {
            return Some(self.kernel.pack_rows(numbers, width, self.threshold, words));
        }
        let line_words = image.len_of(Axis(3)) * self.pixel_words;
        let mut words = words.chunks_exact_mut(line_words);
        let mut nan = false;
        for slice in pixels.outer_iter() {
            for (line, words) in slice.outer_iter().zip(&mut words) {
                nan |= self.kernel.pack_rows(line.to_slice()?, width, self.threshold, words);
            }
        }
        Some(nan)
    }

    /// The pixels of each line are a slice of each channel: plane by plane, or line by line, as
    /// many channels at a time as go into a word.
    fn planes(&self, image: &ArrayView4<'_, T>, words: &mut [u32]) -> bool {
        let (channels, depth, height, width) = image.dim();
        let group_channels = channels / self.groups;
        let lines = words.chunks_exact_mut(width * self.pixel_words);
        let mut nan = false;
        for (i, words) in lines.take(depth * height).enumerate() {
            let line = image.slice(s![.., i / height, i % height, ..]);
            for group in 0..self.groups {
                let group_words = &mut words[group * self.group_words..];
                let line = line.slice(s![group * group_channels..(group + 1) * group_channels, ..]);
                for (i, planes) in line.axis_chunks_iter(Axis(0), 32).enumerate() {
                    let (words, step) = (&mut group_words[i..], self.pixel_words);
                    nan |= self.kernel.pack_planes(planes, self.threshold, words, step);
                }
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
            let words = &mut words[group * self.group_words + channel / 32..];
            let words = words.iter_mut().step_by(self.pixel_words);
            for (word, &x) in words.zip(&plane) {
                *word |= u32::from(x >= self.threshold) << (channel % 32);
                nan |= x.is_nan();
            }
        }
        nan
    }
}
