//! The methods that QFullyConnected and QConvolution share, and their documentation: once for both.

use crate::forward::input::Activations;
use crate::forward::problem::FloatTarget;
use crate::layers::fold::fold;
use crate::layers::operator::{Weights, forward_into, forward_signs_into};
use crate::rank::{Lift, Rank, SpatialRank, Tensor};
use crate::{
    ActivationQuantizer, Affine, BitTensor, Element, Gradients, InputScaling, OutputForm,
    PackedWeights, QConvolution, QFullyConnected, Result, ScaleGradient, Scaling, Scratch,
    SignThresholds, WeightQuantizer,
};
use ndarray::{Array, ArrayView, ArrayView1, ArrayViewMut, Ix2};

/// The methods of an operator whose tensors are of one dimension, which has fields `options` and a
/// method `operator`. What differs in the documentation is given: the shape of the output, as a
/// table has it and as a sentence about `out` has it, what is multiplied, which operands are refused, and
/// examples.
macro_rules! methods {
    (
        tensors: $tensor:ty,
        output: $output:literal,
        fits: $fits:literal,
        multiplied: $multiplied:literal,
        $(#[$refused:meta])*
        forward;
        $(#[$signs_example:meta])*
        forward_signs;
        $(#[$fold_example:meta])*
        fold;
    ) => {
        /// Sets the factor on the output of each filter.
        pub fn scaling(mut self, scaling: Scaling) -> Self {
            self.options.scaling = scaling;
            self
        }

        /// Sets whether the latent weights get a gradient through their scale.
        pub fn scale_gradient(mut self, gradient: ScaleGradient) -> Self {
            self.options.scale_gradient = gradient;
            self
        }

        /// Sets the factor on every output position.
        pub fn input_scaling(mut self, scaling: InputScaling) -> Self {
            self.options.input_scaling = scaling;
            self
        }

        /// Sets what is made of the dot product.
        pub fn output_form(mut self, form: OutputForm) -> Self {
            self.options.form = form;
            self
        }

        /// How activations are quantized.
        pub fn activation(&self) -> &ActivationQuantizer {
            &self.options.activation
        }

        /// How weights are quantized.
        pub fn weight(&self) -> &WeightQuantizer {
            &self.options.weight
        }

        #[doc = concat!("The output, ", $output, ".")]
        ///
        /// # Errors
        $(#[$refused])*
        /// [`Error::NaN`](crate::Error::NaN) if one holds a NaN;
        /// [`Error::NonFiniteScale`](crate::Error::NonFiniteScale) if a scale, given or measured,
        /// is not finite; [`Error::Parameter`](crate::Error::Parameter) for bad options;
        /// [`Error::TooLarge`](crate::Error::TooLarge) if sizes overflow or there is no memory.
        pub fn forward<T: Element>(
            &self,
            x: ArrayView<'_, T, $tensor>,
            w: ArrayView<'_, T, $tensor>,
            bias: Option<ArrayView1<'_, T>>,
        ) -> Result<Array<T, $tensor>> {
            let w = Weights::Latent(Lift::lift_weights(w));
            self.operator().forward(Activations::from(x).lift(), w, bias, None)
        }

        /// [`forward`](Self::forward) into `out`, every element of which is overwritten.
        ///
        /// # Errors
        /// As `forward`; [`Error::Shape`](crate::Error::Shape) if `out` is not
        #[doc = concat!($fits, ".")]
        pub fn forward_into<T: Element>(
            &self,
            x: ArrayView<'_, T, $tensor>,
            w: ArrayView<'_, T, $tensor>,
            bias: Option<ArrayView1<'_, T>>,
            scratch: &mut Scratch,
            out: ArrayViewMut<'_, T, $tensor>,
        ) -> Result<()> {
            let w = Weights::Latent(Lift::lift_weights(w));
            let target = FloatTarget { bias, residual: None, out: Lift::lift(out) };
            forward_into(self.operator(), Activations::from(x).lift(), w, scratch, target)
        }

        /// Quantizes and packs weights, once for many forwards.
        ///
        /// # Errors
        /// [`Error::NaN`](crate::Error::NaN) if `w` holds one;
        /// [`Error::AxisLength`](crate::Error::AxisLength) if [`Scaling::Given`] has not one scale
        /// a filter; [`Error::NonFiniteScale`](crate::Error::NonFiniteScale) and
        /// [`Error::Parameter`](crate::Error::Parameter) for bad options;
        /// [`Error::TooLarge`](crate::Error::TooLarge) if there is no memory.
        pub fn pack<T: Element>(
            &self,
            w: ArrayView<'_, T, $tensor>,
        ) -> Result<PackedWeights<T>> {
            self.operator().pack(Lift::lift_weights(w))
        }

        /// [`forward`](Self::forward) from packed weights: the same bits.
        ///
        /// # Errors
        /// As `forward`; [`Error::PackedMismatch`](crate::Error::PackedMismatch) if the weights
        /// were packed for another quantizer, scaling or kind of operator.
        pub fn forward_packed<'a, T: Element>(
            &self,
            x: impl Into<Activations<'a, T, $tensor>>,
            w: &PackedWeights<T>,
            bias: Option<ArrayView1<'_, T>>,
        ) -> Result<Array<T, $tensor>> {
            self.operator().forward(x.into().lift(), Weights::Packed(w), bias, None)
        }

        /// [`forward_packed`](Self::forward_packed) into `out`, every element of which is
        /// overwritten.
        ///
        /// # Errors
        /// As `forward_packed`; [`Error::Shape`](crate::Error::Shape) if `out` is not
        #[doc = concat!($fits, ".")]
        pub fn forward_packed_into<'a, T: Element>(
            &self,
            x: impl Into<Activations<'a, T, $tensor>>,
            w: &PackedWeights<T>,
            bias: Option<ArrayView1<'_, T>>,
            scratch: &mut Scratch,
            out: ArrayViewMut<'_, T, $tensor>,
        ) -> Result<()> {
            let target = FloatTarget { bias, residual: None, out: Lift::lift(out) };
            let (x, w) = (x.into().lift(), Weights::Packed(w));
            forward_into(self.operator(), x, w, scratch, target)
        }

        /// `forward_packed(x, w, bias) + residual`: the end of a residual block, in one pass over
        /// the output.
        ///
        /// # Errors
        /// As [`forward_packed`](Self::forward_packed); [`Error::Shape`](crate::Error::Shape) if
        /// `residual` is not
        #[doc = concat!($fits, ";")]
        /// [`Error::NaN`](crate::Error::NaN) if it holds one.
        pub fn forward_residual<'a, T: Element>(
            &self,
            x: impl Into<Activations<'a, T, $tensor>>,
            w: &PackedWeights<T>,
            bias: Option<ArrayView1<'_, T>>,
            residual: ArrayView<'_, T, $tensor>,
        ) -> Result<Array<T, $tensor>> {
            self.operator().forward(x.into().lift(), Weights::Packed(w), bias, Some(residual))
        }

        /// [`forward_residual`](Self::forward_residual) into `out`, every element of which is
        /// overwritten.
        ///
        /// # Errors
        /// As `forward_residual`, and [`Error::Shape`](crate::Error::Shape) for `out`.
        pub fn forward_residual_into<'a, T: Element>(
            &self,
            x: impl Into<Activations<'a, T, $tensor>>,
            w: &PackedWeights<T>,
            bias: Option<ArrayView1<'_, T>>,
            residual: ArrayView<'_, T, $tensor>,
            scratch: &mut Scratch,
            out: ArrayViewMut<'_, T, $tensor>,
        ) -> Result<()> {
            let residual = Some(Lift::lift(residual));
            let target = FloatTarget { bias, residual, out: Lift::lift(out) };
            let (x, w) = (x.into().lift(), Weights::Packed(w));
            forward_into(self.operator(), x, w, scratch, target)
        }

        /// The signs of what comes behind the layer, in bits: those of
        /// [`forward_packed`](Self::forward_packed) and of the bias and affine function that were
        /// [folded](Self::fold) into `thresholds`, exactly, without a float in between.
        ///
        $(#[$signs_example])*
        ///
        /// # Errors
        /// As [`forward_packed`](Self::forward_packed) and [`fold`](Self::fold);
        /// [`Error::Shape`](crate::Error::Shape) if there are not as many thresholds as filters.
        pub fn forward_signs<'a, T: Element>(
            &self,
            x: impl Into<Activations<'a, T, $tensor>>,
            w: &PackedWeights<T>,
            thresholds: &SignThresholds,
        ) -> Result<BitTensor> {
            let mut out = BitTensor::default();
            self.forward_signs_into(x, w, thresholds, &mut Scratch::new(), &mut out)?;
            Ok(out)
        }

        /// [`forward_signs`](Self::forward_signs) in the place of `out`, whatever its shape, in
        /// memory that is used again from call to call. An error leaves it as it was.
        ///
        /// # Errors
        /// As `forward_signs`.
        pub fn forward_signs_into<'a, T: Element>(
            &self,
            x: impl Into<Activations<'a, T, $tensor>>,
            w: &PackedWeights<T>,
            thresholds: &SignThresholds,
            scratch: &mut Scratch,
            out: &mut BitTensor,
        ) -> Result<()> {
            forward_signs_into(self.operator(), x.into().lift(), w, thresholds, scratch, out)
        }

        /// Folds the bias, the scales of packed weights, an [`Affine`] behind the layer (batch
        /// normalization) and the sign that the next layer takes into integer thresholds: exactly
        /// the signs of `next` on `affine.forward(forward_packed(x, w, bias))`.
        ///
        $(#[$fold_example])*
        ///
        /// # Errors
        /// [`Error::PackedMismatch`](crate::Error::PackedMismatch) as in `forward_packed`;
        /// [`Error::Shape`](crate::Error::Shape) if bias or affine have not one value a filter;
        /// [`Error::Parameter`](crate::Error::Parameter) or [`Error::NaN`](crate::Error::NaN) if a
        /// bias is not finite, or outputs would be NaN (where `0 * ∞` is);
        /// [`Error::BitWidth`](crate::Error::BitWidth) if activations or weights have more than 8
        /// bits; [`Error::Unsupported`](crate::Error::Unsupported) with an input scaling, or if
        /// `next` does not take signs; [`Error::TooLarge`](crate::Error::TooLarge) if there is no
        /// memory.
        pub fn fold<T: Element>(
            &self,
            w: &PackedWeights<T>,
            bias: Option<ArrayView1<'_, T>>,
            affine: Option<&Affine<T>>,
            next: &ActivationQuantizer,
        ) -> Result<SignThresholds> {
            fold(self.operator(), w, bias, affine, next)
        }

        /// The gradients of input, latent weights and bias from `dy`, that of the output.
        ///
        /// They are computed against what the forward multiplied, the quantized weights and the
        #[doc = concat!($multiplied, ", ")]
        /// and pass the straight-through estimators of both quantizers.
        ///
        /// # Errors
        /// As [`forward`](Self::forward); [`Error::Shape`](crate::Error::Shape) if `dy` is not
        #[doc = concat!($fits, ".")]
        pub fn backward<T: Element>(
            &self,
            dy: ArrayView<'_, T, $tensor>,
            x: ArrayView<'_, T, $tensor>,
            w: ArrayView<'_, T, $tensor>,
        ) -> Result<Gradients<T, $tensor>> {
            self.operator().backward(dy, x, w)
        }
    };
}

impl QFullyConnected {
    methods! {
        tensors: Ix2,
        output: "(batch, filters)",
        fits: "(batch, filters)",
        multiplied: "quantized input",
        /// [`Error::AxisLength`](crate::Error::AxisLength) or
        /// [`Error::Shape`](crate::Error::Shape) if the operands do not fit each other;
        forward;
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
        forward_signs;
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
        fold;
    }
}

impl<const S: usize> QConvolution<S>
where
    Rank<S>: SpatialRank,
{
    methods! {
        tensors: Tensor<S>,
        output: "(N, F, spatial...)",
        fits: "of the [`output_shape`](Self::output_shape)",
        multiplied: "quantized and padded input",
        /// [`Error::AxisLength`](crate::Error::AxisLength),
        /// [`Error::Groups`](crate::Error::Groups), [`Error::Zero`](crate::Error::Zero),
        /// [`Error::KernelTooLarge`](crate::Error::KernelTooLarge) or
        /// [`Error::Shape`](crate::Error::Shape) if the operands do not fit each other and the
        /// window;
        forward;
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
        forward_signs;
        fold;
    }
}
