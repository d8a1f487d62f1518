//! Every error that can be had, by name, and the inputs that must not be one.

mod bits;
mod folding;
mod fuzz;
mod numbers;
mod packed;
mod parameters;
mod shapes;
mod signs;
mod sizes;

use ndarray_qnn::{ActivationQuantizer, QConvolution, QFullyConnected, WeightQuantizer};

/// 1x1 bit.
fn dense() -> QFullyConnected {
    QFullyConnected::new(ActivationQuantizer::sign(), WeightQuantizer::sign())
}

/// 1x1 bit.
fn conv() -> QConvolution<2> {
    QConvolution::new(ActivationQuantizer::sign(), WeightQuantizer::sign())
}
