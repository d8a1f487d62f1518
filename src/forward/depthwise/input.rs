//! Activations on their way into grids: codes become the numerators that they stand for.

use crate::Element;
use crate::forward::depthwise::arithmetic::{Arithmetic, Int};
use crate::forward::depthwise::grid::Pixels;
use crate::kernel::{Kernel, vectorized};
use crate::packed::codes::{RUN, side_by_side};
use crate::quantizer::ActivationCoder;
use ndarray::{ArrayView1, ArrayView2, ArrayView5, Axis, s};
use std::array::from_fn;

/// Bits whose numerators are looked up together.
const BITS: usize = 8;

/// Channels that are transposed together.
const CHANNELS: usize = 16;

/// Where activations come from. Their pixels have the elements of a grid or, where the grid has
/// planes of channels, there is a line for each channel of a single pixel, which is the plane.
pub(super) enum Codes<'a, V, T> {
    /// Of one bit, `[image][pixel][word]`, and the numerators of eight of them.
    Bits(&'a [u32], &'a OfBits<V>),
    /// Floats without NaN (images, elements, depth, height, width), and what quantizes those of an
    /// image.
    Floats(ArrayView5<'a, T>, &'a (dyn Fn(usize) -> ActivationCoder<T> + Sync)),
}

/// The numerators of any bits, the lowest first.
pub(super) type OfBits<V> = [[V; BITS]; 1 << BITS];

/// From those of a bit.
pub(super) fn of_bits<V: Copy>(numerators: [V; 2]) -> OfBits<V> {
    from_fn(|bits| from_fn(|i| numerators[bits >> i & 1]))
}

/// Activations of a convolution.
pub(super) struct Source<'a, A: Arithmetic, T> {
    pub(super) kernel: Kernel,
    pub(super) codes: Codes<'a, A::Int, T>,
    /// Elements of a pixel.
    pub(super) elements: usize,
    /// Depth, height and width.
    pub(super) pixels: [usize; 3],
    /// The numerators of the codes 0 and 1.
    pub(super) numerators: [A::Int; 2],
}

impl<A: Arithmetic, T: Element> Source<'_, A, T> {
    /// Writes the pixels of a line of an image, each element as often as pixels have room for.
    pub(super) fn write(&self, image: usize, line: usize, to: Pixels<'_, A::Int>) {
        let [depth, height, width] = self.pixels;
        let rows = match &self.codes {
            Codes::Bits(codes, of_bits) => {
                let words = width * self.elements.div_ceil(32);
                let first = (image * depth * height + line) * words;
                Rows::Bits(&codes[first..][..words], of_bits)
            }
            Codes::Floats(x, coder) => {
                let line = x.slice(s![image, .., line / height, line % height, ..]);
                Rows::Floats(line.reversed_axes(), coder(image))
            }
        };
        let copies = to.len / self.elements;
        write_rows(self.kernel, rows, self.numerators, copies, to);
    }
}

/// Codes of the pixels of a line.
enum Rows<'a, V, T> {
    /// Of one bit, whole words a pixel.
    Bits(&'a [u32], &'a OfBits<V>),
    /// (pixels, elements).
    Floats(ArrayView2<'a, T>, ActivationCoder<T>),
}

vectorized! {
    /// Writes numerators, those of each pixel so many times.
    fn write_rows[V: Int, T: Element](
        rows: Rows<'_, V, T>,
        numerators: [V; 2],
        copies: usize,
        to: Pixels<'_, V>,
    ) {
        let mut to = to;
        let len = to.len / copies;
        let gathered = &mut [T::zero(); RUN];
        match rows {
            Rows::Bits(words, of_bits) => {
                let row_words = len.div_ceil(32);
                if len.is_multiple_of(32)
                    && copies == 1
                    && let Some(row) = to.side_by_side(words.len() / row_words)
                {
                    return write_bits(words, of_bits, row);
                }
                for (i, words) in words.chunks_exact(row_words).enumerate() {
                    let row = to.pixel(i);
                    write_bits(words, of_bits, &mut row[..len]);
                    repeat(row, copies);
                }
            }
            Rows::Floats(x, coder) if x.strides()[1] == 1 || x.nrows() == 1 => {
                for (i, x) in x.outer_iter().enumerate() {
                    let row = to.pixel(i);
                    write_floats(x, &coder, numerators, gathered, &mut row[..len]);
                    repeat(row, copies);
                }
            }
            Rows::Floats(x, coder) => {
                let mut block = [[V::default(); RUN]; CHANNELS];
                for (i, x) in x.axis_chunks_iter(Axis(0), RUN).enumerate() {
                    for (j, x) in x.axis_chunks_iter(Axis(1), CHANNELS).enumerate() {
                        for (x, row) in x.columns().into_iter().zip(&mut block) {
                            write_floats(x, &coder, numerators, gathered, &mut row[..x.len()]);
                        }
                        for pixel in 0..x.nrows() {
                            let row = to.pixel(i * RUN + pixel)[j * CHANNELS..].iter_mut();
                            row.zip(&block[..x.ncols()]).for_each(|(to, row)| *to = row[pixel]);
                        }
                    }
                    (0..x.nrows()).for_each(|pixel| repeat(to.pixel(i * RUN + pixel), copies));
                }
            }
        }
    }
}

/// Writes the numerators of bits.
#[inline(always)]
fn write_bits<V: Copy>(words: &[u32], of_bits: &OfBits<V>, row: &mut [V]) {
    let (whole, rest) = row.as_chunks_mut::<32>();
    for (row, word) in whole.iter_mut().zip(words) {
        for (row, bits) in row.as_chunks_mut().0.iter_mut().zip(word.to_le_bytes()) {
            *row = of_bits[usize::from(bits)];
        }
    }
    for word in &words[whole.len()..] {
        for (row, bits) in rest.chunks_mut(BITS).zip(word.to_le_bytes()) {
            row.copy_from_slice(&of_bits[usize::from(bits)][..row.len()]);
        }
    }
}

/// Writes the numerators of floats.
#[inline(always)]
fn write_floats<V: Int, T: Element>(
    x: ArrayView1<'_, T>,
    coder: &ActivationCoder<T>,
    numerators: [V; 2],
    gathered: &mut [T; RUN],
    row: &mut [V],
) {
    for (x, row) in x.axis_chunks_iter(Axis(0), RUN).zip(row.chunks_mut(RUN)) {
        let mut codes = [0; RUN];
        coder.write_codes(side_by_side(x, gathered), &mut codes);
        let codes = row.iter_mut().zip(codes);
        codes.for_each(|(to, code)| *to = V::of_code(code, numerators));
    }
}

/// Makes each of the first numbers of a row so many in place.
#[inline(always)]
fn repeat<V: Copy>(row: &mut [V], copies: usize) {
    if copies > 1 {
        for i in (0..row.len() / copies).rev() {
            let number = row[i];
            row[i * copies..][..copies].fill(number);
        }
    }
}
