//! Offsets: what is added to the sums of each filter, with what padded positions make up for where
//! no code stands for their value.
//!
//! Along each axis, windows near one end of the image see other taps in the padding than those in
//! the middle. Positions whose windows see the same are a border class, of which there are few. The
//! sums of the weights that a class sees in the padding are computed once: by inclusion and
//! exclusion from sums of the weights of all taps before a corner.

use crate::Result;
use crate::epilogue::exact::{Accumulator, Exact};
use crate::geometry::Geometry;
use crate::kernel::PANEL;
use crate::memory::{product, reserve, take};
use std::ops::Range;

/// The border class of every output position, and the offsets of each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Padding {
    /// The class of each output position, or nothing if there is but one.
    classes: Vec<u32>,
    /// The class of each output index along each axis.
    axis_classes: [Vec<u32>; 3],
    /// The taps of each class along each axis that are not in the padding.
    inside: [Vec<Range<usize>>; 3],
    /// The offset of each filter where there is no padding.
    base: Vec<i64>,
    /// `[class][filter]`, if there are several classes.
    offsets: Vec<i64>,
    /// The same in what numerators are computed in, if it is not `i64`, with a panel behind it.
    i32: Vec<i32>,
    f32: Vec<f32>,
    accumulator: Accumulator,
}

impl Padding {
    /// All positions are of one class, with the offset of each filter.
    pub(crate) fn same(&mut self, offsets: impl Iterator<Item = i64>) {
        self.classes.clear();
        self.accumulator = Accumulator::I64;
        self.base.clear();
        self.base.extend(offsets);
    }

    /// Subtracts twice each filter's threshold; there may be none.
    pub(crate) fn subtract(&mut self, thresholds: &[i64]) {
        let offsets = self.base.iter_mut().zip(thresholds);
        offsets.for_each(|(offset, threshold)| *offset -= 2 * threshold);
    }

    /// Adds what padded positions make up for: that of each `[tap][filter]`, which are summed up.
    pub(crate) fn add_taps(&mut self, geometry: &Geometry, taps: &mut [i64]) -> Result<()> {
        let filters = geometry.filters;
        for axis in 0..3 {
            let (classes, inside) = (&mut self.axis_classes[axis], &mut self.inside[axis]);
            classes.clear();
            inside.clear();
            for at in 0..geometry.output[axis] {
                let taps = geometry.taps_inside(axis, at);
                // Both ends of the range move one way only, so equal ranges are neighbours.
                if inside.last() != Some(&taps) {
                    inside.push(taps);
                }
                classes.push(inside.len() as u32 - 1);
            }
        }
        self.number_classes(geometry)?;
        sum_to_corners(geometry, taps);

        let what = "filter sums";
        let [depths, heights, widths] = self.inside.each_ref().map(Vec::len);
        let classes = product(&[depths, heights, widths, filters], what)?;
        take(&mut self.offsets, classes, what)?;
        self.offsets.truncate(classes);
        let end = geometry.kernel;
        let corner = |at: [usize; 3]| {
            let [d, h, w] = at.map(|at| at - 1);
            &taps[((d * end[1] + h) * end[2] + w) * filters..][..filters]
        };
        let mut classes = self.offsets.chunks_mut(filters);
        for d in &self.inside[0] {
            for h in &self.inside[1] {
                for w in &self.inside[2] {
                    let offsets = classes.next().unwrap_or_default();
                    offsets.copy_from_slice(&self.base);
                    let add = |offsets: &mut [i64], at, sign: i64| {
                        let sums = offsets.iter_mut().zip(corner(at));
                        sums.for_each(|(offset, sum)| *offset += sign * sum);
                    };
                    add(offsets, end, 1);
                    for i in 0..8u32 {
                        let ends = [(d, i & 4), (h, i & 2), (w, i & 1)];
                        let at =
                            ends.map(|(taps, low)| if low > 0 { taps.start } else { taps.end });
                        let sign = if i.count_ones() % 2 == 0 { -1 } else { 1 };
                        if !at.contains(&0) {
                            add(offsets, at, sign); // else there are no taps before it
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Numbers the class of each output position.
    fn number_classes(&mut self, geometry: &Geometry) -> Result<()> {
        let [depths, heights, widths] = &self.axis_classes;
        let [_, height_classes, width_classes] =
            self.inside.each_ref().map(|classes| classes.len() as u32);
        self.classes.clear();
        reserve(&mut self.classes, geometry.positions(), "classes of positions")?;
        for depth in depths {
            for height in heights {
                let line = (depth * height_classes + height) * width_classes;
                self.classes.extend(widths.iter().map(|width| line + width));
            }
        }
        Ok(())
    }

    /// Says what numerators are computed in.
    pub(crate) fn set_accumulator(&mut self, accumulator: Accumulator) {
        self.accumulator = accumulator;
        self.i32.clear();
        self.f32.clear();
        // They fit into 32 bits, of which vectors are converted at once.
        let offsets = if self.classes.is_empty() { &self.base } else { &self.offsets };
        let offsets = offsets.iter().map(|&offset| offset as i32);
        match accumulator {
            Accumulator::F32 => {
                self.f32.extend(offsets.map(|offset| offset as f32 * 0.5));
                self.f32.extend([0.0; PANEL]);
            }
            Accumulator::I32 => {
                self.i32.extend(offsets);
                self.i32.extend([0; PANEL]);
            }
            Accumulator::I64 => {}
        }
    }

    pub(crate) fn accumulator(&self) -> Accumulator {
        self.accumulator
    }

    /// The border class of a position.
    #[inline(always)]
    pub(crate) fn class(&self, position: usize) -> usize {
        self.classes.get(position).map_or(0, |&class| class as usize)
    }

    /// Whether all positions are of one border class.
    #[inline(always)]
    pub(crate) fn has_one_class(&self) -> bool {
        self.classes.is_empty()
    }

    /// Twice the offsets, `[class][filter]`.
    pub(crate) fn i64(&self) -> &[i64] {
        if self.classes.is_empty() { &self.base } else { &self.offsets }
    }

    /// The offsets in the accumulator, `[class][filter]`, and [`PANEL`] zeros behind those of 32 bits.
    #[inline(always)]
    pub(crate) fn offsets<A: Exact>(&self) -> &[A] {
        A::pick(&self.f32, &self.i32, self.i64())
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
