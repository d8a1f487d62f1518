//! Quantizers of both kinds behind one type.

use crate::compare::same_bits;
use crate::report::Check;
use ndarray::{ArrayD, ArrayViewD};
use ndarray_qnn::{ActivationQuantizer, Element, Result, WeightQuantizer};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Quantizer {
    Activation(ActivationQuantizer),
    Weight(WeightQuantizer),
}

impl Quantizer {
    pub(crate) fn quantize<T: Element>(&self, x: ArrayViewD<'_, T>) -> Result<ArrayD<T>> {
        match self {
            Quantizer::Activation(quantizer) => quantizer.quantize(x),
            Quantizer::Weight(quantizer) => quantizer.quantize(x),
        }
    }

    pub(crate) fn codes<T: Element>(&self, x: ArrayViewD<'_, T>) -> Result<ArrayD<u32>> {
        match self {
            Quantizer::Activation(quantizer) => quantizer.codes(x),
            Quantizer::Weight(quantizer) => quantizer.codes(x),
        }
    }

    pub(crate) fn backward<T: Element>(
        &self,
        dy: ArrayViewD<'_, T>,
        x: ArrayViewD<'_, T>,
    ) -> Result<ArrayD<T>> {
        match self {
            Quantizer::Activation(quantizer) => quantizer.backward(dy, x),
            Quantizer::Weight(quantizer) => quantizer.backward(dy, x),
        }
    }

    /// The quantized numbers and their gradient, after checking that `x` and `dy` are as they
    /// were.
    pub(crate) fn both_ways<T: Element>(
        &self,
        x: ArrayViewD<'_, T>,
        dy: ArrayViewD<'_, T>,
    ) -> Check<(ArrayD<T>, ArrayD<T>)> {
        let before = (x.to_owned(), dy.to_owned());
        let quantized = self.quantize(x.view())?;
        let gradient = self.backward(dy.view(), x.view())?;
        same_bits("x after the call", &x, &before.0)?;
        same_bits("dy after the call", &dy, &before.1)?;
        Ok((quantized, gradient))
    }
}
