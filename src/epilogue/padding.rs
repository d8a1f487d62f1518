//! What padded positions add to a sum, where no code stands for their value.
//!
//! Along each axis, windows near one end of the image see other taps in the padding than those in
//! the middle. Positions whose windows see the same are few kinds, and the sums of the weights
//! that a kind sees in the padding, the same for all its positions, are computed once: by
//! inclusion and exclusion from sums of the weights of all taps before a corner.

use crate::Result;
use crate::epilogue::exact::{Carrier, Precision};
use crate::geometry::Geometry;
use crate::memory::{product, reserve, take};
use std::ops::Range;

/// The kind of every output position, and what it adds to each filter's sum.
#[derive(Clone, Debug, Default)]
pub(crate) struct Padding {
    /// The kind of each output position, or nothing if there is but one.
    kinds: Vec<u32>,
    /// The kind of each output index along each axis.
    axis_kinds: [Vec<u32>; 3],
    /// The taps of each kind along each axis that are not in the padding.
    inside: [Vec<Range<usize>>; 3],
    /// What each filter has added at any position.
    base: Vec<i64>,
    /// `[kind][filter]`, if there are several kinds.
    addends: Vec<i64>,
    /// The same in what numerators are computed in, if it is not `i64`.
    narrow: Vec<i32>,
    float: Vec<f32>,
    precision: Precision,
}

impl Padding {
    /// All positions are of one kind, which adds `addends`.
    pub(crate) fn same(&mut self, addends: impl Iterator<Item = i64>) {
        self.kinds.clear();
        self.precision = Precision::Wide;
        self.base.clear();
        self.base.extend(addends);
    }

    /// Subtracts twice each filter's threshold; there may be none.
    pub(crate) fn subtract(&mut self, thresholds: &[i64]) {
        let addends = self.base.iter_mut().zip(thresholds);
        addends.for_each(|(addend, threshold)| *addend -= 2 * threshold);
    }

    /// Adds to that what padded positions add: `taps`, of each `[tap][filter]`, which are summed up.
    pub(crate) fn add_taps(&mut self, geometry: &Geometry, taps: &mut [i64]) -> Result<()> {
        let filters = geometry.filters;
        for axis in 0..3 {
            let (kinds, inside) = (&mut self.axis_kinds[axis], &mut self.inside[axis]);
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
        }
        self.number_kinds(geometry)?;
        sum_to_corners(geometry, taps);

        let what = "filter sums";
        let [depths, heights, widths] = self.inside.each_ref().map(Vec::len);
        let kinds = product(&[depths, heights, widths, filters], what)?;
        take(&mut self.addends, kinds, what)?;
        self.addends.truncate(kinds);
        let end = geometry.kernel;
        let corner = |at: [usize; 3]| {
            let [d, h, w] = at.map(|at| at - 1);
            &taps[((d * end[1] + h) * end[2] + w) * filters..][..filters]
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
                        if !at.contains(&0) {
                            add(addends, at, sign); // else there are no taps before it
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Numbers the kind of each output position.
    fn number_kinds(&mut self, geometry: &Geometry) -> Result<()> {
        let [depths, heights, widths] = &self.axis_kinds;
        let [_, height_kinds, width_kinds] = self.inside.each_ref().map(|kinds| kinds.len() as u32);
        self.kinds.clear();
        reserve(&mut self.kinds, geometry.positions(), "kinds of positions")?;
        for depth in depths {
            for height in heights {
                let line = (depth * height_kinds + height) * width_kinds;
                self.kinds.extend(widths.iter().map(|width| line + width));
            }
        }
        Ok(())
    }

    /// Says what is precise enough.
    pub(crate) fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
        self.narrow.clear();
        self.float.clear();
        // They fit into 32 bits, of which vectors are converted at once.
        let wide = if self.kinds.is_empty() { &self.base } else { &self.addends };
        match precision {
            Precision::Float => self.float.extend(wide.iter().map(|&a| a as i32 as f32 * 0.5)),
            Precision::Narrow => self.narrow.extend(wide.iter().map(|&a| a as i32)),
            Precision::Wide => {}
        }
    }

    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// The kind of a position.
    #[inline(always)]
    pub(crate) fn kind(&self, position: usize) -> usize {
        self.kinds.get(position).map_or(0, |&kind| kind as usize)
    }

    /// What is added to the sum of each filter at a position.
    #[inline(always)]
    pub(crate) fn addends<C: Carrier>(&self, geometry: &Geometry, position: usize) -> &[C] {
        &C::addends(self)[self.kind(position) * geometry.filters..]
    }

    /// The kinds of some positions, or nothing if there is but one.
    pub(crate) fn kinds(&self, positions: Range<usize>) -> &[u32] {
        self.kinds.get(positions).unwrap_or_default()
    }

    pub(crate) fn wide(&self) -> &[i64] {
        if self.kinds.is_empty() { &self.base } else { &self.addends }
    }

    pub(crate) fn narrow(&self) -> &[i32] {
        &self.narrow
    }

    pub(crate) fn float(&self) -> &[f32] {
        &self.float
    }
}

/// Sums of each `[tap][filter]` become those of all taps up to it along every axis.
fn sum_to_corners(geometry: &Geometry, taps: &mut [i64]) {
    let mut stride = geometry.filters;
    for length in geometry.kernel.into_iter().rev() {
        for line in taps.chunks_exact_mut(length * stride) {
            for start in (stride..line.len()).step_by(stride) {
                let (before, after) = line.split_at_mut(start);
                let before = &before[start - stride..];
                after.iter_mut().zip(before).for_each(|(sum, before)| *sum += before);
            }
        }
        stride *= length;
    }
}
