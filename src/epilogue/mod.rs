//! Sums to outputs: exact integers become floats, or the signs of these.
//!
//! Kernels hand over blocks of sums while they are in registers ([`Outputs`] takes them); sums in
//! memory are loaded into registers and take the same way. What becomes of the sum of a row with a
//! filter is
//!
//! ```text
//! numerator = sum_factor * sum + (offset[class of the row][filter] + row_factor * row_sum[row])
//! float     = numerator / denominator * scale[filter] * k[row] + bias[filter]
//! sign      = numerator >= 0, turned over for some filters
//! ```
//!
//! Numerators are exact ([`exact`], [`padding`]); floats are rounded step by step, in this order
//! ([`to_floats`]); thresholds are part of the offsets of signs ([`to_signs`]).

pub(crate) mod exact;
pub(crate) mod padding;
pub(crate) mod store;
pub(crate) mod to_floats;
pub(crate) mod to_planes;
pub(crate) mod to_signs;

use crate::epilogue::exact::{Exact, ZeroPoints};
use crate::epilogue::padding::Padding;
use crate::epilogue::store::Rows;
use crate::geometry::Geometry;
use crate::kernel::{Code, Epilogue, Kernel, PANEL, Vector, with_vectors};
use bytemuck::Pod;
use ndarray::ArrayViewMut4;
use std::ops::Range;

/// What makes numerators of the sums of all rows and filters.
#[derive(Clone, Copy)]
pub(crate) struct Numerators<'a> {
    pub(crate) kernel: Kernel,
    pub(crate) geometry: &'a Geometry,
    pub(crate) zero_points: ZeroPoints,
    /// Offsets of the filters, less what signs are compared with.
    pub(crate) padding: &'a Padding,
    /// `Σ c_a` of each row, `[image][position][group]`, or nothing where it is not wanted.
    pub(crate) row_sums: &'a [i64],
}

/// Which outputs are made: of consecutive positions of an image, those of some filters of a group.
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    pub(crate) image: usize,
    pub(crate) group: usize,
    pub(crate) position: usize,
    pub(crate) rows: usize,
    pub(crate) filters: Range<usize>,
}

/// What sums become.
pub(crate) trait Output: Sync {
    /// An element of the output.
    type Element: Pod + Send;
    /// Filters that an element holds.
    const FILTERS: usize;

    fn numerators(&self) -> &Numerators<'_>;

    /// Makes the outputs of a block of sums, of which the first row is `row` of the tile, and the
    /// first panel `panel` of those that its filters lie in.
    fn block<V: Vector, const M: usize, const P: usize>(
        &self,
        v: V,
        outputs: &mut TileOutputs<'_, Self::Element>,
        row: usize,
        panel: usize,
        sums: &[[V::Ints; P]; M],
    );

    /// The same of a row with a panel, where 32 bits do not hold the sums.
    fn long_sums(
        &self,
        outputs: &mut TileOutputs<'_, Self::Element>,
        row: usize,
        panel: usize,
        sums: &[i64; PANEL],
    );

    /// Does what is left to do when all outputs of a tile have been made.
    fn finish(&self, _outputs: &mut TileOutputs<'_, Self::Element>) {}
}

/// Outputs of a tile that are being made.
pub(crate) struct TileOutputs<'a, O> {
    pub(crate) tile: Tile,
    /// Of the first row, the index into `[image][position][group]`.
    index: usize,
    rows: Rows<'a, O>,
}

/// Makes the outputs of a tile of the sums that a kernel hands over.
pub(crate) struct Outputs<'a, O: Output> {
    output: &'a O,
    outputs: TileOutputs<'a, O::Element>,
    /// The row of the tile that is the first of a kernel's call.
    pub(crate) first_row: usize,
}

impl<'a> Numerators<'a> {
    /// The index of a row into `[image][position][group]`.
    #[inline(always)]
    pub(crate) fn index(&self, image: usize, position: usize, group: usize) -> usize {
        (image * self.geometry.positions() + position) * self.geometry.groups() + group
    }

    /// Whether the offsets are the same at all positions, and nothing is added for a row.
    #[inline(always)]
    fn are_rows_alike(&self) -> bool {
        self.row_sums.is_empty() && self.padding.has_one_class()
    }

    /// The offsets of all filters at a position, and what is added for a row there.
    #[inline(always)]
    fn terms<A: Exact>(&self, position: usize, index: usize) -> (&'a [A], A) {
        let first = self.padding.class(position) * self.geometry.filters;
        let row_sum = self.row_sums.get(index).map_or(0, |&sum| sum);
        (&self.padding.offsets()[first..], A::of_twice(self.zero_points.row_factor * row_sum))
    }
}

impl<O> TileOutputs<'_, O> {
    /// The filter that is the first of a panel.
    #[inline(always)]
    fn first_filter(&self, panel: usize) -> usize {
        (self.tile.filters.start / PANEL + panel) * PANEL
    }

    /// The lanes of a panel whose filters are in the tile.
    #[inline(always)]
    fn lanes(&self, panel: usize) -> Range<usize> {
        let (first, filters) = (self.first_filter(panel), &self.tile.filters);
        filters.start.saturating_sub(first)..(filters.end - first).min(PANEL)
    }
}

impl<'a, O: Output> Outputs<'a, O> {
    /// For a tile that begins at position `start` of `out` (filters, depth, height, width), in which
    /// its filters are all. `buffer` is as long as its outputs are many.
    #[inline(always)]
    pub(crate) fn new(
        output: &'a O,
        tile: Tile,
        out: ArrayViewMut4<'a, O::Element>,
        start: usize,
        buffer: &'a mut [O::Element],
    ) -> Self {
        let index = output.numerators().index(tile.image, tile.position, tile.group);
        let rows = Rows::new(out, start, tile.rows, buffer);
        Outputs { output, outputs: TileOutputs { tile, index, rows }, first_row: 0 }
    }

    /// Takes sums in memory: that of a row and a filter of the tile is `sums[row * stride + filter]`,
    /// or 0 where there is none.
    #[inline(always)]
    pub(crate) fn take(&mut self, sums: &[i32], stride: usize) {
        let kernel = self.output.numerators().kernel;
        with_vectors!(kernel, |v| v.run(Take { v, outputs: self, sums, stride }));
    }

    /// The same of sums of 64 bits, of whole panels.
    pub(crate) fn take_long(&mut self, sums: &[i64], stride: usize) {
        for (row, sums) in sums.chunks(stride).take(self.outputs.tile.rows).enumerate() {
            for (panel, sums) in sums.as_chunks().0.iter().enumerate() {
                self.output.long_sums(&mut self.outputs, row, panel, sums);
            }
        }
    }

    /// Moves what has been written to where it belongs.
    #[inline(always)]
    pub(crate) fn finish(mut self) {
        self.output.finish(&mut self.outputs);
        self.outputs.rows.finish(self.output.numerators().kernel);
    }
}

impl<O: Output> Epilogue for Outputs<'_, O> {
    #[inline(always)]
    fn block<V: Vector, const M: usize, const P: usize>(
        &mut self,
        v: V,
        row: usize,
        panel: usize,
        sums: &[[V::Ints; P]; M],
    ) {
        self.output.block(v, &mut self.outputs, self.first_row + row, panel, sums);
    }
}

/// See [`Outputs::take`].
struct Take<'a, 'b, V, O: Output> {
    v: V,
    outputs: &'a mut Outputs<'b, O>,
    sums: &'a [i32],
    stride: usize,
}

impl<V: Vector, O: Output> Code for Take<'_, '_, V, O> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Take { v, outputs, sums, stride } = self;
        let Tile { rows, ref filters, .. } = outputs.outputs.tile;
        let panels = filters.len().div_ceil(PANEL);
        for row in 0..rows {
            let sums = &sums[row * stride..];
            let mut panel = 0;
            // Several panels at a time, so that what is done for a row is done less often.
            while let Some(of_panels) = sums.get(panel * PANEL..(panel + 4) * PANEL)
                && panel + 4 <= panels
            {
                let (of_panels, _) = of_panels.as_chunks();
                let mut sums = [v.ints(0); 4];
                for p in 0..4 {
                    sums[p] = v.load_ints(&of_panels[p]);
                }
                outputs.block(v, row, panel, &[sums]);
                panel += 4;
            }
            for panel in panel..panels {
                let sums = panel_of(sums, panel * PANEL, 0);
                outputs.block(v, row, panel, &[[v.load_ints(&sums)]]);
            }
        }
    }
}

/// Those of a panel, from index `first` on; `default` in lanes that there are none for.
#[inline(always)]
fn panel_of<T: Copy>(numbers: &[T], first: usize, default: T) -> [T; PANEL] {
    let numbers = numbers.get(first..).unwrap_or_default();
    numbers.first_chunk().copied().unwrap_or_else(|| {
        let mut panel = [default; PANEL];
        panel[..numbers.len()].copy_from_slice(numbers);
        panel
    })
}

#[cfg(test)]
mod tests;
