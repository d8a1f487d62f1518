//! What padded positions add to a sum, where no code stands for their value.
//!
//! Along each axis, windows near one end of the image see other taps in the padding than those in
//! the middle. Positions whose windows see the same are few kinds, and the sums of the weights
//! that a kind sees in the padding, the same for all its positions, are computed once: by
//! inclusion and exclusion from sums of the weights of all taps before a corner.

use crate::Result;
use crate::geometry::Geometry;
use crate::scratch::{product, take};
use std::ops::Range;

/// The kind of every output position, and what it adds to each filter's sum.
#[derive(Clone, Debug, Default)]
pub(crate) struct Padding {
    /// The kind of each output index along each axis.
    kinds: [Vec<u32>; 3],
    /// The taps of each kind along each axis that are not in the padding.
    inside: [Vec<Range<usize>>; 3],
    /// How many kinds there are along each axis.
    counts: [usize; 3],
    /// What each filter has added at any position.
    base: Vec<i64>,
    /// `[kind][filter]`.
    addends: Vec<i64>,
    /// The same, where nothing that is computed with them can overflow 32 bits.
    narrow: Vec<i32>,
    corners: Vec<i64>,
}

impl Padding {
    /// All positions are of one kind, which adds `addends`.
    pub(crate) fn same(&mut self, addends: impl Iterator<Item = i64>) {
        self.counts = [1; 3];
        self.narrow.clear();
        self.base.clear();
        self.base.extend(addends);
        self.addends.clone_from(&self.base);
    }

    /// Adds to that what padded positions add: `taps`, of each `[tap][filter]`.
    pub(crate) fn add_taps(&mut self, geometry: &Geometry, taps: &[i64]) -> Result<()> {
        let filters = geometry.filters;
        for axis in 0..3 {
            let (kinds, inside) = (&mut self.kinds[axis], &mut self.inside[axis]);
            kinds.clear();
            inside.clear();
            for at in 0..geometry.output[axis] {
                let taps = geometry.taps_inside(axis, at);
                // Both ends of the range move one way only, so equal ranges are neighbours.
                if inside.last() != Some(&taps) {
                    inside.push(taps);
                }
                kinds.push(inside.len() as u32 - 1);
            }
            self.counts[axis] = inside.len();
        }
        self.sum_before_corners(geometry, taps)?;

        let what = "filter sums";
        let [depths, heights, widths] = self.counts;
        let kinds = product(&[depths, heights, widths, filters], what)?;
        take(&mut self.addends, kinds, what)?;
        self.addends.truncate(kinds);
        let end = geometry.kernel;
        let corner = |at: [usize; 3]| {
            let [_, height, width] = end.map(|len| len + 1);
            &self.corners[((at[0] * height + at[1]) * width + at[2]) * filters..][..filters]
        };
        let mut kinds = self.addends.chunks_mut(filters);
        for d in &self.inside[0] {
            for h in &self.inside[1] {
                for w in &self.inside[2] {
                    let addends = kinds.next().unwrap_or_default();
                    addends.copy_from_slice(&self.base);
                    let add = |addends: &mut [i64], at, sign: i64| {
                        let sums = addends.iter_mut().zip(corner(at));
                        sums.for_each(|(addend, sum)| *addend += sign * sum);
                    };
                    add(addends, end, 1);
                    for i in 0..8u32 {
                        let ends = [(d, i & 4), (h, i & 2), (w, i & 1)];
                        let at =
                            ends.map(|(taps, low)| if low > 0 { taps.start } else { taps.end });
                        let sign = if i.count_ones() % 2 == 0 { -1 } else { 1 };
                        add(addends, at, sign);
                    }
                }
            }
        }
        Ok(())
    }

    /// Sums the taps before each corner `[d][h][w]` of the kernel, of each filter.
    fn sum_before_corners(&mut self, geometry: &Geometry, taps: &[i64]) -> Result<()> {
        let filters = geometry.filters;
        let [kernel_d, kernel_h, kernel_w] = geometry.kernel;
        let [height, width] = [kernel_h + 1, kernel_w + 1];
        let what = "filter sums";
        let len = product(&[kernel_d + 1, height, width, filters], what)?;
        let corners = take(&mut self.corners, len, what)?;
        corners.fill(0);
        let lengths = [kernel_d + 1, height, width];
        let strides = [height * width, width, 1].map(|stride| stride * filters);
        for (line, taps) in taps.chunks(kernel_w * filters).enumerate() {
            let at = [line / kernel_h + 1, line % kernel_h + 1, 1];
            let start: usize = (0..3).map(|axis| at[axis] * strides[axis]).sum();
            corners[start..start + taps.len()].copy_from_slice(taps);
        }
        for (stride, length) in strides.into_iter().zip(lengths) {
            for i in stride..len {
                if i / stride % length > 0 {
                    corners[i] += corners[i - stride];
                }
            }
        }
        Ok(())
    }

    /// Says that 32 bits are enough.
    pub(crate) fn make_narrow(&mut self) {
        self.narrow.extend(self.addends.iter().map(|&addend| addend as i32));
    }

    pub(crate) fn is_narrow(&self) -> bool {
        !self.narrow.is_empty()
    }

    /// What is added to the sum of each filter at a position.
    #[inline(always)]
    pub(crate) fn wide(&self, geometry: &Geometry, position: usize) -> &[i64] {
        &self.addends[self.kind(geometry, position) * geometry.filters..]
    }

    /// The same in 32 bits.
    #[inline(always)]
    pub(crate) fn narrow(&self, geometry: &Geometry, position: usize) -> &[i32] {
        &self.narrow[self.kind(geometry, position) * geometry.filters..]
    }

    #[inline(always)]
    fn kind(&self, geometry: &Geometry, position: usize) -> usize {
        if self.counts == [1; 3] {
            return 0;
        }
        let [_, height, width] = geometry.output;
        let at = [position / (height * width), position / width % height, position % width];
        let [d, h, w] = [0, 1, 2].map(|axis| self.kinds[axis][at[axis]] as usize);
        (d * self.counts[1] + h) * self.counts[2] + w
    }
}
