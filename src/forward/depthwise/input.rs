//! Activations on their way into grids: codes become the numerators that they stand for.

use crate::Element;
use crate::forward::depthwise::arithmetic::Arithmetic;
use crate::forward::depthwise::grid::{Grid, Pixels};
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel};
use crate::packed::codes::{RUN, side_by_side};
use crate::quantizer::ActivationCoder;
use ndarray::{ArrayView1, ArrayView2, ArrayView5, Axis, s};
use std::array::from_fn;
use std::ops::Range;

/// Bits whose numerators are looked up together.
const BITS: usize = 8;

/// Channels that are transposed together.
const CHANNELS: usize = 16;

/// Where activations come from, pixel by pixel or, where channels are computed one by one, plane by
/// plane.
pub(super) enum Codes<'a, V, T> {
    /// Of one bit, `[image][pixel][word of channels]` or `[image][channel][word of pixels]`, and the
    /// numerators of eight of them.
    Bits(&'a [u32], &'a OfBits<V>),
    /// Floats without NaN, and what quantizes those of an image. Planes are slices.
    Floats(&'a ArrayView5<'a, T>, &'a (dyn Fn(usize) -> ActivationCoder<T> + Sync)),
}

/// The numerators of any bits, the lowest first.
pub(super) type OfBits<V> = [[V; BITS]; 1 << BITS];

/// From those of a bit.
pub(super) fn of_bits<V: Copy>(numerators: [V; 2]) -> OfBits<V> {
    from_fn(|bits| from_fn(|i| numerators[bits >> i & 1]))
}

/// Activations of one convolution.
pub(super) struct Source<'a, A: Arithmetic, T> {
    pub(super) kernel: Kernel,
    pub(super) geometry: &'a Geometry,
    pub(super) grid: Grid<'a>,
    pub(super) codes: Codes<'a, A::Int, T>,
    /// The numerators of the codes 0 and 1.
    pub(super) numerators: [A::Int; 2],
    /// That of the padding.
    pub(super) pad: A::Int,
}

impl<A: Arithmetic, T: Element> Source<'_, A, T> {
    /// Writes some lines of an image, one after the other, and the padding around them.
    pub(super) fn write_lines(&self, image: usize, lines: Range<usize>, elements: &mut [A::Int]) {
        let Source { geometry, ref codes, numerators, pad, .. } = *self;
        let [depth, height, width] = geometry.input;
        let words = width * geometry.channels.div_ceil(32);
        self.grid.write_lines(lines, elements, pad, |line, to| {
            let rows = match codes {
                Codes::Bits(codes, of_bits) => {
                    let first = (image * depth * height + line) * words;
                    Rows::Bits(&codes[first..][..words], of_bits)
                }
                Codes::Floats(x, coder) => {
                    let line = x.slice(s![image, .., line / height, line % height, ..]);
                    Rows::Floats(line.reversed_axes(), coder(image))
                }
            };
            let copies = geometry.group_filters();
            self.kernel.vectorize(WriteRows::<A, T> { rows, numerators, copies, to });
        });
    }

    /// Writes the plane of a channel without its padding.
    pub(super) fn write_plane(&self, image: usize, channel: usize, plane: &mut [A::Int]) {
        let words = plane.len().div_ceil(32);
        let index = image * self.geometry.channels + channel;
        let rows = match &self.codes {
            Codes::Bits(codes, of_bits) => Rows::Bits(&codes[index * words..][..words], of_bits),
            Codes::Floats(x, coder) => {
                let plane = ArrayView1::from(plane_of(x, image, channel));
                Rows::Floats(plane.insert_axis(Axis(0)), coder(image))
            }
        };
        let (numerators, to) = (self.numerators, Pixels::one(plane));
        self.kernel.vectorize(WriteRows::<A, T> { rows, numerators, copies: 1, to });
    }
}

/// The plane of a channel, where it is a slice.
#[inline(always)]
pub(super) fn plane_of<'a, T>(x: &ArrayView5<'a, T>, image: usize, channel: usize) -> &'a [T] {
    let plane = x.index_axis_move(Axis(0), image).index_axis_move(Axis(0), channel);
    plane.to_slice().unwrap_or_default()
}

/// Codes of the pixels of a line, or of all pixels of a plane.
enum Rows<'a, V, T> {
    /// Of one bit, whole words a row.
    Bits(&'a [u32], &'a OfBits<V>),
    /// (rows, floats).
    Floats(ArrayView2<'a, T>, ActivationCoder<T>),
}

/// Writes rows of numerators, each of them several times if filters share a channel.
struct WriteRows<'a, A: Arithmetic, T> {
    rows: Rows<'a, A::Int, T>,
    /// Those of the codes 0 and 1.
    numerators: [A::Int; 2],
    copies: usize,
    to: Pixels<'a, A::Int>,
}

impl<A: Arithmetic, T: Element> Code for WriteRows<'_, A, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let WriteRows { rows, numerators, copies, mut to } = self;
        let len = to.len / copies;
        let gathered = &mut [T::zero(); RUN];
        match rows {
            Rows::Bits(words, of_bits) => {
                let row_words = len.div_ceil(32);
                if len % 32 == 0
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
                    write_floats::<A, T>(x, &coder, numerators, gathered, &mut row[..len]);
                    repeat(row, copies);
                }
            }
            Rows::Floats(x, coder) => {
                let mut block = [[A::Int::default(); RUN]; CHANNELS];
                for (i, x) in x.axis_chunks_iter(Axis(0), RUN).enumerate() {
                    for (j, x) in x.axis_chunks_iter(Axis(1), CHANNELS).enumerate() {
                        for (x, row) in x.columns().into_iter().zip(&mut block) {
                            write_floats::<A, T>(
                                x,
                                &coder,
                                numerators,
                                gathered,
                                &mut row[..x.len()],
                            );
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
fn write_floats<A: Arithmetic, T: Element>(
    x: ArrayView1<'_, T>,
    coder: &ActivationCoder<T>,
    numerators: [A::Int; 2],
    gathered: &mut [T; RUN],
    row: &mut [A::Int],
) {
    for (x, row) in x.axis_chunks_iter(Axis(0), RUN).zip(row.chunks_mut(RUN)) {
        let mut codes = [0; RUN];
        coder.write_codes(side_by_side(x, gathered), &mut codes);
        let codes = row.iter_mut().zip(codes);
        codes.for_each(|(to, code)| *to = A::of_code(code, numerators));
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
