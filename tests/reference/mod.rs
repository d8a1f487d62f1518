//! The operators once more, in naive `f64` loops: slow, and simple enough to be believed.

mod convolution;
mod pool;
mod quantizers;

pub(crate) use convolution::Correlation;
pub(crate) use pool::max_pool;
pub(crate) use quantizers::{Activation, Weight, mean_magnitude, round, ste_factor, ste_size};
