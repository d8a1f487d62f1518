//! The input on its way into lanes.

use crate::Element;
use crate::forward::depthwise::grid::{Grid, Pixels};
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel};
use crate::packed::codes::{RUN, side_by_side};
use crate::quantizer::ActivationCoder;
use ndarray::{ArrayView2, ArrayView5, Axis, s};
use std::ops::Range;

/// Bits whose numbers are looked up together.
const BITS: usize = 8;

/// Channels of planes whose numbers are written together.
const CHANNELS: usize = 16;

/// Where the lanes of images come from.
pub(crate) trait Source<L>: Sync {
    /// Writes some lines of an image, and the padding around them.
    fn write(&self, image: usize, lines: Range<usize>, lanes: &mut [L]);
}

/// Bits, whose numbers are looked up.
pub(crate) struct Bits<'a, L> {
    pub(crate) geometry: &'a Geometry,
    pub(crate) grid: Grid,
    /// `[image][pixel][word]`.
    pub(crate) words: &'a [u32],
    pad: L,
    /// The numbers that eight bits stand for.
    numbers: [[L; BITS]; 256],
}

impl<'a, L: Copy> Bits<'a, L> {
    /// Bits that stand for two numbers.
    pub(crate) fn new(
        geometry: &'a Geometry,
        grid: Grid,
        words: &'a [u32],
        pad: L,
        numbers: [L; 2],
    ) -> Self {
        Bits { geometry, grid, words, pad, numbers: numbers_of_bits(numbers) }
    }
}

impl<L: Copy + Send + Sync> Source<L> for Bits<'_, L> {
    fn write(&self, image: usize, lines: Range<usize>, lanes: &mut [L]) {
        let Bits { geometry, grid, words, pad, numbers } = self;
        let [depth, height, width] = geometry.input;
        let pixel_words = geometry.channels.div_ceil(32);
        let copies = geometry.group_filters();
        grid.write_lines(geometry, lines, lanes, *pad, |[d, h], mut pixels| {
            let first = ((image * depth + d) * height + h) * width;
            let words = &words[first * pixel_words..][..width * pixel_words];
            if copies == 1
                && geometry.channels.is_multiple_of(32)
                && let Some(line) = pixels.side_by_side(width)
            {
                return expand_row(numbers, words, line);
            }
            for (i, words) in words.chunks_exact(pixel_words).enumerate() {
                let pixel = pixels.pixel(i);
                if copies == 1 {
                    expand_row(numbers, words, pixel);
                    continue;
                }
                for (channel, lanes) in pixel.chunks_exact_mut(copies).enumerate() {
                    lanes.fill(numbers[(words[channel / 32] >> (channel % 32) & 1) as usize][0]);
                }
            }
        });
    }
}

/// Numbers, whatever their strides, that are turned to codes by the coder of their image.
pub(crate) struct Codes<'a, T, L, C> {
    pub(crate) kernel: Kernel,
    pub(crate) geometry: &'a Geometry,
    pub(crate) grid: Grid,
    pub(crate) x: &'a ArrayView5<'a, T>,
    pub(crate) coder: C,
    pub(crate) pad: L,
    /// The number of each code.
    pub(crate) numbers: [L; 256],
}

impl<T, L, C> Source<L> for Codes<'_, T, L, C>
where
    T: Element,
    L: Copy + Send + Sync,
    C: Fn(usize) -> ActivationCoder<T> + Sync,
{
    fn write(&self, image: usize, lines: Range<usize>, lanes: &mut [L]) {
        let copies = self.geometry.group_filters();
        let coder = (self.coder)(image);
        self.grid.write_lines(self.geometry, lines, lanes, self.pad, |[d, h], pixels| {
            let (line, numbers) = (self.x.slice(s![image, .., d, h, ..]), &self.numbers);
            self.kernel.vectorize(PackLine { line, copies, coder, numbers, pixels });
        });
    }
}

/// The numbers that eight bits stand for, from those of one.
pub(crate) fn numbers_of_bits<L: Copy>(numbers: [L; 2]) -> [[L; BITS]; 256] {
    std::array::from_fn(|bits| std::array::from_fn(|i| numbers[bits >> i & 1]))
}

/// Writes the numbers of the bits of a row.
pub(super) fn expand_row<L: Copy>(numbers: &[[L; BITS]; 256], words: &[u32], row: &mut [L]) {
    let (whole, rest) = row.as_chunks_mut::<32>();
    let (whole_words, last) = words.split_at(whole.len());
    for (lanes, word) in whole.iter_mut().zip(whole_words) {
        for (lanes, bits) in lanes.as_chunks_mut().0.iter_mut().zip(word.to_le_bytes()) {
            *lanes = numbers[usize::from(bits)];
        }
    }
    for word in last {
        for (lanes, bits) in rest.chunks_mut(BITS).zip(word.to_le_bytes()) {
            lanes.copy_from_slice(&numbers[usize::from(bits)][..lanes.len()]);
        }
    }
}

/// Packs a line of pixels.
struct PackLine<'a, T, L> {
    /// (channels, pixels).
    line: ArrayView2<'a, T>,
    /// Lanes of a channel.
    copies: usize,
    coder: ActivationCoder<T>,
    numbers: &'a [L; 256],
    pixels: Pixels<'a, L>,
}

impl<T: Element, L: Copy> Code for PackLine<'_, T, L> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let PackLine { line, copies, coder, numbers, mut pixels } = self;
        let (channels, width) = line.dim();
        let mut run_numbers = [T::zero(); RUN];
        if copies == 1 && line.strides()[0] == 1 || width == 1 {
            for (i, pixel) in line.axis_iter(Axis(1)).enumerate() {
                let runs = pixel.axis_chunks_iter(Axis(0), RUN);
                for (run, lanes) in runs.zip(pixels.pixel(i).chunks_mut(RUN * copies)) {
                    let mut codes = [0; RUN];
                    coder.write_codes(side_by_side(run, &mut run_numbers), &mut codes);
                    for (lanes, code) in lanes.chunks_exact_mut(copies).zip(codes) {
                        lanes.fill(numbers[usize::from(code)]);
                    }
                }
            }
            return;
        }
        for first in (0..channels).step_by(CHANNELS) {
            let end = channels.min(first + CHANNELS);
            let planes = line.slice(s![first..end, ..]);
            for (i, runs) in planes.axis_chunks_iter(Axis(1), RUN).enumerate() {
                let mut codes = [[0; RUN]; CHANNELS];
                for (run, codes) in runs.outer_iter().zip(&mut codes) {
                    coder.write_codes(side_by_side(run, &mut run_numbers), codes);
                }
                for pixel in 0..runs.ncols() {
                    let lanes = &mut pixels.pixel(i * RUN + pixel)[first * copies..end * copies];
                    for (lanes, codes) in lanes.chunks_exact_mut(copies).zip(&codes) {
                        lanes.fill(numbers[usize::from(codes[pixel])]);
                    }
                }
            }
        }
    }
}
