//! Quantized neural-network operators for [`ndarray`]: binary, ternary and low-bit dense layers
//! and convolutions, for training and inference, as pure functions of views.
//!
//! # One way through
//!
//! ```text
//! forward    w ──► quantize, pack ──┐
//!            x ──► quantize, pack ──► multiply ──► epilogue ──► y, or the bits of its signs
//!                          exact integers up to 8 x 8 bits
//!
//! backward   dw ◄── STE ◄── dyᵀ Q(x)        dx ◄── STE ◄── dy Q(w)
//! ```
//!
//! `w` are the *latent* weights: full precision, owned by the caller, updated by the caller's
//! optimizer. An operator reads them, quantizes them into a scratch buffer and computes with the
//! quantized ones; nothing that is passed in is ever written. On the way back a straight-through
//! estimator ([`Ste`]) stands in for the derivative of the quantizer, so that the gradient of the
//! quantized weights reaches the latent ones: unchanged, unless asked otherwise.
//!
//! # Operators
//!
//! | operator | forward | also |
//! | --- | --- | --- |
//! | [`QFullyConnected`] | `Q(x) Q(w)ᵀ + b` | `forward_into`, `backward`, `pack`, `forward_packed(_into)`, `forward_residual(_into)`, `fold`, `forward_signs(_into)` |
//! | [`QConvolution`] | 1, 2 or 3 spatial dimensions, any stride, padding, dilation and groups | the same |
//! | [`QActivation`] | `Q(x)` | `forward_into`, `backward` |
//! | [`MaxPool`] | the largest sign of each window | |
//!
//! An [`ActivationQuantizer`] and a [`WeightQuantizer`] say what `Q` is; [`Scaling`],
//! [`InputScaling`], [`OutputForm`] and [`PadValue`] are the rest of the conventions in which
//! frameworks differ. The presets `bmxnet_v1`, `bmxnet_v2`, `larq` and `bitnet_b158`
//! choose them all at once.
//!
//! ```
//! use ndarray::{Array2, array};
//! use ndarray_qnn::{ActivationQuantizer, QFullyConnected, Scratch, WeightQuantizer};
//!
//! // 2-bit activations, 1-bit weights.
//! let fc = QFullyConnected::new(ActivationQuantizer::dorefa(2)?, WeightQuantizer::sign());
//! let x = array![[0.0f32, 0.3, 0.6, 1.0]];
//! let mut w = array![[0.4f32, -0.2, 0.1, 0.3], [-0.9, 0.8, 0.7, -0.6]];
//!
//! // A step of training.
//! let y = fc.forward(x.view(), w.view(), None)?;
//! assert_eq!(y, array![[4.0f32 / 3.0, 0.0]]);
//! let dy = array![[0.5f32, -0.5]];
//! let gradients = fc.backward(dy.view(), x.view(), w.view())?;
//! w.scaled_add(-0.1, &gradients.weight);
//!
//! // Inference: one bit a weight, and no allocation once the scratch has grown.
//! let packed = fc.pack(w.view())?;
//! let mut scratch = Scratch::new();
//! let mut out = Array2::zeros((1, 2));
//! fc.forward_packed_into(x.view(), &packed, None, &mut scratch, out.view_mut())?;
//! assert_eq!(out, fc.forward(x.view(), w.view(), None)?);
//! # Ok::<(), ndarray_qnn::Error>(())
//! ```
//!
//! # Layers that stay in bits
//!
//! Between two layers of signs no float is needed. [`QConvolution::fold`] turns what lies between
//! their products (scales, bias, batch normalization, sign) into [`SignThresholds`], integers to
//! compare with, once; [`QConvolution::forward_signs`] then writes a [`BitTensor`], which any
//! forward from packed weights reads. The bits are exactly the signs of the float computation.
//!
//! # Arithmetic
//!
//! - Codes of up to 8 bits are multiplied and summed as integers, of which none can overflow; only
//!   the epilogue rounds, where the integer becomes a float, is divided by the common denominator
//!   of both operands (1 for signs), scaled and biased. The same bits come out at any number of
//!   threads, in any memory layout, packed or not.
//! - Wider codes, and operands that are not quantized, are multiplied as floats by `ndarray`; but
//!   weights of up to 8 bits, with few output positions, as they are packed. Gradients are
//!   multiplied by the gemm crate. All sum in an order of their own, which depends on sizes and on
//!   the CPU, but not on the number of threads.
//! - A zero of either sign has the sign +1. A NaN is an [`Error`]; infinities are numbers, but no
//!   scales.
//! - Bad input gives a typed [`Error`], and no panic.
//!
//! # Speed
//!
//! Kernels are chosen at run time for the CPU ([`Isa`]); the environment variable `QNN_ISA`
//! (`portable`, `avx2`, `avxvnni`, `avx512`, `neon`, `dotprod`) or [`force_isa`] chooses others, for
//! tests and measurements. Work is shared among the threads of the current `rayon` pool.

// Each layer uses those above it in this list, and none below.
mod element;
mod error;
mod memory;

mod kernel;

mod geometry;
mod options;
mod quantizer;
mod rank;
mod tuning;

mod packed;

mod epilogue;

mod forward;

mod backward;

mod layers;

pub use backward::Gradients;
pub use element::Element;
pub use epilogue::to_signs::SignThresholds;
pub use error::{Error, Operand, Result};
pub use forward::input::Activations;
pub use forward::scratch::Scratch;
pub use kernel::{Isa, force_isa};
pub use layers::activation::QActivation;
pub use layers::batch_norm::{Affine, BatchNorm};
pub use layers::convolution::QConvolution;
pub use layers::fully_connected::QFullyConnected;
pub use layers::max_pool::MaxPool;
pub use options::{InputScaling, OutputForm, PadValue, ScaleGradient, Scaling};
pub use packed::bit_tensor::BitTensor;
pub use packed::weights::PackedWeights;
pub use quantizer::{
    ActivationQuantizer, DorefaGradient, FullPrecision, Levels, Rounding, Ste, TernaryThreshold,
    WeightQuantizer,
};
pub use rank::{Rank, SpatialRank, Tensor};

/// Runs the README's example with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
