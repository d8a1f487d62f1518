//! Trains a perceptron of BitNet b1.58's layers (Ma et al. 2024,
//! <https://arxiv.org/abs/2402.17764>) on MNIST, and runs it on packed weights.
//!
//! ```text
//! cargo run --release --example bitnet_mlp
//! ```
//!
//! All of its weights are -1, 0 or +1 times one scale a layer, and all activations between layers
//! are integers of 8 bits times one scale an image. As in the paper there are no biases, each layer
//! normalizes its input before it quantizes it, and gradients pass straight through to latent
//! weights in full precision.
//!
//! The images in `examples/data/mnist` are a part of MNIST; `--data` takes all of it.

mod network;
#[path = "../shared/mod.rs"]
mod shared;

use network::Perceptron;
use std::process::ExitCode;

fn main() -> ExitCode {
    shared::training::run::<Perceptron>()
}
