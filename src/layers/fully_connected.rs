//! QFullyConnected: the dense layer.

use crate::forward::Numbers;
use crate::forward::input::{Activations, Input};
use crate::layers::methods::{Operator, Options, option_setters};
use crate::memory::zeros_array;
use crate::rank::{lift_rows, lift_weights, lower_rows};
use crate::{
    ActivationQuantizer, Affine, BitTensor, Element, Gradients, InputScaling, OutputForm,
    PackedWeights, PadValue, Result, ScaleGradient, Scaling, Scratch, SignThresholds,
    WeightQuantizer, geometry::Window,
};
use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut2, Axis, Ix2};

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
/// wider ones are a floating-point matrix product of the quantized numbers. With few rows, weights
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

    option_setters!();

    fn operator(&self) -> Operator<'_> {
        Operator {
            options: &self.options,
            window: Window::POINTWISE,
            pad: PadValue::Zero,
            spatial_dims: 0,
        }
    }

    /// The output, (batch, filters).
    ///
    /// # Errors
    /// [`Error::AxisLength`](crate::Error::AxisLength) or [`Error::Shape`](crate::Error::Shape) if
    /// the operands do not fit each other; [`Error::NaN`](crate::Error::NaN) if one holds a NaN;
    /// [`Error::NonFiniteScale`](crate::Error::NonFiniteScale) if a scale, given or measured, is
    /// not finite; [`Error::Parameter`](crate::Error::Parameter) for bad options;
    /// [`Error::TooLarge`](crate::Error::TooLarge) if there is no memory.
    pub fn forward<T: Element>(
        &self,
        x: ArrayView2<'_, T>,
        w: ArrayView2<'_, T>,
        bias: Option<ArrayView1<'_, T>>,
    ) -> Result<Array2<T>> {
        let mut out = self.zeros(&x, w.len_of(Axis(0)))?;
        self.forward_into(x, w, bias, &mut Scratch::new(), out.view_mut())?;
        Ok(out)
    }

    /// [`forward`](Self::forward) into `out`, every element of which is overwritten.
    ///
    /// # Errors
    /// As `forward`; [`Error::Shape`](crate::Error::Shape) if `out` is not (batch, filters).
    pub fn forward_into<T: Element>(
        &self,
        x: ArrayView2<'_, T>,
        w: ArrayView2<'_, T>,
        bias: Option<ArrayView1<'_, T>>,
        scratch: &mut Scratch,
        out: ArrayViewMut2<'_, T>,
    ) -> Result<()> {
        let numbers = Numbers { bias, residual: None, out: lift_rows(out) };
        self.operator().forward_into(lift_rows(x), lift_weights(w), scratch, numbers)
    }

    /// Quantizes and packs weights, once for many forwards.
    ///
    /// # Errors
    /// [`Error::NaN`](crate::Error::NaN) if `w` holds one;
    /// [`Error::AxisLength`](crate::Error::AxisLength) if [`Scaling::Given`] has not one scale a
    /// filter; [`Error::NonFiniteScale`](crate::Error::NonFiniteScale) and
    /// [`Error::Parameter`](crate::Error::Parameter) for bad options;
    /// [`Error::TooLarge`](crate::Error::TooLarge) if there is no memory.
    pub fn pack<T: Element>(&self, w: ArrayView2<'_, T>) -> Result<PackedWeights<T>> {
        self.operator().pack(lift_weights(w))
    }

    /// [`forward`](Self::forward) from packed weights: the same bits.
    ///
    /// # Errors
    /// As `forward`; [`Error::PackedMismatch`](crate::Error::PackedMismatch) if the weights were
    /// packed for another quantizer, scaling or kind of operator.
    pub fn forward_packed<'a, T: Element>(
        &self,
        x: impl Into<Activations<'a, T, Ix2>>,
        w: &PackedWeights<T>,
        bias: Option<ArrayView1<'_, T>>,
    ) -> Result<Array2<T>> {
        let x = x.into();
        let mut out = self.packed_output(&x.clone().lift(lift_rows), w)?;
        self.forward_packed_into(x, w, bias, &mut Scratch::new(), out.view_mut())?;
        Ok(out)
    }

    /// [`forward_packed`](Self::forward_packed) into `out`, every element of which is overwritten.
    ///
    /// # Errors
    /// As `forward_packed`; [`Error::Shape`](crate::Error::Shape) if `out` is not (batch, filters).
    pub fn forward_packed_into<'a, T: Element>(
        &self,
        x: impl Into<Activations<'a, T, Ix2>>,
        w: &PackedWeights<T>,
        bias: Option<ArrayView1<'_, T>>,
        scratch: &mut Scratch,
        out: ArrayViewMut2<'_, T>,
    ) -> Result<()> {
        let numbers = Numbers { bias, residual: None, out: lift_rows(out) };
        self.operator().forward_packed_into(x.into().lift(lift_rows), w, scratch, numbers)
    }

    /// `forward_packed(x, w, bias) + residual`: the end of a residual block, in one pass over the
    /// output.
    ///
    /// # Errors
    /// As [`forward_packed`](Self::forward_packed); [`Error::Shape`](crate::Error::Shape) if
    /// `residual` is not (batch, filters);
    /// [`Error::NaN`](crate::Error::NaN) if it holds one.
    pub fn forward_residual<'a, T: Element>(
        &self,
        x: impl Into<Activations<'a, T, Ix2>>,
        w: &PackedWeights<T>,
        bias: Option<ArrayView1<'_, T>>,
        residual: ArrayView2<'_, T>,
    ) -> Result<Array2<T>> {
        let x = x.into();
        let mut out = self.packed_output(&x.clone().lift(lift_rows), w)?;
        self.forward_residual_into(x, w, bias, residual, &mut Scratch::new(), out.view_mut())?;
        Ok(out)
    }

    /// [`forward_residual`](Self::forward_residual) into `out`, every element of which is
    /// overwritten.
    ///
    /// # Errors
    /// As `forward_residual`, and [`Error::Shape`](crate::Error::Shape) for `out`.
    pub fn forward_residual_into<'a, T: Element>(
        &self,
        x: impl Into<Activations<'a, T, Ix2>>,
        w: &PackedWeights<T>,
        bias: Option<ArrayView1<'_, T>>,
        residual: ArrayView2<'_, T>,
        scratch: &mut Scratch,
        out: ArrayViewMut2<'_, T>,
    ) -> Result<()> {
        let residual = Some(lift_rows(residual));
        let numbers = Numbers { bias, residual, out: lift_rows(out) };
        self.operator().forward_packed_into(x.into().lift(lift_rows), w, scratch, numbers)
    }

    /// The signs of what comes behind the layer, in bits: those of
    /// [`forward_packed`](Self::forward_packed) and of the bias and affine function that were
    /// [folded](Self::fold) into `thresholds`, exactly, without a float in between.
    ///
    /// ```
    /// use ndarray::array;
    /// use ndarray_qnn::{ActivationQuantizer, Affine, QFullyConnected, WeightQuantizer};
    ///
    /// let sign = ActivationQuantizer::sign();
    /// let fc = QFullyConnected::new(sign, WeightQuantizer::sign());
    /// let w = fc.pack(array![[0.5f32, -0.1, 0.2], [-0.25, -0.75, 0.5]].view())?;
    /// let affine = Affine::new(vec![0.5f32, -1.0], vec![-0.75, 2.0])?;
    /// let thresholds = fc.fold(&w, None, Some(&affine), &sign)?;
    /// // Dot products 1 and -1 become -0.25 and 3.
    /// let y = fc.forward_signs(array![[1.0f32, -1.0, -1.0]].view(), &w, &thresholds)?;
    /// assert_eq!(y.to_array::<f32, _>()?, array![[-1.0, 1.0]]);
    /// # Ok::<(), ndarray_qnn::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`forward_packed`](Self::forward_packed) and [`fold`](Self::fold);
    /// [`Error::Shape`](crate::Error::Shape) if there are not as many thresholds as filters.
    pub fn forward_signs<'a, T: Element>(
        &self,
        x: impl Into<Activations<'a, T, Ix2>>,
        w: &PackedWeights<T>,
        thresholds: &SignThresholds,
    ) -> Result<BitTensor> {
        let mut out = BitTensor::default();
        self.forward_signs_into(x, w, thresholds, &mut Scratch::new(), &mut out)?;
        Ok(out)
    }

    /// [`forward_signs`](Self::forward_signs) in the place of `out`, whatever its shape, in memory
    /// that is used again from call to call. An error leaves it as it was.
    ///
    /// # Errors
    /// As `forward_signs`.
    pub fn forward_signs_into<'a, T: Element>(
        &self,
        x: impl Into<Activations<'a, T, Ix2>>,
        w: &PackedWeights<T>,
        thresholds: &SignThresholds,
        scratch: &mut Scratch,
        out: &mut BitTensor,
    ) -> Result<()> {
        let x = x.into().lift(lift_rows);
        self.operator().forward_signs_into(x, w, thresholds, scratch, out)
    }

    /// Folds the bias, the scales of packed weights, an [`Affine`] behind the layer (batch
    /// normalization) and the sign that the next layer takes into integer thresholds: exactly the
    /// signs of `next` on `affine.forward(forward_packed(x, w, bias))`.
    ///
    /// ```
    /// use ndarray::array;
    /// use ndarray_qnn::{ActivationQuantizer, Affine, QFullyConnected, WeightQuantizer};
    ///
    /// let sign = ActivationQuantizer::sign();
    /// let fc = QFullyConnected::new(sign, WeightQuantizer::sign());
    /// let packed = fc.pack(array![[0.5f32, -0.1, 0.2], [-0.25, -0.75, 0.5]].view())?;
    /// let affine = Affine::new(vec![0.3f32, -0.3], vec![-0.3, -0.2])?;
    /// let thresholds = fc.fold(&packed, None, Some(&affine), &sign)?;
    ///
    /// let dots = fc.forward_packed(array![[1.0f32, -1.0, -1.0]].view(), &packed, None)?;
    /// assert_eq!(dots, array![[1.0, -1.0]]);
    /// // 0.3 - 0.3 and 0.3 - 0.2 are not negative.
    /// assert_eq!(thresholds.is_positive(0, 1), Some(true));
    /// assert_eq!(thresholds.is_positive(1, -1), Some(true));
    /// assert_eq!(thresholds.is_positive(1, 1), Some(false));
    /// # Ok::<(), ndarray_qnn::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::PackedMismatch`](crate::Error::PackedMismatch) as in `forward_packed`;
    /// [`Error::Shape`](crate::Error::Shape) if bias or affine have not one value a filter;
    /// [`Error::Parameter`](crate::Error::Parameter) or [`Error::NaN`](crate::Error::NaN) if a bias
    /// is not finite, or outputs would be NaN (where `0 * ∞` is);
    /// [`Error::BitWidth`](crate::Error::BitWidth) if activations or weights have more than 8 bits;
    /// [`Error::Unsupported`](crate::Error::Unsupported) with an input scaling, or if `next` does
    /// not take signs; [`Error::TooLarge`](crate::Error::TooLarge) if there is no memory.
    pub fn fold<T: Element>(
        &self,
        w: &PackedWeights<T>,
        bias: Option<ArrayView1<'_, T>>,
        affine: Option<&Affine<T>>,
        next: &ActivationQuantizer,
    ) -> Result<SignThresholds> {
        self.operator().fold(w, bias, affine, next)
    }

    /// The gradients of input, latent weights and bias from `dy`, that of the output.
    ///
    /// They are computed against the quantized input and weights of the forward, and pass the
    /// straight-through estimators of both quantizers.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Error::Shape`](crate::Error::Shape) if `dy` is not
    /// (batch, filters).
    pub fn backward<T: Element>(
        &self,
        dy: ArrayView2<'_, T>,
        x: ArrayView2<'_, T>,
        w: ArrayView2<'_, T>,
    ) -> Result<Gradients<T, Ix2>> {
        let gradients = self.operator().backward(lift_rows(dy), lift_rows(x), lift_weights(w))?;
        let weight = gradients.weight.index_axis_move(Axis(4), 0).index_axis_move(Axis(3), 0);
        Ok(Gradients {
            input: lower_rows(gradients.input),
            weight: weight.index_axis_move(Axis(2), 0),
            bias: gradients.bias,
        })
    }

    /// Room for the output of packed weights.
    fn packed_output<T: Element>(
        &self,
        x: &Input<'_, T>,
        w: &PackedWeights<T>,
    ) -> Result<Array2<T>> {
        self.operator().packed_geometry(x, w)?;
        let [.., rows] = x.dims();
        zeros_array(Ix2(rows, w.filters()), "output")
    }

    fn zeros<T: Element>(&self, x: &ArrayView2<'_, T>, filters: usize) -> Result<Array2<T>> {
        zeros_array(Ix2(x.len_of(Axis(0)), filters), "output")
    }
}
