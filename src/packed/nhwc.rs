//! The input as the gather wants it: quantized, channels last, `[image][pixel][channel]`.

use crate::Element;
use crate::kernel::Kernel;
use crate::memory::matrix_mut;
use crate::memory::parallel::any_chunk;
use crate::tuning::QUANTIZED_VALUES;
use ndarray::{ArrayView4, ArrayView5, Axis};

/// Brings the channels of each pixel of `x` (N, C, D, H, W) together, whatever its strides, and has
/// them quantized in place by the quantizer of their image.
pub(crate) fn quantize_nhwc<T: Element, Q: Fn(&mut [T])>(
    x: &ArrayView5<'_, T>,
    activations: &mut [T],
    quantizer: impl Fn(usize) -> Q + Sync,
) {
    let images = x.len_of(Axis(0));
    if activations.is_empty() {
        return;
    }
    let image_len = activations.len() / images;
    any_chunk(activations, image_len, 1, |image, activations| {
        quantize_image(x.index_axis(Axis(0), image), activations, &quantizer(image));
        false
    });
}

fn quantize_image<T: Element>(
    image: ArrayView4<'_, T>,
    activations: &mut [T],
    quantize: &impl Fn(&mut [T]),
) {
    let channels = image.len_of(Axis(0));
    let pixels = image.permuted_axes([1, 2, 3, 0]);
    if let Some(pixels) = pixels.as_slice() {
        for (activations, pixels) in
            activations.chunks_mut(QUANTIZED_VALUES).zip(pixels.chunks(QUANTIZED_VALUES))
        {
            activations.copy_from_slice(pixels);
            quantize(activations);
        }
        return;
    }
    if let Some(pactivations) = image.as_slice() {
        let pixels = matrix_mut(pactivations.len() / channels, channels, activations);
        Kernel::current().transpose(pactivations, pixels);
    } else if channels_are_closest(&image) {
        activations.iter_mut().zip(&pixels).for_each(|(activation, &x)| *activation = x);
    } else {
        for (channel, plane) in image.outer_iter().enumerate() {
            let activations = activations[channel..].iter_mut().step_by(channels);
            activations.zip(&plane).for_each(|(activation, &x)| *activation = x);
        }
    }
    activations.chunks_mut(QUANTIZED_VALUES).for_each(quantize);
}

/// Whether the channels of a pixel lie closer to each other than to those of other pixels.
pub(crate) fn channels_are_closest<T>(image: &ArrayView4<'_, T>) -> bool {
    let stride = |axis: usize| image.strides()[axis].unsigned_abs();
    // The stride of an axis of length 1 says nothing.
    (1..4).all(|axis| image.len_of(Axis(axis)) <= 1 || stride(axis) >= stride(0))
}
