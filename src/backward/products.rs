//! Both matrix products of the backward, a few images at a time: activations, gradients and windows
//! of these stay in the second cache, in buffers that are used again.

use crate::forward::problem::Problem;
use crate::geometry::Geometry;
use crate::kernel::{Kernel, multiply};
use crate::memory::parallel::{join, threads};
use crate::memory::{matrix, matrix_mut, product, reserve, zeros};
use crate::packed::im2row::{gather, scatter_add};
use crate::packed::nhwc::quantize_nhwc;
use crate::quantizer::check_no_nan;
use crate::tuning::{
    FLOAT_PRODUCTS_PER_THREAD, GRADIENT_FILTERS, GRADIENT_PIXELS, GRADIENT_ROWS, GRADIENT_SUMS,
};
use crate::{Element, Error, Operand, Result};
use ndarray::{ArrayView2, ArrayView4, ArrayView5, ArrayViewMut4, ArrayViewMut5, Axis, s};
use rayon::prelude::*;
use std::ops::Range;

/// The operands of both products, beside the tensors.
pub(super) struct Products<'a, T> {
    pub(super) problem: Problem<'a>,
    /// The scale of each sample, or nothing.
    pub(super) sample_scales: &'a [T],
    /// XNOR-Net's K, `[image][position][group]`, or nothing.
    pub(super) k: &'a [T],
    /// Whether gradients of dot products are to be summed.
    pub(super) sum_dots: bool,
    pub(super) weights: InputWeights<T>,
}

/// Quantized weights with all their scales, as the gradient of the input needs them.
pub(super) struct InputWeights<T> {
    /// The transposed convolution, if the gradient is a product of windows of the output's gradient;
    /// else the gradients of windows are added to the pixels.
    transposed: Option<Geometry>,
    /// For it `[group][tap][filter][channel]`, the last tap first, else `[filter][tap][channel]`.
    values: Vec<T>,
}

/// Sums over images.
#[derive(Default)]
pub(super) struct GradientSums<T> {
    /// The gradient of the unscaled weights, `[filter][tap][channel]`.
    pub(super) weights: Vec<T>,
    pub(super) bias: Vec<f64>,
    /// The gradients of each filter's dot products, times the scale of their sample.
    pub(super) dots: Vec<T>,
    /// Whether there is a NaN in the input, or in the gradient of the output.
    pub(super) nan: [bool; 2],
}

/// Consecutive images, of which one thread sums the gradients.
struct Part<'a, T> {
    first_image: usize,
    x: ArrayView5<'a, T>,
    dy: ArrayView5<'a, T>,
    dx: ArrayViewMut5<'a, T>,
}

/// Memory of one thread for a few images.
struct Buffers<T> {
    /// Quantized activations and their gradient, `[image][pixel][channel]`.
    activations: Vec<T>,
    d_activations: Vec<T>,
    /// Gradients of the dot products, `[image][position][filter]`.
    d_dots: Vec<T>,
    /// Windows of a tile: of the activations, and of either side of their gradient.
    windows: Vec<T>,
    d_windows: Vec<T>,
    sums: GradientSums<T>,
}

impl<T: Element> InputWeights<T> {
    /// Arranges weights `[filter][tap][channel]`. Returns the memory of these too, if it is left.
    pub(super) fn new(geometry: &Geometry, rows: Vec<T>) -> Result<(Self, Vec<T>)> {
        let (filters, channels) = (geometry.group_filters(), geometry.group_channels());
        // As many products either way.
        let [pixels, positions] = GRADIENT_PIXELS;
        let transposed = geometry.transposed().filter(|_| {
            geometry.is_pointwise()
                || geometry.pixels() / pixels <= geometry.positions() / positions
                    && filters <= GRADIENT_FILTERS * channels
        });
        let (taps, row_len) = (geometry.taps(), geometry.row_len());
        if transposed.is_none() || geometry.is_pointwise() || rows.is_empty() {
            return Ok((InputWeights { transposed, values: rows }, Vec::new()));
        }
        let mut values = Vec::new();
        reserve(&mut values, rows.len(), "quantized weights")?;
        for rows in rows.chunks(filters * row_len) {
            for tap in (0..taps).rev() {
                for row in rows.chunks(row_len) {
                    values.extend_from_slice(&row[tap * channels..][..channels]);
                }
            }
        }
        Ok((InputWeights { transposed, values }, rows))
    }
}

impl<T: Element> Products<'_, T> {
    /// Writes the gradient of the input to `dx`, and returns the sums, those of the weights in
    /// `memory` if there is enough.
    pub(super) fn compute(
        &self,
        dy: ArrayView5<'_, T>,
        x: ArrayView5<'_, T>,
        mut dx: ArrayViewMut5<'_, T>,
        mut memory: Vec<T>,
    ) -> Result<GradientSums<T>> {
        let images = self.problem.geometry.batch;
        let together = self.images_together();
        let part_len = images.div_ceil(GRADIENT_SUMS).next_multiple_of(together).min(images);
        let x = x.axis_chunks_iter(Axis(0), part_len);
        let dy = dy.axis_chunks_iter(Axis(0), part_len);
        let dx = dx.axis_chunks_iter_mut(Axis(0), part_len);
        let parts = (0..images).step_by(part_len).zip(x).zip(dy).zip(dx);
        let part = |(((first_image, x), dy), dx)| Part { first_image, x, dy, dx };
        let mut parts: Vec<_> = parts.map(part).collect();
        // As many parts at a time as there are threads, in buffers that are used again.
        let threads = threads(self.work(), FLOAT_PRODUCTS_PER_THREAD).clamp(1, parts.len());
        let again = threads < parts.len();
        let mut buffers = Vec::with_capacity(threads);
        for _ in 0..threads {
            buffers.push(self.buffers(together.min(part_len), std::mem::take(&mut memory))?);
        }
        let mut total: Option<GradientSums<T>> = None;
        for parts in parts.chunks_mut(threads) {
            let count = parts.len();
            match parts {
                [part] => self.sum_part(part, together, &mut buffers[0]),
                parts => {
                    let parts = parts.par_iter_mut().zip(&mut buffers);
                    parts.for_each(|(part, buffers)| self.sum_part(part, together, buffers));
                }
            }
            for buffers in &mut buffers[..count] {
                match &mut total {
                    Some(total) => total.add(&buffers.sums),
                    None => {
                        let next = if again { self.sums(Vec::new())? } else { Default::default() };
                        total = Some(std::mem::replace(&mut buffers.sums, next));
                    }
                }
            }
        }
        let total = total.map_or_else(|| self.sums(Vec::new()), Ok)?;
        match total.nan {
            [true, _] => Err(Error::NaN { operand: Operand::Input }),
            [_, true] => Err(Error::NaN { operand: Operand::OutputGradient }),
            _ => Ok(total),
        }
    }

    /// Products of floats for each of both sides.
    fn work(&self) -> usize {
        let geometry = &self.problem.geometry;
        let dots = geometry.batch * geometry.positions() * geometry.filters;
        dots.saturating_mul(geometry.row_len())
    }

    /// Images of which there are enough windows for an efficient product.
    fn images_together(&self) -> usize {
        let geometry = &self.problem.geometry;
        (GRADIENT_ROWS / geometry.positions().max(1)).clamp(1, geometry.batch.max(1))
    }

    /// Sums of nothing; those of the weights are whatever is in given memory.
    pub(super) fn sums(&self, memory: Vec<T>) -> Result<GradientSums<T>> {
        let geometry = &self.problem.geometry;
        let weights = product(&[geometry.filters, geometry.row_len()], "weight gradient")?;
        Ok(GradientSums {
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
        let windows = |rows: usize, len: usize| {
            // Fewer images may be cut into longer tiles.
            let rows = if geometry.is_pointwise() { 0 } else { GRADIENT_ROWS.min(images * rows) };
            buffer([1, rows, len], "windows")
        };
        Ok(Buffers {
            activations: buffer([images, pixels, geometry.channels], "quantized activations")?,
            d_activations: buffer([images, pixels, geometry.channels], "input gradient")?,
            d_dots: buffer([images, positions, geometry.filters], "output gradient")?,
            windows: windows(positions, geometry.row_len())?,
            d_windows: match &self.weights.transposed {
                None => windows(positions, geometry.row_len())?,
                Some(geometry) => windows(pixels, geometry.row_len())?,
            },
            sums: self.sums(memory)?,
        })
    }

    /// Sums the gradients of a part, and writes that of its input.
    fn sum_part(&self, part: &mut Part<'_, T>, together: usize, buffers: &mut Buffers<T>) {
        let Buffers { activations, d_activations, d_dots, windows, d_windows, sums } = buffers;
        let geometry = &self.problem.geometry;
        let image_len = geometry.pixels() * geometry.channels;
        let image_dots = geometry.positions() * geometry.filters;
        sums.bias.fill(0.0);
        sums.dots.fill(T::zero());
        sums.nan = [false; 2];
        let x = part.x.axis_chunks_iter(Axis(0), together);
        let dy = part.dy.axis_chunks_iter(Axis(0), together);
        let dx = part.dx.axis_chunks_iter_mut(Axis(0), together);
        for (i, ((x, dy), mut dx)) in x.zip(dy).zip(dx).enumerate() {
            let images = x.len_of(Axis(0));
            let first = part.first_image + i * together;
            let activations = &mut activations[..images * image_len];
            let d_activations = &mut d_activations[..images * image_len];
            let d_dots = &mut d_dots[..images * image_dots];
            sums.nan[0] |= check_no_nan(Operand::Input, &x).is_err();
            sums.nan[1] |= check_no_nan(Operand::OutputGradient, &dy).is_err();
            quantize_nhwc(&self.problem.samples(&x), activations, |sample| {
                let quantizer = self.problem.quantizer(self.sample_scales, first + sample);
                move |values: &mut [T]| quantizer.quantize(values)
            });
            self.dot_gradient(first, &dy, d_dots, sums);
            let (activations, d_dots) = (&*activations, &*d_dots);
            let weights = (&mut sums.weights[..], i > 0);
            join(
                threads(self.work(), FLOAT_PRODUCTS_PER_THREAD),
                || self.weight_gradient(first, activations, d_dots, windows, weights),
                || self.activation_gradient(d_dots, d_windows, d_activations),
            );
            let gradients = d_activations.chunks_mut(image_len.max(1));
            for ((x, dx), d_activations) in x.outer_iter().zip(dx.outer_iter_mut()).zip(gradients) {
                self.input_gradient(x, d_activations, dx);
            }
        }
    }

    /// The gradient of the dot products, `dy` with the factors of the epilogue that do not belong
    /// to a filter, and its sums.
    fn dot_gradient(
        &self,
        first_image: usize,
        dy: &ArrayView5<'_, T>,
        d_dots: &mut [T],
        sums: &mut GradientSums<T>,
    ) {
        let geometry = &self.problem.geometry;
        quantize_nhwc(dy, d_dots, |_| |_: &mut [T]| ());
        // In f64, and in the same order whatever the memory layout.
        for dy in d_dots.chunks(geometry.filters) {
            sums.bias.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy.as_f64());
        }
        let factor = self.problem.form.gradient_factor::<T>();
        if factor != T::one() {
            d_dots.iter_mut().for_each(|d_dot| *d_dot *= factor);
        }
        if !self.k.is_empty() {
            let first = first_image * geometry.positions() * geometry.groups();
            let groups = d_dots.chunks_mut(geometry.group_filters());
            for (d_dots, &k) in groups.zip(&self.k[first..]) {
                d_dots.iter_mut().for_each(|d_dot| *d_dot *= k);
            }
        }
        if self.sum_dots {
            // The offset was scaled with its sample, of which the dot products know nothing.
            let samples = self.sample_scales.len().max(1);
            let sample_rows = geometry.batch * geometry.positions() / samples;
            let first = first_image * geometry.positions();
            for (row, d_dots) in (first..).zip(d_dots.chunks(geometry.filters)) {
                let sample = row / sample_rows.max(1);
                let scale = self.sample_scales.get(sample).copied().unwrap_or(T::one());
                let sums = sums.dots.iter_mut().zip(d_dots);
                sums.for_each(|(sum, &d_dot)| *sum += d_dot * scale);
            }
        }
    }

    /// `d_weights = d_dotsᵀ windows`, or adds that.
    fn weight_gradient(
        &self,
        first_image: usize,
        activations: &[T],
        d_dots: &[T],
        windows: &mut [T],
        (d_weights, add): (&mut [T], bool),
    ) {
        let geometry = &self.problem.geometry;
        let (filters, row_len) = (geometry.group_filters(), geometry.row_len());
        let pad = T::of_integer(self.problem.pad.as_integer());
        // Only images have padding, and where they do they are the samples.
        let pad = |image: usize| {
            let scale = self.sample_scales.get(first_image + image);
            scale.map_or(pad, |&scale| pad * scale)
        };
        for tile in tiles(d_dots.len() / geometry.filters) {
            for group in 0..geometry.groups() {
                let windows = gather_tile(geometry, activations, pad, group, &tile, windows);
                let d_dots = self.group_dots(d_dots, &tile, group);
                let d_weights = &mut d_weights[group * filters * row_len..];
                let d_weights = matrix_mut(filters, row_len, d_weights);
                multiply(d_dots.t(), windows, d_weights, add || tile.start > 0);
            }
        }
    }

    /// `d_activations = d_windows weights`, of windows of the gradient of the dot products; or
    /// `d_dots weights` added to the pixels that the windows saw.
    fn activation_gradient(&self, d_dots: &[T], d_windows: &mut [T], d_activations: &mut [T]) {
        let geometry = &self.problem.geometry;
        let (filters, row_len) = (geometry.group_filters(), geometry.row_len());
        let (channels, width) = (geometry.channels, geometry.group_channels());
        let Some(transposed) = &self.weights.transposed else {
            let (positions, image_len) = (geometry.positions(), geometry.pixels() * channels);
            d_activations.fill(T::zero());
            for tile in tiles(d_dots.len() / geometry.filters) {
                for group in 0..geometry.groups() {
                    let d_dots = self.group_dots(d_dots, &tile, group);
                    let weights = &self.weights.values[group * filters * row_len..];
                    let rows = matrix_mut(tile.len(), row_len, d_windows);
                    multiply(d_dots, matrix(filters, row_len, weights), rows, false);
                    for (row, at) in d_windows.chunks(row_len).zip(tile.clone()) {
                        let image = &mut d_activations[at / positions * image_len..][..image_len];
                        scatter_add(geometry, row, group, at % positions, image);
                    }
                }
            }
            return;
        };
        let pixels = d_activations.len() / channels;
        // Nothing is gathered: one tile.
        let len = if transposed.is_pointwise() { pixels } else { tile_rows(pixels) };
        for first in (0..pixels).step_by(len.max(1)) {
            let tile = first..pixels.min(first + len);
            for group in 0..geometry.groups() {
                let zero = |_| T::zero();
                let windows = gather_tile(transposed, d_dots, zero, group, &tile, d_windows);
                let weights = &self.weights.values[group * transposed.row_len() * width..];
                let weights = matrix(transposed.row_len(), width, weights);
                let d_activations = &mut d_activations[tile.start * channels..];
                let d_activations = matrix_mut(tile.len(), channels, d_activations);
                let of_group = s![.., group * width..(group + 1) * width];
                multiply(windows, weights, d_activations.slice_move(of_group), false);
            }
        }
    }

    /// The gradients of the dot products of a tile and a group.
    fn group_dots<'d>(
        &self,
        d_dots: &'d [T],
        tile: &Range<usize>,
        group: usize,
    ) -> ArrayView2<'d, T> {
        let (all, filters) = (self.problem.geometry.filters, self.problem.geometry.group_filters());
        let d_dots = matrix(tile.len(), all, &d_dots[tile.start * all..]);
        d_dots.slice_move(s![.., group * filters..(group + 1) * filters])
    }

    /// Hands the gradient of an image's activations down to its values, of which each channel is a
    /// slice.
    fn input_gradient(
        &self,
        x: ArrayView4<'_, T>,
        d_activations: &mut [T],
        mut dx: ArrayViewMut4<'_, T>,
    ) {
        let activation = self.problem.activation;
        let (channels, depth, height, width) = dx.dim();
        let pixels = x.permuted_axes([1, 2, 3, 0]);
        // In the order of both in memory.
        if let Some(pixels) = pixels.as_slice() {
            activation.chain(d_activations, pixels);
        }
        let planes = dx.view_mut().into_shape_with_order((channels, depth * height * width));
        Kernel::current().transpose(d_activations, planes.expect("standard layout"));
        match (dx.as_slice_mut(), x.as_slice()) {
            _ if pixels.as_slice().is_some() => {}
            (Some(dx), Some(x)) => activation.chain(dx, x),
            _ => dx.zip_mut_with(&x, |dx, &x| *dx *= activation.derivative(x)),
        }
    }
}

impl<T: Element> GradientSums<T> {
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
    rows.div_ceil(rows.div_ceil(GRADIENT_ROWS).max(1))
}

fn tiles(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let len = tile_rows(rows).max(1);
    (0..rows).step_by(len).map(move |first| first..rows.min(first + len))
}

/// The windows of a tile of output positions, which count on over images: in place, or gathered.
fn gather_tile<'a, T: Element>(
    geometry: &Geometry,
    images: &'a [T],
    pad: impl Fn(usize) -> T,
    group: usize,
    tile: &Range<usize>,
    windows: &'a mut [T],
) -> ArrayView2<'a, T> {
    let row_len = geometry.row_len();
    if geometry.is_pointwise() {
        return matrix(tile.len(), row_len, &images[tile.start * row_len..]);
    }
    let positions = geometry.positions();
    let image_len = geometry.pixels() * geometry.channels;
    for (row, at) in windows.chunks_mut(row_len).zip(tile.clone()) {
        let image = at / positions;
        let values = &images[image * image_len..][..image_len];
        gather(geometry, values, pad(image), group, at % positions, row);
    }
    matrix(tile.len(), row_len, windows)
}
