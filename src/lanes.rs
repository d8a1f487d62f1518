//! The input as the gather wants it: quantized, channels last, `[image][pixel][channel]`.

use crate::Element;
use crate::Result;
use crate::geometry::Geometry;
use crate::kernel::Kernel;
use crate::parallel::any_chunk;
use crate::scratch::{product, take};
use crate::views::matrix_mut;
use ndarray::{ArrayView4, ArrayView5, Axis};

/// Numbers that are brought together before they are quantized in place.
const BLOCK: usize = 1 << 10;

/// Brings the channels of each pixel of `x` (N, C, D, H, W) together, whatever its strides, and has
/// them quantized in place by the quantizer of their image.
pub(crate) fn quantize_lanes<T: Element, Q: Fn(&mut [T])>(
    x: &ArrayView5<'_, T>,
    lanes: &mut [T],
    quantizer: impl Fn(usize) -> Q + Sync,
) {
    let images = x.len_of(Axis(0));
    if lanes.is_empty() {
        return;
    }
    let image_len = lanes.len() / images;
    any_chunk(lanes, image_len, 1, |image, lanes| {
        quantize_image(x.index_axis(Axis(0), image), lanes, &quantizer(image));
        false
    });
}

fn quantize_image<T: Element>(
    image: ArrayView4<'_, T>,
    lanes: &mut [T],
    quantize: &impl Fn(&mut [T]),
) {
    let channels = image.len_of(Axis(0));
    let pixels = image.permuted_axes([1, 2, 3, 0]);
    if let Some(pixels) = pixels.as_slice() {
        for (lanes, pixels) in lanes.chunks_mut(BLOCK).zip(pixels.chunks(BLOCK)) {
            lanes.copy_from_slice(pixels);
            quantize(lanes);
        }
        return;
    }
    if let Some(planes) = image.as_slice() {
        let pixels = matrix_mut(planes.len() / channels, channels, lanes);
        Kernel::current().transpose(planes, pixels);
    } else if channels_are_closest(&image) {
        lanes.iter_mut().zip(&pixels).for_each(|(lane, &x)| *lane = x);
    } else {
        for (channel, plane) in image.outer_iter().enumerate() {
            let lanes = lanes[channel..].iter_mut().step_by(channels);
            lanes.zip(&plane).for_each(|(lane, &x)| *lane = x);
        }
    }
    lanes.chunks_mut(BLOCK).for_each(quantize);
}

/// Whether the channels of a pixel lie closer to each other than to those of other pixels.
pub(crate) fn channels_are_closest<T>(image: &ArrayView4<'_, T>) -> bool {
    let stride = |axis: usize| image.strides()[axis].unsigned_abs();
    // The stride of an axis of length 1 says nothing.
    (1..4).all(|axis| image.len_of(Axis(axis)) <= 1 || stride(axis) >= stride(0))
}

/// XNOR-Net's K, `[image][position][group]`: the mean over the window of `mean|x|` over the
/// channels of the group, padding counted as 0.
pub(crate) fn k_map<'a, T: Element>(
    geometry: &Geometry,
    x: &ArrayView5<'_, T>,
    magnitudes: &mut Vec<T>,
    k_map: &'a mut Vec<T>,
) -> Result<&'a mut [T]> {
    if geometry.filters == 0 {
        return Ok(&mut []); // a kernel without weights may be longer than could ever be walked through
    }
    let groups = geometry.groups();
    let width = geometry.group_channels();
    let (pixels, positions) = (geometry.pixels(), geometry.positions());
    let len = product(&[geometry.batch, pixels, groups], "input magnitudes")?;
    let magnitudes = take(magnitudes, len, "input magnitudes")?;
    let len = product(&[geometry.batch, positions, groups], "K-map")?;
    let k_map = take(k_map, len, "K-map")?;
    k_map.fill(T::zero());
    if x.is_empty() {
        return Ok(k_map); // windows see nothing but padding
    }

    for (image, x) in x.outer_iter().enumerate() {
        let a = &mut magnitudes[image * pixels * groups..][..pixels * groups];
        a.fill(T::zero());
        for (channel, plane) in x.outer_iter().enumerate() {
            let sums = a[channel / width..].iter_mut().step_by(groups);
            for (sum, x) in sums.zip(&plane) {
                *sum += x.abs();
            }
        }
        let share = T::of_integer((width * geometry.taps()) as i64);
        let k = &mut k_map[image * positions * groups..][..positions * groups];
        for (position, k) in k.chunks_mut(groups).enumerate() {
            geometry.for_each_tap(position, |_, pixel| {
                let Some(pixel) = pixel else { return };
                for (k, &sum) in k.iter_mut().zip(&a[pixel * groups..][..groups]) {
                    *k += sum / share;
                }
            });
        }
    }
    Ok(k_map)
}
