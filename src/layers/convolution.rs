//! QConvolution: convolution over one, two or three spatial dimensions.

use crate::geometry::Window;
use crate::layers::operator::{Operator, Options};
use crate::rank::{Lift, Rank, SpatialRank, Tensor, lift_axes, lift_shape};
use crate::{ActivationQuantizer, PadValue, Result, WeightQuantizer};
use ndarray::Dimension;

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

    pub(super) fn operator(&self) -> Operator<'_> {
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
        let lift = |shape: Tensor<S>| lift_shape(shape.slice()).expect("3 to 5 axes");
        let geometry = self.operator().geometry(lift(x), lift(w))?;
        Ok(Lift::lower_shape(geometry.output_shape()))
    }
}
