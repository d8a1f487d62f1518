//! The conventions of the peers, each in one word.
//!
//! Presets of frameworks take the widths of activations and weights in bits: 1 is a sign, 2 to 31
//! are DoReFa's quantizers, 32 leaves values as they are. That of BitNet has widths of its own.

use crate::layers::convolution::QConvolution;
use crate::rank::{Rank, SpatialRank};
use crate::{
    ActivationQuantizer, DorefaGradient, Error, FullPrecision, Operand, OutputForm, PadValue,
    QActivation, QFullyConnected, Result, Rounding, Ste, WeightQuantizer,
};

/// BMXNet v1 counts equal signs, and its backward does not know of the factor 1/2.
const V1_OFFSET: OutputForm = OutputForm::Offset { halve_gradient: false };

/// BMXNet-v2's gradient is that of autograd.
const V2_OFFSET: OutputForm = OutputForm::Offset { halve_gradient: true };

/// The activation quantizer of a width, without any STE of its own.
fn activation(bits: u32) -> Result<ActivationQuantizer> {
    let quantizer = match bits {
        1 => ActivationQuantizer::sign(),
        2..=31 => ActivationQuantizer::dorefa(bits)?,
        32 => ActivationQuantizer::identity(),
        _ => return Err(bad_width(Operand::Input, bits)),
    };
    Ok(quantizer.ste(Ste::Identity))
}

fn weight(bits: u32) -> Result<WeightQuantizer> {
    match bits {
        1 => Ok(WeightQuantizer::sign()),
        2..=31 => WeightQuantizer::dorefa(bits),
        32 => Ok(WeightQuantizer::identity()),
        _ => Err(bad_width(Operand::Weight, bits)),
    }
}

fn bad_width(operand: Operand, bits: u32) -> Error {
    Error::BitWidth { operand, expected: "1 to 32", bits }
}

fn larq_activation(bits: u32) -> Result<ActivationQuantizer> {
    let ste = match bits {
        1 => Ste::clip(1.0),
        32 => Ste::Identity,
        _ => Ste::unit(),
    };
    Ok(activation(bits)?.rounding(Rounding::HalfToEven).ste(ste))
}

fn larq_weight(bits: u32) -> Result<WeightQuantizer> {
    let quantizer = weight(bits)?.rounding(Rounding::HalfToEven);
    Ok(match bits {
        1 => quantizer.ste(Ste::clip(1.0)),
        _ => quantizer.dorefa_gradient(DorefaGradient::StopMax),
    })
}

impl QActivation {
    /// BMXNet v1's `QActivation` with `act_bit = bits`: at 1 bit the gradient passes where
    /// `|x| <= 0.5`, at all others everywhere; at 32 bits `x` is clipped to 0..1.
    ///
    /// # Errors
    /// [`Error::BitWidth`] for any other width.
    pub fn bmxnet_v1(bits: u32) -> Result<Self> {
        let quantizer = activation(bits)?;
        Ok(QActivation::new(match bits {
            1 => quantizer.ste(Ste::clip(0.5)),
            32 => ActivationQuantizer::full_precision(FullPrecision::UnitClip),
            _ => quantizer,
        }))
    }

    /// BMXNet-v2's `QActivation` with its `gradient_cancel_threshold`: at every width the gradient
    /// passes where `|x| <= threshold`, at 2 to 31 bits only within 0..1. A threshold that is
    /// negative or NaN is refused by the backward.
    ///
    /// # Errors
    /// [`Error::BitWidth`] for any other width.
    pub fn bmxnet_v2(bits: u32, threshold: f64) -> Result<Self> {
        let ste = match bits {
            2..=31 if threshold > 1.0 => Ste::unit(),
            2..=31 => Ste::Interval { low: 0.0, high: threshold },
            _ => Ste::clip(threshold),
        };
        Ok(QActivation::new(activation(bits)?.ste(ste)))
    }

    /// Larq's input quantizers: `ste_sign` at 1 bit, `DoReFa` at 2 to 31 bits; ties are rounded
    /// to even.
    ///
    /// # Errors
    /// [`Error::BitWidth`] for any other width.
    pub fn larq(bits: u32) -> Result<Self> {
        Ok(QActivation::new(larq_activation(bits)?))
    }
}

impl QFullyConnected {
    /// BMXNet v1's `QFullyConnected`: `(K + dot) / 2` if both widths are 1, with a backward
    /// that does not know of the 1/2; gradients pass straight through both quantizers.
    ///
    /// # Errors
    /// [`Error::BitWidth`] for a width that is not 1 to 32.
    pub fn bmxnet_v1(act_bits: u32, weight_bits: u32) -> Result<Self> {
        let layer = Self::new(activation(act_bits)?, weight(weight_bits)?);
        Ok(match (act_bits, weight_bits) {
            (1, 1) => layer.output_form(V1_OFFSET),
            _ => layer,
        })
    }

    /// BMXNet-v2's `QDense`: `(K + dot) / 2` at every width, gradients as autograd has them
    /// (through the tanh and the maximum of DoReFa's weights).
    ///
    /// # Errors
    /// [`Error::BitWidth`] for a width that is not 1 to 32.
    pub fn bmxnet_v2(act_bits: u32, weight_bits: u32) -> Result<Self> {
        let weight = weight(weight_bits)?.dorefa_gradient(DorefaGradient::True);
        Ok(Self::new(activation(act_bits)?, weight).output_form(V2_OFFSET))
    }

    /// BitNet b1.58's `BitLinear` (Ma et al. 2024, <https://arxiv.org/abs/2402.17764>) without its
    /// normalization: activations of 8 bits scaled by the `max|x|` of their row, ternary weights
    /// scaled by the `mean|w|` of the tensor, ties rounded to even, gradients straight through
    /// both quantizers. Normalize `x` before, with RMSNorm.
    ///
    /// ```
    /// use ndarray::array;
    /// use ndarray_qnn::QFullyConnected;
    ///
    /// let layer = QFullyConnected::bitnet_b158();
    /// let x = array![[127.0f32, -31.8, 2.5], [0.0, 1.27, 0.0]];
    /// let w = array![[0.75f32, -0.125, -0.625]]; // mean|w| = 0.5
    /// // (127 - 2) * 0.5, where 2.5 is a tie, and 0 * 0.5, where 1.27 meets a 0
    /// assert_eq!(layer.forward(x.view(), w.view(), None)?, array![[62.5], [0.0]]);
    /// # Ok::<(), ndarray_qnn::Error>(())
    /// ```
    pub fn bitnet_b158() -> Self {
        let weight = WeightQuantizer::absmean().rounding(Rounding::HalfToEven);
        Self::new(ActivationQuantizer::bitnet_b158(), weight)
    }

    /// Larq's `QuantDense` with `ste_sign` at 1 bit and `DoReFa` at 2 to 31 bits.
    ///
    /// # Errors
    /// [`Error::BitWidth`] for a width that is not 1 to 32.
    pub fn larq(act_bits: u32, weight_bits: u32) -> Result<Self> {
        Ok(Self::new(larq_activation(act_bits)?, larq_weight(weight_bits)?))
    }
}

impl<const S: usize> QConvolution<S>
where
    Rank<S>: SpatialRank,
{
    /// BMXNet v1's `QConvolution`: as [`QFullyConnected::bmxnet_v1`], and zeros are padded before
    /// quantization, so that a padded position is +1 at 1 bit.
    ///
    /// # Errors
    /// [`Error::BitWidth`] for a width that is not 1 to 32.
    pub fn bmxnet_v1(act_bits: u32, weight_bits: u32) -> Result<Self> {
        let layer = Self::new(activation(act_bits)?, weight(weight_bits)?);
        let layer = match (act_bits, weight_bits) {
            (1, 1) => layer.output_form(V1_OFFSET),
            _ => layer,
        };
        Ok(match act_bits {
            1 => layer.pad_value(PadValue::PlusOne),
            _ => layer,
        })
    }

    /// BMXNet-v2's `QConv`: pads -1 at every width, `(K + dot) / 2` if weights have 1 bit,
    /// gradients as [`QFullyConnected::bmxnet_v2`]. (Where BMXNet-v2 is told to scale, it leaves
    /// the offset out: set [`OutputForm::Dot`] with the scaling.)
    ///
    /// # Errors
    /// [`Error::BitWidth`] for a width that is not 1 to 32.
    pub fn bmxnet_v2(act_bits: u32, weight_bits: u32) -> Result<Self> {
        let weight_quantizer = weight(weight_bits)?.dorefa_gradient(DorefaGradient::True);
        let layer = Self::new(activation(act_bits)?, weight_quantizer);
        let layer = layer.pad_value(PadValue::MinusOne);
        Ok(match weight_bits {
            1 => layer.output_form(V2_OFFSET),
            _ => layer,
        })
    }

    /// Larq's `QuantConv` with `ste_sign` at 1 bit and `DoReFa` at 2 to 31 bits; pads are 0.
    ///
    /// # Errors
    /// [`Error::BitWidth`] for a width that is not 1 to 32.
    pub fn larq(act_bits: u32, weight_bits: u32) -> Result<Self> {
        Ok(Self::new(larq_activation(act_bits)?, larq_weight(weight_bits)?))
    }
}
