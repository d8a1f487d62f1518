//! Latent weights to codes: quantized once, kept at their width.

use crate::kernel::{PANEL, chain_words, unchained};
use crate::options::Scaling;
use crate::quantizer::{Levels, WeightCoder, filter_magnitudes, finite_scale, tensor_magnitude};
use crate::scratch::{product, reserve, take, zeros};
use crate::views::{view5, zeros_array};
use crate::{Element, Error, Operand, Result, WeightQuantizer};
use ndarray::{ArrayD, ArrayView5, IxDyn};
use std::ops::Range;

/// Weights of an operator, quantized once: one bit a weight at 1 bit, one byte a code at 2 to 8
/// bits, quantized floats above that.
///
/// Immutable, and independent of the latent weights they were made from. The operator that made
/// them computes the same bits from them as from the latent weights; so does any other that
/// quantizes and scales weights alike.
///
/// ```
/// use ndarray::array;
/// use ndarray_qnn::{ActivationQuantizer, QFullyConnected, WeightQuantizer};
///
/// let fc = QFullyConnected::new(ActivationQuantizer::sign(), WeightQuantizer::sign());
/// let w = array![[0.5f32, -0.1, 0.0], [-0.25, 0.75, -0.5]];
/// let packed = fc.pack(w.view())?;
/// let x = array![[1.0f32, 1.0, -1.0]];
/// assert_eq!(
///     fc.forward_packed(x.view(), &packed, None)?,
///     fc.forward(x.view(), w.view(), None)?,
/// );
/// assert_eq!(packed.to_quantized()?, array![[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]].into_dyn());
/// # Ok::<(), ndarray_qnn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PackedWeights<T> {
    quantizer: WeightQuantizer,
    scaling: Scaling,
    /// Spatial dimensions of the operator: 0 for a dense layer.
    spatial_dims: usize,
    /// (F, C / groups, KD, KH, KW).
    shape: [usize; 5],
    /// One of these three holds the weights, each filter as a row of `im2row`: chained bits in
    /// panels (see `kernel`), bytes, or numbers.
    words: Vec<u32>,
    bytes: Vec<u8>,
    values: Vec<T>,
    /// The sum of the codes of each filter.
    sums: Vec<i64>,
    /// The quantizer's scale of each filter, or nothing.
    magnitudes: Vec<T>,
    /// The operator's [`Scaling`] of each filter, or nothing.
    scales: Vec<T>,
    /// The product of both, or nothing.
    factors: Vec<T>,
}

impl<T> Default for PackedWeights<T> {
    fn default() -> Self {
        PackedWeights {
            quantizer: WeightQuantizer::identity(),
            scaling: Scaling::None,
            spatial_dims: 0,
            shape: [0; 5],
            words: Vec::new(),
            bytes: Vec::new(),
            values: Vec::new(),
            sums: Vec::new(),
            magnitudes: Vec::new(),
            scales: Vec::new(),
            factors: Vec::new(),
        }
    }
}

/// How the codes of packed weights lie in memory.
pub(crate) enum Codes<'a, T> {
    /// Chained bits in panels of filters, as the kernels want them.
    Panels(&'a [u32]),
    /// One byte a code.
    Bytes(&'a [u8]),
    /// Quantized numbers, without their filter's scale.
    Values(&'a [T]),
}

impl<T: Element> PackedWeights<T> {
    /// Packs `w` in the place of what was packed before.
    pub(crate) fn assign(
        &mut self,
        quantizer: &WeightQuantizer,
        scaling: &Scaling,
        spatial_dims: usize,
        w: ArrayView5<'_, T>,
    ) -> Result<()> {
        scaling.validate(w.shape()[0])?;
        quantizer.validate()?;
        self.quantizer = *quantizer;
        self.scaling.clone_from(scaling);
        self.spatial_dims = spatial_dims;
        self.shape = w.dim().into();
        self.words.clear();
        self.bytes.clear();
        self.values.clear();
        self.sums.clear();

        // Memory first: a broadcast view may be too large to be read through.
        let (filters, row_len) = (self.filters(), product(&self.shape[1..], "weight")?);
        let what = "packed weights";
        reserve(&mut self.sums, filters, what)?;
        let levels = self.levels();
        match levels {
            Some(levels) if levels.bits() == 1 => {
                let words = product(&[filters, chain_words(row_len)], what)?;
                take(&mut self.words, words, what)?;
            }
            Some(_) => reserve(&mut self.bytes, filters * row_len, what)?,
            None => reserve(&mut self.values, filters * row_len, what)?,
        }

        let coder = quantizer.fit(&w)?;
        // Channels last: the order of a row of im2row.
        for (filter, row) in w.permuted_axes([0, 2, 3, 4, 1]).outer_iter().enumerate() {
            match levels {
                Some(levels) if levels.bits() == 1 => {
                    let codes = row.iter().map(|&w| coder.code(w));
                    let panel = self.panel(filter / PANEL);
                    let words = &mut self.words[panel.words];
                    // A filter without weights has no words.
                    let words = words.get_mut(filter % PANEL..).unwrap_or_default();
                    self.sums.push(interleave(codes, words, panel.filters));
                }
                Some(_) => {
                    let start = self.bytes.len();
                    self.bytes.extend(row.iter().map(|&w| coder.code(w) as u8));
                    self.sums.push(self.bytes[start..].iter().map(|&code| i64::from(code)).sum());
                }
                None => self.values.extend(row.iter().map(|&w| coder.value(w))),
            }
        }
        self.assign_scales(coder, w)
    }

    fn assign_scales(&mut self, coder: WeightCoder<T>, w: ArrayView5<'_, T>) -> Result<()> {
        let filters = self.filters();
        self.magnitudes = coder.magnitudes;
        self.scales = match &self.scaling {
            Scaling::None => Vec::new(),
            Scaling::PerTensor => vec![tensor_magnitude(&w)?; filters],
            Scaling::PerFilter => filter_magnitudes(&w)?,
            Scaling::Given(scales) => {
                let finite = |(i, &scale)| finite_scale(Operand::Scale, i, scale);
                scales.iter().enumerate().map(finite).collect::<Result<_>>()?
            }
        };
        self.factors = match (self.magnitudes.is_empty(), self.scales.is_empty()) {
            (true, _) => self.scales.clone(),
            (_, true) => self.magnitudes.clone(),
            _ => {
                let products = self.magnitudes.iter().zip(&self.scales).map(|(&m, &s)| m * s);
                let finite = |(i, p): (usize, T)| finite_scale(Operand::Scale, i, p.as_f64());
                products.enumerate().map(finite).collect::<Result<_>>()?
            }
        };
        Ok(())
    }

    /// Levels of codes that are held as integers.
    pub(crate) fn levels(&self) -> Option<Levels> {
        self.quantizer.levels().filter(Levels::fit_a_byte)
    }

    pub(crate) fn codes(&self) -> Codes<'_, T> {
        match self.levels() {
            Some(levels) if levels.bits() == 1 => Codes::Panels(&self.words),
            Some(_) => Codes::Bytes(&self.bytes),
            None => Codes::Values(&self.values),
        }
    }

    /// (F, C / groups, KD, KH, KW).
    pub(crate) fn dims(&self) -> [usize; 5] {
        self.shape
    }

    pub(crate) fn filters(&self) -> usize {
        self.shape[0]
    }

    /// Weights in all.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Weights in a filter.
    pub(crate) fn row_len(&self) -> usize {
        self.shape[1..].iter().product()
    }

    pub(crate) fn spatial_dims(&self) -> usize {
        self.spatial_dims
    }

    pub(crate) fn sums(&self) -> &[i64] {
        &self.sums
    }

    /// The factor of each filter's output, or nothing.
    pub(crate) fn factors(&self) -> &[T] {
        &self.factors
    }

    /// The [`Scaling`] of each filter, or nothing.
    pub(crate) fn scales(&self) -> &[T] {
        &self.scales
    }

    /// Where a panel lies. The last one has no more filters than there are.
    fn panel(&self, index: usize) -> Panel {
        let row_words = chain_words(self.row_len());
        let (first, end) = (index * PANEL, self.filters().min((index + 1) * PANEL));
        Panel { words: first * row_words..end * row_words, filters: end - first }
    }

    /// Fills the last panel up to as many filters as the kernels want, if it has fewer.
    pub(crate) fn fill_last_panel(&self, full: &mut Vec<u32>) -> Result<()> {
        full.clear();
        let panel = self.panel(self.filters() / PANEL);
        if panel.filters > 0 {
            let words = &self.words[panel.words];
            let full = take(full, chain_words(self.row_len()) * PANEL, "weight panel")?;
            for (full, words) in full.chunks_mut(PANEL).zip(words.chunks(panel.filters)) {
                full[..panel.filters].copy_from_slice(words);
            }
        }
        Ok(())
    }

    /// The code of a weight of a filter; 0 for those that are held as numbers.
    #[inline]
    fn code(&self, filter: usize, i: usize) -> u32 {
        match self.codes() {
            Codes::Panels(words) => {
                let panel = self.panel(filter / PANEL);
                let words = &words[panel.words];
                unchained(i / 32, |i| words[i * panel.filters + filter % PANEL]) >> (i % 32) & 1
            }
            Codes::Bytes(bytes) => bytes[filter * self.row_len() + i].into(),
            Codes::Values(_) => 0,
        }
    }

    /// Sums the integer weights (the numerators of their [`Levels`]) of each `[tap][filter]`.
    pub(crate) fn sum_taps(&self, levels: Levels, sums: &mut [i64]) {
        let [filters, channels, ..] = self.shape;
        for (i, sum) in sums.iter_mut().enumerate() {
            let (tap, filter) = (i / filters, i % filters);
            let row = tap * channels..(tap + 1) * channels;
            *sum = row.map(|i| levels.numerator(self.code(filter, i))).sum();
        }
    }

    /// The codes `[filter][tap][channel]` as bytes, whatever their width.
    pub(crate) fn expand_codes(&self, rows: &mut [u8]) {
        for (filter, row) in rows.chunks_mut(self.row_len().max(1)).enumerate() {
            for (i, code) in row.iter_mut().enumerate() {
                *code = self.code(filter, i) as u8;
            }
        }
    }

    /// The quantized weights `[filter][tap][channel]`, without any scale.
    pub(crate) fn expand_values(&self, rows: &mut [T]) {
        let Some(levels) = self.levels() else {
            return rows.copy_from_slice(&self.values);
        };
        for (filter, row) in rows.chunks_mut(self.row_len().max(1)).enumerate() {
            for (i, value) in row.iter_mut().enumerate() {
                *value = levels.value(self.code(filter, i));
            }
        }
    }

    /// The same with the quantizer's scale, but without the operator's.
    pub(crate) fn quantized_rows(&self) -> Result<Vec<T>> {
        let row_len = self.row_len();
        let mut rows = zeros(self.filters() * row_len, "quantized weights")?;
        self.expand_values(&mut rows);
        for (row, &scale) in rows.chunks_mut(row_len.max(1)).zip(&self.magnitudes) {
            row.iter_mut().for_each(|value| *value *= scale);
        }
        Ok(rows)
    }

    /// The quantizer that made the codes.
    pub fn quantizer(&self) -> &WeightQuantizer {
        &self.quantizer
    }

    /// The scaling that was measured on the latent weights.
    pub fn scaling(&self) -> &Scaling {
        &self.scaling
    }

    /// Shape of the latent weights: (filters, inputs) of a dense layer, (filters,
    /// channels / groups, kernel...) of a convolution.
    pub fn shape(&self) -> Vec<usize> {
        // The operator lacks the first of the three spatial axes, if any.
        [&self.shape[..2], &self.shape[5 - self.spatial_dims..]].concat()
    }

    /// Bytes that the codes, sums and scales take.
    pub fn size_in_bytes(&self) -> usize {
        let floats = self.values.len() + self.magnitudes.len() + self.scales.len();
        size_of_val(&self.words[..])
            + self.bytes.len()
            + size_of_val(&self.sums[..])
            + (floats + self.factors.len()) * size_of::<T>()
    }

    /// The bits of a filter at 1 bit, else `None`: bit `i` (lowest first) of word `j` is the code
    /// of weight `64 j + i`, where weights run over the kernel, and over the channels at each
    /// kernel position; for a dense layer, over its inputs.
    pub fn words(&self, filter: usize) -> Option<Vec<u64>> {
        let bits = self.levels().filter(|levels| levels.bits() == 1);
        bits.filter(|_| filter < self.filters()).map(|_| {
            let mut words = vec![0; self.row_len().div_ceil(64)];
            for i in 0..self.row_len() {
                words[i / 64] |= u64::from(self.code(filter, i)) << (i % 64);
            }
            words
        })
    }

    /// The quantized weights in the shape of the latent ones, with the quantizer's scale but
    /// without the operator's [`Scaling`].
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) if there is no memory for them.
    pub fn to_quantized(&self) -> Result<ArrayD<T>> {
        let [filters, channels, d, h, w] = self.shape;
        let rows = self.quantized_rows()?;
        let weights = view5([filters, d, h, w, channels], &rows).permuted_axes([0, 4, 1, 2, 3]);
        let mut quantized = zeros_array(IxDyn(&self.shape), "quantized weights")?;
        quantized.assign(&weights);
        let elements = quantized.len();
        quantized
            .into_shape_with_order(self.shape())
            .map_err(|_| Error::TooLarge { what: "quantized weights", elements })
    }
}

/// A panel of 1-bit weights in memory.
struct Panel {
    words: Range<usize>,
    filters: usize,
}

/// Chains 1-bit codes, the first lowest, and spreads them over every `step`th word of zeroed
/// ones. Returns the sum of the codes.
fn interleave(codes: impl Iterator<Item = u32>, words: &mut [u32], step: usize) -> i64 {
    let mut sum = 0;
    for (i, code) in codes.enumerate() {
        words[i / 32 * step] |= code << (i % 32);
        sum += i64::from(code);
    }
    let mut parity = 0;
    for pair in words.chunks_mut(2 * step) {
        let first = pair[0];
        parity ^= first ^ pair[step];
        (pair[0], pair[step]) = (parity, first);
    }
    sum
}
