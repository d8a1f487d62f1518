//! Activations of one bit, packed for products and for bit tensors: `[image][pixel][group][word]`, the
//! first channel of a group lowest.

use crate::Element;
use crate::geometry::Geometry;
use crate::kernel::Kernel;
use crate::memory::parallel::any_chunk;
use crate::packed::layout::WordLayout;
use crate::packed::nhwc::channels_are_closest;
use crate::tuning::PACKED_VALUES;
use ndarray::{ArrayView2, ArrayView4, ArrayView5, Axis, s};

/// Packs the codes of `x` (N, C, D, H, W), whatever its strides. Returns whether it holds a NaN, with
/// which codes mean nothing.
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
    images.fold(false, |nan, (image, words)| {
        nan | any_chunk(words, part_words, 32, |i, words| part(image, i, words))
    })
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
    /// Packs an image line by line, or as one long line: by pixels, if each is a slice, or by channels,
    /// if each is.
    fn image(&self, mut image: ArrayView4<'_, T>, words: &mut [u32]) -> bool {
        let by_pixels = channels_are_closest(&image);
        let _ = image.merge_axes(Axis(2), Axis(3)) && image.merge_axes(Axis(1), Axis(3));
        let (channels, _, height, width) = image.dim();
        let by_planes = !by_pixels && (width == 1 || image.strides()[3] == 1);
        let mut nan = false;
        for (i, words_of_line) in words.chunks_exact_mut(width * self.pixel_words).enumerate() {
            let line = image.slice(s![.., i / height, i % height, ..]);
            nan |= match line.reversed_axes().to_slice() {
                _ if by_planes => self.planes(line, words_of_line),
                Some(pixels) if by_pixels => {
                    let group_channels = channels / self.groups;
                    self.kernel.pack_rows(pixels, group_channels, self.threshold, words_of_line)
                }
                _ => return self.any(image, words),
            };
        }
        nan
    }

    /// Packs a line (channels, pixels), of which each channel is a slice: as many channels at a time as
    /// go into a word.
    fn planes(&self, line: ArrayView2<'_, T>, words: &mut [u32]) -> bool {
        let mut nan = false;
        let groups = line.axis_chunks_iter(Axis(0), line.nrows() / self.groups);
        for (group, channels) in groups.enumerate() {
            for (i, planes) in channels.axis_chunks_iter(Axis(0), 32).enumerate() {
                let words = &mut words[group * self.group_words + i..];
                nan |= self.kernel.pack_planes(planes, self.threshold, words, self.pixel_words);
            }
        }
        nan
    }

    /// Any strides: value by value.
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
