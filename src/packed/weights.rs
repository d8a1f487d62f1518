//! Latent weights to codes: quantized once, kept at their width.

use crate::kernel::Kernel;
use crate::memory::{product, reserve, zeros};
use crate::memory::{view5, zeros_array};
use crate::options::Scaling;
use crate::packed::format::CodeFormat;
use crate::packed::panels::{Panels, Row};
use crate::quantizer::{
    FittedWeightQuantizer, Levels, filter_magnitudes, finite_scale, tensor_magnitude,
};
use crate::{Element, Error, Operand, Result, WeightQuantizer};
use ndarray::{ArrayD, ArrayView4, ArrayView5, ArrayViewMut4, Axis, IxDyn};

/// Weights of an operator, quantized once: one bit a weight at 1 bit, at 2 to 8 bits their codes,
/// quantized floats above that.
///
/// Codes of 2 to 8 bits have the format in which they are multiplied fastest with the
/// activations of the operator on this CPU: as bit planes, which take as many bits a weight as they
/// are, or fields of 2, 4 or 8 bits. Other operators and CPUs can multiply with either, and
/// weights are equal if their codes are.
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
    /// One of these two has the weights, each filter `[tap][channel]`: codes in panels, or floats.
    panels: Panels,
    values: Vec<T>,
    /// The sum of the codes of each filter.
    sums: Vec<i64>,
    /// The quantizer's scale of each filter, or nothing.
    quantizer_scales: Vec<T>,
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
            panels: Panels::default(),
            values: Vec::new(),
            sums: Vec::new(),
            quantizer_scales: Vec::new(),
            scales: Vec::new(),
            factors: Vec::new(),
        }
    }
}

/// Weights as they were packed.
pub(crate) enum Codes<'a, T> {
    /// Integer codes, for the kernels.
    Panels(&'a Panels, Levels),
    /// Quantized floats, without the scale of their filter.
    Values(&'a [T]),
}

impl<T: Element> PackedWeights<T> {
    /// Packs `w` in the place of what was packed before.
    pub(crate) fn assign(
        &mut self,
        quantizer: &WeightQuantizer,
        scaling: &Scaling,
        spatial_dims: usize,
        form: CodeFormat,
        w: ArrayView5<'_, T>,
    ) -> Result<()> {
        scaling.validate(w.shape()[0])?;
        quantizer.validate()?;
        self.quantizer = *quantizer;
        self.scaling.clone_from(scaling);
        self.spatial_dims = spatial_dims;
        self.shape = w.dim().into();
        self.values.clear();
        self.sums.clear();

        // Memory first: a broadcast view may be too large to be read through.
        let (filters, row_len) = (self.filters(), product(&self.shape[1..], "weight")?);
        let what = "packed weights";
        reserve(&mut self.sums, filters, what)?;
        let levels = self.levels();
        match levels {
            Some(levels) => self.panels.reset(filters, row_len, form, levels.bits())?,
            None => reserve(&mut self.values, filters * row_len, what)?,
        }

        let fitted = quantizer.fit(&w)?;
        // Channels last: the order of a row of im2row.
        let rows = w.permuted_axes([0, 2, 3, 4, 1]);
        match levels {
            Some(_) => {
                self.sums.resize(filters, 0);
                let kernel = Kernel::current();
                let write = |filter, to: Row<'_>| {
                    let row = rows.index_axis(Axis(0), filter);
                    write_codes(kernel, &fitted, row, to)
                };
                self.panels.set(&mut self.sums, write)?;
            }
            None => self.values.extend(rows.iter().map(|&w| fitted.value(w))),
        }
        self.assign_scales(fitted, w)
    }

    fn assign_scales(
        &mut self,
        fitted: FittedWeightQuantizer<T>,
        w: ArrayView5<'_, T>,
    ) -> Result<()> {
        let filters = self.filters();
        self.quantizer_scales = fitted.filter_scales;
        self.scales = match &self.scaling {
            Scaling::None => Vec::new(),
            Scaling::PerTensor => vec![tensor_magnitude(&w)?; filters],
            Scaling::PerFilter => filter_magnitudes(&w)?,
            Scaling::Given(scales) => {
                let finite = |(i, &scale)| finite_scale(Operand::Scale, i, scale);
                scales.iter().enumerate().map(finite).collect::<Result<_>>()?
            }
        };
        self.factors = match (self.quantizer_scales.is_empty(), self.scales.is_empty()) {
            (true, _) => self.scales.clone(),
            (_, true) => self.quantizer_scales.clone(),
            _ => {
                let products = self.quantizer_scales.iter().zip(&self.scales).map(|(&m, &s)| m * s);
                let finite = |(i, p): (usize, T)| finite_scale(Operand::Scale, i, p.as_f64());
                products.enumerate().map(finite).collect::<Result<_>>()?
            }
        };
        Ok(())
    }

    /// Levels of codes that are packed as integers.
    pub(crate) fn levels(&self) -> Option<Levels> {
        self.quantizer.levels().filter(Levels::fit_a_byte)
    }

    pub(crate) fn codes(&self) -> Codes<'_, T> {
        match self.levels() {
            Some(levels) => Codes::Panels(&self.panels, levels),
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

    /// The quantizer's scale of each filter, or nothing.
    pub(crate) fn quantizer_scales(&self) -> &[T] {
        &self.quantizer_scales
    }

    /// The [`Scaling`] of each filter, or nothing.
    pub(crate) fn scales(&self) -> &[T] {
        &self.scales
    }

    /// Sums the integer weights (the numerators of their [`Levels`]) of each `[tap][filter]`, times
    /// a factor.
    pub(crate) fn sum_taps(&self, kernel: Kernel, levels: Levels, factor: i64, sums: &mut [i64]) {
        let [filters, channels, ..] = self.shape;
        self.panels.sum_parts(kernel, channels, filters, sums);
        // Σ (step code + offset) = step Σ code + offset channels
        let (step, offset) = (factor * levels.step(), factor * levels.offset() * channels as i64);
        sums.iter_mut().for_each(|sum| *sum = step * *sum + offset);
    }

    /// The quantized weights `[filter][tap][channel]`, without any scale.
    pub(crate) fn expand_values(&self, rows: &mut [T]) {
        let Some(levels) = self.levels() else {
            return rows.copy_from_slice(&self.values);
        };
        let values: [T; 256] = std::array::from_fn(|code| levels.value(code as u32));
        let [zero, one, ..] = values;
        for (filter, row) in rows.chunks_mut(self.row_len().max(1)).enumerate() {
            if self.panels.is_bits() {
                // A choice of two, for vectors.
                for (row, word) in row.chunks_mut(32).zip(self.panels.row(0, filter)) {
                    for (i, value) in row.iter_mut().enumerate() {
                        *value = if word >> i & 1 == 0 { zero } else { one };
                    }
                }
                continue;
            }
            let codes = row.iter_mut().zip(self.panels.codes(filter));
            codes.for_each(|(value, code)| *value = values[code as usize]);
        }
    }

    /// The same with the quantizer's scale, but without the operator's.
    pub(crate) fn quantized_rows(&self) -> Result<Vec<T>> {
        let mut rows = zeros(self.len(), "quantized weights")?;
        self.expand_values(&mut rows);
        scale_filters(&mut rows, &self.quantizer_scales);
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
        let floats = self.values.len() + self.quantizer_scales.len() + self.scales.len();
        size_of_val(self.panels.words())
            + size_of_val(&self.sums[..])
            + (floats + self.factors.len()) * size_of::<T>()
    }

    /// The bits of a filter at 1 bit, else `None`: bit `i` (lowest first) of word `j` is the code
    /// of weight `64 j + i`, where weights run over the kernel, and over the channels at each
    /// kernel position; for a dense layer, over its inputs.
    pub fn words(&self, filter: usize) -> Option<Vec<u64>> {
        let Codes::Panels(panels, _) = self.codes() else { return None };
        if filter >= self.filters() || self.quantizer.bits() != 1 {
            return None;
        }
        let mut words = vec![0; self.row_len().div_ceil(64)];
        for (i, word) in panels.row(0, filter).enumerate() {
            words[i / 2] |= u64::from(word) << (i % 2 * 32);
        }
        Some(words)
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

/// Writes the codes of a filter.
fn write_codes<T: Element>(
    kernel: Kernel,
    fitted: &FittedWeightQuantizer<T>,
    row: ArrayView4<'_, T>,
    to: Row<'_>,
) -> Result<()> {
    match (to, fitted.threshold()) {
        (Row::Bits(words), Some(threshold)) => {
            // By vectors, for which scattered weights are first brought together.
            let mut together;
            let row = match row.to_slice() {
                Some(row) => row,
                None => {
                    together = zeros(row.len(), "weights")?;
                    let to = ArrayViewMut4::from_shape(row.raw_dim(), &mut together);
                    to.expect("sizes agree").assign(&row);
                    &together
                }
            };
            kernel.pack_rows(row, row.len().max(1), threshold, words);
        }
        (Row::Bits(words), None) => {
            words.fill(0);
            for (i, &w) in row.iter().enumerate() {
                words[i / 32] |= fitted.code(w) << (i % 32);
            }
        }
        (Row::Codes(codes), _) => {
            codes.iter_mut().zip(row).for_each(|(code, &w)| *code = fitted.code(w) as u8);
        }
    }
    Ok(())
}

/// Multiplies the weights of each filter by its scale, if there are scales.
pub(crate) fn scale_filters<T: Element>(rows: &mut [T], scales: &[T]) {
    if scales.is_empty() {
        return;
    }
    let row_len = rows.len() / scales.len();
    for (row, &scale) in rows.chunks_mut(row_len.max(1)).zip(scales) {
        row.iter_mut().for_each(|value| *value *= scale);
    }
}
