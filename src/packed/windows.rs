//! Windows that are gathered: lines of an image as strings of bits, so that a window is copied run by
//! run, for channels that do not fill their words.
//!
//! Of pixels that begin a word each, a window would be gathered tap by tap. Without gaps between
//! pixels, those that consecutive taps see are one field of bits in a line of the image, padding
//! included, wherever it begins: two words and a shift for every 32 bits.

use crate::Result;
use crate::geometry::Geometry;
use crate::memory::{product, take};
use crate::packed::bit_writer::BitWriter;
use crate::packed::layout::WordLayout;
use crate::tuning::PADDED_GROWTH;

/// Bits that are copied at a time: so many are in two words, wherever they begin.
const FIELD: usize = 32;

impl WordLayout {
    /// The layout of lines of bits, if windows are better gathered from these: what is the pixel of
    /// another layout is a line then, `[image][line][group][plane][word]`.
    pub(crate) fn lines_of_bits(&self, geometry: &Geometry) -> Option<Self> {
        let runs = geometry.kernel[2] > 1 && geometry.dilation()[2] == 1;
        if !runs || geometry.activations() == 0 {
            return None;
        }
        let [depth, height, width] = geometry.padded_input();
        let line_bits = product(&[width, self.channel_bits], "padded input").ok()?;
        let pixels = product(&[depth, height, width], "padded input").ok()?;
        if pixels / PADDED_GROWTH > geometry.pixels() {
            return None;
        }
        let plane_words = line_bits.div_ceil(32) + 1;
        let group_words = product(&[self.planes, plane_words], "packed activations").ok()?;
        let pixel_words = product(&[geometry.groups(), group_words], "packed activations").ok()?;
        product(&[depth, height, pixel_words], "packed activations").ok()?;
        let grid = [depth, height, 1];
        Some(WordLayout { plane_words, group_words, pixel_words, grid, lines: true, ..*self })
    }

    /// Copies packed images of this layout into lines of bits, with padding around them. `pad` is the
    /// code of a padded position.
    pub(crate) fn write_lines<'a>(
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
                let mut line = BitWriter::new(line);
                let padding = |line: &mut BitWriter<'_>, count: usize| {
                    let word = self.pad_word(pad, plane);
                    (0..count).for_each(|_| line.push_pixel(self.channel_bits, |_| word));
                };
                match at {
                    None => padding(&mut line, width),
                    Some((d, h)) => {
                        let first = (d * input[1] + h) * input[2] * self.pixel_words;
                        let first = first + group * self.group_words + plane * self.plane_words;
                        padding(&mut line, before[2]);
                        for pixel in 0..input[2] {
                            let words = &image[first + pixel * self.pixel_words..];
                            line.push_pixel(self.channel_bits, |word| words[word]);
                        }
                        padding(&mut line, width - before[2] - input[2]);
                    }
                }
                line.finish();
            }
        }
        Ok(lines)
    }

    /// Writes the window of an output position: a plane of a group's part of lines of bits.
    #[inline(always)]
    pub(crate) fn gather_runs(
        &self,
        geometry: &Geometry,
        image: &[u32],
        position: usize,
        plane: usize,
        row: &mut [u32],
    ) {
        let [_, out_h, out_w] = geometry.output;
        let [kernel_d, kernel_h, kernel_w] = geometry.kernel;
        let (stride, dilation) = (geometry.stride(), geometry.dilation());
        let at = [position / (out_h * out_w), position / out_w % out_h, position % out_w];
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
