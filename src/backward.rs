//! The one way of every backward: straight-through gradients against the quantized operands of
//! the forward.
//!
//! With rows X of quantized windows, quantized and scaled weights W and the gradient dY of the
//! dot products, `dX = dY W` is scattered back to the pixels, and `dW = dYᵀ X`; the quantizers
//! then hand both down to the latent tensors.

use crate::float_tiles::{matrix, matrix_mut};
use crate::forward::Task;
use crate::geometry::Geometry;
use crate::im2row::{gather, scatter_add};
use crate::lanes::{channels_are_closest, k_map, quantize_lanes};
use crate::options::{InputScaling, OutputForm, ScaleGradient, Scaling};
use crate::pack::scale_filters;
use crate::quantizer::check_numbers;
use crate::scratch::{product, zeros};
use crate::views::{view5, zeros_array};
use crate::{Element, Operand, PackedWeights, Result};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array, Array1, Array5, ArrayView4, ArrayView5, Axis, Dimension, Ix5, Zip, s};
use rayon::prelude::*;
use std::ops::Range;

/// Gradients of the operands of an operator: `D` is the dimension of its arrays.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Gradients<T, D: Dimension> {
    /// Of the input, in its shape.
    pub input: Array<T, D>,
    /// Of the latent weights, in their shape.
    pub weight: Array<T, D>,
    /// Of the bias: one value a filter, whether or not the forward had a bias.
    pub bias: Array1<T>,
}

/// Weight gradients are summed in so many parts, whatever the number of threads, so that the
/// order of the sum, and with it the result, is always the same.
const PARTS: usize = 8;

/// Rows that are gathered at a time, at most.
const TILE_ROWS: usize = 512;

pub(crate) fn backward<T: Element>(
    task: Task<'_>,
    scale_gradient: ScaleGradient,
    weights: &PackedWeights<T>,
    dy: ArrayView5<'_, T>,
    x: ArrayView5<'_, T>,
    w: ArrayView5<'_, T>,
) -> Result<Gradients<T, Ix5>> {
    // Memory first: a broadcast view may be too large to be read through.
    let mut lanes = zeros(task.geometry.lanes(), "quantized activations")?;
    let mut dots = zeros(dy.len(), "output gradient")?;
    check_numbers(Operand::Input, &x)?;
    check_numbers(Operand::OutputGradient, &dy)?;
    dot_gradients(task, dy, x, &mut dots)?;
    let mut magnitudes = Vec::new();
    let magnitudes = task.magnitudes(&x, &mut magnitudes)?;
    quantize_lanes(&task.samples(&x), &mut lanes, |sample| {
        let coder = task.coder(magnitudes, sample);
        move |x| coder.quantized(x)
    });
    let mut scaled = weights.quantized_rows()?;
    scale_filters(&mut scaled, weights.scales());
    let products = Products {
        geometry: &task.geometry,
        pad: T::of_integer(task.pad.as_integer()),
        magnitudes,
        dots: &dots,
        lanes: &lanes,
        weights: &scaled,
    };
    let (d_lanes, d_weights) = products.compute()?;
    Ok(Gradients {
        input: input_gradient(task, &d_lanes, x)?,
        weight: match scale_gradient {
            ScaleGradient::Stopped => weight_gradient(weights, d_weights, &[], w)?,
            ScaleGradient::Flow => {
                let shares = scale_shares(task, weights, magnitudes, &dots, &d_weights)?;
                weight_gradient(weights, d_weights, &shares, w)?
            }
        },
        bias: bias_gradient(dy),
    })
}

/// The gradient of the dot products, `[image][position][filter]`: `dy` with the factors of the
/// epilogue that do not belong to a filter.
fn dot_gradients<T: Element>(
    task: Task<'_>,
    dy: ArrayView5<'_, T>,
    x: ArrayView5<'_, T>,
    dots: &mut [T],
) -> Result<()> {
    let geometry = &task.geometry;
    let factor = task.form.gradient_factor::<T>();
    quantize_lanes(&dy, dots, |_| |dy| dy * factor);
    if task.input_scaling == InputScaling::KMap {
        let (mut magnitudes, mut k) = (Vec::new(), Vec::new());
        let k = k_map(geometry, &x, &mut magnitudes, &mut k)?;
        let groups = dots.chunks_mut(geometry.group_filters().max(1));
        for (dots, &k) in groups.zip(&*k) {
            dots.iter_mut().for_each(|dot| *dot *= k);
        }
    }
    Ok(())
}

/// The operands of both matrix products of the backward.
struct Products<'a, T> {
    geometry: &'a Geometry,
    /// What a padded position held, before the magnitude of its sample.
    pad: T,
    /// What each sample was scaled by, or nothing.
    magnitudes: &'a [T],
    /// Gradients of the dot products, `[image][position][filter]`.
    dots: &'a [T],
    /// Quantized activations, `[image][pixel][channel]`.
    lanes: &'a [T],
    /// Quantized weights with all their scales, `[filter][tap][channel]`.
    weights: &'a [T],
}

/// What one thread writes to while it computes a part.
struct Buffers<T> {
    /// Windows of a tile, and their gradients.
    rows: Vec<T>,
    d_rows: Vec<T>,
    /// What the part adds to the gradient of the unscaled weights.
    d_weights: Vec<T>,
}

impl<T: Element> Products<'_, T> {
    /// The gradients of the lanes and of the unscaled weights, laid out as these are.
    fn compute(&self) -> Result<(Vec<T>, Vec<T>)> {
        let images = self.geometry.batch;
        let image_len = self.geometry.pixels() * self.geometry.channels;
        let mut d_lanes = zeros(self.lanes.len(), "input gradient")?;
        if self.dots.is_empty() || self.geometry.row_len() == 0 {
            return Ok((d_lanes, zeros(self.weights.len(), "weight gradient")?));
        }
        let mut rest = &mut d_lanes[..];
        let mut parts = Vec::with_capacity(PARTS);
        for first in (0..images).step_by(images.div_ceil(PARTS).max(1)) {
            let count = images.div_ceil(PARTS).min(images - first);
            let (part, tail) = rest.split_at_mut(count * image_len);
            parts.push((first..first + count, part));
            rest = tail;
        }
        // As many parts at a time as there are threads, in buffers that are used again.
        let threads = rayon::current_num_threads().clamp(1, parts.len().max(1));
        let mut buffers = Vec::with_capacity(threads);
        for _ in 0..threads {
            buffers.push(self.buffers()?);
        }
        let mut d_weights = zeros(self.weights.len(), "weight gradient")?;
        for (i, parts) in parts.chunks_mut(threads).enumerate() {
            let parts = parts.par_iter_mut().zip(&mut buffers);
            let count = parts.len();
            parts.for_each(|((images, d_lanes), buffers)| {
                self.compute_images(images.clone(), d_lanes, buffers);
            });
            for (j, buffers) in buffers[..count].iter_mut().enumerate() {
                if i + j == 0 {
                    std::mem::swap(&mut d_weights, &mut buffers.d_weights);
                    continue;
                }
                for (sum, &value) in d_weights.iter_mut().zip(&buffers.d_weights) {
                    *sum += value;
                }
            }
        }
        Ok((d_lanes, d_weights))
    }

    fn tile_rows(&self) -> usize {
        let positions = self.geometry.positions();
        if self.geometry.is_pointwise() { positions } else { TILE_ROWS.min(positions) }
    }

    fn buffers(&self) -> Result<Buffers<T>> {
        let gathered = if self.geometry.is_pointwise() { 0 } else { self.tile_rows() };
        let gathered = product(&[gathered, self.geometry.row_len()], "windows")?;
        Ok(Buffers {
            rows: zeros(gathered, "windows")?,
            d_rows: zeros(gathered, "windows")?,
            d_weights: zeros(self.weights.len(), "weight gradient")?,
        })
    }

    /// Fills in the gradients of the lanes of some images, and writes what they add to that of the
    /// weights.
    fn compute_images(&self, images: Range<usize>, d_lanes: &mut [T], buffers: &mut Buffers<T>) {
        let Buffers { rows, d_rows, d_weights } = buffers;
        let geometry = self.geometry;
        let (row_len, positions) = (geometry.row_len(), geometry.positions());
        let image_len = geometry.pixels() * geometry.channels;
        let tile_rows = self.tile_rows();
        d_weights.fill(T::zero());
        for (i, image) in images.enumerate() {
            let lanes = &self.lanes[image * image_len..][..image_len];
            let d_lanes = &mut d_lanes[i * image_len..][..image_len];
            // Only images have padding, and where they do they are the samples.
            let pad =
                self.magnitudes.get(image).map_or(self.pad, |&magnitude| self.pad * magnitude);
            for first in (0..positions).step_by(tile_rows.max(1)) {
                let tile = first..positions.min(first + tile_rows);
                for group in 0..geometry.groups() {
                    if geometry.is_pointwise() {
                        self.multiply(image, tile.clone(), group, lanes, d_lanes, d_weights);
                        continue;
                    }
                    for (position, row) in tile.clone().zip(rows.chunks_mut(row_len.max(1))) {
                        gather(geometry, lanes, pad, group, position, row);
                    }
                    self.multiply(image, tile.clone(), group, rows, d_rows, d_weights);
                    for (position, row) in tile.clone().zip(d_rows.chunks(row_len.max(1))) {
                        scatter_add(geometry, row, group, position, d_lanes);
                    }
                }
            }
        }
    }

    /// `d_rows = dots weights` and `d_weights += dotsᵀ rows`, for one tile and group.
    fn multiply(
        &self,
        image: usize,
        tile: Range<usize>,
        group: usize,
        rows: &[T],
        d_rows: &mut [T],
        d_weights: &mut [T],
    ) {
        let geometry = self.geometry;
        let (filters, row_len, count) = (geometry.group_filters(), geometry.row_len(), tile.len());
        let start = (image * geometry.positions() + tile.start) * geometry.filters;
        let dots = matrix(count, geometry.filters, &self.dots[start..]);
        let dots = dots.slice_move(s![.., group * filters..(group + 1) * filters]);
        let group_start = group * filters * row_len;
        let weights = matrix(filters, row_len, &self.weights[group_start..]);
        let rows = matrix(count, row_len, rows);
        let mut d_rows = matrix_mut(count, row_len, d_rows);
        let mut d_weights = matrix_mut(filters, row_len, &mut d_weights[group_start..]);
        let (zero, one) = (T::zero(), T::one());
        rayon::join(
            || general_mat_mul(one, &dots, &weights, zero, &mut d_rows),
            || general_mat_mul(one, &dots.t(), &rows, one, &mut d_weights),
        );
    }
}

/// The gradient of the input from that of its quantized lanes.
fn input_gradient<T: Element>(
    task: Task<'_>,
    d_lanes: &[T],
    x: ArrayView5<'_, T>,
) -> Result<Array5<T>> {
    let (n, c, d, h, w) = x.dim();
    let d_lanes = view5([n, d, h, w, c], d_lanes).permuted_axes([0, 4, 1, 2, 3]);
    let mut dx = zeros_array(x.raw_dim(), "input gradient")?;
    Zip::from(&mut dx).and(x).and(d_lanes).for_each(|dx, &x, &d| {
        *dx = d * task.activation.derivative(x);
    });
    Ok(dx)
}

/// The gradient of the latent weights from that of the unscaled quantized ones, and from what
/// each `|w|` of a filter receives through its scale, if anything.
fn weight_gradient<T: Element>(
    weights: &PackedWeights<T>,
    mut d_weights: Vec<T>,
    shares: &[T],
    w: ArrayView5<'_, T>,
) -> Result<Array5<T>> {
    scale_filters(&mut d_weights, weights.scales());
    let [f, c, kd, kh, kw] = weights.dims();
    let dq = Array5::from_shape_vec([f, kd, kh, kw, c], d_weights).expect("sizes agree");
    let mut dw = dq.permuted_axes([0, 4, 1, 2, 3]);
    if !dw.is_standard_layout() {
        let mut standard = zeros_array(w.raw_dim(), "weight gradient")?;
        standard.assign(&dw);
        dw = standard;
    }
    weights.quantizer().chain(&mut dw, w)?;
    for ((mut dw, w), &share) in dw.outer_iter_mut().zip(w.outer_iter()).zip(shares) {
        Zip::from(&mut dw).and(w).for_each(|dw, &w| {
            if w != T::zero() {
                *dw += share * w.signum();
            }
        });
    }
    Ok(dw)
}

/// What each weight of a filter receives through its scale, which is a mean of |w|; nothing if
/// scales are no means.
fn scale_shares<T: Element>(
    task: Task<'_>,
    weights: &PackedWeights<T>,
    magnitudes: &[T],
    dots: &[T],
    d_weights: &[T],
) -> Result<Vec<T>> {
    let (filters, row_len) = (weights.filters(), weights.row_len());
    let sample_rows = dots.len() / (filters * magnitudes.len()).max(1);
    let sample_magnitude =
        |row: usize| magnitudes.get(row / sample_rows.max(1)).copied().unwrap_or(T::one());
    let quantized = weights.quantized_rows()?;
    // The gradient of each filter's scale is what its dots contribute, Σ q dq, and the K of the
    // offset, which is scaled with them.
    let d_scale = |f: usize| -> T {
        let row = f * row_len..(f + 1) * row_len;
        let of_dots = quantized[row.clone()].iter().zip(&d_weights[row]).map(|(&q, &dq)| q * dq);
        match task.form {
            OutputForm::Dot => of_dots.sum(),
            OutputForm::Offset { .. } => {
                let magnitude = weights.magnitudes().get(f).copied().unwrap_or(T::one());
                // The offset was scaled with its sample, of which the dots know nothing.
                let rows = dots.iter().skip(f).step_by(filters).enumerate();
                let d_dots: T = rows.map(|(row, &dot)| dot * sample_magnitude(row)).sum();
                of_dots.sum::<T>() + magnitude * T::of_integer(row_len as i64) * d_dots
            }
        }
    };
    Ok(match weights.scaling() {
        Scaling::PerFilter => {
            (0..filters).map(|f| d_scale(f) / T::of_integer(row_len as i64)).collect()
        }
        Scaling::PerTensor => {
            let all: T = (0..filters).map(d_scale).sum();
            vec![all / T::of_integer(weights.len() as i64); filters]
        }
        _ => Vec::new(),
    })
}

/// The sum of `dy` over images and positions, in f64 and in logical order, whatever the memory
/// layout.
fn bias_gradient<T: Element>(dy: ArrayView5<'_, T>) -> Array1<T> {
    let mut sums = vec![0.0; dy.len_of(Axis(1))];
    if dy.is_empty() {
        return Array1::zeros(sums.len()); // there may be more positions than could be visited
    }
    for image in dy.outer_iter() {
        if channels_are_closest(&image) {
            for pixel in image.lanes(Axis(0)) {
                sums.iter_mut().zip(pixel).for_each(|(sum, dy)| *sum += dy.as_f64());
            }
        } else {
            let planes = image.axis_chunks_iter(Axis(0), PLANES);
            for (planes, sums) in planes.zip(sums.chunks_mut(PLANES)) {
                add_planes(planes, sums);
            }
        }
    }
    sums.into_iter().map(T::of).collect()
}

/// Planes that are summed at a time: an addition waits for the last one of its own plane only.
const PLANES: usize = 8;

/// Adds up each of [`PLANES`] planes or fewer.
fn add_planes<T: Element>(planes: ArrayView4<'_, T>, sums: &mut [f64]) {
    let slices: [&[T]; PLANES] = std::array::from_fn(|i| {
        let plane = (i < planes.len_of(Axis(0))).then(|| planes.index_axis(Axis(0), i));
        plane.and_then(|plane| plane.to_slice()).unwrap_or_default()
    });
    let len = slices[0].len();
    match <&mut [f64; PLANES]>::try_from(&mut *sums) {
        Ok(sums) if len > 0 => {
            let slices = slices.map(|slice| &slice[..len]);
            for i in 0..len {
                for (sum, slice) in sums.iter_mut().zip(slices) {
                    *sum += slice[i].as_f64();
                }
            }
        }
        _ => {
            for (sum, plane) in sums.iter_mut().zip(planes.outer_iter()) {
                *sum = plane.iter().fold(*sum, |sum, dy| sum + dy.as_f64());
            }
        }
    }
}
