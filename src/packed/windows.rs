//! Lines of few channels as strings of bits, so that a window is gathered run by run.
//!
//! Of pixels that take a word each, a window would be gathered tap by tap. Without gaps between
//! them, the pixels that consecutive taps see are a field of bits in a line of the image, padding
//! included, wherever it begins: two words and a shift.

use crate::Result;
use crate::geometry::Geometry;
use crate::memory::{product, take};
use crate::packed::layout::{PADDED_SIZE, WordLayout};

/// Bits of a run: so many are in two words, wherever they begin.
const RUN: usize = 32;

impl WordLayout {
    /// The layout of dense lines, if windows are better gathered from these: what is the pixel of
    /// another layout is a line then, `[image][line][group][plane][word]`.
    pub(crate) fn dense(&self, geometry: &Geometry) -> Option<Self> {
        let channel_bits = geometry.group_channels() * self.code_bits;
        let runs = geometry.kernel[2] > 1 && geometry.dilation()[2] == 1;
        if self.direct || !runs || geometry.lanes() == 0 || 2 * channel_bits > RUN {
            return None;
        }
        let [depth, height, width] = geometry.padded_input();
        let pixels = product(&[depth, height, width, RUN], "padded input").ok()? / RUN;
        if pixels / PADDED_SIZE > geometry.pixels() {
            return None;
        }
        let plane_words = (width * channel_bits).div_ceil(32) + 1;
        let group_words = self.planes * plane_words;
        let pixel_words = product(&[geometry.groups(), group_words], "packed activations").ok()?;
        product(&[depth, height, pixel_words], "packed activations").ok()?;
        let grid = [depth, height, 1];
        Some(WordLayout { plane_words, group_words, pixel_words, grid, dense: true, ..*self })
    }

    /// Copies packed images of this layout into dense lines, with padding around them.
    pub(crate) fn write_lines<'a>(
        &self,
        geometry: &Geometry,
        dense: &WordLayout,
        words: &[u32],
        code: u8,
        lines: &'a mut Vec<u32>,
    ) -> Result<&'a [u32]> {
        let len = product(&[geometry.batch, dense.image_words()], "packed activations")?;
        let lines = take(lines, len, "packed activations")?;
        let channel_bits = geometry.group_channels() * self.code_bits;
        let (input, before) = (geometry.input, geometry.padding_before());
        let width = geometry.padded_input()[2];
        let inside =
            |axis: usize, at: usize| at.checked_sub(before[axis]).filter(|&at| at < input[axis]);
        let images = words.chunks_exact(geometry.pixels() * self.pixel_words);
        for (image, lines) in images.zip(lines.chunks_exact_mut(dense.image_words())) {
            for (i, line) in lines.chunks_exact_mut(dense.plane_words).enumerate() {
                let (plane, part) = (i % self.planes, i / self.planes);
                let (group, at) = (part % geometry.groups(), part / geometry.groups());
                let at = inside(0, at / dense.grid[1]).zip(inside(1, at % dense.grid[1]));
                let padding = self.pad_word(code, plane) & (u32::MAX >> (32 - channel_bits));
                let mut bits = Bits::new(line);
                let pad = |bits: &mut Bits<'_>, count: usize| {
                    (0..count).for_each(|_| bits.push(padding, channel_bits));
                };
                match at {
                    None => pad(&mut bits, width),
                    Some((d, h)) => {
                        let first = (d * input[1] + h) * input[2] * self.pixel_words;
                        let first = first + group * self.group_words + plane;
                        let pixels = image[first..].iter().step_by(self.pixel_words);
                        pad(&mut bits, before[2]);
                        pixels.take(input[2]).for_each(|&pixel| bits.push(pixel, channel_bits));
                        pad(&mut bits, width - before[2] - input[2]);
                    }
                }
                bits.finish();
            }
        }
        Ok(lines)
    }

    /// Writes the window of an output position: a plane of a group's part of dense lines.
    #[inline(always)]
    pub(crate) fn gather_runs(
        &self,
        geometry: &Geometry,
        image: &[u32],
        position: usize,
        plane: usize,
        row: &mut [u32],
    ) {
        let channel_bits = geometry.group_channels() * self.code_bits;
        let [_, out_h, out_w] = geometry.output;
        let [kernel_d, kernel_h, kernel_w] = geometry.kernel;
        let (stride, dilation) = (geometry.stride(), geometry.dilation());
        let at = [position / (out_h * out_w), position / out_w % out_h, position % out_w];
        let begin = at[2] * stride[2] * channel_bits;
        let row_bits = kernel_w * channel_bits;
        // Divisions take longer than all the rest.
        let run = if row_bits <= RUN { row_bits } else { RUN / channel_bits * channel_bits };
        let mut window = Bits::new(row);
        for kd in 0..kernel_d {
            let d = at[0] * stride[0] + kd * dilation[0];
            for kh in 0..kernel_h {
                let h = at[1] * stride[1] + kh * dilation[1];
                let line = (d * self.grid[1] + h) * self.pixel_words + plane * self.plane_words;
                let line = &image[line..][..self.plane_words];
                let mut start = 0;
                while start < row_bits {
                    let len = run.min(row_bits - start);
                    let at = begin + start;
                    let words = u64::from(line[at / 32]) | u64::from(line[at / 32 + 1]) << 32;
                    let bits = (words >> (at % 32)) as u32;
                    window.push(bits & (u32::MAX >> (32 - len)), len);
                    start += len;
                }
            }
        }
        window.finish();
    }
}

/// Words that are filled with bits.
struct Bits<'a> {
    words: std::slice::IterMut<'a, u32>,
    /// Bits that do not fill a word yet.
    held: u64,
    filled: usize,
}

impl<'a> Bits<'a> {
    fn new(words: &'a mut [u32]) -> Self {
        Bits { words: words.iter_mut(), held: 0, filled: 0 }
    }

    /// Appends up to 32 bits.
    #[inline(always)]
    fn push(&mut self, bits: u32, len: usize) {
        self.held |= u64::from(bits) << self.filled;
        self.filled += len;
        if self.filled >= 32 {
            self.words.next().into_iter().for_each(|word| *word = self.held as u32);
            self.held >>= 32;
            self.filled -= 32;
        }
    }

    /// Writes the last word, and zeros where there are more.
    fn finish(mut self) {
        self.words.next().into_iter().for_each(|word| *word = self.held as u32);
        self.words.for_each(|word| *word = 0);
    }
}
