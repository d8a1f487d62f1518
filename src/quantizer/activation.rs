//! Activation quantizers.

use crate::quantizer::dorefa::unit_code;
use crate::quantizer::sign::{Threshold, heaviside_levels};
use crate::quantizer::{
    FullPrecision, Levels, Rounding, Ste, check_bits, check_numbers, check_same_shape,
};
use crate::views::zeros_array;
use crate::{Element, Operand, Result};
use ndarray::{Array, ArrayView, Dimension, Zip};

/// How activations are quantized, and what their gradient passes through.
///
/// ```
/// use ndarray::array;
/// use ndarray_qnn::{ActivationQuantizer, Ste};
///
/// let quantizer = ActivationQuantizer::dorefa(2)?.ste(Ste::unit());
/// let x = array![-0.3f32, 0.1, 0.5, 1.7];
/// assert_eq!(quantizer.codes(x.view())?, array![0, 0, 2, 3]);
/// assert_eq!(quantizer.quantize(x.view())?, array![0.0, 0.0, 2.0 / 3.0, 1.0]);
/// let dy = array![1.0f32, 1.0, 1.0, 1.0];
/// assert_eq!(quantizer.backward(dy.view(), x.view())?, array![0.0, 1.0, 1.0, 0.0]);
/// # Ok::<(), ndarray_qnn::Error>(())
/// ```
#[must_use = "setters return the changed value"]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivationQuantizer {
    family: Family,
    rounding: Rounding,
    ste: Ste,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Family {
    Sign,
    Heaviside,
    Unit { bits: u32 },
    FullPrecision(FullPrecision),
}

impl ActivationQuantizer {
    fn new(family: Family, ste: Ste) -> Self {
        ActivationQuantizer { family, rounding: Rounding::default(), ste }
    }

    /// 1 bit: `x >= 0 -> +1`, else `-1`. The gradient passes where `|x| <= 1`.
    pub fn sign() -> Self {
        Self::new(Family::Sign, Ste::clip(1.0))
    }

    /// 1 bit: `x > 0 -> 1`, else `0`. The gradient passes where `|x| <= 1`.
    pub fn heaviside() -> Self {
        Self::new(Family::Heaviside, Ste::clip(1.0))
    }

    /// `bits` (1 to 31): `round(n clip(x, 0, 1)) / n` with `n = 2^bits - 1`, DoReFa-Net's
    /// activations. The gradient passes where `0 <= x <= 1`.
    ///
    /// # Errors
    /// [`Error::BitWidth`](crate::Error::BitWidth) for any other width.
    pub fn dorefa(bits: u32) -> Result<Self> {
        check_bits(Operand::Input, bits)?;
        Ok(Self::new(Family::Unit { bits }, Ste::unit()))
    }

    /// 32 bits: `x` as it is. The gradient passes everywhere.
    pub fn identity() -> Self {
        Self::full_precision(FullPrecision::Identity)
    }

    /// 32 bits: a function that does not quantize. The gradient is its derivative (times the
    /// [`Ste`], which is the identity unless set).
    pub fn full_precision(function: FullPrecision) -> Self {
        Self::new(Family::FullPrecision(function), Ste::Identity)
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

    /// Bits a code takes; 32 if nothing is quantized.
    pub fn bits(&self) -> u32 {
        self.levels().map_or(32, |levels| levels.bits())
    }

    /// How codes read as numbers; `None` if nothing is quantized.
    pub fn levels(&self) -> Option<Levels> {
        match self.family {
            Family::Sign => Some(Levels::SIGN),
            Family::Heaviside => Some(heaviside_levels()),
            Family::Unit { bits } => Some(Levels::unit(bits)),
            Family::FullPrecision(_) => None,
        }
    }

    /// The code of a number; 0 if nothing is quantized.
    #[inline]
    pub(crate) fn code<T: Element>(&self, x: T) -> u32 {
        match self.family {
            Family::Sign => Threshold::sign().code(x),
            Family::Heaviside => Threshold::heaviside().code(x),
            Family::Unit { bits } => unit_code(x, bits, self.rounding),
            Family::FullPrecision(_) => 0,
        }
    }

    /// Where the code turns from 0 to 1, if it has one bit.
    pub(crate) fn threshold<T: Element>(&self) -> Option<Threshold<T>> {
        match (self.family, self.rounding) {
            (Family::Sign, _) => Some(Threshold::sign()),
            (Family::Heaviside, _) => Some(Threshold::heaviside()),
            (Family::Unit { bits: 1 }, Rounding::HalfAwayFromZero) => {
                Some(Threshold::AtLeast(T::of(0.5)))
            }
            (Family::Unit { bits: 1 }, Rounding::HalfToEven) => Some(Threshold::Above(T::of(0.5))),
            _ => None,
        }
    }

    /// The number that `x` becomes.
    #[inline]
    pub(crate) fn value<T: Element>(&self, x: T) -> T {
        match (self.family, self.levels()) {
            (Family::FullPrecision(function), _) => function.value(x),
            (_, Some(levels)) => levels.value(self.code(x)),
            (_, None) => x,
        }
    }

    /// The factor of the gradient at `x`.
    #[inline]
    pub(crate) fn derivative<T: Element>(&self, x: T) -> T {
        match self.family {
            Family::FullPrecision(function) => function.derivative(x) * self.ste.factor(x),
            _ => self.ste.factor(x),
        }
    }

    /// The quantized numbers of `x`, in an array of its shape.
    ///
    /// # Errors
    /// [`Error::NaN`](crate::Error::NaN) if `x` holds one;
    /// [`Error::TooLarge`](crate::Error::TooLarge) if there is no memory for the result.
    pub fn quantize<T: Element, D: Dimension>(
        &self,
        x: ArrayView<'_, T, D>,
    ) -> Result<Array<T, D>> {
        let mut values = zeros_array(x.raw_dim(), "quantized activations")?;
        check_numbers(Operand::Input, &x)?;
        Zip::from(&mut values).and(&x).for_each(|value, &x| *value = self.value(x));
        Ok(values)
    }

    /// The integer codes of `x`, which [`levels`](Self::levels) turns back into numbers; all 0 if
    /// nothing is quantized.
    ///
    /// # Errors
    /// [`Error::NaN`](crate::Error::NaN) if `x` holds one;
    /// [`Error::TooLarge`](crate::Error::TooLarge) if there is no memory for the result.
    pub fn codes<T: Element, D: Dimension>(&self, x: ArrayView<'_, T, D>) -> Result<Array<u32, D>> {
        let mut codes = zeros_array(x.raw_dim(), "activation codes")?;
        check_numbers(Operand::Input, &x)?;
        Zip::from(&mut codes).and(&x).for_each(|code, &x| *code = self.code(x));
        Ok(codes)
    }

    /// The gradient of `x` from `dy`, the gradient of the quantized numbers: `dy * ste(x)`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if `dy` is not of the shape of `x`;
    /// [`Error::NaN`](crate::Error::NaN) if either holds one;
    /// [`Error::Parameter`](crate::Error::Parameter) if the [`Ste`] has a bad one;
    /// [`Error::TooLarge`](crate::Error::TooLarge) if there is no memory for the result.
    pub fn backward<T: Element, D: Dimension>(
        &self,
        dy: ArrayView<'_, T, D>,
        x: ArrayView<'_, T, D>,
    ) -> Result<Array<T, D>> {
        self.validate()?;
        check_same_shape(Operand::OutputGradient, x.shape(), dy.shape())?;
        let mut dx = zeros_array(x.raw_dim(), "input gradient")?;
        check_numbers(Operand::Input, &x)?;
        check_numbers(Operand::OutputGradient, &dy)?;
        Zip::from(&mut dx).and(&dy).and(&x).for_each(|dx, &dy, &x| *dx = dy * self.derivative(x));
        Ok(dx)
    }

    pub(crate) fn validate(&self) -> Result<()> {
        self.ste.validate()
    }
}
