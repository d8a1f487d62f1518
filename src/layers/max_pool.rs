//! Max pooling of signs.

use crate::geometry::{Geometry, Window};
use crate::memory::parallel::each_chunk;
use crate::memory::{product, zeros};
use crate::rank::{Rank, SpatialRank, dimensions, lift_axes};
use crate::{BitTensor, Error, Operand, Result};
use std::borrow::Cow;

/// Max pooling over `S` = 1, 2 or 3 spatial dimensions of a [`BitTensor`].
///
/// | tensor | shape |
/// | --- | --- |
/// | input | (N, C, spatial...): NCW, NCHW, NCDHW |
/// | output | (N, C, spatial...) |
///
/// Along each spatial axis `out = (in + padding - kernel) / stride + 1`, rounded down. Padded
/// positions take no part, as if they were -∞.
///
/// The greatest of some signs is +1 if any is, so this is the OR of bits. And as the sign never
/// decreases, it is the sign of the greatest: pooling before the sign, as in
/// `convolution -> batch normalization -> pool -> sign`, may be done after it, in bits.
///
/// ```
/// use ndarray::{Array4, array};
/// use ndarray_qnn::{ActivationQuantizer, BitTensor, MaxPool};
///
/// let x = array![[[[-2.0f32, -1.0, -4.0, 0.5], [-0.3, -1.0, 0.2, -0.1]]]];
/// let bits = BitTensor::pack(&ActivationQuantizer::sign(), x.view())?;
/// let pooled: Array4<f32> = MaxPool::new([2, 2]).forward(&bits)?.to_array()?;
/// assert_eq!(pooled, array![[[[-1.0, 1.0]]]]);
///
/// let overlapping = MaxPool::new([2, 2]).stride([1, 1]).padding_sides([[0, 1], [1, 0]]);
/// assert_eq!(overlapping.forward(&bits)?.shape(), [1, 1, 2, 4]);
/// # Ok::<(), ndarray_qnn::Error>(())
/// ```
#[must_use = "setters return the changed value"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool<const S: usize> {
    kernel: [usize; S],
    stride: [usize; S],
    padding: [[usize; 2]; S],
}

impl<const S: usize> MaxPool<S>
where
    Rank<S>: SpatialRank,
{
    /// Pooling over windows of a size, one beside the other (the stride is the kernel), without
    /// padding.
    pub fn new(kernel: [usize; S]) -> Self {
        MaxPool { kernel, stride: kernel, padding: [[0; 2]; S] }
    }

    /// Sets the distance between neighbouring windows.
    pub fn stride(mut self, stride: [usize; S]) -> Self {
        self.stride = stride;
        self
    }

    /// Sets how many positions are padded on both sides of each axis: fewer than the kernel has.
    pub fn padding(self, padding: [usize; S]) -> Self {
        self.padding_sides(padding.map(|pad| [pad; 2]))
    }

    /// Sets how many positions are padded before and after each axis, as for TensorFlow's `same`
    /// with a stride.
    pub fn padding_sides(mut self, padding: [[usize; 2]; S]) -> Self {
        self.padding = padding;
        self
    }

    /// The greatest sign of each window.
    ///
    /// # Errors
    /// [`Error::Dimensions`] if `x` does not have `S` spatial dimensions; [`Error::Zero`],
    /// [`Error::KernelTooLarge`] or [`Error::Padding`] if the window does not fit it;
    /// [`Error::AxisLength`] if there is only padding to pool; [`Error::TooLarge`] if sizes
    /// overflow or there is no memory.
    pub fn forward(&self, x: &BitTensor) -> Result<BitTensor> {
        if x.spatial_dims() != S {
            let (operand, found) = (Operand::Input, 2 + x.spatial_dims());
            return Err(Error::Dimensions { operand, expected: dimensions(S), found });
        }
        let [images, channels, input @ ..] = x.dims();
        let window = Window {
            stride: lift_axes(self.stride, 1),
            padding: lift_axes(self.padding, [0; 2]),
            first_axis: 3 - S,
            ..Window::POINTWISE
        };
        let kernel = lift_axes(self.kernel, 1);
        let [kernel_d, kernel_h, kernel_w] = kernel;
        let w = [1, channels, kernel_d, kernel_h, kernel_w];
        let [_, _, output @ ..] = Geometry::new(window, x.dims(), w)?.output_shape();
        self.check_windows(input, output)?;

        let [d, h, w] = output;
        let dims = [images, channels, d, h, w];
        product(&dims, WHAT)?;
        // One axis after the other: each has words of whole lines or planes to OR with others.
        let mut shape = [images, input[0], input[1], input[2], x.pixel_words()];
        let mut words = Cow::Borrowed(x.words());
        for axis in 0..3 {
            let line = Line {
                input: input[axis],
                output: output[axis],
                kernel: kernel[axis],
                stride: window.stride[axis],
                before: window.padding[axis][0],
            };
            if line.kernel > 1 || line.stride > 1 {
                shape[1 + axis] = line.output;
                let mut out = zeros(product(&shape, WHAT)?, WHAT)?;
                line.pool(&words, shape[2 + axis..].iter().product(), &mut out);
                words = Cow::Owned(out);
            }
        }
        Ok(BitTensor::from_parts(dims, S, words.into_owned()))
    }

    /// Refuses windows that see nothing but padding. If the padding on a side is shorter than the
    /// kernel, the first and the last window, and so all, reach the input, if there is any.
    fn check_windows(&self, input: [usize; 3], output: [usize; 3]) -> Result<()> {
        for (axis, (&kernel, sides)) in self.kernel.iter().zip(self.padding).enumerate() {
            if let Some(padding) = sides.into_iter().find(|&side| side >= kernel) {
                return Err(Error::Padding { axis, kernel, padding });
            }
            let at = 3 - S + axis;
            if input[at] == 0 && output[at] > 0 {
                let (operand, axis) = (Operand::Input, 2 + axis);
                return Err(Error::AxisLength { operand, axis, expected: 1, found: 0 });
            }
        }
        Ok(())
    }
}

const WHAT: &str = "pooled signs";

/// Pooling along one axis.
struct Line {
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    /// Positions padded before it.
    before: usize,
}

impl Line {
    /// From `[outer][input][inner]` to `[outer][output][inner]`.
    fn pool(&self, words: &[u32], inner: usize, out: &mut [u32]) {
        if out.is_empty() {
            return;
        }
        each_chunk(out, self.output * inner, 32, |outer, out| {
            let words = &words[outer * self.input * inner..][..self.input * inner];
            for (at, out) in out.chunks_exact_mut(inner).enumerate() {
                let begin = at * self.stride;
                let first = begin.saturating_sub(self.before);
                let end = (begin + self.kernel - self.before).min(self.input);
                let mut seen = words[first * inner..end * inner].chunks_exact(inner);
                seen.by_ref().take(1).for_each(|words| out.copy_from_slice(words));
                for words in seen {
                    out.iter_mut().zip(words).for_each(|(out, word)| *out |= word);
                }
            }
        });
    }
}
