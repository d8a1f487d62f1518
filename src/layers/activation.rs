//! QActivation: a quantizer as a layer.

use crate::memory::zeros_array;
use crate::quantizer::{check_no_nan, check_same_shape};
use crate::{ActivationQuantizer, Element, Operand, Result};
use ndarray::{Array, ArrayView, ArrayViewMut, Dimension};

/// Quantizes activations, and passes their gradient through a straight-through estimator.
///
/// The layer in front of a [`QConvolution`](crate::QConvolution) or
/// [`QFullyConnected`](crate::QFullyConnected) in BMXNet's networks; it works on arrays of any
/// dimension. Where samples are scaled, they lie along axis 0
/// (see [`ActivationQuantizer::absmax`]).
///
/// ```
/// use ndarray::array;
/// use ndarray_qnn::{ActivationQuantizer, QActivation};
///
/// let layer = QActivation::new(ActivationQuantizer::sign());
/// let x = array![[-1.5f32, -0.2], [0.0, 0.7]];
/// assert_eq!(layer.forward(x.view())?, array![[-1.0, -1.0], [1.0, 1.0]]);
/// // The gradient passes where |x| <= 1.
/// let dy = array![[0.5f32, 0.5], [0.5, 0.5]];
/// assert_eq!(layer.backward(dy.view(), x.view())?, array![[0.0, 0.5], [0.5, 0.5]]);
/// # Ok::<(), ndarray_qnn::Error>(())
/// ```
#[must_use = "setters return the changed value"]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QActivation {
    quantizer: ActivationQuantizer,
    backward_only: bool,
}

impl QActivation {
    /// A layer that quantizes as `quantizer` does.
    pub fn new(quantizer: ActivationQuantizer) -> Self {
        QActivation { quantizer, backward_only: false }
    }

    /// Sets whether the forward only copies, while the backward stays. For a layer in front of an
    /// operator that quantizes its input itself, as BMXNet v1's do.
    pub fn backward_only(mut self, backward_only: bool) -> Self {
        self.backward_only = backward_only;
        self
    }

    /// The quantizer.
    pub fn quantizer(&self) -> &ActivationQuantizer {
        &self.quantizer
    }

    /// The quantized values of `x`, in an array of its shape.
    ///
    /// # Errors
    /// [`Error::NaN`](crate::Error::NaN) if `x` holds one;
    /// [`Error::NonFiniteScale`](crate::Error::NonFiniteScale) if a sample that is to be scaled
    /// holds an infinity;
    /// [`Error::TooLarge`](crate::Error::TooLarge) if there is no memory for the result.
    pub fn forward<T: Element, D: Dimension>(&self, x: ArrayView<'_, T, D>) -> Result<Array<T, D>> {
        let mut out = zeros_array(x.raw_dim(), "output")?;
        self.forward_into(x, out.view_mut())?;
        Ok(out)
    }

    /// [`forward`](Self::forward) into `out`, all of which is overwritten. Allocates nothing.
    ///
    /// # Errors
    /// As `forward`; [`Error::Shape`](crate::Error::Shape) if `out` is not of the shape of `x`.
    pub fn forward_into<T: Element, D: Dimension>(
        &self,
        x: ArrayView<'_, T, D>,
        mut out: ArrayViewMut<'_, T, D>,
    ) -> Result<()> {
        check_same_shape(Operand::Output, x.shape(), out.shape())?;
        check_no_nan(Operand::Input, &x)?;
        if self.backward_only {
            out.assign(&x);
            return Ok(());
        }
        self.quantizer.quantize_into(&x, out)
    }

    /// The gradient of `x` from `dy`, that of the output.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if `dy` is not of the shape of `x`;
    /// [`Error::NaN`](crate::Error::NaN) if either holds one;
    /// [`Error::Parameter`](crate::Error::Parameter) if the STE has a bad one;
    /// [`Error::TooLarge`](crate::Error::TooLarge) if there is no memory for the result.
    pub fn backward<T: Element, D: Dimension>(
        &self,
        dy: ArrayView<'_, T, D>,
        x: ArrayView<'_, T, D>,
    ) -> Result<Array<T, D>> {
        self.quantizer.backward(dy, x)
    }
}
