//! A small Keras network with our operators in it: channels last, forward and backward.

use super::layout::{channels_first, channels_last, filters_first, filters_last};
use crate::layer::{Operands, backward, forward};
use crate::report::Check;
use crate::values::real;
use ndarray::{Array1, Array2, ArrayD, Axis, Ix1, IxDyn, ScalarOperand, Slice};
use ndarray_qnn::{Element, QConvolution, QFullyConnected};

/// A number type with arithmetic between arrays and numbers.
pub(crate) trait Real: Element + ScalarOperand {}
impl<T: Element + ScalarOperand> Real for T {}

/// Indices of the variables of a batch normalization.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchNorm {
    pub(crate) gamma: usize,
    pub(crate) beta: usize,
    pub(crate) mean: usize,
    pub(crate) variance: usize,
    pub(crate) momentum: f64,
    pub(crate) epsilon: f64,
}

/// Indices of the variables of a quantized layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weights {
    pub(crate) kernel: usize,
    pub(crate) bias: Option<usize>,
}

#[derive(Clone, Debug)]
pub(crate) enum Stage {
    Dense(QFullyConnected, Weights),
    Convolution {
        layer: QConvolution<2>,
        stride: [usize; 2],
        /// Whether it is padded as Keras's `same` is, or not at all.
        same: bool,
        weights: Weights,
    },
    BatchNorm(BatchNorm),
    AveragePool {
        size: [usize; 2],
        stride: [usize; 2],
    },
    Flatten,
}

/// The gradient of the input, and those of variables.
type Gradients<T> = (ArrayD<T>, Vec<(usize, ArrayD<T>)>);

impl Stage {
    /// The output; in training, from the statistics of the batch, which move the moving ones.
    pub(crate) fn forward<T: Real>(
        &self,
        x: &ArrayD<T>,
        variables: &mut [ArrayD<T>],
        training: bool,
    ) -> Check<ArrayD<T>> {
        match self {
            Stage::Dense(layer, weights) => {
                let bias = weights.bias(variables)?;
                forward(layer, &weights.operands(x, variables, &bias))
            }
            Stage::Convolution { weights, .. } => {
                let bias = weights.bias(variables)?;
                let operands = weights.operands(x, variables, &bias);
                let layer = self.padded(&operands);
                Ok(channels_last(forward(&layer, &operands)?))
            }
            Stage::BatchNorm(norm) => norm.forward(x, variables, training),
            Stage::AveragePool { size, stride } => average_pool(x, *size, *stride),
            Stage::Flatten => {
                let shape = IxDyn(&[x.shape()[0], x.len() / x.shape()[0]]);
                Ok(x.clone().into_shape_with_order(shape)?)
            }
        }
    }

    /// The gradients from `dy`, as in training.
    pub(crate) fn backward<T: Real>(
        &self,
        dy: &ArrayD<T>,
        x: &ArrayD<T>,
        variables: &[ArrayD<T>],
    ) -> Check<Gradients<T>> {
        match self {
            Stage::Dense(layer, weights) => {
                let operands = weights.operands(x, variables, &None);
                let gradients = backward(layer, &operands, dy.view())?;
                let kernel = filters_last(gradients.w);
                Ok((gradients.x, weights.gradients(kernel, gradients.bias)))
            }
            Stage::Convolution { weights, .. } => {
                let operands = weights.operands(x, variables, &None);
                let layer = self.padded(&operands);
                let gradients = backward(&layer, &operands, channels_first(dy.view()))?;
                let kernel = filters_last(gradients.w);
                Ok((channels_last(gradients.x), weights.gradients(kernel, gradients.bias)))
            }
            Stage::BatchNorm(norm) => norm.backward(dy, x, variables),
            Stage::AveragePool { size, stride } => {
                Ok((average_pool_backward(dy, x, *size, *stride), vec![]))
            }
            Stage::Flatten => Ok((dy.clone().into_shape_with_order(x.raw_dim())?, vec![])),
        }
    }

    /// The convolution with the padding that an input needs.
    fn padded<T: Real>(&self, operands: &Operands<'_, T>) -> QConvolution<2> {
        let Stage::Convolution { layer, stride, same, .. } = self else {
            unreachable!("only convolutions are padded");
        };
        let sides = |axis: usize| {
            let (len, kernel) = (operands.x.shape()[2 + axis], operands.w.shape()[2 + axis]);
            let reached = (len.div_ceil(stride[axis]) - 1) * stride[axis] + kernel;
            let total = reached.saturating_sub(len);
            [total / 2, total - total / 2]
        };
        match same {
            true => layer.clone().padding_sides([sides(0), sides(1)]),
            false => layer.clone(),
        }
    }
}

impl Weights {
    fn bias<T: Real>(&self, variables: &[ArrayD<T>]) -> Check<Option<Array1<T>>> {
        let bias = self.bias.map(|bias| variables[bias].clone());
        Ok(bias.map(|bias| bias.into_dimensionality()).transpose()?)
    }

    fn operands<'a, T: Real>(
        &self,
        x: &'a ArrayD<T>,
        variables: &'a [ArrayD<T>],
        bias: &'a Option<Array1<T>>,
    ) -> Operands<'a, T> {
        Operands {
            x: channels_first(x.view()),
            w: filters_first(variables[self.kernel].view()),
            bias: bias.as_ref().map(|bias| bias.view()),
        }
    }

    fn gradients<T: Real>(&self, kernel: ArrayD<T>, bias: Array1<T>) -> Vec<(usize, ArrayD<T>)> {
        let bias = self.bias.map(|index| (index, bias.into_dyn()));
        std::iter::once((self.kernel, kernel)).chain(bias).collect()
    }
}

impl BatchNorm {
    /// Mean and variance of each channel over a batch of rows.
    fn statistics<T: Real>(rows: &Array2<T>) -> (Array1<T>, Array1<T>) {
        let count = real::<T>(rows.nrows() as f64);
        let mean = rows.sum_axis(Axis(0)) / count;
        let variance = (rows - &mean).mapv(|d| d * d).sum_axis(Axis(0)) / count;
        (mean, variance)
    }

    fn forward<T: Real>(
        &self,
        x: &ArrayD<T>,
        variables: &mut [ArrayD<T>],
        training: bool,
    ) -> Check<ArrayD<T>> {
        let rows = rows(x)?;
        let (mean, variance) = if training {
            let (mean, variance) = Self::statistics(&rows);
            let count = rows.nrows() as f64;
            // Keras's fused kernel, which is that of images, moves the unbiased variance.
            let unbiased = if x.ndim() == 4 { count / (count - 1.0) } else { 1.0 };
            let momentum = real::<T>(self.momentum);
            let moved = |moving: &ArrayD<T>, now: &Array1<T>| {
                moving * momentum + &(now * (T::one() - momentum)).into_dyn()
            };
            variables[self.mean] = moved(&variables[self.mean], &mean);
            let unbiased = &variance * real::<T>(unbiased);
            variables[self.variance] = moved(&variables[self.variance], &unbiased);
            (mean, variance)
        } else {
            let variable = |index: usize| variables[index].clone().into_dimensionality::<Ix1>();
            (variable(self.mean)?, variable(self.variance)?)
        };
        let normalized = self.normalized(&rows, &mean, &variance);
        let y = normalized.into_dyn() * &variables[self.gamma] + &variables[self.beta];
        Ok(y.into_shape_with_order(x.raw_dim())?)
    }

    fn normalized<T: Real>(
        &self,
        rows: &Array2<T>,
        mean: &Array1<T>,
        variance: &Array1<T>,
    ) -> Array2<T> {
        let deviation = variance.mapv(|v| (v + real(self.epsilon)).sqrt());
        (rows - mean) / deviation
    }

    fn backward<T: Real>(
        &self,
        dy: &ArrayD<T>,
        x: &ArrayD<T>,
        variables: &[ArrayD<T>],
    ) -> Check<Gradients<T>> {
        let (rows, dy) = (rows(x)?, rows(dy)?);
        let (mean, variance) = Self::statistics(&rows);
        let normalized = self.normalized(&rows, &mean, &variance);
        let beta = dy.sum_axis(Axis(0));
        let gamma = (&dy * &normalized).sum_axis(Axis(0));
        let count = real::<T>(rows.nrows() as f64);
        // dy without its mean and without its part along the normalized input.
        let centered = &dy - &(&beta / count) - &normalized * &(&gamma / count);
        let factor = variance.mapv(|v| (v + real(self.epsilon)).sqrt().recip());
        let dx = (centered * &factor).into_dyn() * &variables[self.gamma];
        let dx = dx.into_shape_with_order(x.raw_dim())?;
        let gradients = vec![(self.gamma, gamma.into_dyn()), (self.beta, beta.into_dyn())];
        Ok((dx, gradients))
    }
}

/// An array as rows of channels.
fn rows<T: Real>(x: &ArrayD<T>) -> Check<Array2<T>> {
    let channels = x.shape()[x.ndim() - 1];
    let shape = [x.len() / channels.max(1), channels];
    Ok(x.to_shape(shape)?.into_owned())
}

/// What each position of the pooling window sees, given the length of the output.
fn seen(offset: usize, stride: usize, out: usize) -> Slice {
    let end = offset + (out - 1) * stride + 1;
    Slice::new(offset as isize, Some(end as isize), stride as isize)
}

fn pooled_len(len: usize, size: usize, stride: usize) -> usize {
    (len - size) / stride + 1
}

fn average_pool<T: Real>(x: &ArrayD<T>, size: [usize; 2], stride: [usize; 2]) -> Check<ArrayD<T>> {
    let mut shape = x.shape().to_vec();
    for axis in 0..2 {
        shape[1 + axis] = pooled_len(shape[1 + axis], size[axis], stride[axis]);
    }
    let mut y = ArrayD::zeros(shape.clone());
    for h in 0..size[0] {
        for w in 0..size[1] {
            let lines = x.slice_axis(Axis(1), seen(h, stride[0], shape[1]));
            y += &lines.slice_axis(Axis(2), seen(w, stride[1], shape[2]));
        }
    }
    Ok(y / real::<T>((size[0] * size[1]) as f64))
}

fn average_pool_backward<T: Real>(
    dy: &ArrayD<T>,
    x: &ArrayD<T>,
    size: [usize; 2],
    stride: [usize; 2],
) -> ArrayD<T> {
    let share = dy / real::<T>((size[0] * size[1]) as f64);
    let mut dx = ArrayD::zeros(x.raw_dim());
    for h in 0..size[0] {
        for w in 0..size[1] {
            let mut lines = dx.slice_axis_mut(Axis(1), seen(h, stride[0], dy.shape()[1]));
            let mut pixels = lines.slice_axis_mut(Axis(2), seen(w, stride[1], dy.shape()[2]));
            pixels += &share;
        }
    }
    dx
}
