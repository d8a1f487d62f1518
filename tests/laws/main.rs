//! What holds for every operator, quantizer, shape, width, option, number type and memory layout.

mod backward;
mod bit_tensor;
mod case;
mod depthwise;
mod fold;
mod forward;
mod layer;
mod layout;
mod number;
mod output;
mod packed;
mod purity;
mod quantizers;
#[path = "../reference/mod.rs"]
mod reference;
mod signs;
mod threads;
mod weight_only;
