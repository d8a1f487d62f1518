//! A plane as each column of the kernel sees it.

use crate::forward::depthwise::grid::window_offsets;
use crate::geometry::Geometry;
use crate::memory::product;

/// The most copies: each takes the memory of a plane.
const MOST_COPIES: usize = 16;

/// Copies of a plane, `[kernel column][depth][height][column]`, padded above and below: each line
/// is moved to where a kernel column sees it from the output positions.
///
/// So lines need no padding on their sides, and lie without gaps like those of the plane: it is
/// copied, summed up and written as if it were one line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    depth: usize,
    height: usize,
    width: usize,
}

impl Columns {
    /// Where lines of outputs are not longer than those of the input, nor columns left out, unless
    /// there would be too many.
    pub(crate) fn new(geometry: &Geometry) -> Option<Self> {
        let [depth, height, _] = geometry.padded_input();
        let (width, out_width) = (geometry.input[2], geometry.output[2]);
        product(&[geometry.kernel[2], depth, height, width], "padded input").ok()?;
        let shifted = geometry.stride()[2] == 1 && out_width <= width;
        let few = geometry.kernel[2] <= MOST_COPIES;
        (shifted && few).then_some(Columns { depth, height, width })
    }

    /// Elements of all copies.
    pub(crate) fn len(&self, geometry: &Geometry) -> usize {
        geometry.kernel[2] * self.copy_len()
    }

    fn copy_len(&self) -> usize {
        self.depth * self.height * self.width
    }

    /// The first element of the window of the first position of a line of outputs.
    pub(crate) fn window(&self, geometry: &Geometry, depth: usize, line: usize) -> usize {
        let [depth_stride, height_stride, _] = geometry.stride();
        (depth * depth_stride * self.height + line * height_stride) * self.width
    }

    /// Where the pixels of a window lie, from its first element on.
    pub(crate) fn offsets(&self, geometry: &Geometry, offsets: &mut Vec<usize>) {
        window_offsets(geometry, offsets, |depth, height, column| {
            column * self.copy_len() + (depth * self.height + height) * self.width
        });
    }

    /// Copies a plane to where `copies` hold nothing but padding, or another plane.
    #[inline(always)]
    pub(crate) fn fill<L: Copy>(&self, geometry: &Geometry, plane: &[L], pad: L, copies: &mut [L]) {
        let len = geometry.input[1] * self.width;
        let [before_depth, before_height, before] = geometry.padding_before();
        for (column, copy) in copies.chunks_exact_mut(self.copy_len()).enumerate() {
            let at = column * geometry.dilation()[2];
            for (depth, plane) in plane.chunks_exact(len).enumerate() {
                let line = (before_depth + depth) * self.height + before_height;
                let copy = &mut copy[line * self.width..][..len];
                shift(
                    plane,
                    self.width,
                    at.saturating_sub(before),
                    before.saturating_sub(at),
                    pad,
                    copy,
                );
            }
        }
    }
}

/// Copies a plane, each line moved so many numbers back or on. What comes from the lines next to it
/// becomes padding.
#[inline(always)]
fn shift<L: Copy>(plane: &[L], width: usize, back: usize, on: usize, pad: L, copy: &mut [L]) {
    if back.max(on) >= width {
        return; // there is nothing but padding
    }
    let len = plane.len() - back - on;
    copy[on..][..len].copy_from_slice(&plane[back..][..len]);
    for column in (0..on).chain(width - back..width) {
        copy.iter_mut().skip(column).step_by(width).for_each(|number| *number = pad);
    }
}
