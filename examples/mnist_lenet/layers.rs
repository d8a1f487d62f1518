//! The layers around the operators: pooling, batch normalization, tanh, the loss.

use crate::adam::{Adam, Parameter};
use ndarray::{Array, Array1, Array2, Array4, ArrayView4, Axis, RemoveAxis, SliceArg, Zip, s};

/// Max pooling over windows of 2x2.
pub(crate) struct Pooled {
    pub(crate) out: Array4<f32>,
    /// Which pixel of its window each output is, 0 to 3.
    from: Array4<u8>,
}

/// One pixel of every 2x2 window.
fn corner(i: u8) -> impl SliceArg<ndarray::Ix4, OutDim = ndarray::Ix4> {
    s![.., .., usize::from(i / 2)..;2, usize::from(i % 2)..;2]
}

impl Pooled {
    /// Pools images of even height and width.
    pub(crate) fn new(x: ArrayView4<'_, f32>) -> Self {
        let mut out = x.slice(corner(0)).to_owned();
        let mut from = Array4::zeros(out.raw_dim());
        for i in 1..4 {
            Zip::from(&mut out)
                .and(&mut from)
                .and(x.slice(corner(i)))
                .for_each(|out, from, &x| {
                    if x > *out {
                        (*out, *from) = (x, i);
                    }
                });
        }
        Pooled { out, from }
    }

    pub(crate) fn backward(&self, dy: &Array4<f32>) -> Array4<f32> {
        let (images, channels, height, width) = dy.dim();
        let mut dx = Array4::zeros((images, channels, 2 * height, 2 * width));
        for i in 0..4 {
            Zip::from(dx.slice_mut(corner(i)))
                .and(dy)
                .and(&self.from)
                .for_each(|dx, &dy, &from| *dx = if from == i { dy } else { 0.0 });
        }
        dx
    }
}

/// Batch normalization of each channel (axis 1).
pub(crate) struct BatchNorm {
    scale: Parameter<ndarray::Ix1>,
    shift: Parameter<ndarray::Ix1>,
    /// Running statistics, for inference.
    mean: Array1<f32>,
    variance: Array1<f32>,
}

/// A batch that has been normalized, and what its backward needs.
pub(crate) struct Normalized<D> {
    pub(crate) out: Array<f32, D>,
    /// The input with mean 0 and variance 1.
    standard: Array<f32, D>,
    mean: Array1<f32>,
    variance: Array1<f32>,
}

/// Gradients of scale and shift.
pub(crate) struct NormGradients {
    scale: Array1<f32>,
    shift: Array1<f32>,
}

const EPSILON: f32 = 1e-5;
const RUNNING_SHARE: f32 = 0.1;

impl BatchNorm {
    pub(crate) fn new(channels: usize) -> Self {
        BatchNorm {
            scale: Parameter::new(Array1::ones(channels)),
            shift: Parameter::new(Array1::zeros(channels)),
            mean: Array1::zeros(channels),
            variance: Array1::ones(channels),
        }
    }

    /// Normalizes with the statistics of the batch.
    pub(crate) fn forward<D: RemoveAxis>(&self, x: Array<f32, D>) -> Normalized<D> {
        let mut standard = x;
        let count = (standard.len() / standard.len_of(Axis(1))) as f32;
        let (mut mean, mut variance) = (self.mean.clone(), self.variance.clone());
        for (c, mut x) in standard.axis_iter_mut(Axis(1)).enumerate() {
            mean[c] = x.sum() / count;
            x -= mean[c];
            variance[c] = x.fold(0.0, |sum, x| sum + x * x) / count;
            x /= (variance[c] + EPSILON).sqrt();
        }
        let mut out = standard.clone();
        for (c, mut out) in out.axis_iter_mut(Axis(1)).enumerate() {
            let (scale, shift) = (self.scale.value[c], self.shift.value[c]);
            out.mapv_inplace(|x| scale * x + shift);
        }
        Normalized {
            out,
            standard,
            mean,
            variance,
        }
    }

    /// Normalizes with the running statistics.
    pub(crate) fn infer<D: RemoveAxis>(&self, mut x: Array<f32, D>) -> Array<f32, D> {
        for (c, mut x) in x.axis_iter_mut(Axis(1)).enumerate() {
            let scale = self.scale.value[c] / (self.variance[c] + EPSILON).sqrt();
            let shift = self.shift.value[c] - scale * self.mean[c];
            x.mapv_inplace(|x| scale * x + shift);
        }
        x
    }

    /// The gradients of the input and of the parameters.
    pub(crate) fn backward<D: RemoveAxis>(
        &self,
        normalized: &Normalized<D>,
        mut dy: Array<f32, D>,
    ) -> (Array<f32, D>, NormGradients) {
        let count = (dy.len() / dy.len_of(Axis(1))) as f32;
        let mut gradients = NormGradients {
            scale: Array1::zeros(self.scale.value.len()),
            shift: Array1::zeros(self.scale.value.len()),
        };
        let standard = normalized.standard.axis_iter(Axis(1));
        for (c, (mut dy, standard)) in dy.axis_iter_mut(Axis(1)).zip(standard).enumerate() {
            let d_shift = dy.sum();
            let d_scale = Zip::from(&dy)
                .and(&standard)
                .fold(0.0, |sum, dy, x| sum + dy * x);
            (gradients.scale[c], gradients.shift[c]) = (d_scale, d_shift);
            let factor = self.scale.value[c] / (normalized.variance[c] + EPSILON).sqrt();
            let (mean, slope) = (d_shift / count, d_scale / count);
            dy.zip_mut_with(&standard, |dy, x| *dy = factor * (*dy - mean - slope * x));
        }
        (dy, gradients)
    }

    /// Takes a step, and the batch into the running statistics.
    pub(crate) fn update<D>(
        &mut self,
        normalized: &Normalized<D>,
        gradients: &NormGradients,
        adam: Adam,
    ) {
        self.scale.update(&gradients.scale, adam);
        self.shift.update(&gradients.shift, adam);
        self.mean.zip_mut_with(&normalized.mean, move_towards);
        self.variance
            .zip_mut_with(&normalized.variance, move_towards);
    }
}

fn move_towards(running: &mut f32, batch: &f32) {
    *running += RUNNING_SHARE * (batch - *running);
}

/// The gradient of the input of tanh from its output.
pub(crate) fn tanh_backward<D: ndarray::Dimension>(
    dy: &Array<f32, D>,
    y: &Array<f32, D>,
) -> Array<f32, D> {
    Zip::from(dy).and(y).map_collect(|dy, y| dy * (1.0 - y * y))
}

/// (N, C, H, W) to (N, C H W).
pub(crate) fn flatten(x: Array4<f32>) -> Array2<f32> {
    let images = x.len_of(Axis(0));
    let features = x.len() / images;
    let flat = x.into_shape_with_order((images, features));
    flat.expect("layers make arrays in standard layout")
}

/// The mean cross-entropy of softmax against labels, and its gradient.
pub(crate) fn cross_entropy(logits: &Array2<f32>, labels: &[u8]) -> (f32, Array2<f32>) {
    let count = labels.len() as f32;
    let mut loss = 0.0;
    let mut gradient = logits.clone();
    for (mut row, &label) in gradient.outer_iter_mut().zip(labels) {
        let max = row.fold(f32::NEG_INFINITY, |max, &x| max.max(x));
        row.mapv_inplace(|x| (x - max).exp());
        row /= row.sum();
        let label = usize::from(label);
        loss -= row[label].max(f32::MIN_POSITIVE).ln();
        row[label] -= 1.0;
    }
    (loss / count, gradient / count)
}
