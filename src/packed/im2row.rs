//! Windows of floats to the rows of a matrix product, and back.
//!
//! A row runs over the taps of the kernel, and over the channels of the group within each tap.

use crate::geometry::Geometry;

/// Writes the window of an output position into `row`. `image` is `[pixel][channel]`.
pub(crate) fn gather<L: Copy>(
    geometry: &Geometry,
    image: &[L],
    pad: L,
    group: usize,
    position: usize,
    row: &mut [L],
) {
    let width = geometry.group_channels();
    if width == 0 {
        return; // without channels a kernel may be longer than could ever be walked through
    }
    geometry.for_each_run(position, |taps, first| {
        let part = &mut row[taps.start * width..taps.end * width];
        let Some(first) = first else {
            return part.fill(pad);
        };
        let pixels = &image[first * geometry.channels..];
        if geometry.groups() == 1 {
            return part.copy_from_slice(&pixels[..part.len()]);
        }
        let pixels = pixels.chunks(geometry.channels);
        for (part, pixel) in part.chunks_mut(width).zip(pixels) {
            part.copy_from_slice(&pixel[group * width..][..width]);
        }
    });
}

/// Adds a row back to the pixels it was gathered from: the transpose of [`gather`].
pub(crate) fn scatter_add<T: Copy + std::ops::AddAssign>(
    geometry: &Geometry,
    row: &[T],
    group: usize,
    position: usize,
    image: &mut [T],
) {
    let width = geometry.group_channels();
    geometry.for_each_run(position, |taps, first| {
        let Some(first) = first else { return };
        let row = &row[taps.start * width..taps.end * width];
        let pixels = &mut image[first * geometry.channels..];
        let add = |pixels: &mut [T], row: &[T]| {
            for (sum, &value) in pixels.iter_mut().zip(row) {
                *sum += value;
            }
        };
        if geometry.groups() == 1 {
            return add(pixels, row);
        }
        let pixels = pixels.chunks_mut(geometry.channels.max(1));
        for (part, pixel) in row.chunks(width.max(1)).zip(pixels) {
            add(&mut pixel[group * width..], part);
        }
    });
}
