//! The one way of every backward: straight-through gradients against the quantized operands of
//! the forward.
//!
//! With rows X of quantized windows, quantized and scaled weights W and the gradient dY of the
//! dot products, `dX = dY W` is scattered back to the pixels, and `dW = dYᵀ X`; the quantizers
//! then hand both down to the latent tensors. Where the stride is 1, `dX` is a product too: of
//! windows of dY with W turned around.

mod products;

use crate::forward::problem::Problem;
use crate::forward::scales::k_map;
use crate::kernel::Kernel;
use crate::memory::reserve;
use crate::memory::{matrix_mut, zeros_array};
use crate::options::{InputScaling, OutputForm, ScaleGradient, Scaling};
use crate::packed::weights::scale_filters;
use crate::quantizer::check_no_nan;
use crate::{Element, Operand, PackedWeights, Result};
use ndarray::{Array, Array1, Array5, ArrayView5, Axis, Dimension, Ix5, Zip};
use products::{GradientSums, InputWeights, Products};

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

pub(crate) fn backward<T: Element>(
    problem: Problem<'_>,
    scale_gradient: ScaleGradient,
    weights: &PackedWeights<T>,
    dy: ArrayView5<'_, T>,
    x: ArrayView5<'_, T>,
    w: ArrayView5<'_, T>,
) -> Result<Gradients<T, Ix5>> {
    let geometry = &problem.geometry;
    // Memory first: a broadcast view may be too large to be read through.
    let mut dx = zeros_array(x.raw_dim(), "input gradient")?;
    reserve(&mut Vec::<T>::new(), dy.len(), "output gradient")?;
    let empty = dy.is_empty() || geometry.row_len() == 0;
    if empty || problem.activation.scales_samples() {
        check_no_nan(Operand::Input, &x)?;
        check_no_nan(Operand::OutputGradient, &dy)?;
    }
    let [mut sample_scales, mut pixel_means, mut k] = [const { Vec::new() }; 3];
    let k = match problem.input_scaling {
        InputScaling::KMap => k_map(geometry, &x, &mut pixel_means, &mut k)?,
        InputScaling::None => &mut [],
    };
    let sample_scales = problem.sample_scales(&x, &mut sample_scales)?;
    let mut scaled = weights.quantized_rows()?;
    scale_filters(&mut scaled, weights.scales());
    let flows = scale_gradient == ScaleGradient::Flow;
    let (arranged, memory) = InputWeights::new(geometry, scaled)?;
    let products = Products {
        problem,
        sample_scales,
        k,
        sum_dots: flows && matches!(problem.form, OutputForm::Offset { .. }),
        weights: arranged,
    };
    let sums = match empty {
        true => GradientSums { bias: bias_gradient(&dy), ..products.sums(Vec::new())? },
        false => products.compute(dy, x, dx.view_mut(), memory)?,
    };
    let shares = if flows { scale_shares(problem, weights, &sums)? } else { Vec::new() };
    Ok(Gradients {
        input: dx,
        weight: weight_gradient(weights, sums.weights, &shares, w)?,
        bias: sums.bias.into_iter().map(T::of).collect(),
    })
}

/// The sum of `dy` over images and positions where nothing else is to be computed.
fn bias_gradient<T: Element>(dy: &ArrayView5<'_, T>) -> Vec<f64> {
    if dy.is_empty() {
        return vec![0.0; dy.len_of(Axis(1))]; // there may be more positions than could be visited
    }
    let filters = dy.axis_iter(Axis(1));
    filters.map(|dy| dy.iter().fold(0.0, |sum, dy| sum + dy.as_f64())).collect()
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
    let [_, c, kd, kh, kw] = weights.dims();
    let taps = kd * kh * kw;
    let mut dw = if taps == 1 || c == 1 {
        Array5::from_shape_vec(w.raw_dim(), d_weights).expect("sizes agree")
    } else {
        let mut dw = zeros_array(w.raw_dim(), "weight gradient")?;
        let filters = dw.as_slice_mut().expect("standard layout").chunks_mut((c * taps).max(1));
        for (filter, row) in filters.zip(d_weights.chunks((c * taps).max(1))) {
            Kernel::current().transpose(row, matrix_mut(c, taps, filter));
        }
        dw
    };
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
    problem: Problem<'_>,
    weights: &PackedWeights<T>,
    sums: &GradientSums<T>,
) -> Result<Vec<T>> {
    let (filters, row_len) = (weights.filters(), weights.row_len());
    let quantized = weights.quantized_rows()?;
    // The gradient of each filter's scale is what its dots contribute, Σ q dq, and the K of the
    // offset, which is scaled with them.
    let d_scale = |f: usize| -> T {
        let row = f * row_len..(f + 1) * row_len;
        let of_dots = quantized[row.clone()].iter().zip(&sums.weights[row]).map(|(&q, &dq)| q * dq);
        match problem.form {
            OutputForm::Dot => of_dots.sum(),
            OutputForm::Offset { .. } => {
                let scale = weights.quantizer_scales().get(f).copied().unwrap_or(T::one());
                of_dots.sum::<T>() + scale * T::of_integer(row_len as i64) * sums.dots[f]
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
