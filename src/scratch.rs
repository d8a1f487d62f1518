//! The caller's workspace: it grows to what a call needs and is used again by the next.

use crate::bit_tensor::BitTensor;
use crate::depthwise::DepthBuffers;
use crate::padding::Padding;
use crate::panels::Panels;
use crate::{Error, PackedWeights, Result};

/// Workspace for the `_into` operators. One serves any operator, shape and number type; it never
/// shrinks, so calls of a size seen before find their memory ready.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    pub(crate) integers: Integers,
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
    pub(crate) depth: DepthBuffers,
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

/// Buffers of numbers of one type. Public only because the sealed `Element` names it.
#[derive(Clone, Debug, Default)]
pub struct Floats<T> {
    /// Quantized activations, `[image][pixel][channel]`.
    pub(crate) lanes: Vec<T>,
    /// Windows of a tile, and their dot products.
    pub(crate) rows: Vec<T>,
    pub(crate) dots: Vec<T>,
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
}

/// Bytes of a cache line, or a multiple of what is one.
pub(crate) const LINE: usize = 64;

/// The first `len` elements of a buffer, which grows if it is shorter. They hold whatever the
/// last call left there.
pub(crate) fn take<'a, T: Copy + Default>(
    buffer: &'a mut Vec<T>,
    len: usize,
    what: &'static str,
) -> Result<&'a mut [T]> {
    if buffer.len() < len {
        reserve(buffer, len, what)?;
        buffer.resize(len, T::default());
    }
    Ok(&mut buffer[..len])
}

/// The same, beginning with a cache line.
pub(crate) fn take_aligned<'a, T: Copy + Default>(
    buffer: &'a mut Vec<T>,
    len: usize,
    what: &'static str,
) -> Result<&'a mut [T]> {
    let spare = if len == 0 { 0 } else { LINE / size_of::<T>() };
    let buffer = take(buffer, len.saturating_add(spare), what)?;
    let start = line_start(buffer, len);
    Ok(&mut buffer[start..][..len])
}

/// Where in a buffer of a line more than `len` elements the first line begins.
pub(crate) fn line_start<T>(buffer: &[T], len: usize) -> usize {
    // An implementation may fail to align; then it is only slower.
    buffer.as_ptr().align_offset(LINE).min(buffer.len() - len)
}

/// Makes room for `len` elements in all, or says that there is none.
pub(crate) fn reserve<T>(buffer: &mut Vec<T>, len: usize, what: &'static str) -> Result<()> {
    let missing = len.saturating_sub(buffer.len());
    buffer.try_reserve_exact(missing).map_err(|_| Error::TooLarge { what, elements: len })
}

/// `len` zeros.
pub(crate) fn zeros<T: Copy + Default>(len: usize, what: &'static str) -> Result<Vec<T>> {
    let mut buffer = Vec::new();
    take(&mut buffer, len, what)?;
    Ok(buffer)
}

/// The product of sizes. As for a shape of `ndarray`, the product of those that are not zero must
/// fit into `isize`.
pub(crate) fn product(sizes: &[usize], what: &'static str) -> Result<usize> {
    let nonzero = sizes
        .iter()
        .filter(|&&size| size > 0)
        .try_fold(1usize, |len, &size| len.checked_mul(size))
        .filter(|&len| isize::try_from(len).is_ok())
        .ok_or(Error::TooLarge { what, elements: usize::MAX })?;
    Ok(if sizes.contains(&0) { 0 } else { nonzero })
}
