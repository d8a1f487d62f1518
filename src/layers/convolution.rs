//! QConvolution: convolution over one, two or three spatial dimensions.

use crate::forward::Numbers;
use crate::forward::input::{Activations, Input};
use crate::geometry::Window;
use crate::layers::methods::{Operator, Options, option_setters};
use crate::memory::zeros_array;
use crate::rank::{Lift, lift_axes};
use crate::rank::{Rank, SpatialRank, Tensor};
use crate::{
    ActivationQuantizer, Affine, BitTensor, Element, Gradients, InputScaling, OutputForm,
    PackedWeights, PadValue, Result, ScaleGradient, Scaling, Scratch, SignThresholds,
    WeightQuantizer,
};
use ndarray::{Array, ArrayView, ArrayView1, ArrayViewMut, Dimension};

/// A convolution with quantized activations and weights over `S` = 1, 2 or 3 spatial dimensions.
///
/// | tensor | shape |
/// | --- | --- |
/// | input `x` | (N, C, spatial...): NCW, NCHW, NCDHW |
/// | latent weights `w` | (F, C / groups, kernel...): OIW, OIHW, OIDHW |
/// | bias | (F) |
/// | output | (N, F, spatial...) |
///
/// Along each spatial axis `out = (in + padding - dilation (kernel - 1) - 1) / stride + 1`, rounded
/// down. As in every deep-learning framework this is a correlation: the kernel is not flipped.
/// With `groups` = C it is a depthwise convolution. Tensors are views with any strides, so that an
/// NHWC tensor is passed as a permuted view.
///
/// A pure function, exact as [`QFullyConnected`](crate::QFullyConnected) is.
///
/// ```
/// use ndarray::{Array, Array4};
/// use ndarray_qnn::{ActivationQuantizer, PadValue, QConvolution, WeightQuantizer};
///
/// let conv = QConvolution::new(ActivationQuantizer::sign(), WeightQuantizer::sign())
///     .padding([1, 1])
///     .pad_value(PadValue::MinusOne);
/// let x = Array::from_shape_fn((2, 3, 8, 8), |(n, c, h, w)| (n + c * h + w) as f32 - 7.5);
/// let w = Array::from_shape_fn((4, 3, 3, 3), |(f, c, h, w)| (f * c + h * w) as f32 - 2.5);
/// let y: Array4<f32> = conv.forward(x.view(), w.view(), None)?;
/// assert_eq!(y.dim(), (2, 4, 8, 8));
///
/// // The same tensor kept in NHWC memory.
/// let nhwc = x.view().permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned();
/// let view = nhwc.view().permuted_axes([0, 3, 1, 2]);
/// assert_eq!(y, conv.forward(view, w.view(), None)?);
/// # Ok::<(), ndarray_qnn::Error>(())
/// ```
#[must_use = "setters return the changed value"]
#[derive(Clone, Debug, PartialEq)]
pub struct QConvolution<const S: usize> {
    pub(crate) options: Options,
    stride: [usize; S],
    dilation: [usize; S],
    padding: [[usize; 2]; S],
    pub(crate) pad_value: PadValue,
    groups: usize,
}

impl<const S: usize> QConvolution<S>
where
    Rank<S>: SpatialRank,
{
    /// A convolution that quantizes its input and its weights as given, with stride and dilation
    /// 1, no padding and one group.
    pub fn new(activation: ActivationQuantizer, weight: WeightQuantizer) -> Self {
        QConvolution {
            options: Options::new(activation, weight),
            stride: [1; S],
            dilation: [1; S],
            padding: [[0; 2]; S],
            pad_value: PadValue::default(),
            groups: 1,
        }
    }

    /// Sets the distance between neighbouring windows.
    pub fn stride(mut self, stride: [usize; S]) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the distance between neighbouring positions of the kernel.
    pub fn dilation(mut self, dilation: [usize; S]) -> Self {
        self.dilation = dilation;
        self
    }

    /// Sets how many positions are padded on both sides of each axis.
    pub fn padding(self, padding: [usize; S]) -> Self {
        self.padding_sides(padding.map(|pad| [pad; 2]))
    }

    /// Sets how many positions are padded before and after each axis, as for TensorFlow's `same`
    /// with a stride or for causal convolutions.
    pub fn padding_sides(mut self, padding: [[usize; 2]; S]) -> Self {
        self.padding = padding;
        self
    }

    /// Sets what padded positions hold.
    pub fn pad_value(mut self, value: PadValue) -> Self {
        self.pad_value = value;
        self
    }

    /// Sets into how many groups channels and filters are divided; filters see the channels of
    /// their own group only.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    option_setters!();

    fn operator(&self) -> Operator<'_> {
        Operator {
            options: &self.options,
            window: Window {
                stride: lift_axes(self.stride, 1),
                dilation: lift_axes(self.dilation, 1),
                padding: lift_axes(self.padding, [0; 2]),
                groups: self.groups,
                first_axis: 3 - S,
            },
            pad: self.pad_value,
            spatial_dims: S,
        }
    }

    /// Shape of the output for an input and latent weights of given shapes.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), for shapes.
    pub fn output_shape(&self, x: Tensor<S>, w: Tensor<S>) -> Result<Tensor<S>> {
        let lift = |shape: &Tensor<S>| lifted_shape(shape.slice());
        let geometry = self.operator().geometry(lift(&x), lift(&w))?;
        Ok(self.lower_shape(geometry.output_shape()))
    }

    /// The output, (N, F, spatial...).
    ///
    /// # Errors
    /// [`Error::AxisLength`](crate::Error::AxisLength), [`Error::Groups`](crate::Error::Groups),
    /// [`Error::Zero`](crate::Error::Zero),
    /// [`Error::KernelTooLarge`](crate::Error::KernelTooLarge) or
    /// [`Error::Shape`](crate::Error::Shape) if the operands do not fit each other and the window;
    /// [`Error::NaN`](crate::Error::NaN) if one holds a NaN;
    /// [`Error::NonFiniteScale`](crate::Error::NonFiniteScale) if a scale, given or measured, is
    /// not finite; [`Error::Parameter`](crate::Error::Parameter) for bad options;
    /// [`Error::TooLarge`](crate::Error::TooLarge) if sizes overflow or there is no memory.
    pub fn forward<T: Element>(
        &self,
        x: ArrayView<'_, T, Tensor<S>>,
        w: ArrayView<'_, T, Tensor<S>>,
        bias: Option<ArrayView1<'_, T>>,
    ) -> Result<Array<T, Tensor<S>>> {
        let shape = self.output_shape(x.raw_dim(), w.raw_dim())?;
        let mut out = zeros_array(shape, "output")?;
        self.forward_into(x, w, bias, &mut Scratch::new(), out.view_mut())?;
        Ok(out)
    }

    /// [`forward`](Self::forward) into `out`, every element of which is overwritten.
    ///
    /// # Errors
    /// As `forward`; [`Error::Shape`](crate::Error::Shape) if `out` is not of the
    /// [`output_shape`](Self::output_shape).
    pub fn forward_into<T: Element>(
        &self,
        x: ArrayView<'_, T, Tensor<S>>,
        w: ArrayView<'_, T, Tensor<S>>,
        bias: Option<ArrayView1<'_, T>>,
        scratch: &mut Scratch,
        out: ArrayViewMut<'_, T, Tensor<S>>,
    ) -> Result<()> {
        let numbers = Numbers { bias, residual: None, out: Lift::lift(out) };
        self.operator().forward_into(Lift::lift(x), Lift::lift(w), scratch, numbers)
    }

    /// Quantizes and packs weights, once for many forwards.
    ///
    /// # Errors
    /// [`Error::NaN`](crate::Error::NaN) if `w` holds one;
    /// [`Error::AxisLength`](crate::Error::AxisLength) if [`Scaling::Given`] has not one scale a
    /// filter; [`Error::NonFiniteScale`](crate::Error::NonFiniteScale) and
    /// [`Error::Parameter`](crate::Error::Parameter) for bad options;
    /// [`Error::TooLarge`](crate::Error::TooLarge) if there is no memory.
    pub fn pack<T: Element>(&self, w: ArrayView<'_, T, Tensor<S>>) -> Result<PackedWeights<T>> {
        self.operator().pack(Lift::lift(w))
    }

    /// [`forward`](Self::forward) from packed weights: the same bits.
    ///
    /// # Errors
    /// As `forward`; [`Error::PackedMismatch`](crate::Error::PackedMismatch) if the weights were
    /// packed for another quantizer, scaling or kind of operator.
    pub fn forward_packed<'a, T: Element>(
        &self,
        x: impl Into<Activations<'a, T, Tensor<S>>>,
        w: &PackedWeights<T>,
        bias: Option<ArrayView1<'_, T>>,
    ) -> Result<Array<T, Tensor<S>>> {
        let x = x.into();
        let mut out = self.packed_output(&x.clone().lift(Lift::lift), w)?;
        self.forward_packed_into(x, w, bias, &mut Scratch::new(), out.view_mut())?;
        Ok(out)
    }

    /// [`forward_packed`](Self::forward_packed) into `out`, every element of which is overwritten.
    ///
    /// # Errors
    /// As `forward_packed`; [`Error::Shape`](crate::Error::Shape) if `out` is not of the
    /// [`output_shape`](Self::output_shape).
    pub fn forward_packed_into<'a, T: Element>(
        &self,
        x: impl Into<Activations<'a, T, Tensor<S>>>,
        w: &PackedWeights<T>,
        bias: Option<ArrayView1<'_, T>>,
        scratch: &mut Scratch,
        out: ArrayViewMut<'_, T, Tensor<S>>,
    ) -> Result<()> {
        let numbers = Numbers { bias, residual: None, out: Lift::lift(out) };
        self.operator().forward_packed_into(x.into().lift(Lift::lift), w, scratch, numbers)
    }

    /// `forward_packed(x, w, bias) + residual`: the end of a residual block, in one pass over the
    /// output.
    ///
    /// # Errors
    /// As [`forward_packed`](Self::forward_packed); [`Error::Shape`](crate::Error::Shape) if
    /// `residual` is not of the [`output_shape`](Self::output_shape);
    /// [`Error::NaN`](crate::Error::NaN) if it holds one.
    pub fn forward_residual<'a, T: Element>(
        &self,
        x: impl Into<Activations<'a, T, Tensor<S>>>,
        w: &PackedWeights<T>,
        bias: Option<ArrayView1<'_, T>>,
        residual: ArrayView<'_, T, Tensor<S>>,
    ) -> Result<Array<T, Tensor<S>>> {
        let x = x.into();
        let mut out = self.packed_output(&x.clone().lift(Lift::lift), w)?;
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
        x: impl Into<Activations<'a, T, Tensor<S>>>,
        w: &PackedWeights<T>,
        bias: Option<ArrayView1<'_, T>>,
        residual: ArrayView<'_, T, Tensor<S>>,
        scratch: &mut Scratch,
        out: ArrayViewMut<'_, T, Tensor<S>>,
    ) -> Result<()> {
        let residual = Some(Lift::lift(residual));
        let numbers = Numbers { bias, residual, out: Lift::lift(out) };
        self.operator().forward_packed_into(x.into().lift(Lift::lift), w, scratch, numbers)
    }

    /// The signs of what comes behind the layer, in bits: those of
    /// [`forward_packed`](Self::forward_packed) and of the bias and affine function that were
    /// [folded](Self::fold) into `thresholds`, exactly, without a float in between.
    ///
    /// ```
    /// use ndarray::{Array, Array4};
    /// use ndarray_qnn::{ActivationQuantizer, Affine, BitTensor, PadValue, QConvolution};
    /// use ndarray_qnn::WeightQuantizer;
    ///
    /// let sign = ActivationQuantizer::sign();
    /// let conv = QConvolution::new(sign, WeightQuantizer::sign())
    ///     .padding([1, 1])
    ///     .pad_value(PadValue::MinusOne);
    /// let w = Array::from_shape_fn((4, 3, 3, 3), |(f, c, h, w)| (f * c + h * w) as f32 - 2.5);
    /// let w = conv.pack(w.view())?;
    /// let affine = Affine::new(vec![1.5f32, -0.5, 2.0, 1.0], vec![0.25, 3.0, -8.0, 0.0])?;
    /// let thresholds = conv.fold(&w, None, Some(&affine), &sign)?;
    ///
    /// let x = Array::from_shape_fn((2, 3, 8, 8), |(n, c, h, w)| (n + c * h + w) as f32 - 7.5);
    /// let bits = BitTensor::pack(&sign, x.view())?;
    /// let y: BitTensor = conv.forward_signs(&bits, &w, &thresholds)?;
    ///
    /// let floats: Array4<f32> = affine.forward(conv.forward_packed(x.view(), &w, None)?.view())?;
    /// assert_eq!(y, BitTensor::pack(&sign, floats.view())?);
    /// # Ok::<(), ndarray_qnn::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`forward_packed`](Self::forward_packed) and [`fold`](Self::fold);
    /// [`Error::Shape`](crate::Error::Shape) if there are not as many thresholds as filters.
    pub fn forward_signs<'a, T: Element>(
        &self,
        x: impl Into<Activations<'a, T, Tensor<S>>>,
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
        x: impl Into<Activations<'a, T, Tensor<S>>>,
        w: &PackedWeights<T>,
        thresholds: &SignThresholds,
        scratch: &mut Scratch,
        out: &mut BitTensor,
    ) -> Result<()> {
        let x = x.into().lift(Lift::lift);
        self.operator().forward_signs_into(x, w, thresholds, scratch, out)
    }

    /// Folds the bias, the scales of packed weights, an [`Affine`] behind the layer (batch
    /// normalization) and the sign that the next layer takes into integer thresholds: exactly the
    /// signs of `next` on `affine.forward(forward_packed(x, w, bias))`.
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
    /// They are computed against the quantized and padded input and the quantized weights of the
    /// forward, and pass the straight-through estimators of both quantizers.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Error::Shape`](crate::Error::Shape) if `dy` is not of the
    /// [`output_shape`](Self::output_shape).
    pub fn backward<T: Element>(
        &self,
        dy: ArrayView<'_, T, Tensor<S>>,
        x: ArrayView<'_, T, Tensor<S>>,
        w: ArrayView<'_, T, Tensor<S>>,
    ) -> Result<Gradients<T, Tensor<S>>> {
        let gradients = self.operator().backward(Lift::lift(dy), Lift::lift(x), Lift::lift(w))?;
        Ok(Gradients {
            input: Lift::lower(gradients.input),
            weight: Lift::lower(gradients.weight),
            bias: gradients.bias,
        })
    }

    /// Room for the output of packed weights.
    fn packed_output<T: Element>(
        &self,
        x: &Input<'_, T>,
        w: &PackedWeights<T>,
    ) -> Result<Array<T, Tensor<S>>> {
        let geometry = self.operator().packed_geometry(x, w)?;
        zeros_array(self.lower_shape(geometry.output_shape()), "output")
    }

    fn lower_shape(&self, shape: [usize; 5]) -> Tensor<S> {
        let mut lowered = Tensor::<S>::zeros(S + 2);
        lowered.slice_mut()[..2].copy_from_slice(&shape[..2]);
        lowered.slice_mut()[2..].copy_from_slice(&shape[5 - S..]);
        lowered
    }
}

/// A shape with the spatial axes that are missing, of length 1, before the others.
fn lifted_shape(shape: &[usize]) -> [usize; 5] {
    let mut lifted = [1; 5];
    lifted[..2].copy_from_slice(&shape[..2]);
    lifted[7 - shape.len()..].copy_from_slice(&shape[2..]);
    lifted
}
