//! Trains the binary LeNet of the BMXNet paper (Yang et al. 2017,
//! <https://arxiv.org/abs/1705.09864>) on MNIST, and runs it on packed weights.
//!
//! ```text
//! cargo run --release --example mnist_lenet
//! ```
//!
//! Every convolution and dense layer is one of this crate's operators, those in full precision at
//! the two ends of the network too; what is around them lives in this example. It shows
//!
//! - training with straight-through gradients, and that forward and backward leave the latent
//!   weights as they are, bit for bit;
//! - that the packed network computes the same logits as the unpacked one, bit for bit;
//! - how much smaller it is, and how fast.
//!
//! The images in `examples/data/mnist` are a part of MNIST; `--data` takes all of it.

mod layers;
mod network;
#[path = "../shared/mod.rs"]
mod shared;

use network::LeNet;
use std::process::ExitCode;

fn main() -> ExitCode {
    shared::training::run::<LeNet>()
}
