//! QFullyConnected: the dense layer.

use crate::geometry::Window;
use crate::layers::operator::{Operator, Options};
use crate::{ActivationQuantizer, PadValue, WeightQuantizer};

/// A dense layer with quantized activations and weights: `y = Q(x) Q(w)ᵀ + b`.
///
/// | tensor | shape |
/// | --- | --- |
/// | input `x` | (batch, inputs) |
/// | latent weights `w` | (filters, inputs) |
/// | bias `b` | (filters) |
/// | output `y` | (batch, filters) |
///
/// A pure function of views with any strides: nothing that is passed in changes. With codes of up
/// to 8 bits on both sides the dot products are exact integers, by XNOR and popcount at 1 bit;
/// wider ones are a floating-point matrix product of the quantized values. With few rows, weights
/// of up to 8 bits stay packed in it.
///
/// ```
/// use ndarray::array;
/// use ndarray_qnn::{ActivationQuantizer, QFullyConnected, WeightQuantizer};
///
/// let fc = QFullyConnected::new(ActivationQuantizer::dorefa(2)?, WeightQuantizer::dorefa(2)?);
/// let x = array![[0.1f32, 0.9, 0.5, 0.4]];
/// let w = array![[0.3f32, -0.8, 1.2, 0.1], [-0.5, 0.2, -0.1, 0.7]];
/// let latent = w.clone();
///
/// let y = fc.forward(x.view(), w.view(), None)?;
/// assert_eq!(y, fc.forward(x.view(), w.view(), None)?);
///
/// // Straight through: dW is the gradient of the quantized weights, for the latent ones.
/// let dy = array![[1.0f32, -1.0]];
/// let gradients = fc.backward(dy.view(), x.view(), w.view())?;
/// let qx = fc.activation().quantize(x.view())?;
/// assert_eq!(gradients.weight, dy.t().dot(&qx));
/// assert_eq!(w, latent);
/// # Ok::<(), ndarray_qnn::Error>(())
/// ```
#[must_use = "setters return the changed value"]
#[derive(Clone, Debug, PartialEq)]
pub struct QFullyConnected {
    pub(crate) options: Options,
}

impl QFullyConnected {
    /// A layer that quantizes its input and its weights as given.
    pub fn new(activation: ActivationQuantizer, weight: WeightQuantizer) -> Self {
        QFullyConnected { options: Options::new(activation, weight) }
    }

    pub(super) fn operator(&self) -> Operator<'_> {
        Operator {
            options: &self.options,
            window: Window::POINTWISE,
            pad: PadValue::Zero,
            spatial_dims: 0,
        }
    }
}
