//! The caller's workspace: it grows to what a call needs and is used again by the next.

use crate::element::Family;
use crate::epilogue::padding::Padding;
use crate::packed::bit_tensor::BitTensor;
use crate::packed::panels::Panels;
use crate::{Element, PackedWeights};
use std::marker::PhantomData;

/// Workspace for the `_into` operators. One serves any operator, shape and float type; it never
/// shrinks, so calls of a size seen before find their memory ready.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    pub(crate) integers: IntegerBuffers,
    /// What blocks of outputs are computed in.
    pub(crate) workspaces: Vec<u64>,
    /// The output of signs, until it is known to be without error.
    pub(crate) signs: BitTensor,
    pub(crate) f32: FloatBuffers<f32>,
    pub(crate) f64: FloatBuffers<f64>,
}

/// Buffers of exact products.
#[derive(Clone, Debug, Default)]
pub(crate) struct IntegerBuffers {
    /// Activations in words, `[image][pixel][group][plane][word]`.
    pub(crate) words: Vec<u32>,
    /// The same with padding around the images.
    pub(crate) padded: Vec<u32>,
    /// Offsets of the words of a window.
    pub(crate) offsets: Vec<u32>,
    /// Weights of depthwise convolutions, and where the pixels of their windows lie.
    pub(crate) depthwise: Vec<u64>,
    /// Weights, where they are packed closer than they are used.
    pub(crate) panels: Panels,
    /// What padded `[tap][filter]` add, and what that makes for the sums of a position.
    pub(crate) taps: Vec<i64>,
    pub(crate) padding: Padding,
    /// Sums of the codes of pixels and of windows.
    pub(crate) row_sums: [Vec<i64>; 2],
}

/// Buffers of floats of one type.
#[derive(Clone, Debug, Default)]
pub(crate) struct FloatBuffers<T> {
    /// Quantized activations, `[image][pixel][channel]`.
    pub(crate) activations: Vec<T>,
    /// Weights as floats, where they are packed as codes.
    pub(crate) weights: Vec<T>,
    pub(crate) scales: ScaleBuffers<T>,
    /// What each sample of the input is scaled by.
    pub(crate) sample_scales: Vec<T>,
    /// Latent weights of an unpacked call, packed.
    pub(crate) packed: PackedWeights<T>,
}

/// What outputs are scaled with.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScaleBuffers<T> {
    /// The bias, contiguous.
    pub(crate) bias: Vec<T>,
    /// `mean|x|` of every pixel, `[image][pixel][group]`.
    pub(crate) pixel_means: Vec<T>,
    /// XNOR-Net's K of every output position, `[image][position][group]`, times the scale of its
    /// sample.
    pub(crate) k_map: Vec<T>,
}

/// The buffers of one call.
pub(crate) struct Buffers<'a, T> {
    pub(crate) integers: &'a mut IntegerBuffers,
    pub(crate) floats: &'a mut FloatBuffers<T>,
    pub(crate) workspaces: &'a mut Vec<u64>,
}

impl Scratch {
    /// An empty workspace. It allocates nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The buffers of floats of a type.
    pub(crate) fn floats<T: Element>(&mut self) -> &mut FloatBuffers<T> {
        self.buffers().floats
    }

    /// All buffers of a call with floats of a type.
    pub(crate) fn buffers<T: Element>(&mut self) -> Buffers<'_, T> {
        let Scratch { integers, workspaces, f32, f64, .. } = self;
        Buffers { integers, floats: T::pick::<FloatsOf<'_>>(f32, f64), workspaces }
    }
}

/// `&mut FloatBuffers<T>` for each `T`.
struct FloatsOf<'a>(PhantomData<&'a ()>);

impl<'a> Family for FloatsOf<'a> {
    type Of<T: Element> = &'a mut FloatBuffers<T>;
}
