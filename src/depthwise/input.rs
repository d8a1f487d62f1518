//! The input on its way into lanes.

use crate::Element;
use crate::code_lanes::{RUN, side_by_side};
use crate::depthwise::grid::Pixels;
use crate::depthwise::layout::Layout;
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel};
use crate::quantizer::ActivationCoder;
use ndarray::{ArrayView2, ArrayView5, Axis, s};

/// Bits whose numbers are looked up together.
const BITS: usize = 8;

/// Channels of planes whose numbers are written together.
const CHANNELS: usize = 16;

impl Layout {
    /// Writes the numbers of bits, `[image][pixel][word]`, and the padding around them.
    pub(crate) fn expand<L: Copy + Send + Sync>(
        &self,
        geometry: &Geometry,
        words: &[u32],
        lanes: &mut [L],
        pad: L,
        numbers: [L; 2],
    ) {
        let numbers: [[L; BITS]; 256] =
            std::array::from_fn(|bits| std::array::from_fn(|i| numbers[bits >> i & 1]));
        let [depth, height, width] = geometry.input;
        let pixel_words = geometry.channels.div_ceil(32);
        let copies = geometry.group_filters();
        self.grid.write_lines(geometry, lanes, pad, 1, |image, [d, h], mut pixels| {
            let first = ((image * depth + d) * height + h) * width;
            let words = &words[first * pixel_words..][..width * pixel_words];
            if copies == 1 && geometry.channels.is_multiple_of(32) {
                if let Some(line) = pixels.side_by_side(width) {
                    return expand_row(&numbers, words, line);
                }
            }
            for (i, words) in words.chunks_exact(pixel_words).enumerate() {
                let pixel = pixels.pixel(i);
                if copies == 1 {
                    expand_row(&numbers, words, pixel);
                    continue;
                }
                for (channel, lanes) in pixel.chunks_exact_mut(copies).enumerate() {
                    lanes.fill(numbers[(words[channel / 32] >> (channel % 32) & 1) as usize][0]);
                }
            }
        });
    }

    /// Writes the numbers of the codes of the input, whatever its strides, and the padding around
    /// them.
    pub(crate) fn pack<T: Element, L: Copy + Default + Send + Sync>(
        &self,
        kernel: Kernel,
        geometry: &Geometry,
        x: &ArrayView5<'_, T>,
        lanes: &mut [L],
        numbers: &Numbers<L>,
        coder: impl Fn(usize) -> ActivationCoder<T> + Sync,
    ) {
        let copies = geometry.group_filters();
        self.grid.write_lines(geometry, lanes, numbers.pad, 1, |image, [d, h], pixels| {
            let line = x.slice(s![image, .., d, h, ..]);
            let coder = coder(image);
            kernel.vectorize(PackLine { line, copies, coder, numbers, pixels });
        });
    }
}

/// What is written to lanes.
pub(crate) struct Numbers<L> {
    pub(crate) pad: L,
    /// The number of each code.
    pub(crate) codes: [L; 256],
}

/// Writes the numbers of the bits of a row.
fn expand_row<L: Copy>(numbers: &[[L; BITS]; 256], words: &[u32], row: &mut [L]) {
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
    numbers: &'a Numbers<L>,
    pixels: Pixels<'a, L>,
}

impl<T: Element, L: Copy + Default> Code for PackLine<'_, T, L> {
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
                        lanes.fill(numbers.codes[usize::from(code)]);
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
                        lanes.fill(numbers.codes[usize::from(codes[pixel])]);
                    }
                }
            }
        }
    }
}
