//! The caller's workspace: it grows to what a call needs and is used again by the next.

use crate::{Error, PackedWeights, Result};

/// Workspace for the `_into` operators. One serves any operator, shape and number type; it never
/// shrinks, so calls of a size seen before find their memory ready.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    pub(crate) integers: Integers,
    pub(crate) f32: Floats<f32>,
    pub(crate) f64: Floats<f64>,
}

/// Buffers of the exact integer path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Integers {
    /// Codes of the activations, `[image][pixel][channel]`.
    pub(crate) lanes: Vec<u8>,
    /// Windows of a tile.
    pub(crate) rows: Vec<u8>,
    /// The same in bits.
    pub(crate) words: Vec<u64>,
    /// Codes of the weights, where they are packed closer than one a byte but used as bytes.
    pub(crate) weights: Vec<u8>,
    /// Products of a tile.
    pub(crate) products: Vec<i64>,
    /// What the epilogue adds for each filter.
    pub(crate) addends: Vec<i64>,
    /// What it adds for each padded `[tap][filter]`.
    pub(crate) pad_addends: Vec<i64>,
}

/// Buffers of numbers of one type. Public only because the sealed `Element` names it.
#[derive(Clone, Debug, Default)]
pub struct Floats<T> {
    /// Quantized activations, `[image][pixel][channel]`.
    pub(crate) lanes: Vec<T>,
    /// Windows of a tile.
    pub(crate) rows: Vec<T>,
    /// Products of a tile.
    pub(crate) products: Vec<T>,
    /// `mean|x|` of every pixel, `[image][pixel][group]`.
    pub(crate) magnitudes: Vec<T>,
    /// XNOR-Net's K of every output position, `[image][position][group]`.
    pub(crate) k_map: Vec<T>,
    /// The bias, contiguous.
    pub(crate) bias: Vec<T>,
    /// Weights as numbers, where they are packed as codes but used as numbers.
    pub(crate) weights: Vec<T>,
    /// Latent weights of an unpacked call, packed.
    pub(crate) packed: PackedWeights<T>,
}

impl Scratch {
    /// An empty workspace. It allocates nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
}

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
