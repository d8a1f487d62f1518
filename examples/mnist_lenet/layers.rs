//! The layers around the operators: pooling, batch normalization, tanh.
//!
//! Each keeps of a forward what its backward needs.

use crate::shared::adam::{Adam, Parameter};
use crate::shared::training::Mode;
use ndarray::{Array, Array1, Array4, Axis, Dimension, Ix1, RemoveAxis, Zip, s};
use rayon::prelude::*;

/// Max pooling over windows of 2x2, of images with even height and width.
#[derive(Default)]
pub(crate) struct MaxPool {
    /// Which pixel of its window each output is, 0 to 3.
    from: Array4<u8>,
}

/// One pixel of every window.
macro_rules! corner {
    ($down:literal, $right:literal) => {
        s![.., .., $down..;2, $right..;2]
    };
}

impl MaxPool {
    pub(crate) fn forward(&mut self, x: Array4<f32>) -> Array4<f32> {
        let mut y = x.slice(corner!(0, 0)).to_owned();
        self.from = Array4::zeros(y.raw_dim());
        Zip::from(&mut y)
            .and(&mut self.from)
            .and(x.slice(corner!(0, 1)))
            .and(x.slice(corner!(1, 0)))
            .and(x.slice(corner!(1, 1)))
            .for_each(|y, from, &b, &c, &d| {
                for (x, i) in [(b, 1), (c, 2), (d, 3)] {
                    if x > *y {
                        (*y, *from) = (x, i);
                    }
                }
            });
        y
    }

    pub(crate) fn backward(&self, dy: Array4<f32>) -> Array4<f32> {
        let (images, channels, height, width) = dy.dim();
        let mut dx = Array4::zeros((images, channels, 2 * height, 2 * width));
        let corners = (corner!(0, 0), corner!(0, 1), corner!(1, 0), corner!(1, 1));
        let (a, b, c, d) = dx.multi_slice_mut(corners);
        let zip = Zip::from(&dy).and(&self.from).and(a).and(b).and(c).and(d);
        zip.for_each(|&dy, &from, a, b, c, d| *[a, b, c, d][usize::from(from)] = dy);
        dx
    }
}

/// Batch normalization of each channel (axis 1): in training by the statistics of the batch, in
/// inference by those of many before.
pub(crate) struct BatchNorm<D> {
    scale: Parameter<Ix1>,
    shift: Parameter<Ix1>,
    /// Running statistics.
    mean: Array1<f32>,
    variance: Array1<f32>,
    /// The last input with mean 0 and variance 1, and what it was divided by for that.
    standard: Array<f32, D>,
    deviation: Array1<f32>,
}

impl<D: RemoveAxis> BatchNorm<D> {
    pub(crate) fn new(channels: usize) -> Self {
        BatchNorm {
            scale: Parameter::new(Array1::ones(channels)),
            shift: Parameter::new(Array1::zeros(channels)),
            mean: Array1::zeros(channels),
            variance: Array1::ones(channels),
            standard: Array::default(D::default()),
            deviation: Array1::ones(channels),
        }
    }

    pub(crate) fn forward(&mut self, x: Array<f32, D>, mode: Mode) -> Array<f32, D> {
        let count = (x.len() / self.mean.len()) as f32;
        let mut y = x.clone();
        self.standard = x;
        let channels = self.standard.axis_iter_mut(Axis(1));
        for (c, (mut x, y)) in channels.zip(y.axis_iter_mut(Axis(1))).enumerate() {
            let (mean, variance) = match mode {
                Mode::Inference => (self.mean[c], self.variance[c]),
                Mode::Training => {
                    let mean = x.sum() / count;
                    let variance = x.fold(0.0, |sum, x| sum + (x - mean).powi(2)) / count;
                    self.mean[c] += 0.1 * (mean - self.mean[c]);
                    self.variance[c] += 0.1 * (variance - self.variance[c]);
                    (mean, variance)
                }
            };
            let deviation = (variance + 1e-5).sqrt();
            self.deviation[c] = deviation;
            let (scale, shift) = (self.scale.value[c], self.shift.value[c]);
            Zip::from(y).and(&mut x).for_each(|y, x| {
                *x = (*x - mean) / deviation;
                *y = scale * *x + shift;
            });
        }
        y
    }

    pub(crate) fn backward(&mut self, mut dy: Array<f32, D>) -> Array<f32, D> {
        let count = (dy.len() / self.mean.len()) as f32;
        let channels = dy.axis_iter_mut(Axis(1));
        for (c, (mut dy, x)) in channels.zip(self.standard.axis_iter(Axis(1))).enumerate() {
            let d_shift = dy.sum();
            let d_scale = Zip::from(&dy).and(&x).fold(0.0, |sum, dy, x| sum + dy * x);
            (self.shift.gradient[c], self.scale.gradient[c]) = (d_shift, d_scale);
            let factor = self.scale.value[c] / self.deviation[c];
            let (mean, slope) = (d_shift / count, d_scale / count);
            dy.zip_mut_with(&x, |dy, x| *dy = factor * (*dy - mean - slope * x));
        }
        dy
    }

    pub(crate) fn update(&mut self, adam: Adam) {
        self.scale.update(adam);
        self.shift.update(adam);
    }
}

#[derive(Default)]
pub(crate) struct Tanh<D: Dimension> {
    y: Array<f32, D>,
}

impl<D: Dimension> Tanh<D> {
    pub(crate) fn forward(&mut self, mut x: Array<f32, D>) -> Array<f32, D> {
        let values = x.as_slice_memory_order_mut().expect("an array without gaps");
        values.par_iter_mut().for_each(|x| *x = x.tanh());
        self.y = x.clone();
        x
    }

    pub(crate) fn backward(&self, mut dy: Array<f32, D>) -> Array<f32, D> {
        dy.zip_mut_with(&self.y, |dy, y| *dy *= 1.0 - y * y);
        dy
    }
}
