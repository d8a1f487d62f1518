//! Both matrix products of the backward, a few images at a time: what they read and write stays in
//! the second cache, in buffers that are used again.

use crate::forward::problem::Problem;
use crate::geometry::Geometry;
use crate::kernel::{Kernel, multiply};
use crate::memory::{matrix, matrix_mut};
use crate::memory::{product, reserve, zeros};
use crate::packed::im2row::{gather, scatter_add};
use crate::packed::nhwc::quantize_nhwc;
use crate::quantizer::check_no_nan;
use crate::{Element, Error, Operand, Result};
use ndarray::{ArrayView2, ArrayView4, ArrayView5, ArrayViewMut4, ArrayViewMut5, Axis, Slice, s};
use rayon::prelude::*;
use std::ops::Range;

/// Sums over images are made of so many parts at most, whatever the number of threads, so that the
/// order of the sum, and with it the result, is always the same.
const PARTS: usize = 8;

/// Windows that are gathered at a time, at most.
const TILE_ROWS: usize = 512;

/// The operands of both products, beside the tensors.
pub(super) struct Products<'a, T> {
    pub(super) problem: Problem<'a>,
    /// What each sample was scaled by, or nothing.
    pub(super) magnitudes: &'a [T],
    /// XNOR-Net's K, `[image][position][group]`, or nothing.
    pub(super) k: &'a [T],
    /// Whether gradients of dot products are to be summed.
    pub(super) sum_dots: bool,
    pub(super) weights: Weights<T>,
}

/// Quantized weights with all their scales, as the gradient of the input needs them.
pub(super) struct Weights<T> {
    /// The transposed convolution, if windows of the output's gradient are gathered; else the
    /// gradients of windows are added to the pixels.
    transposed: Option<Geometry>,
    /// For it `[group][tap][filter][channel]`, the last tap first, else `[filter][tap][channel]`.
    values: Vec<T>,
}

/// Sums over images.
#[derive(Default)]
pub(super) struct Sums<T> {
    /// The gradient of the unscaled weights, `[filter][tap][channel]`.
    pub(super) weights: Vec<T>,
    pub(super) bias: Vec<f64>,
    /// Of the gradients of each filter's dot products, times the magnitude of their sample.
    pub(super) dots: Vec<T>,
    /// Whether there is a NaN in the input, or in the gradient of the output.
    pub(super) nan: [bool; 2],
}

/// Some images: their tensors, and where their gradient goes.
struct Part<'a, T> {
    first_image: usize,
    x: ArrayView5<'a, T>,
    dy: ArrayView5<'a, T>,
    dx: ArrayViewMut5<'a, T>,
}

/// What one thread writes to while it computes a part.
struct Buffers<T> {
    /// Quantized activations and their gradients, `[image][pixel][channel]`.
    lanes: Vec<T>,
    d_lanes: Vec<T>,
    /// Gradients of the dot products, `[image][position][filter]`.
    dots: Vec<T>,
    /// Windows of a tile: of the lanes, and of either side of their gradient.
    rows: Vec<T>,
    d_rows: Vec<T>,
    sums: Sums<T>,
}

impl<T: Element> Weights<T> {
    /// Arranges weights `[filter][tap][channel]`. Returns the memory of these too, if it is left.
    pub(super) fn new(geometry: &Geometry, rows: Vec<T>) -> Result<(Self, Vec<T>)> {
        let (filters, channels) = (geometry.group_filters(), geometry.group_channels());
        // As many products either way, and no more numbers to gather than there were to add.
        let transposed = geometry.transposed().filter(|_| {
            !geometry.is_pointwise()
                && geometry.pixels() / 9 <= geometry.positions() / 8
                && filters <= 2 * channels
        });
        if transposed.is_none() || rows.is_empty() {
            return Ok((Weights { transposed, values: rows }, Vec::new()));
        }
        let (taps, row_len) = (geometry.taps(), geometry.row_len());
        let mut values = Vec::new();
        reserve(&mut values, rows.len(), "quantized weights")?;
        for rows in rows.chunks(filters * row_len) {
            for tap in (0..taps).rev() {
                for row in rows.chunks(row_len) {
                    values.extend_from_slice(&row[tap * channels..][..channels]);
                }
            }
        }
        Ok((Weights { transposed, values }, rows))
    }
}

impl<T: Element> Products<'_, T> {
    /// Writes the gradient of the input to `dx`, and returns the sums, those of the weights in
    /// `memory` if there is enough.
    pub(super) fn compute(
        &self,
        dy: ArrayView5<'_, T>,
        x: ArrayView5<'_, T>,
        dx: ArrayViewMut5<'_, T>,
        mut memory: Vec<T>,
    ) -> Result<Sums<T>> {
        let images = self.problem.geometry.batch;
        let together = self.images_together();
        let part_len = images.div_ceil(PARTS).next_multiple_of(together).min(images);
        let mut parts = Vec::with_capacity(PARTS);
        let mut rest = dx;
        for first_image in (0..images).step_by(part_len) {
            let count = part_len.min(images - first_image);
            let slice = Slice::from(first_image..first_image + count);
            let (part, tail) = rest.split_at(Axis(0), count);
            rest = tail;
            let [x, dy] = [x, dy].map(|tensor| tensor.slice_axis_move(Axis(0), slice));
            parts.push(Part { first_image, x, dy, dx: part });
        }
        // As many parts at a time as there are threads, in buffers that are used again.
        let threads = rayon::current_num_threads().clamp(1, parts.len());
        let again = threads < parts.len();
        let mut buffers = Vec::with_capacity(threads);
        for _ in 0..threads {
            buffers.push(self.buffers(together.min(part_len), std::mem::take(&mut memory))?);
        }
        let mut total: Option<Sums<T>> = None;
        for parts in parts.chunks_mut(threads) {
            let count = parts.len();
            parts
                .par_iter_mut()
                .zip(&mut buffers)
                .for_each(|(part, buffers)| self.compute_part(part, together, buffers));
            for buffers in &mut buffers[..count] {
                match &mut total {
                    Some(total) => total.add(&buffers.sums),
                    None => {
                        let next = if again { self.sums(Vec::new())? } else { Sums::default() };
                        total = Some(std::mem::replace(&mut buffers.sums, next));
                    }
                }
            }
        }
        let total = match total {
            Some(total) => total,
            None => self.sums(Vec::new())?,
        };
        match total.nan {
            [true, _] => Err(Error::NaN { operand: Operand::Input }),
            [_, true] => Err(Error::NaN { operand: Operand::OutputGradient }),
            _ => Ok(total),
        }
    }

    /// Images of which there are enough windows for an efficient product.
    fn images_together(&self) -> usize {
        let geometry = &self.problem.geometry;
        (TILE_ROWS / geometry.positions().max(1)).clamp(1, geometry.batch.max(1))
    }

    /// Sums of nothing, but for those of the weights if they lie in given memory.
    pub(super) fn sums(&self, memory: Vec<T>) -> Result<Sums<T>> {
        let geometry = &self.problem.geometry;
        let weights = product(&[geometry.filters, geometry.row_len()], "weight gradient")?;
        Ok(Sums {
            weights: match memory.len() == weights {
                true => memory,
                false => zeros(weights, "weight gradient")?,
            },
            bias: zeros(geometry.filters, "bias gradient")?,
            dots: zeros(if self.sum_dots { geometry.filters } else { 0 }, "scale gradient")?,
            nan: [false; 2],
        })
    }

    fn buffers(&self, images: usize, memory: Vec<T>) -> Result<Buffers<T>> {
        let geometry = &self.problem.geometry;
        let buffer = |sizes: [usize; 3], what| zeros(product(&sizes, what)?, what);
        let (pixels, positions) = (geometry.pixels(), geometry.positions());
        let rows = |rows: usize, len: usize| {
            // Fewer images may be cut into longer tiles.
            let rows = if geometry.is_pointwise() { 0 } else { TILE_ROWS.min(images * rows) };
            buffer([1, rows, len], "windows")
        };
        Ok(Buffers {
            lanes: buffer([images, pixels, geometry.channels], "quantized activations")?,
            d_lanes: buffer([images, pixels, geometry.channels], "input gradient")?,
            dots: buffer([images, positions, geometry.filters], "output gradient")?,
            rows: rows(positions, geometry.row_len())?,
            d_rows: match &self.weights.transposed {
                None => rows(positions, geometry.row_len())?,
                Some(geometry) => rows(pixels, geometry.row_len())?,
            },
            sums: self.sums(memory)?,
        })
    }

    fn compute_part(&self, part: &mut Part<'_, T>, together: usize, buffers: &mut Buffers<T>) {
        let Buffers { lanes, d_lanes, dots, rows, d_rows, sums } = buffers;
        let geometry = &self.problem.geometry;
        let image_len = geometry.pixels() * geometry.channels;
        let image_dots = geometry.positions() * geometry.filters;
        sums.bias.fill(0.0);
        sums.dots.fill(T::zero());
        sums.nan = [false; 2];
        let xs = part.x.axis_chunks_iter(Axis(0), together);
        let dys = part.dy.axis_chunks_iter(Axis(0), together);
        let dxs = part.dx.axis_chunks_iter_mut(Axis(0), together);
        for (i, ((x, dy), mut dx)) in xs.zip(dys).zip(dxs).enumerate() {
            let images = x.len_of(Axis(0));
            let first = part.first_image + i * together;
            let lanes = &mut lanes[..images * image_len];
            let d_lanes = &mut d_lanes[..images * image_len];
            let dots = &mut dots[..images * image_dots];
            sums.nan[0] |= check_no_nan(Operand::Input, &x).is_err();
            sums.nan[1] |= check_no_nan(Operand::OutputGradient, &dy).is_err();
            quantize_nhwc(&self.problem.samples(&x), lanes, |sample| {
                let coder = self.problem.quantizer(self.magnitudes, first + sample);
                move |lanes: &mut [T]| coder.quantize(lanes)
            });
            self.dot_gradients(first, &dy, dots, sums);
            let (lanes, dots) = (&*lanes, &*dots);
            rayon::join(
                || self.weight_gradient(first, lanes, dots, rows, (&mut sums.weights, i > 0)),
                || self.lane_gradient(dots, d_rows, d_lanes),
            );
            let images =
                x.outer_iter().zip(dx.outer_iter_mut()).zip(d_lanes.chunks_mut(image_len.max(1)));
            images.for_each(|((x, dx), d_lanes)| self.write_gradient(x, d_lanes, dx));
        }
    }

    /// The gradient of the dot products, `dy` with the factors of the epilogue that do not belong
    /// to a filter, and its sums.
    fn dot_gradients(
        &self,
        first_image: usize,
        dy: &ArrayView5<'_, T>,
        dots: &mut [T],
        sums: &mut Sums<T>,
    ) {
        let geometry = &self.problem.geometry;
        quantize_nhwc(dy, dots, |_| |_: &mut [T]| ());
        // In f64, and in the same order whatever the memory layout.
        for dots in dots.chunks(geometry.filters) {
            sums.bias.iter_mut().zip(dots).for_each(|(sum, dy)| *sum += dy.as_f64());
        }
        let factor = self.problem.form.gradient_factor::<T>();
        if factor != T::one() {
            dots.iter_mut().for_each(|dot| *dot *= factor);
        }
        if !self.k.is_empty() {
            let first = first_image * geometry.positions() * geometry.groups();
            let groups = dots.chunks_mut(geometry.group_filters());
            for (dots, &k) in groups.zip(&self.k[first..]) {
                dots.iter_mut().for_each(|dot| *dot *= k);
            }
        }
        if self.sum_dots {
            // The offset was scaled with its sample, of which the dots know nothing.
            let samples = self.magnitudes.len().max(1);
            let sample_rows = geometry.batch * geometry.positions() / samples;
            let first = first_image * geometry.positions();
            for (row, dots) in (first..).zip(dots.chunks(geometry.filters)) {
                let sample = row / sample_rows.max(1);
                let magnitude = self.magnitudes.get(sample).copied().unwrap_or(T::one());
                let sums = sums.dots.iter_mut().zip(dots);
                sums.for_each(|(sum, &dot)| *sum += dot * magnitude);
            }
        }
    }

    /// `d_weights = dotsᵀ windows`, or adds that.
    fn weight_gradient(
        &self,
        first_image: usize,
        lanes: &[T],
        dots: &[T],
        rows: &mut [T],
        (d_weights, add): (&mut [T], bool),
    ) {
        let geometry = &self.problem.geometry;
        let (filters, row_len) = (geometry.group_filters(), geometry.row_len());
        let pad = T::of_integer(self.problem.pad.as_integer());
        for tile in tiles(dots.len() / geometry.filters) {
            for group in 0..geometry.groups() {
                let rows = if geometry.is_pointwise() {
                    &lanes[tile.start * row_len..]
                } else {
                    // Only images have padding, and where they do they are the samples.
                    let pad = |image: usize| {
                        let magnitude = self.magnitudes.get(first_image + image);
                        magnitude.map_or(pad, |&magnitude| pad * magnitude)
                    };
                    gather_tile(geometry, lanes, pad, group, tile.clone(), rows);
                    &*rows
                };
                let dots = self.dots(dots, &tile, group);
                let d_weights = &mut d_weights[group * filters * row_len..];
                let d_weights = matrix_mut(filters, row_len, d_weights);
                let add = add || tile.start > 0;
                multiply(dots.t(), matrix(tile.len(), row_len, rows), d_weights, add);
            }
        }
    }

    /// The gradient of the lanes.
    fn lane_gradient(&self, dots: &[T], d_rows: &mut [T], d_lanes: &mut [T]) {
        let geometry = &self.problem.geometry;
        let (filters, row_len) = (geometry.group_filters(), geometry.row_len());
        let (channels, width) = (geometry.channels, geometry.group_channels());
        let weights = &self.weights.values;
        match &self.weights.transposed {
            Some(transposed) => {
                for tile in tiles(d_lanes.len() / channels) {
                    for group in 0..geometry.groups() {
                        gather_tile(transposed, dots, |_| T::zero(), group, tile.clone(), d_rows);
                        let rows = matrix(tile.len(), transposed.row_len(), d_rows);
                        let weights = &weights[group * transposed.row_len() * width..];
                        let weights = matrix(transposed.row_len(), width, weights);
                        let d_lanes = &mut d_lanes[tile.start * channels..];
                        let d_lanes = matrix_mut(tile.len(), channels, d_lanes);
                        let d_lanes =
                            d_lanes.slice_move(s![.., group * width..(group + 1) * width]);
                        multiply(rows, weights, d_lanes, false);
                    }
                }
            }
            None if geometry.is_pointwise() => {
                let count = dots.len() / filters;
                let d_lanes = matrix_mut(count, row_len, d_lanes);
                let dots = matrix(count, filters, dots);
                multiply(dots, matrix(filters, row_len, weights), d_lanes, false);
            }
            None => {
                let (positions, image_len) = (geometry.positions(), geometry.pixels() * channels);
                d_lanes.fill(T::zero());
                for tile in tiles(dots.len() / geometry.filters) {
                    for group in 0..geometry.groups() {
                        let dots = self.dots(dots, &tile, group);
                        let weights = &weights[group * filters * row_len..];
                        let rows = matrix_mut(tile.len(), row_len, d_rows);
                        multiply(dots, matrix(filters, row_len, weights), rows, false);
                        for (row, at) in d_rows.chunks(row_len).zip(tile.clone()) {
                            let image = &mut d_lanes[at / positions * image_len..][..image_len];
                            scatter_add(geometry, row, group, at % positions, image);
                        }
                    }
                }
            }
        }
    }

    /// The gradients of the dot products of a tile and a group.
    fn dots<'d>(&self, dots: &'d [T], tile: &Range<usize>, group: usize) -> ArrayView2<'d, T> {
        let (all, filters) = (self.problem.geometry.filters, self.problem.geometry.group_filters());
        let dots = matrix(tile.len(), all, &dots[tile.start * all..]);
        dots.slice_move(s![.., group * filters..(group + 1) * filters])
    }

    /// Hands the gradient of an image's lanes down to its numbers, of which each plane is a slice.
    fn write_gradient(
        &self,
        x: ArrayView4<'_, T>,
        d_lanes: &mut [T],
        mut dx: ArrayViewMut4<'_, T>,
    ) {
        let activation = self.problem.activation;
        let (channels, depth, height, width) = dx.dim();
        let pixels = x.permuted_axes([1, 2, 3, 0]);
        // In the order in which both lie in memory.
        if let Some(pixels) = pixels.as_slice() {
            activation.chain(d_lanes, pixels);
        }
        let planes = dx.view_mut().into_shape_with_order((channels, depth * height * width));
        Kernel::current().transpose(d_lanes, planes.expect("standard layout"));
        match (dx.as_slice_mut(), x.as_slice()) {
            _ if pixels.as_slice().is_some() => {}
            (Some(dx), Some(x)) => activation.chain(dx, x),
            _ => dx.zip_mut_with(&x, |dx, &x| *dx *= activation.derivative(x)),
        }
    }
}

impl<T: Element> Sums<T> {
    fn add(&mut self, other: &Self) {
        let add = |sums: &mut [T], values: &[T]| {
            sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += value);
        };
        add(&mut self.weights, &other.weights);
        add(&mut self.dots, &other.dots);
        self.bias.iter_mut().zip(&other.bias).for_each(|(sum, &value)| *sum += value);
        self.nan = [self.nan[0] | other.nan[0], self.nan[1] | other.nan[1]];
    }
}

/// Rows of a tile, of all tiles about as many.
fn tile_rows(rows: usize) -> usize {
    rows.div_ceil(rows.div_ceil(TILE_ROWS).max(1))
}

fn tiles(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let len = tile_rows(rows).max(1);
    (0..rows).step_by(len).map(move |first| first..rows.min(first + len))
}

/// Gathers the windows of a tile of output positions, which count on over images.
fn gather_tile<T: Element>(
    geometry: &Geometry,
    lanes: &[T],
    pad: impl Fn(usize) -> T,
    group: usize,
    tile: Range<usize>,
    rows: &mut [T],
) {
    let positions = geometry.positions();
    let image_len = geometry.pixels() * geometry.channels;
    for (row, at) in rows.chunks_mut(geometry.row_len()).zip(tile) {
        let image = at / positions;
        let lanes = &lanes[image * image_len..][..image_len];
        gather(geometry, lanes, pad(image), group, at % positions, row);
    }
}
