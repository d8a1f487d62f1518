//! What a forward reads: floats, or signs in bits.

use crate::packed::bit_tensor::BitTensor;
use crate::rank::Lift;
use ndarray::{ArrayView, ArrayView5, Dimension};

/// The input of a forward from packed weights: floats, which the operator quantizes, or the signs
/// that an earlier layer left in bits.
///
/// There is no need to name it: both convert into it.
///
/// ```
/// use ndarray::array;
/// use ndarray_qnn::{ActivationQuantizer, BitTensor, QFullyConnected, WeightQuantizer};
///
/// let sign = ActivationQuantizer::sign();
/// let fc = QFullyConnected::new(sign, WeightQuantizer::sign());
/// let w = fc.pack(array![[0.5f32, -0.1, 0.0], [-0.25, 0.75, -0.5]].view())?;
/// let x = array![[1.5f32, 1.0, -1.0]];
/// let bits = BitTensor::pack(&sign, x.view())?;
/// assert_eq!(fc.forward_packed(&bits, &w, None)?, fc.forward_packed(x.view(), &w, None)?);
/// # Ok::<(), ndarray_qnn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Activations<'a, T, D: Dimension> {
    /// Floats to be quantized.
    Numbers(ArrayView<'a, T, D>),
    /// Signs, for an operator whose activation quantizer is one of signs.
    Signs(&'a BitTensor),
}

impl<'a, T, D: Dimension> From<ArrayView<'a, T, D>> for Activations<'a, T, D> {
    fn from(floats: ArrayView<'a, T, D>) -> Self {
        Activations::Numbers(floats)
    }
}

impl<'a, T, D: Dimension> From<&'a BitTensor> for Activations<'a, T, D> {
    fn from(signs: &'a BitTensor) -> Self {
        Activations::Signs(signs)
    }
}

/// The same with all five axes.
#[derive(Debug)]
pub(crate) enum Input<'a, T> {
    Floats(ArrayView5<'a, T>),
    Signs(&'a BitTensor),
}

impl<'a, T, D: Lift> Activations<'a, T, D> {
    /// Adds the axes that are missing.
    pub(crate) fn lift(self) -> Input<'a, T> {
        match self {
            Activations::Numbers(floats) => Input::Floats(D::lift(floats)),
            Activations::Signs(signs) => Input::Signs(signs),
        }
    }
}

impl<T> Input<'_, T> {
    /// (N, C, D, H, W).
    pub(crate) fn dims(&self) -> [usize; 5] {
        match self {
            Input::Floats(floats) => floats.dim().into(),
            Input::Signs(signs) => signs.dims(),
        }
    }
}
