//! The choices that the operators share: scaling, output form, padding.

use crate::{Element, Error, Operand, Result};

/// A factor on the output of a filter that gives back the magnitude its quantized weights lost.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Scaling {
    /// None. The default.
    #[default]
    None,
    /// `mean|w|` over all latent weights: BMXNet v1's `scaling_mode`.
    PerTensor,
    /// `mean|w|` over the latent weights of each filter: XNOR-Net
    /// (<https://arxiv.org/abs/1603.05279>), BMXNet-v2's `apply_scaling`.
    PerFilter,
    /// One given factor a filter.
    Given(Vec<f64>),
}

/// Whether latent weights also receive a gradient through the `mean|w|` of
/// [`Scaling::PerTensor`] and [`Scaling::PerFilter`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScaleGradient {
    /// No: the scale counts as a constant. The default.
    #[default]
    Stopped,
    /// Yes: BMXNet-v2 without `stop_weight_scale_grad`.
    Flow,
}

/// A factor on every output position that gives back the magnitude of the input there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InputScaling {
    /// None. The default.
    #[default]
    None,
    /// XNOR-Net's K: the mean over the window of `A = mean|x|` over the channels (of the group),
    /// where padding counts as 0. Its gradient is stopped, as in BMXNet-v2's
    /// `ScaledBinaryConv`.
    KMap,
}

/// What is made of the dot product, before scales and bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutputForm {
    /// The dot product itself. The default.
    #[default]
    Dot,
    /// BMXNet's `(K + dot) / 2`, with K the number of products in the dot: the count of equal
    /// signs, for 1-bit operands.
    Offset {
        /// Whether the backward has the factor 1/2 (BMXNet-v2) or forgets it (BMXNet v1).
        halve_gradient: bool,
    },
}

impl OutputForm {
    pub(crate) fn gradient_factor<T: Element>(&self) -> T {
        match self {
            OutputForm::Offset { halve_gradient: true } => T::of(0.5),
            _ => T::one(),
        }
    }
}

/// What a padded position holds, after quantization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PadValue {
    /// Exactly 0, also where the activations are signs: padding adds nothing. The default.
    #[default]
    Zero,
    /// +1: BMXNet v1 at 1 bit, where the zeros are padded before the sign is taken.
    PlusOne,
    /// -1: BMXNet-v2.
    MinusOne,
}

impl PadValue {
    pub(crate) fn as_integer(self) -> i64 {
        match self {
            PadValue::Zero => 0,
            PadValue::PlusOne => 1,
            PadValue::MinusOne => -1,
        }
    }
}

impl Scaling {
    /// Checks the given factors against the number of filters.
    pub(crate) fn validate(&self, filters: usize) -> Result<()> {
        let Scaling::Given(scales) = self else {
            return Ok(());
        };
        if scales.len() != filters {
            return Err(Error::AxisLength {
                operand: Operand::Scale,
                axis: 0,
                expected: filters,
                found: scales.len(),
            });
        }
        match scales.iter().position(|s| !s.is_finite()) {
            Some(index) => {
                let value = scales[index];
                Err(Error::NonFiniteScale { operand: Operand::Scale, index, value })
            }
            None => Ok(()),
        }
    }
}
