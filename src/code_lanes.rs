//! The input as codes of a byte, four in a word: what `bit_lanes` is to bits.

use crate::Element;
use crate::geometry::Geometry;
use crate::lanes::channels_are_closest;
use crate::parallel::any_chunk;
use crate::word_layout::WordLayout;
use ndarray::{ArrayView4, ArrayView5, Axis};

/// Writes the code of every activation of `x` (N, C, D, H, W), whatever its strides, by the coder
/// of its image.
pub(crate) fn pack_codes<T: Element, Q: Fn(T) -> u32>(
    geometry: &Geometry,
    layout: &WordLayout,
    x: &ArrayView5<'_, T>,
    words: &mut [u32],
    coder: impl Fn(usize) -> Q + Sync,
) {
    if words.is_empty() {
        return;
    }
    let image_words = words.len() / x.len_of(Axis(0));
    any_chunk(words, image_words, |image, words| {
        pack_image(geometry, layout, x.index_axis(Axis(0), image), words, &coder(image));
        false
    });
}

fn pack_image<T: Element>(
    geometry: &Geometry,
    layout: &WordLayout,
    image: ArrayView4<'_, T>,
    words: &mut [u32],
    code: &impl Fn(T) -> u32,
) {
    let width = geometry.group_channels();
    if channels_are_closest(&image) {
        let mut words = words.chunks_exact_mut(layout.group_words);
        for pixel in image.permuted_axes([1, 2, 3, 0]).lanes(Axis(3)) {
            for (channels, words) in pixel.axis_chunks_iter(Axis(0), width).zip(&mut words) {
                match channels.to_slice() {
                    Some(channels) => pack_channels(channels.iter(), words, code),
                    None => pack_channels(channels.iter(), words, code),
                }
            }
        }
        return;
    }
    words.fill(0);
    for (channel, plane) in image.outer_iter().enumerate() {
        let (group, channel) = (channel / width, channel % width);
        let words = &mut words[group * layout.group_words + channel / 4..];
        for (word, &x) in words.iter_mut().step_by(layout.pixel_words).zip(&plane) {
            *word |= code(x) << (channel % 4 * 8);
        }
    }
}

#[inline(always)]
fn pack_channels<'a, T: Element>(
    channels: impl Iterator<Item = &'a T>,
    words: &mut [u32],
    code: &impl Fn(T) -> u32,
) {
    words.fill(0);
    for (i, &x) in channels.enumerate() {
        words[i / 4] |= code(x) << (i % 4 * 8);
    }
}
