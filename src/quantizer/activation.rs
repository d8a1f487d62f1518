//! Activation quantizers.

use crate::element::compiled_once;
use crate::memory::{each_slice, zeros_array};
use crate::quantizer::absmax::{absmax_code, absmax_number, max_signed, sample_scale};
use crate::quantizer::dorefa::{unit, unit_code, unit_number};
use crate::quantizer::sign::{above, heaviside_code, heaviside_levels, sign_code};
use crate::quantizer::{
    FullPrecision, Levels, Rounding, Ste, check_bits, check_no_nan, check_same_shape, max_code,
};
use crate::{Element, Error, Operand, Result};
use ndarray::{Array, ArrayView, ArrayViewMut, Axis, Dimension};

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
    AbsMax { bits: u32 },
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

    /// `bits` (2 to 8): `round(x n / a) a / n` with `n = 2^(bits-1) - 1` and `a = max|x|` over the
    /// sample, at least 1e-5: one scale a sample. The gradient passes everywhere. BitNet b1.58's
    /// activations at 8 bits (<https://arxiv.org/abs/2402.17764>), which round ties to even.
    ///
    /// Samples lie along axis 0, in activations as in the inputs of the operators: a sample is a
    /// row (BitNet's token) of a dense layer's input, and a whole image of a convolution's.
    /// Operators quantize to integers, and multiply an output by the `a` of its sample; so they do
    /// with what [`PadValue`](crate::PadValue) and [`OutputForm`](crate::OutputForm) add, as under
    /// XNOR-Net's K.
    ///
    /// ```
    /// use ndarray::array;
    /// use ndarray_qnn::ActivationQuantizer;
    ///
    /// let quantizer = ActivationQuantizer::absmax(8)?;
    /// let x = array![[1.0f32, -0.25, 0.0], [0.0, 254.0, 99.0]];
    /// // Codes count from -127.
    /// assert_eq!(quantizer.codes(x.view())?, array![[254, 95, 127], [127, 254, 177]]);
    /// let quantized = quantizer.quantize(x.view())?;
    /// assert_eq!(quantized, array![[1.0, -32.0 / 127.0, 0.0], [0.0, 254.0, 50.0 / 127.0 * 254.0]]);
    /// # Ok::<(), ndarray_qnn::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::BitWidth`](crate::Error::BitWidth) for any other width.
    pub fn absmax(bits: u32) -> Result<Self> {
        match bits {
            2..=8 => Ok(Self::new(Family::AbsMax { bits }, Ste::Identity)),
            _ => Err(Error::BitWidth { operand: Operand::Input, expected: "2 to 8", bits }),
        }
    }

    /// BitNet b1.58's activations.
    pub(crate) fn bitnet_b158() -> Self {
        Self::new(Family::AbsMax { bits: 8 }, Ste::Identity).rounding(Rounding::HalfToEven)
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

    /// How codes read as numbers, before the scale of [`absmax`](Self::absmax); `None` if nothing
    /// is quantized.
    pub fn levels(&self) -> Option<Levels> {
        match self.family {
            Family::Sign => Some(Levels::SIGN),
            Family::Heaviside => Some(heaviside_levels()),
            Family::Unit { bits } => Some(Levels::unit(bits)),
            Family::AbsMax { bits } => Some(Levels::signed(bits)),
            Family::FullPrecision(_) => None,
        }
    }

    /// The `t` with which the code of `x` is 1 where `x >= t`, else 0, if it has one bit.
    pub(crate) fn threshold<T: Element>(&self) -> Option<T> {
        match (self.family, self.rounding) {
            (Family::Sign, _) => Some(T::zero()),
            (Family::Heaviside, _) => Some(above(T::zero())),
            (Family::Unit { bits: 1 }, Rounding::HalfAwayFromZero) => Some(T::of(0.5)),
            (Family::Unit { bits: 1 }, Rounding::HalfToEven) => Some(above(T::of(0.5))),
            _ => None,
        }
    }

    /// Whether each sample has a scale of its own.
    pub(crate) fn scales_samples(&self) -> bool {
        matches!(self.family, Family::AbsMax { .. })
    }

    /// The scale of a sample: 1 if it has none.
    pub(crate) fn sample_scale<T: Element, D: Dimension>(
        &self,
        index: usize,
        sample: &ArrayView<'_, T, D>,
    ) -> Result<T> {
        if self.scales_samples() { sample_scale(index, sample) } else { Ok(T::one()) }
    }

    /// The quantizer of a sample of a given [scale](Self::sample_scale).
    pub(crate) fn fitted<T: Element>(&self, scale: T) -> FittedQuantizer<T> {
        let factor = match self.family {
            Family::AbsMax { bits } => T::of_integer(max_signed(bits)) / scale,
            _ => T::one(),
        };
        FittedQuantizer { quantizer: *self, scale, factor }
    }

    /// Makes outputs of values that have been checked, sample by sample. Writes all or, if a scale
    /// is not finite, nothing.
    fn map_samples<T: Element, O: Copy + Default, D: Dimension>(
        &self,
        x: &ArrayView<'_, T, D>,
        mut out: ArrayViewMut<'_, O, D>,
        f: impl Fn(&FittedQuantizer<T>, &[T], &mut [O]),
    ) -> Result<()> {
        if x.is_empty() {
            return Ok(()); // without elements there may be more samples than could be counted
        }
        if !self.scales_samples() || x.ndim() == 0 {
            let fitted = self.fitted(self.sample_scale(0, x)?);
            each_slice(x, out, &|x, out| f(&fitted, x, out));
            return Ok(());
        }
        let samples = || x.axis_chunks_iter(Axis(0), 1).enumerate();
        for (i, sample) in samples() {
            self.sample_scale(i, &sample)?;
        }
        for ((i, sample), out) in samples().zip(out.axis_chunks_iter_mut(Axis(0), 1)) {
            let fitted = self.fitted(self.sample_scale(i, &sample)?);
            each_slice(&sample, out, &|x, out| f(&fitted, x, out));
        }
        Ok(())
    }

    /// The factor of the gradient at `x`.
    #[inline]
    pub(crate) fn derivative<T: Element>(&self, x: T) -> T {
        match self.family {
            Family::FullPrecision(function) => function.derivative(x) * self.ste.factor(x),
            _ => self.ste.factor(x),
        }
    }

    /// Multiplies gradients by the factor at each `x`.
    pub(crate) fn chain<T: Element>(&self, gradients: &mut [T], x: &[T]) {
        match (self.family, self.ste) {
            (Family::FullPrecision(_), _) => {}
            (_, Ste::Identity) => return,
            (_, Ste::Interval { low, high }) => {
                let (low, high) = (T::of(low), T::of(high));
                for (gradient, &x) in gradients.iter_mut().zip(x) {
                    // Both are compared, without a branch, for vectors.
                    let inside = (x >= low) & (x <= high);
                    *gradient *= if inside { T::one() } else { T::zero() };
                }
                return;
            }
            _ => {}
        }
        gradients.iter_mut().zip(x).for_each(|(gradient, &x)| *gradient *= self.derivative(x));
    }

    /// The quantized values of `x`, in an array of its shape.
    ///
    /// # Errors
    /// [`Error::NaN`](crate::Error::NaN) if `x` holds one;
    /// [`Error::NonFiniteScale`](crate::Error::NonFiniteScale) if a sample that is to be scaled
    /// holds an infinity;
    /// [`Error::TooLarge`](crate::Error::TooLarge) if there is no memory for the result.
    pub fn quantize<T: Element, D: Dimension>(
        &self,
        x: ArrayView<'_, T, D>,
    ) -> Result<Array<T, D>> {
        let mut values = zeros_array(x.raw_dim(), "quantized activations")?;
        check_no_nan(Operand::Input, &x)?;
        self.quantize_into(&x, values.view_mut())?;
        Ok(values)
    }

    /// [`quantize`](Self::quantize) of values that have been checked.
    pub(crate) fn quantize_into<T: Element, D: Dimension>(
        &self,
        x: &ArrayView<'_, T, D>,
        out: ArrayViewMut<'_, T, D>,
    ) -> Result<()> {
        self.map_samples(x, out, quantize)
    }

    /// The integer codes of `x`, which [`levels`](Self::levels) turns back into numbers; all 0 if
    /// nothing is quantized.
    ///
    /// # Errors
    /// [`Error::NaN`](crate::Error::NaN) if `x` holds one;
    /// [`Error::NonFiniteScale`](crate::Error::NonFiniteScale) if a sample that is to be scaled
    /// holds an infinity;
    /// [`Error::TooLarge`](crate::Error::TooLarge) if there is no memory for the result.
    pub fn codes<T: Element, D: Dimension>(&self, x: ArrayView<'_, T, D>) -> Result<Array<u32, D>> {
        let mut codes = zeros_array(x.raw_dim(), "activation codes")?;
        check_no_nan(Operand::Input, &x)?;
        self.map_samples(&x, codes.view_mut(), write_codes)?;
        Ok(codes)
    }

    /// The gradient of `x` from `dy`, the gradient of the quantized values: `dy * ste(x)`.
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
        check_no_nan(Operand::Input, &x)?;
        check_no_nan(Operand::OutputGradient, &dy)?;
        each_slice(&dy, dx.view_mut(), &|dy, dx| dx.copy_from_slice(dy));
        each_slice(&x, dx.view_mut(), &|x, dx| chain(self, dx, x));
        Ok(dx)
    }

    pub(crate) fn validate(&self) -> Result<()> {
        self.ste.validate()
    }
}

/// An activation quantizer with the scale of the sample that it quantizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FittedQuantizer<T> {
    quantizer: ActivationQuantizer,
    /// The [scale](ActivationQuantizer::sample_scale) of the sample.
    scale: T,
    /// What absmax multiplies by before it rounds.
    factor: T,
}

impl<T: Element> FittedQuantizer<T> {
    /// The code of a value; 0 if nothing is quantized.
    #[inline]
    pub(crate) fn code(&self, x: T) -> u32 {
        let rounding = self.quantizer.rounding;
        match self.quantizer.family {
            Family::Sign => sign_code(x),
            Family::Heaviside => heaviside_code(x),
            Family::Unit { bits } => unit_code(x, bits, rounding),
            Family::AbsMax { bits } => absmax_code(x, self.factor, bits, rounding),
            Family::FullPrecision(_) => 0,
        }
    }

    /// Writes codes, which fit into a byte each: in loops without branches, for vectors. Returns whether
    /// there is a NaN among the values, whose code may be any.
    #[inline(always)]
    pub(crate) fn write_codes(&self, x: &[T], codes: &mut [u8]) -> bool {
        use Rounding::{HalfAwayFromZero as Away, HalfToEven as Even};
        let factor = self.factor;
        match (self.quantizer.family, self.quantizer.rounding) {
            (Family::Sign, _) => write(x, codes, |x| sign_code(x) as u8),
            (Family::Heaviside, _) => write(x, codes, |x| heaviside_code(x) as u8),
            (Family::Unit { bits }, Away) => {
                write(x, codes, |x| unit_number(x, bits, Away).as_byte())
            }
            (Family::Unit { bits }, Even) => {
                let n = T::of_integer(max_code(bits));
                write(x, codes, |x| (unit(x) * n).nearest_byte())
            }
            (Family::AbsMax { bits }, Away) => {
                write(x, codes, |x| absmax_number(x, factor, bits, Away).as_byte())
            }
            (Family::AbsMax { bits }, Even) => {
                let n = max_signed(bits) as u8;
                write(x, codes, |x| (x * factor).nearest_byte().wrapping_add(n))
            }
            (Family::FullPrecision(_), _) => write(x, codes, |_| 0),
        }
    }

    /// The quantized value before the scale of its sample.
    #[inline]
    pub(crate) fn value(&self, x: T) -> T {
        match (self.quantizer.family, self.quantizer.levels()) {
            (Family::FullPrecision(function), _) => function.value(x),
            (_, Some(levels)) => levels.value(self.code(x)),
            (_, None) => x,
        }
    }

    /// Quantizes values in place, before the scale of their sample.
    pub(crate) fn values(&self, values: &mut [T]) {
        match (self.quantizer.threshold(), self.quantizer.levels()) {
            (Some(threshold), Some(levels)) => {
                // A choice of two, for vectors.
                let [zero, one] = [0, 1].map(|code| levels.value(code));
                let value = |x| if x >= threshold { one } else { zero };
                values.iter_mut().for_each(|x| *x = value(*x));
            }
            _ => values.iter_mut().for_each(|x| *x = self.value(*x)),
        }
    }

    /// Quantizes values in place.
    pub(crate) fn quantize(&self, values: &mut [T]) {
        self.values(values);
        if self.quantizer.scales_samples() {
            values.iter_mut().for_each(|x| *x *= self.scale);
        }
    }
}

compiled_once! {
    fn quantize<'a, 'x, 'o; T>(fitted: &'a FittedQuantizer<T>, x: &'x [T], out: &'o mut [T]) {
        // What one loop wrote is in the first cache when the next one reads it.
        const PIECE: usize = 1024;
        for (x, out) in x.chunks(PIECE).zip(out.chunks_mut(PIECE)) {
            out.copy_from_slice(x);
            fitted.quantize(out);
        }
    }

    fn write_codes<'a, 'x, 'o; T>(
        fitted: &'a FittedQuantizer<T>,
        x: &'x [T],
        codes: &'o mut [u32],
    ) {
        codes.iter_mut().zip(x).for_each(|(code, &x)| *code = fitted.code(x));
    }

    fn chain<'a; T>(quantizer: &'a ActivationQuantizer, gradients: &'a mut [T], x: &'a [T]) {
        quantizer.chain(gradients, x);
    }
}

#[inline(always)]
fn write<T: Element>(x: &[T], codes: &mut [u8], code: impl Fn(T) -> u8) -> bool {
    let codes = codes.iter_mut().zip(x);
    codes.fold(false, |nan, (byte, &x)| {
        *byte = code(x);
        nan | x.is_nan()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_many_are_the_codes_of_each() {
        let mut quantizers = vec![ActivationQuantizer::sign(), ActivationQuantizer::heaviside()];
        quantizers.push(ActivationQuantizer::identity());
        for bits in 1..=8 {
            quantizers.extend(ActivationQuantizer::dorefa(bits));
            quantizers.extend(ActivationQuantizer::absmax(bits));
        }
        // Every code, every tie between two codes, and their neighbours: of dorefa, then of absmax.
        let unit = (-510..=1020).map(|i| i as f32 / 510.0);
        let numbers = unit.chain((-254..=254).map(|i| i as f32 / 2.0));
        let mut x: Vec<f32> = numbers.flat_map(|x| [x, x.next_up(), x.next_down()]).collect();
        x.extend([-0.0, f32::MIN, f32::MAX]);
        let wide: Vec<f64> = x.iter().map(|&x| x.into()).collect();
        for rounding in [Rounding::HalfAwayFromZero, Rounding::HalfToEven] {
            for quantizer in &quantizers {
                check(quantizer.rounding(rounding), &x);
                check(quantizer.rounding(rounding), &wide);
            }
        }
    }

    #[test]
    fn thresholds_are_the_smallest_numbers_with_the_code_1() {
        fn check<T: Element>() {
            let even = ActivationQuantizer::dorefa(1).unwrap().rounding(Rounding::HalfToEven);
            let (below, denormal) = (T::of(0.5) - T::epsilon() / T::of(4.0), T::zero().next_up());
            let above = T::of(0.5) + T::epsilon() / T::of(2.0);
            assert!(denormal > T::zero() && denormal / T::of(2.0) == T::zero());
            for (quantizer, zeros, ones) in [
                (ActivationQuantizer::sign(), [-denormal, -T::one()], [T::zero(), -T::zero()]),
                (ActivationQuantizer::heaviside(), [T::zero(), -T::zero()], [denormal, T::one()]),
                (ActivationQuantizer::dorefa(1).unwrap(), [below, T::zero()], [T::of(0.5), above]),
                (even, [T::of(0.5), below], [above, T::one()]),
            ] {
                let (threshold, fitted) =
                    (quantizer.threshold().unwrap(), quantizer.fitted(T::one()));
                for (x, code) in zeros.map(|x| (x, 0)).into_iter().chain(ones.map(|x| (x, 1))) {
                    assert_eq!(u32::from(x >= threshold), code, "{quantizer:?}: {x}");
                    assert_eq!(fitted.code(x), code, "{quantizer:?}: {x}");
                }
            }
        }
        check::<f32>();
        check::<f64>();
    }

    fn check<T: Element>(quantizer: ActivationQuantizer, x: &[T]) {
        for magnitude in [T::of(127.0), T::of(f32::MAX.into())] {
            let fits = |x: &T| !quantizer.scales_samples() || x.abs() <= magnitude;
            let x: Vec<T> = x.iter().copied().filter(fits).collect();
            let fitted = quantizer.fitted(magnitude);
            let mut codes = vec![u8::MAX; x.len()];
            assert!(!fitted.write_codes(&x, &mut codes));
            let each = x.iter().map(|&x| fitted.code(x));
            assert!(codes.iter().map(|&code| u32::from(code)).eq(each), "{quantizer:?}");
            for i in [0, x.len() / 2, x.len() - 1] {
                let mut x = x.clone();
                x[i] = T::nan();
                assert!(fitted.write_codes(&x, &mut codes), "{quantizer:?}");
            }
        }
    }
}
