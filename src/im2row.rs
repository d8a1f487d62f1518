//! Windows to rows: what every output position sees, side by side, as a matrix product wants it.
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
    geometry.for_each_tap(position, |tap, pixel| {
        let part = &mut row[tap * width..][..width];
        match pixel {
            Some(pixel) => {
                let start = pixel * geometry.channels + group * width;
                part.copy_from_slice(&image[start..start + width]);
            }
            None => part.fill(pad),
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
    geometry.for_each_tap(position, |tap, pixel| {
        if let Some(pixel) = pixel {
            let start = pixel * geometry.channels + group * width;
            let part = &row[tap * width..][..width];
            for (sum, &value) in image[start..start + width].iter_mut().zip(part) {
                *sum += value;
            }
        }
    });
}
