//! Quantized neural-network operators for [`ndarray`].

mod activation;
mod backward;
mod convolution;
mod element;
mod epilogue;
mod error;
mod forward;
mod fully_connected;
mod gemm;
mod geometry;
mod im2row;
mod kernel;
mod lanes;
mod operator;
mod options;
mod pack;
mod presets;
mod quantizer;
mod scratch;
mod tiles;
mod views;

pub use activation::QActivation;
pub use backward::Gradients;
pub use convolution::{QConvolution, Rank, SpatialRank, Tensor};
pub use element::Element;
pub use error::{Error, Operand, Result};
pub use fully_connected::QFullyConnected;
pub use options::{InputScaling, OutputForm, PadValue, ScaleGradient, Scaling};
pub use pack::PackedWeights;
pub use quantizer::{
    ActivationQuantizer, DorefaGradient, FullPrecision, Levels, Rounding, Ste, TernaryThreshold,
    WeightQuantizer,
};
pub use scratch::Scratch;
