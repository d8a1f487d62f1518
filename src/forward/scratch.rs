//! The caller's workspace: it grows to what a call needs and is used again by the next.

use crate::element::Family;
use crate::epilogue::padding::Padding;
use crate::packed::bit_tensor::BitTensor;
use crate::packed::panels::Panels;
use crate::{Element, PackedWeights};
use std::marker::PhantomData;

/// Workspace for the `_into` operators. One serves any operator, shape and number type; it never
/// shrinks, so calls of a size seen before find their memory ready.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    pub(crate) integers: Integers,
    /// What blocks of outputs are computed in.
    pub(crate) workspaces: Vec<u64>,
    /// The output of signs, until it is known to be without error.
    pub(crate) signs: BitTensor,
    pub(crate) f32: Floats<f32>,
    pub(crate) f64: Floats<f64>,
}

/// Buffers of the exact integer path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Integers {
    /// Activations in words, `[image][pixel][group][plane][word]`.
    pub(crate) words: Vec<u32>,
    /// The same with padding around the images.
    pub(crate) padded: Vec<u32>,
    /// Where the words of a window lie.
    pub(crate) offsets: Vec<u32>,
    pub(crate) tiles: WordBuffers,
    /// Signs of a tile.
    pub(crate) signs: Vec<u32>,
    /// Weights of depthwise convolutions, and where the pixels of their windows lie.
    pub(crate) depthwise: Vec<u64>,
    /// Weights, where they are packed closer than they are used.
    pub(crate) panels: Panels,
    /// What padded `[tap][filter]` add, and what that makes for the sums of a position.
    pub(crate) taps: Vec<i64>,
    pub(crate) padding: Padding,
    /// Sums of the codes of pixels and of windows.
    pub(crate) code_sums: [Vec<i64>; 2],
}

/// Buffers of tiles.
#[derive(Clone, Debug, Default)]
pub(crate) struct WordBuffers {
    /// Gathered windows.
    pub(crate) rows: Vec<u32>,
    /// Sums of products, or of differing bits.
    pub(crate) sums: Vec<i32>,
    /// Differing bits of two planes.
    pub(crate) counts: Vec<i32>,
    pub(crate) wide: Vec<i64>,
}

/// Buffers of floats of one type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Floats<T> {
    /// Quantized activations, `[image][pixel][channel]`.
    pub(crate) lanes: Vec<T>,
    /// Outputs of a tile, for all paths.
    pub(crate) outs: Vec<T>,
    /// Weights as numbers, where they are packed as codes but used as numbers.
    pub(crate) weights: Vec<T>,
    pub(crate) side: Side<T>,
    /// What each sample of the input is scaled by.
    pub(crate) sample_magnitudes: Vec<T>,
    /// Latent weights of an unpacked call, packed.
    pub(crate) packed: PackedWeights<T>,
}

/// Numbers that the epilogue needs beside the sums.
#[derive(Clone, Debug, Default)]
pub(crate) struct Side<T> {
    /// The bias, contiguous.
    pub(crate) bias: Vec<T>,
    /// `mean|x|` of every pixel, `[image][pixel][group]`.
    pub(crate) magnitudes: Vec<T>,
    /// XNOR-Net's K of every output position, `[image][position][group]`, times the magnitude of
    /// its sample.
    pub(crate) k_map: Vec<T>,
}

impl Scratch {
    /// An empty workspace. It allocates nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The buffers of floats of a type.
    pub(crate) fn floats<T: Element>(&mut self) -> &mut Floats<T> {
        T::pick::<FloatsOf<'_>>(&mut self.f32, &mut self.f64)
    }
}

/// `&mut Floats<T>` for each `T`.
struct FloatsOf<'a>(PhantomData<&'a ()>);

impl<'a> Family for FloatsOf<'a> {
    type Of<T: Element> = &'a mut Floats<T>;
}
