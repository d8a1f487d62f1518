//! How the numbers of a depthwise convolution lie in lanes, and the input on its way there.

use crate::Element;
use crate::Result;
use crate::bit_tensor::BitTensor;
use crate::depthwise::product::Product;
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel};
use crate::options::PadValue;
use crate::parallel::any_chunk;
use crate::quantizer::Levels;
use crate::scratch::product;
use crate::word_layout::PADDED_SIZE;
use ndarray::{ArrayView2, ArrayView5, Axis, s};

/// The lanes that sums fit into.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Arithmetic {
    Signs,
    Short,
    Long,
}

/// Images with their padding around them, a lane for every filter of a pixel: filters of one
/// channel each have a copy of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) arithmetic: Arithmetic,
    /// Lanes of a vector, of which a pixel has a whole number.
    lanes: usize,
    /// Vectors of a pixel.
    pub(crate) vectors: usize,
    /// Lengths of a padded image.
    grid: [usize; 3],
    /// The number in the padding.
    pad: i64,
}

impl Layout {
    /// The layout, where lanes are the way to compute a convolution.
    pub(crate) fn new(
        geometry: &Geometry,
        activation: Levels,
        weight: Levels,
        pad: PadValue,
    ) -> Option<Self> {
        let depthwise = geometry.group_channels() == 1 && geometry.groups() > 1;
        if !depthwise || geometry.lanes() == 0 || geometry.filters == 0 {
            return None;
        }
        let pad = pad.as_integer() * activation.denominator();
        let largest = activation.largest_numerator().max(pad.abs());
        let sum = largest * weight.largest_numerator() * geometry.row_len() as i64;
        let signs = [0, 1].map(|code| weight.numerator(code)) == [-1, 1] && weight.bits() == 1;
        let arithmetic = if signs && sum <= i8::MAX.into() {
            Arithmetic::Signs
        } else if sum <= i16::MAX.into() {
            Arithmetic::Short
        } else if sum <= i32::MAX.into() {
            Arithmetic::Long
        } else {
            return None;
        };
        let grid = geometry.padded_input();
        let pixels = product(&grid, "padded input").ok()?;
        if pixels / PADDED_SIZE > geometry.pixels() {
            return None;
        }
        let lanes = if arithmetic == Arithmetic::Signs { 32 } else { 16 };
        Some(Layout { arithmetic, lanes, vectors: geometry.filters.div_ceil(lanes), grid, pad })
    }

    /// Lanes of a pixel.
    pub(crate) fn pixel_lanes(&self) -> usize {
        self.vectors * self.lanes
    }

    /// Vectors of a padded image.
    pub(crate) fn image_vectors(&self) -> usize {
        self.grid.iter().product::<usize>() * self.vectors
    }

    /// Lanes of all padded images.
    pub(crate) fn input_len(&self, geometry: &Geometry) -> Result<usize> {
        let [depth, height, width] = self.grid;
        product(&[geometry.batch, depth, height, width, self.pixel_lanes()], "packed activations")
    }

    /// The first vector of the pixel at `at * scale`.
    pub(crate) fn pixel(&self, at: [usize; 3], scale: [usize; 3]) -> usize {
        let [_, height, width] = self.grid;
        let [d, h, w]: [usize; 3] = std::array::from_fn(|axis| at[axis] * scale[axis]);
        ((d * height + h) * width + w) * self.vectors
    }

    /// Writes the numbers of signs, of which there are two, and the padding around them.
    pub(crate) fn unpack<P: Product>(
        &self,
        geometry: &Geometry,
        signs: &BitTensor,
        lanes: &mut [P::Lane],
        numbers: [P::Lane; 2],
    ) {
        let [height, width] = [geometry.input[1], geometry.input[2]];
        let copies = geometry.group_filters();
        lanes.fill(P::activation(self.pad));
        let images = signs.words().chunks_exact(geometry.pixels() * signs.pixel_words());
        let padded =
            lanes.chunks_exact_mut(self.grid.iter().product::<usize>() * self.pixel_lanes());
        for (image, padded) in images.zip(padded) {
            for (i, pixel) in image.chunks_exact(signs.pixel_words()).enumerate() {
                let at = [i / (height * width), i / width % height, i % width];
                let before = geometry.padding_before();
                let at = std::array::from_fn(|axis| at[axis] + before[axis]);
                let lanes = &mut padded[self.pixel(at, [1; 3]) * self.lanes..];
                for (channel, lanes) in lanes.chunks_mut(copies).take(geometry.channels).enumerate()
                {
                    lanes.fill(numbers[(pixel[channel / 32] >> (channel % 32) & 1) as usize]);
                }
            }
        }
    }

    /// Writes the numbers of the input, whatever its strides, and the padding around them. Returns
    /// whether there is a NaN, in which case they mean nothing.
    pub(crate) fn pack<T: Element, P: Product, Q: Fn(T) -> P::Lane>(
        &self,
        kernel: Kernel,
        geometry: &Geometry,
        x: &ArrayView5<'_, T>,
        lanes: &mut [P::Lane],
        quantizer: impl Fn(usize) -> Q + Sync,
    ) -> bool {
        let [depth, height, width] = self.grid;
        let before = geometry.padding_before();
        let (line_len, pixel_lanes) = (width * self.pixel_lanes(), self.pixel_lanes());
        let pad = P::activation(self.pad);
        let inside = |axis: usize, at: usize| {
            at.checked_sub(before[axis]).filter(|&at| at < geometry.input[axis])
        };
        any_chunk(lanes, line_len, 1, |i, line| {
            let d = inside(0, i / height % depth);
            let Some((d, h)) = d.zip(inside(1, i % height)) else {
                line.fill(pad);
                return false;
            };
            let image = i / (depth * height);
            let (left, line) = line.split_at_mut(before[2] * pixel_lanes);
            let (line, right) = line.split_at_mut(geometry.input[2] * pixel_lanes);
            left.fill(pad);
            right.fill(pad);
            let pixels = x.slice(s![image, .., d, h, ..]).reversed_axes();
            let copies = geometry.group_filters();
            kernel.vectorize(PackLine { pixels, copies, quantize: quantizer(image), line })
        })
    }
}

/// Packs a line of pixels.
struct PackLine<'a, T, L, Q> {
    /// (pixels, channels).
    pixels: ArrayView2<'a, T>,
    /// Lanes of a channel.
    copies: usize,
    quantize: Q,
    line: &'a mut [L],
}

impl<T: Element, L: Copy, Q: Fn(T) -> L> Code for PackLine<'_, T, L, Q> {
    /// Whether there is a NaN.
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let PackLine { pixels, copies, quantize, line } = self;
        let pixel_lanes = line.len() / pixels.len_of(Axis(0));
        let mut nan = false;
        if copies == 1 && pixels.strides()[1] == 1 {
            for (pixel, lanes) in pixels.outer_iter().zip(line.chunks_exact_mut(pixel_lanes)) {
                for (lane, &x) in lanes.iter_mut().zip(pixel.to_slice().unwrap_or_default()) {
                    *lane = quantize(x);
                    nan |= x.is_nan();
                }
            }
            return nan;
        }
        for (channel, pixels) in pixels.axis_iter(Axis(1)).enumerate() {
            for copy in channel * copies..(channel + 1) * copies {
                for (lane, &x) in line[copy..].iter_mut().step_by(pixel_lanes).zip(&pixels) {
                    *lane = quantize(x);
                    nan |= x.is_nan();
                }
            }
        }
        nan
    }
}
