//! BitTensor: the signs of activations, one bit each, between layers that stay in bits.

use crate::element::compiled_once;
use crate::kernel::Kernel;
use crate::memory::parallel::each_chunk;
use crate::memory::{product, take, zeros, zeros_array};
use crate::packed::bits::pack_input;
use crate::quantizer::Levels;
use crate::rank::{lift_any, lift_shape, lower_shape};
use crate::{ActivationQuantizer, Element, Error, Operand, Result};
use ndarray::{Array, ArrayView, ArrayView5, ArrayViewMut5, Axis, Dimension};

/// Signs of activations, one bit each: 1 for +1, 0 for -1.
///
/// | tensor | shape |
/// | --- | --- |
/// | of a dense layer | (batch, features) |
/// | of a convolution | (N, C, spatial...): NCW, NCHW, NCDHW |
///
/// In memory the channels of a pixel lie together, whatever the layout of the floats that they were
/// packed from: `[image][pixel][word]`, where pixels run as in the shape, the last axis fastest.
/// The first channel is the lowest bit of the first word. Each pixel begins a new word, so that it
/// takes ⌈C / 32⌉ of them, and bits that are left over are 0. A dense tensor is `[row][word]`.
///
/// A value like any other: nothing that it offers changes it.
///
/// ```
/// use ndarray::{Array4, array};
/// use ndarray_qnn::{ActivationQuantizer, BitTensor};
///
/// // One image of 3 channels and 1 x 2 pixels.
/// let x = array![[[[0.5f32, -1.0]], [[-0.1, 0.2]], [[0.0, 3.0]]]];
/// let bits = BitTensor::pack(&ActivationQuantizer::sign(), x.view())?;
/// assert_eq!(bits.shape(), [1, 3, 1, 2]);
/// assert_eq!(bits.words(), [0b101, 0b110]);
///
/// let signs: Array4<f32> = bits.to_array()?;
/// assert_eq!(signs, array![[[[1.0, -1.0]], [[-1.0, 1.0]], [[1.0, 1.0]]]]);
/// # Ok::<(), ndarray_qnn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BitTensor {
    /// (N, C, D, H, W); (1, C, 1, 1, batch) of a dense layer.
    dims: [usize; 5],
    /// Spatial dimensions that the user sees, 0 for a dense layer.
    spatial_dims: usize,
    words: Vec<u32>,
}

impl BitTensor {
    /// Packs the signs of `x`, which may have any strides.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the quantizer has other values than -1 and +1;
    /// [`Error::Dimensions`] if `x` does not have 2 to 5 dimensions;
    /// [`Error::NaN`] if `x` holds one; [`Error::TooLarge`] if there is no memory.
    pub fn pack<T: Element, D: Dimension>(
        quantizer: &ActivationQuantizer,
        x: ArrayView<'_, T, D>,
    ) -> Result<Self> {
        let spatial_dims = x.ndim().saturating_sub(2);
        pack_signs(quantizer, lift_any(Operand::Input, x)?, spatial_dims)
    }

    /// A tensor of a shape from its [`words`](Self::words), as when it is loaded again.
    ///
    /// ```
    /// # use ndarray_qnn::{BitTensor, Error};
    /// let bits = BitTensor::from_words(&[2, 33], vec![0, 1, u32::MAX, 0])?;
    /// assert_eq!(BitTensor::from_words(&bits.shape(), bits.words().to_vec())?, bits);
    /// let word = 2; // the second channel of the second word: there are but 33 in all
    /// let bad = BitTensor::from_words(&[2, 33], vec![0, 1, u32::MAX, word]);
    /// assert_eq!(bad, Err(Error::UnusedBits { index: 3, word }));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Dimensions`] if the shape does not have 2 to 5 of them; [`Error::AxisLength`] if
    /// there are more or fewer words than it takes; [`Error::UnusedBits`] if one of them has a bit
    /// set that belongs to no channel; [`Error::TooLarge`] if sizes overflow.
    pub fn from_words(shape: &[usize], words: Vec<u32>) -> Result<Self> {
        let Some(dims) = lift_shape(shape) else {
            let (operand, found) = (Operand::Words, shape.len());
            return Err(Error::Dimensions { operand, expected: "2 to 5", found });
        };
        let (expected, found) = (word_count(dims)?, words.len());
        if expected != found {
            return Err(Error::AxisLength { operand: Operand::Words, axis: 0, expected, found });
        }
        let used = dims[1] % 32;
        if used > 0 {
            let last_words = words.iter().enumerate().skip(dims[1] / 32);
            let mut last_words = last_words.step_by(dims[1].div_ceil(32));
            if let Some((index, &word)) = last_words.find(|&(_, word)| word >> used != 0) {
                return Err(Error::UnusedBits { index, word });
            }
        }
        Ok(Self::from_parts(dims, shape.len() - 2, words))
    }

    /// A tensor of words that are known to be as they should.
    pub(crate) fn from_parts(dims: [usize; 5], spatial_dims: usize, words: Vec<u32>) -> Self {
        debug_assert_eq!(word_count(dims), Ok(words.len()));
        BitTensor { dims, spatial_dims, words }
    }

    fn zeros(dims: [usize; 5], spatial_dims: usize) -> Result<Self> {
        Ok(Self::from_parts(dims, spatial_dims, zeros(word_count(dims)?, WHAT)?))
    }

    /// The shape, (batch, features) or (N, C, spatial...).
    pub fn shape(&self) -> Vec<usize> {
        lower_shape(self.dims, self.spatial_dims)
    }

    /// The bits, `[image][pixel][word]`, the first channel lowest.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Bytes that the bits take.
    pub fn size_in_bytes(&self) -> usize {
        size_of_val(&self.words[..])
    }

    /// Makes it a tensor of zeros, in the memory that it has.
    pub(crate) fn reset(&mut self, dims: [usize; 5], spatial_dims: usize) -> Result<()> {
        let len = word_count(dims)?;
        (self.dims, self.spatial_dims) = (dims, spatial_dims);
        self.words.clear();
        take(&mut self.words, len, WHAT)?;
        Ok(())
    }

    /// The words, (images, words of a pixel, depth, height, width).
    pub(crate) fn words_mut(&mut self) -> ArrayViewMut5<'_, u32> {
        let [images, _, d, h, w] = self.dims;
        let shape = [images, d, h, w, self.pixel_words()];
        let words = ArrayViewMut5::from_shape(shape, &mut self.words).expect("sizes agree");
        words.permuted_axes([0, 4, 1, 2, 3])
    }

    /// (N, C, D, H, W); (1, C, 1, 1, batch) of a dense layer.
    pub(crate) fn dims(&self) -> [usize; 5] {
        self.dims
    }

    /// Spatial dimensions that the user sees, 0 for a dense layer.
    pub(crate) fn spatial_dims(&self) -> usize {
        self.spatial_dims
    }

    /// Words of a pixel.
    pub(crate) fn pixel_words(&self) -> usize {
        self.dims[1].div_ceil(32)
    }

    /// The signs as numbers, -1 and +1, in standard layout.
    ///
    /// # Errors
    /// [`Error::Dimensions`] if `D` is for another number of dimensions than the
    /// [`shape`](Self::shape) has (`IxDyn` is for any); [`Error::TooLarge`] if there is no memory.
    pub fn to_array<T: Element, D: Dimension>(&self) -> Result<Array<T, D>> {
        let user_shape = self.shape();
        let found = user_shape.len();
        if let Some(expected) = D::NDIM.filter(|&expected| expected != found) {
            let expected = ["0", "1", "2", "3", "4", "5", "6"][expected.min(6)];
            return Err(Error::Dimensions { operand: Operand::Words, expected, found });
        }
        let mut shape = D::zeros(found);
        shape.slice_mut().copy_from_slice(&user_shape);
        let mut array = zeros_array(shape, "signs")?;
        expand_signs(self, lift_any(Operand::Output, array.view_mut())?);
        Ok(array)
    }

    /// The (N, C · pixels) input of a dense layer: features run over the channels, and over the
    /// pixels of each, as if floats (N, C, spatial...) in standard layout were reshaped. A dense
    /// tensor stays as it is.
    ///
    /// ```
    /// use ndarray::{Array, Array2};
    /// use ndarray_qnn::{ActivationQuantizer, BitTensor};
    ///
    /// let x = Array::from_shape_fn((2, 3, 5, 4), |(n, c, h, w)| ((n + c * h + w) as f32).sin());
    /// let sign = ActivationQuantizer::sign();
    /// let bits = BitTensor::pack(&sign, x.view())?.flatten()?;
    /// let reshaped: Array2<f32> = x.into_shape_with_order((2, 60)).unwrap();
    /// assert_eq!(bits, BitTensor::pack(&sign, reshaped.view())?);
    /// # Ok::<(), ndarray_qnn::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TooLarge`] if there is no memory.
    pub fn flatten(&self) -> Result<Self> {
        if self.spatial_dims == 0 {
            return Ok(self.clone());
        }
        let [images, channels, spatial @ ..] = self.dims;
        let pixels = product(&spatial, WHAT)?;
        let features = product(&[channels, pixels], WHAT)?;
        let mut flat = Self::zeros([1, features, 1, 1, images], 0)?;
        if pixels == 1 {
            flat.words.copy_from_slice(&self.words);
        } else if !flat.words.is_empty() {
            let image_words = pixels * self.pixel_words();
            each_chunk(&mut flat.words, features.div_ceil(32), 32, |image, row| {
                let image = &self.words[image * image_words..][..image_words];
                flatten_image(image, channels, row);
            });
        }
        Ok(flat)
    }
}

const WHAT: &str = "bit tensor";

compiled_once! {
    fn pack_signs<'a, 'x; T>(
        quantizer: &'a ActivationQuantizer,
        x: ArrayView5<'x, T>,
        spatial_dims: usize,
    ) -> Result<BitTensor> {
        let threshold = sign_threshold(quantizer)?;
        let mut packed = BitTensor::zeros(x.dim().into(), spatial_dims)?;
        if pack_input(Kernel::current(), 1, &x, threshold, &mut packed.words) {
            return Err(Error::NaN { operand: Operand::Input });
        }
        Ok(packed)
    }

    fn expand_signs<'a, 'y; T>(signs: &'a BitTensor, out: ArrayViewMut5<'y, T>) {
        let mut pixels = out.permuted_axes([0, 2, 3, 4, 1]);
        let words = signs.words.chunks_exact(signs.pixel_words().max(1));
        for (mut pixel, words) in pixels.lanes_mut(Axis(4)).into_iter().zip(words) {
            for (channel, sign) in pixel.iter_mut().enumerate() {
                let bit = words[channel / 32] >> (channel % 32) & 1;
                *sign = Levels::SIGN.value(bit);
            }
        }
    }
}

/// Where a quantizer's sign turns, if its values are signs.
pub(crate) fn sign_threshold<T: Element>(quantizer: &ActivationQuantizer) -> Result<T> {
    let signs = quantizer.levels() == Some(Levels::SIGN);
    quantizer.threshold().filter(|_| signs).ok_or_else(|| Error::Unsupported {
        option: "activation quantizer",
        expected: "one of signs, -1 and +1",
        found: format!("{quantizer:?}"),
    })
}

fn word_count(dims: [usize; 5]) -> Result<usize> {
    product(&dims, WHAT)?; // what else is counted below is a part of this
    let [images, channels, d, h, w] = dims;
    product(&[images, d, h, w, channels.div_ceil(32)], WHAT)
}

/// From `[pixel][word]` with a bit a channel to `[channel][pixel]` without gaps.
fn flatten_image(image: &[u32], channels: usize, row: &mut [u32]) {
    let pixel_words = channels.div_ceil(32);
    let pixels = image.len() / pixel_words;
    for (block, lines) in image.chunks(32 * pixel_words).enumerate() {
        for word in 0..pixel_words {
            let mut square = [0; 32];
            for (line, pixel) in square.iter_mut().zip(lines.chunks_exact(pixel_words)) {
                *line = pixel[word];
            }
            transpose(&mut square);
            for (channel, &bits) in (32 * word..channels).zip(&square) {
                set_bits(row, channel * pixels + 32 * block, bits);
            }
        }
    }
}

/// Swaps bit `j` of word `i` with bit `i` of word `j`: the off-diagonal quarters of the square,
/// then those of each quarter, and so on.
fn transpose(square: &mut [u32; 32]) {
    let mut low = u32::MAX;
    for half in [16, 8, 4, 2, 1] {
        low ^= low << half; // the lower half of every 2 * half bits
        for i in (0..32).filter(|i| i & half == 0) {
            let swapped = (square[i] >> half ^ square[i + half]) & low;
            square[i] ^= swapped << half;
            square[i + half] ^= swapped;
        }
    }
}

/// Sets bits of a zeroed row from bit `at` on.
fn set_bits(row: &mut [u32], at: usize, bits: u32) {
    let wide = u64::from(bits) << (at % 32);
    row[at / 32] |= wide as u32;
    if wide >> 32 != 0 {
        row[at / 32 + 1] |= (wide >> 32) as u32;
    }
}
