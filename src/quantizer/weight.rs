//! Weight quantizers.

use crate::element::compiled_once;
use crate::memory::{each_slice, zeros, zeros_array};
use crate::quantizer::dorefa::{dorefa_backward, dorefa_code, max_tanh};
use crate::quantizer::sign::{
    above, filter_magnitudes, heaviside_code, heaviside_levels, sign_code, tensor_magnitude,
};
use crate::quantizer::ternary::{absmean, absmean_code, ternary_code};
use crate::quantizer::uniform::uniform_code;
use crate::quantizer::{
    DorefaGradient, Levels, Rounding, Ste, TernaryThreshold, check_bits, check_no_nan,
    check_same_shape,
};
use crate::{Element, Error, Operand, Result};
use ndarray::{Array, ArrayView, Axis, Dimension, RemoveAxis};

/// How weights are quantized, and what their gradient passes through.
///
/// Filters lie along axis 0, as in the weights of the operators (OI, OIHW, ...).
///
/// ```
/// use ndarray::array;
/// use ndarray_qnn::WeightQuantizer;
///
/// let w = array![[0.5f32, -0.1, 0.0], [-0.25, 0.75, -0.5]];
/// let sign = WeightQuantizer::sign();
/// assert_eq!(sign.quantize(w.view())?, array![[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]]);
/// // Straight through: by default the latent weights receive the gradient unchanged.
/// let dq = array![[0.5f32, 0.25, -1.0], [2.0, 0.0, 1.0]];
/// assert_eq!(sign.backward(dq.view(), w.view())?, dq);
///
/// let scaled = WeightQuantizer::magnitude_aware_sign();
/// assert_eq!(scaled.quantize(w.view())?.row(1), array![-0.5, 0.5, -0.5]);
/// # Ok::<(), ndarray_qnn::Error>(())
/// ```
#[must_use = "setters return the changed value"]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightQuantizer {
    family: Family,
    rounding: Rounding,
    ste: Ste,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Family {
    Sign,
    MagnitudeAwareSign,
    Bwn,
    Heaviside,
    Ternary(TernaryThreshold),
    AbsMean,
    Dorefa { bits: u32, gradient: DorefaGradient },
    Uniform { bits: u32 },
    Identity,
}

impl WeightQuantizer {
    fn new(family: Family) -> Self {
        WeightQuantizer { family, rounding: Rounding::default(), ste: Ste::default() }
    }

    /// 1 bit: `w >= 0 -> +1`, else `-1`.
    pub fn sign() -> Self {
        Self::new(Family::Sign)
    }

    /// 1 bit and one scale a filter: `sign(w) * s` with `s = mean|w|` over the filter. Its
    /// gradient is scaled with it, and the scale taken for a constant: `dw = s * dq * ste(w)`.
    /// Bi-Real Net (<https://arxiv.org/abs/1808.00278>), Larq's `MagnitudeAwareSign`.
    pub fn magnitude_aware_sign() -> Self {
        Self::new(Family::MagnitudeAwareSign)
    }

    /// 1 bit and one scale a tensor: `sign(w) * mean|w|`, with the gradient straight through both,
    /// `dw = dq * ste(w)`. DoReFa-Net's 1-bit weights as tensorpack has them.
    pub fn bwn() -> Self {
        Self::new(Family::Bwn)
    }

    /// 1 bit: `w > 0 -> 1`, else `0`.
    pub fn heaviside() -> Self {
        Self::new(Family::Heaviside)
    }

    /// -1, 0 and +1, held in 2 bits: 0 where `|w|` is below the threshold, else the sign of `w`.
    pub fn ternary(threshold: TernaryThreshold) -> Self {
        Self::new(Family::Ternary(threshold))
    }

    /// -1, 0 and +1 and one scale a tensor, held in 2 bits: `clip(round(w / g), -1, 1) * g` with
    /// `g = mean|w|`, at least 1e-5. The gradient passes straight through all of it,
    /// `dw = dq * ste(w)`. BitNet b1.58 (<https://arxiv.org/abs/2402.17764>), which rounds ties to
    /// even.
    ///
    /// ```
    /// use ndarray::array;
    /// use ndarray_qnn::WeightQuantizer;
    ///
    /// let w = array![[0.5f32, -0.125], [0.25, -1.125]]; // g = 0.5
    /// let quantizer = WeightQuantizer::absmean();
    /// assert_eq!(quantizer.quantize(w.view())?, array![[0.5, 0.0], [0.5, -0.5]]);
    /// # Ok::<(), ndarray_qnn::Error>(())
    /// ```
    pub fn absmean() -> Self {
        Self::new(Family::AbsMean)
    }

    /// `bits` (1 to 31): `2 round(n (tanh w / 2M + 1/2)) / n - 1` with `n = 2^bits - 1` and
    /// `M = max|tanh w|` over the tensor. DoReFa-Net, BMXNet.
    ///
    /// Not idempotent from 4 bits on: quantized weights quantize to others (BMXNet issue 35).
    /// [`uniform`](Self::uniform) is.
    ///
    /// # Errors
    /// [`Error::BitWidth`](crate::Error::BitWidth) for any other width.
    pub fn dorefa(bits: u32) -> Result<Self> {
        check_bits(Operand::Weight, bits)?;
        Ok(Self::new(Family::Dorefa { bits, gradient: DorefaGradient::default() }))
    }

    /// `bits` (1 to 31): `2 round(n (clip(w, -1, 1) + 1) / 2) / n - 1` with `n = 2^bits - 1`.
    /// Idempotent at every width.
    ///
    /// # Errors
    /// [`Error::BitWidth`](crate::Error::BitWidth) for any other width.
    pub fn uniform(bits: u32) -> Result<Self> {
        check_bits(Operand::Weight, bits)?;
        Ok(Self::new(Family::Uniform { bits }))
    }

    /// 32 bits: `w` as it is.
    pub fn identity() -> Self {
        Self::new(Family::Identity)
    }

    /// Sets how ties are rounded.
    pub fn rounding(mut self, rounding: Rounding) -> Self {
        self.rounding = rounding;
        self
    }

    /// Sets the straight-through estimator.
    pub fn ste(mut self, ste: Ste) -> Self {
        self.ste = ste;
        self
    }

    /// Sets what [`dorefa`](Self::dorefa) hands down as its gradient; no other quantizer has a
    /// choice, and they stay as they are.
    pub fn dorefa_gradient(mut self, chosen: DorefaGradient) -> Self {
        if let Family::Dorefa { gradient, .. } = &mut self.family {
            *gradient = chosen;
        }
        self
    }

    /// Bits a code takes; 32 if nothing is quantized.
    pub fn bits(&self) -> u32 {
        self.levels().map_or(32, |levels| levels.bits())
    }

    /// How codes read as numbers, before the scale of [`magnitude_aware_sign`], [`bwn`] and
    /// [`absmean`]; `None` if nothing is quantized.
    ///
    /// [`absmean`]: Self::absmean
    /// [`magnitude_aware_sign`]: Self::magnitude_aware_sign
    /// [`bwn`]: Self::bwn
    pub fn levels(&self) -> Option<Levels> {
        match self.family {
            Family::Sign | Family::MagnitudeAwareSign | Family::Bwn => Some(Levels::SIGN),
            Family::Heaviside => Some(heaviside_levels()),
            Family::Ternary(_) | Family::AbsMean => Some(Levels::TERNARY),
            Family::Dorefa { bits, .. } | Family::Uniform { bits } => Some(Levels::symmetric(bits)),
            Family::Identity => None,
        }
    }

    /// Whether two quantizers give the same codes and scales: they agree in all but their
    /// gradients, and in the rounding only if they round.
    pub(crate) fn same_forward(&self, other: &WeightQuantizer) -> bool {
        let forward = |quantizer: &WeightQuantizer| match quantizer.family {
            Family::Dorefa { bits, .. } => {
                let gradient = DorefaGradient::default();
                (Family::Dorefa { bits, gradient }, quantizer.rounding)
            }
            family @ (Family::Uniform { .. } | Family::AbsMean) => (family, quantizer.rounding),
            family => (family, Rounding::default()),
        };
        forward(self) == forward(other)
    }

    /// The quantized weights, scales included, in an array of the shape of `w`.
    ///
    /// # Errors
    /// [`Error::NaN`](crate::Error::NaN) if `w` holds one;
    /// [`Error::NonFiniteScale`](crate::Error::NonFiniteScale) if a scale or threshold is none;
    /// [`Error::Parameter`](crate::Error::Parameter) if the quantizer has a bad one;
    /// [`Error::Shape`](crate::Error::Shape) if a dynamic-dimensional `w` has no axis;
    /// [`Error::TooLarge`](crate::Error::TooLarge) if there is no memory for the result.
    pub fn quantize<T: Element, D: RemoveAxis>(
        &self,
        w: ArrayView<'_, T, D>,
    ) -> Result<Array<T, D>> {
        let mut quantized = zeros_array(w.raw_dim(), "quantized weights")?;
        let fitted = self.fit(&w)?;
        each_slice(&w, quantized.view_mut(), &|w, values| write_values(&fitted, w, values));
        for (mut filter, &scale) in quantized.axis_iter_mut(Axis(0)).zip(&fitted.filter_scales) {
            filter.map_inplace(|q| *q *= scale);
        }
        Ok(quantized)
    }

    /// The integer codes of the weights, which [`levels`](Self::levels) turns back into numbers;
    /// all 0 if nothing is quantized.
    ///
    /// # Errors
    /// As [`quantize`](Self::quantize).
    pub fn codes<T: Element, D: RemoveAxis>(
        &self,
        w: ArrayView<'_, T, D>,
    ) -> Result<Array<u32, D>> {
        let mut codes = zeros_array(w.raw_dim(), "weight codes")?;
        let fitted = self.fit(&w)?;
        each_slice(&w, codes.view_mut(), &|w, codes| write_codes(&fitted, w, codes));
        Ok(codes)
    }

    /// The gradient of the latent weights `w` from `dq`, the gradient of the quantized ones.
    ///
    /// # Errors
    /// As [`quantize`](Self::quantize); [`Error::Shape`](crate::Error::Shape) if `dq` is not of
    /// the shape of `w`; [`Error::NaN`](crate::Error::NaN) if it holds one.
    pub fn backward<T: Element, D: RemoveAxis>(
        &self,
        dq: ArrayView<'_, T, D>,
        w: ArrayView<'_, T, D>,
    ) -> Result<Array<T, D>> {
        check_same_shape(Operand::OutputGradient, w.shape(), dq.shape())?;
        let mut dw = zeros_array(w.raw_dim(), "weight gradient")?;
        self.check(&w)?;
        check_no_nan(Operand::OutputGradient, &dq)?;
        dw.assign(&dq);
        self.chain(&mut dw, w)?;
        Ok(dw)
    }

    /// [`backward`](Self::backward) in place, of operands that have been checked.
    pub(crate) fn chain<T: Element, D: RemoveAxis>(
        &self,
        dw: &mut Array<T, D>,
        w: ArrayView<'_, T, D>,
    ) -> Result<()> {
        if let Family::Dorefa { gradient, .. } = self.family {
            dorefa_backward(gradient, &w, dw);
        }
        if self.family == Family::MagnitudeAwareSign {
            let scales = filter_magnitudes(&w)?;
            for (mut filter, scale) in dw.axis_iter_mut(Axis(0)).zip(scales) {
                filter.map_inplace(|dw| *dw *= scale);
            }
        }
        if self.ste != Ste::Identity {
            each_slice(&w, dw.view_mut(), &|w, dw| chain(&self.ste, w, dw));
        }
        Ok(())
    }

    pub(crate) fn validate(&self) -> Result<()> {
        self.ste.validate()?;
        match self.family {
            Family::Ternary(threshold) => threshold.validate(),
            _ => Ok(()),
        }
    }

    fn check<T: Element, D: Dimension>(&self, w: &ArrayView<'_, T, D>) -> Result<()> {
        self.validate()?;
        if w.ndim() == 0 {
            // A dynamic-dimensional array may lack the axis of the filters.
            return Err(Error::Shape {
                operand: Operand::Weight,
                expected: vec![1],
                found: vec![],
            });
        }
        check_no_nan(Operand::Weight, w)
    }

    /// Measures what the codes of a tensor depend on, and checks its values.
    pub(crate) fn fit<T: Element, D: RemoveAxis>(
        &self,
        w: &ArrayView<'_, T, D>,
    ) -> Result<FittedWeightQuantizer<T>> {
        self.check(w)?;
        let statistic = match self.family {
            Family::Ternary(threshold) => threshold.of(w)?,
            Family::AbsMean => absmean(w)? / T::of(2.0),
            Family::Dorefa { .. } => max_tanh(w),
            _ => T::zero(),
        };
        let filter_scales = match self.family {
            Family::MagnitudeAwareSign => filter_magnitudes(w)?,
            Family::Bwn => same_scale(tensor_magnitude(w)?, w)?,
            Family::AbsMean => same_scale(absmean(w)?, w)?,
            _ => Vec::new(),
        };
        Ok(FittedWeightQuantizer { quantizer: *self, statistic, filter_scales })
    }
}

compiled_once! {
    fn write_values<'a; T>(fitted: &'a FittedWeightQuantizer<T>, w: &'a [T], values: &'a mut [T]) {
        values.iter_mut().zip(w).for_each(|(value, &w)| *value = fitted.value(w));
    }

    fn write_codes<'a; T>(fitted: &'a FittedWeightQuantizer<T>, w: &'a [T], codes: &'a mut [u32]) {
        codes.iter_mut().zip(w).for_each(|(code, &w)| *code = fitted.code(w));
    }

    fn chain<'a; T>(ste: &'a Ste, w: &'a [T], gradients: &'a mut [T]) {
        gradients.iter_mut().zip(w).for_each(|(gradient, &w)| *gradient *= ste.factor(w));
    }
}

/// The same scale for every filter.
fn same_scale<T: Element, D: Dimension>(scale: T, w: &ArrayView<'_, T, D>) -> Result<Vec<T>> {
    let mut scales = zeros(w.len_of(Axis(0)), "filter scales")?;
    scales.fill(scale);
    Ok(scales)
}

/// A weight quantizer with what it measured on its tensor.
pub(crate) struct FittedWeightQuantizer<T> {
    quantizer: WeightQuantizer,
    /// The threshold of ternary weights, `max|tanh w|` of DoReFa's.
    statistic: T,
    /// The scale of each filter; none where the quantizer has no scales.
    pub(crate) filter_scales: Vec<T>,
}

impl<T: Element> FittedWeightQuantizer<T> {
    #[inline]
    pub(crate) fn code(&self, w: T) -> u32 {
        let rounding = self.quantizer.rounding;
        match self.quantizer.family {
            Family::Sign | Family::MagnitudeAwareSign | Family::Bwn => sign_code(w),
            Family::Heaviside => heaviside_code(w),
            Family::Ternary(_) => ternary_code(w, self.statistic),
            Family::AbsMean => absmean_code(w, self.statistic, rounding),
            Family::Dorefa { bits, .. } => dorefa_code(w, self.statistic, bits, rounding),
            Family::Uniform { bits } => uniform_code(w, bits, rounding),
            Family::Identity => 0,
        }
    }

    /// The `t` with which the code of `w` is 1 where `w >= t`, else 0, if there is one.
    pub(crate) fn threshold(&self) -> Option<T> {
        match self.quantizer.family {
            Family::Sign | Family::MagnitudeAwareSign | Family::Bwn => Some(T::zero()),
            Family::Heaviside => Some(above(T::zero())),
            _ => None,
        }
    }

    /// The quantized weight before its filter's scale.
    #[inline]
    pub(crate) fn value(&self, w: T) -> T {
        self.quantizer.levels().map_or(w, |levels| levels.value(self.code(w)))
    }
}
