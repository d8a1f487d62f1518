//! What windows are read from, and windows that are gathered.
//!
//! Where channels fill their words, images are at most laid into larger ones, with padding around
//! them. Else lines of an image become strings of bits, without gaps between pixels: those that
//! consecutive taps see are one field of bits then, padding included, wherever it begins, and a
//! window is copied run by run, two words and a shift for every 32 bits. Where neither goes, it is
//! copied tap by tap.

use crate::Result;
use crate::geometry::Geometry;
use crate::memory::{product, take, take_aligned};
use crate::packed::bit_writer::BitWriter;
use crate::packed::layout::WordLayout;

/// Bits that are copied at a time: so many are in two words, wherever they begin.
const FIELD: usize = 32;

impl WordLayout {
    /// What windows are read from: the packed activations, or these copied into lines of bits, or into
    /// larger images with padding around them. `pad` is the code of a padded position.
    pub(crate) fn copy_to<'a>(
        &self,
        geometry: &Geometry,
        windows: &WordLayout,
        words: &'a [u32],
        pad: u8,
        buffer: &'a mut Vec<u32>,
    ) -> Result<&'a [u32]> {
        if windows.lines {
            self.write_lines(geometry, windows, words, pad, buffer)
        } else if windows.grid != geometry.input {
            windows.pad(geometry, words, pad, buffer)
        } else {
            Ok(words)
        }
    }

    /// Copies packed images into larger ones, with padding around them.
    fn pad<'a>(
        &self,
        geometry: &Geometry,
        words: &[u32],
        code: u8,
        padded: &'a mut Vec<u32>,
    ) -> Result<&'a [u32]> {
        let len = product(&[geometry.batch, self.image_words()], "packed activations")?;
        let padded = take_aligned(padded, len, "packed activations")?;
        if len == 0 {
            return Ok(padded);
        }
        match self.planes {
            1 => padded.fill(self.pad_word(code, 0)),
            planes => {
                for (i, plane) in padded.chunks_mut(self.plane_words).enumerate() {
                    plane.fill(self.pad_word(code, i % planes));
                }
            }
        }
        if words.is_empty() {
            return Ok(padded);
        }
        let [_, height, width] = geometry.input;
        let before = geometry.padding_before();
        let line = width * self.pixel_words;
        let images = words.chunks(geometry.pixels() * self.pixel_words);
        for (image, padded) in images.zip(padded.chunks_mut(self.image_words())) {
            for (i, words) in image.chunks(line).enumerate() {
                let at = [before[0] + i / height, before[1] + i % height, before[2]];
                let start = self.pixel(at, [1; 3]);
                padded[start..start + line].copy_from_slice(words);
            }
        }
        Ok(padded)
    }

    /// Copies packed images of this layout into lines of bits, with padding around them. `pad` is the
    /// code of a padded position.
    fn write_lines<'a>(
        &self,
        geometry: &Geometry,
        to: &WordLayout,
        words: &[u32],
        pad: u8,
        lines: &'a mut Vec<u32>,
    ) -> Result<&'a [u32]> {
        let len = product(&[geometry.batch, to.image_words()], "packed activations")?;
        let lines = take(lines, len, "packed activations")?;
        let (input, before) = (geometry.input, geometry.padding_before());
        let width = geometry.padded_input()[2];
        let inside =
            |axis: usize, at: usize| at.checked_sub(before[axis]).filter(|&at| at < input[axis]);
        let images = words.chunks_exact(geometry.pixels() * self.pixel_words);
        for (image, lines) in images.zip(lines.chunks_exact_mut(to.image_words())) {
            for (i, line) in lines.chunks_exact_mut(to.plane_words).enumerate() {
                let (plane, part) = (i % self.planes, i / self.planes);
                let (group, at) = (part % geometry.groups(), part / geometry.groups());
                let at = inside(0, at / to.grid[1]).zip(inside(1, at % to.grid[1]));
                let image = &image[group * self.group_words + plane * self.plane_words..];
                let mut line = BitWriter::new(line);
                for w in 0..width {
                    let pixel = at.zip(inside(2, w));
                    let pixel = pixel.map(|((d, h), w)| (d * input[1] + h) * input[2] + w);
                    self.push_pixel(&mut line, image, pixel, self.pad_word(pad, plane));
                }
                line.finish();
            }
        }
        Ok(lines)
    }

    /// Gathers the codes of a window into `row`, side by side, plane after plane. `image` is a group's
    /// part of an image.
    pub(crate) fn gather(
        &self,
        geometry: &Geometry,
        image: &[u32],
        pad: u8,
        position: usize,
        row: &mut [u32],
    ) {
        if row.is_empty() {
            return; // without channels a kernel may be longer than could ever be walked through
        }
        let planes = row.chunks_mut(self.row_words).enumerate();
        if self.lines {
            planes.for_each(|(plane, row)| self.gather_runs(geometry, image, position, plane, row));
        } else {
            planes.for_each(|(plane, row)| {
                // Nothing, where the image is nothing but padding.
                let image = image.get(plane * self.plane_words..).unwrap_or_default();
                self.gather_taps(geometry, image, position, self.pad_word(pad, plane), row);
            });
        }
    }

    /// A plane of the same, tap by tap.
    fn gather_taps(
        &self,
        geometry: &Geometry,
        plane: &[u32],
        position: usize,
        pad_word: u32,
        row: &mut [u32],
    ) {
        let mut window = BitWriter::new(row);
        geometry.for_each_tap(position, |_, pixel| {
            self.push_pixel(&mut window, plane, pixel, pad_word);
        });
        window.finish();
    }

    /// Appends a plane of the channels of a pixel, or of padding.
    #[inline(always)]
    fn push_pixel(
        &self,
        to: &mut BitWriter<'_>,
        plane: &[u32],
        pixel: Option<usize>,
        pad_word: u32,
    ) {
        match pixel {
            Some(pixel) => {
                let words = &plane[pixel * self.pixel_words..];
                to.push_pixel(self.channel_bits, |word| words[word]);
            }
            None => to.push_pixel(self.channel_bits, |_| pad_word),
        }
    }

    /// A plane of the same, run by run, of lines of bits: a plane of a group's part of lines of bits.
    #[inline(always)]
    fn gather_runs(
        &self,
        geometry: &Geometry,
        image: &[u32],
        position: usize,
        plane: usize,
        row: &mut [u32],
    ) {
        let [kernel_d, kernel_h, kernel_w] = geometry.kernel;
        let (stride, dilation) = (geometry.stride(), geometry.dilation());
        let at = geometry.at(position);
        let begin = at[2] * stride[2] * self.channel_bits;
        let run_bits = kernel_w * self.channel_bits;
        let mut window = BitWriter::new(row);
        for kd in 0..kernel_d {
            let d = at[0] * stride[0] + kd * dilation[0];
            for kh in 0..kernel_h {
                let h = at[1] * stride[1] + kh * dilation[1];
                let line = (d * self.grid[1] + h) * self.pixel_words + plane * self.plane_words;
                let line = &image[line..][..self.plane_words];
                if self.channel_bits.is_multiple_of(32) {
                    window.copy(&line[begin / 32..][..run_bits / 32]);
                    continue;
                }
                let mut start = 0;
                while start < run_bits {
                    let len = FIELD.min(run_bits - start);
                    let at = begin + start;
                    let words = u64::from(line[at / 32]) | u64::from(line[at / 32 + 1]) << 32;
                    window.push((words >> (at % 32)) as u32, len);
                    start += len;
                }
            }
        }
        window.finish();
    }
}
