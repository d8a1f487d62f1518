//! Adam (Kingma and Ba 2014, <https://arxiv.org/abs/1412.6980>).

use ndarray::{Array, Dimension, Zip};

const DECAY_OF_MEAN: f32 = 0.9;
const DECAY_OF_SQUARE: f32 = 0.999;

/// What all parameters share in one step.
#[derive(Clone, Copy)]
pub(crate) struct Adam {
    /// The learning rate.
    pub(crate) rate: f32,
    /// The number of the step, from 1.
    pub(crate) step: i32,
}

/// An array that is trained, with its gradient and the running moments of that.
pub(crate) struct Parameter<D> {
    pub(crate) value: Array<f32, D>,
    pub(crate) gradient: Array<f32, D>,
    mean: Array<f32, D>,
    square: Array<f32, D>,
}

impl<D: Dimension> Parameter<D> {
    pub(crate) fn new(value: Array<f32, D>) -> Self {
        let zeros = || Array::zeros(value.raw_dim());
        let (gradient, mean, square) = (zeros(), zeros(), zeros());
        Parameter { value, gradient, mean, square }
    }

    pub(crate) fn update(&mut self, adam: Adam) {
        let rate = adam.rate / (1.0 - DECAY_OF_MEAN.powi(adam.step));
        let correction = 1.0 / (1.0 - DECAY_OF_SQUARE.powi(adam.step));
        Zip::from(&mut self.value)
            .and(&mut self.mean)
            .and(&mut self.square)
            .and(&self.gradient)
            .for_each(|value, mean, square, &gradient| {
                *mean += (1.0 - DECAY_OF_MEAN) * (gradient - *mean);
                *square += (1.0 - DECAY_OF_SQUARE) * (gradient * gradient - *square);
                *value -= rate * *mean / ((*square * correction).sqrt() + 1e-8);
            });
    }
}
