//! Affine functions of each channel: batch normalization as it is at inference.

use crate::element::compiled_once;
use crate::memory::{each_slice, reserve, zeros_array};
use crate::quantizer::{check_no_nan, check_same_shape};
use crate::{Element, Error, Operand, Result};
use ndarray::{Array, ArrayView, ArrayView1, ArrayViewMut, Axis, RemoveAxis};

/// `z = scale[c] * y + shift[c]` for each channel `c`, on tensors (batch, features) or
/// (N, C, spatial...).
///
/// Computed in `T` just as written: the product is rounded, then the sum. That is what
/// [`SignThresholds`](crate::SignThresholds) reproduce.
///
/// ```
/// use ndarray::array;
/// use ndarray_qnn::Affine;
///
/// let affine = Affine::new(vec![2.0f32, -1.0], vec![0.5, 0.0])?;
/// let y = array![[1.0f32, 1.0], [0.0, 3.0]];
/// assert_eq!(affine.forward(y.view())?, array![[2.5, -1.0], [0.5, -3.0]]);
/// # Ok::<(), ndarray_qnn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Affine<T> {
    scale: Vec<T>,
    shift: Vec<T>,
}

/// Batch normalization (Ioffe and Szegedy, <https://arxiv.org/abs/1502.03167>) at inference, as
/// views of what training has left:
///
/// ```text
/// z = gamma[c] * (y - mean[c]) / sqrt(variance[c] + epsilon) + beta[c]
/// ```
///
/// [`affine`](Self::affine) turns it into a scale and a shift, as frameworks do, and only these are
/// computed with.
///
/// ```
/// use ndarray::array;
/// use ndarray_qnn::{Affine, BatchNorm};
///
/// let norm = BatchNorm {
///     gamma: array![1.0f32, -3.0].view(),
///     beta: array![0.5f32, 0.0].view(),
///     mean: array![2.0f32, -1.0].view(),
///     variance: array![3.0f32, 0.0].view(),
///     epsilon: 1.0,
/// }
/// .affine()?;
/// assert_eq!(norm, Affine::new(vec![0.5, -3.0], vec![-0.5, -3.0])?);
/// # Ok::<(), ndarray_qnn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a, T> {
    /// The factor of each channel.
    pub gamma: ArrayView1<'a, T>,
    /// What is added to each channel.
    pub beta: ArrayView1<'a, T>,
    /// The running mean of each channel.
    pub mean: ArrayView1<'a, T>,
    /// The running variance of each channel.
    pub variance: ArrayView1<'a, T>,
    /// What keeps the root from 0. Also called ε; Keras has 1e-3, PyTorch and MXNet have 1e-5.
    pub epsilon: f64,
}

impl<T: Element> BatchNorm<'_, T> {
    /// `scale = gamma / sqrt(variance + epsilon)`, `shift = beta - mean * scale`: computed in f64,
    /// and each rounded to `T` once.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not as many of one as of `gamma`; [`Error::Parameter`] if a
    /// parameter, or what becomes of it in `T`, is not finite, or if a variance or `epsilon` is
    /// negative; [`Error::TooLarge`] if there is no memory.
    pub fn affine(&self) -> Result<Affine<T>> {
        let not_negative = "a finite number of at least 0";
        check_parameter("epsilon", not_negative, self.epsilon, self.epsilon >= 0.0)?;
        for (operand, view) in [
            (Operand::Shift, &self.beta),
            (Operand::Mean, &self.mean),
            (Operand::Variance, &self.variance),
        ] {
            check_same_shape(operand, self.gamma.shape(), view.shape())?;
        }
        let channels = self.gamma.len();
        let [mut scale, mut shift] = [Vec::new(), Vec::new()];
        reserve(&mut scale, channels, "affine function")?;
        reserve(&mut shift, channels, "affine function")?;
        for c in 0..channels {
            let [gamma, beta, mean, variance] =
                [self.gamma[c], self.beta[c], self.mean[c], self.variance[c]].map(T::as_f64);
            check_parameter("gamma", FINITE, gamma, true)?;
            check_parameter("beta", FINITE, beta, true)?;
            check_parameter("mean", FINITE, mean, true)?;
            check_parameter("variance", not_negative, variance, variance >= 0.0)?;
            let factor = gamma / (variance + self.epsilon).sqrt();
            scale.push(T::of(factor));
            shift.push(T::of(beta - mean * factor));
        }
        Affine::new(scale, shift)
    }
}

impl<T: Element> Affine<T> {
    /// The function of given scales and shifts, one of each a channel.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not as many shifts as scales; [`Error::Parameter`] if one is
    /// not finite.
    pub fn new(scale: Vec<T>, shift: Vec<T>) -> Result<Self> {
        check_same_shape(Operand::Shift, &[scale.len()], &[shift.len()])?;
        for (parameter, values) in [("affine scale", &scale), ("affine shift", &shift)] {
            for value in values {
                check_parameter(parameter, FINITE, value.as_f64(), true)?;
            }
        }
        Ok(Affine { scale, shift })
    }

    /// The factor of each channel.
    pub fn scale(&self) -> &[T] {
        &self.scale
    }

    /// What is added to each channel.
    pub fn shift(&self) -> &[T] {
        &self.shift
    }

    pub(crate) fn channels(&self) -> usize {
        self.scale.len()
    }

    /// The one place where it is computed.
    #[inline]
    pub(crate) fn value(&self, channel: usize, y: T) -> T {
        self.scale[channel] * y + self.shift[channel]
    }

    /// The function of `y`, whose channels are along axis 1.
    ///
    /// # Errors
    /// [`Error::Dimensions`] if there is no axis 1; [`Error::AxisLength`] if it has not as many
    /// channels as the function; [`Error::NaN`] if `y` holds one; [`Error::TooLarge`] if there is
    /// no memory.
    pub fn forward<D: RemoveAxis>(&self, y: ArrayView<'_, T, D>) -> Result<Array<T, D>> {
        let mut out = zeros_array(y.raw_dim(), "output")?;
        self.forward_into(y, out.view_mut())?;
        Ok(out)
    }

    /// [`forward`](Self::forward) into `out`, all of which is overwritten.
    ///
    /// # Errors
    /// As `forward`; [`Error::Shape`] if `out` is not of the shape of `y`.
    pub fn forward_into<D: RemoveAxis>(
        &self,
        y: ArrayView<'_, T, D>,
        mut out: ArrayViewMut<'_, T, D>,
    ) -> Result<()> {
        check_same_shape(Operand::Output, y.shape(), out.shape())?;
        let (operand, axis) = (Operand::Input, 1);
        let Some(&found) = y.shape().get(axis) else {
            return Err(Error::Dimensions { operand, expected: "at least 2", found: y.ndim() });
        };
        let expected = self.channels();
        if found != expected {
            return Err(Error::AxisLength { operand, axis, expected, found });
        }
        check_no_nan(operand, &y)?;
        let channels = out.axis_iter_mut(Axis(axis)).zip(y.axis_iter(Axis(axis)));
        for (channel, (out, y)) in channels.enumerate() {
            each_slice(&y, out, &|y, out| write_channel(self, channel, y, out));
        }
        Ok(())
    }
}

compiled_once! {
    fn write_channel<'a; T>(
        affine: &'a Affine<T>,
        channel: usize,
        y: &'a [T],
        out: &'a mut [T],
    ) {
        out.iter_mut().zip(y).for_each(|(out, &y)| *out = affine.value(channel, y));
    }
}

const FINITE: &str = "a finite number";

/// Refuses a parameter that is not finite, or not in its range.
fn check_parameter(
    parameter: &'static str,
    expected: &'static str,
    value: f64,
    in_range: bool,
) -> Result<()> {
    match value.is_finite() && in_range {
        true => Ok(()),
        false => Err(Error::Parameter { parameter, expected, value }),
    }
}
