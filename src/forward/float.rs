//! Products of anything wider than codes of a byte: as floats, by the matrix product of `ndarray`.

use crate::Element;
use crate::Result;
use crate::epilogue::output_scale::{Epilogue, Place};
use crate::epilogue::store::OutputRows;
use crate::forward::dequantize::{CodedWeights, MANY_ROWS};
use crate::forward::partition::{Block, Cut, Divide, Shares};
use crate::geometry::Geometry;
use crate::kernel::{Kernel, PANEL};
use crate::memory::parallel::blocks;
use crate::memory::{matrix, matrix_mut};
use crate::memory::{product, take};
use crate::packed::im2row::gather;
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayViewMut4, ArrayViewMut5, s};
use std::ops::Range;

/// A forward whose operands are quantized: only products and the epilogue are left to do.
pub(crate) struct FloatTiles<'a, T> {
    pub(crate) kernel: Kernel,
    pub(crate) geometry: &'a Geometry,
    /// Quantized activations, `[image][pixel][channel]`.
    pub(crate) lanes: &'a [T],
    pub(crate) weights: FloatWeights<'a, T>,
    /// What a padded position holds.
    pub(crate) pad: T,
    pub(crate) epilogue: Epilogue<'a, T>,
}

/// Quantized weights.
pub(crate) enum FloatWeights<'a, T> {
    /// `[filter][tap][channel]`.
    Values(&'a [T]),
    Codes(CodedWeights<'a, T>),
}

/// What one thread writes to while it computes a block.
struct Buffers<'a, T> {
    rows: Shares<'a, T>,
    dots: Shares<'a, T>,
    outs: Shares<'a, T>,
}

impl<T: Send> Divide for Buffers<'_, T> {
    fn divide(self, blocks: usize) -> (Self, Self) {
        let (rows, right_rows) = self.rows.split(blocks);
        let (dots, right_dots) = self.dots.split(blocks);
        let (outs, right_outs) = self.outs.split(blocks);
        let right = Buffers { rows: right_rows, dots: right_dots, outs: right_outs };
        (Buffers { rows, dots, outs }, right)
    }
}

/// Windows are gathered in tiles of at most this many numbers, unless one window is larger.
const TILE_LEN: usize = 1 << 18;

/// Products below which a second thread costs more than it saves.
const PRODUCTS_PER_BLOCK: usize = 1 << 18;

impl<T: Element> FloatTiles<'_, T> {
    pub(crate) fn run(
        &self,
        [rows, dots, outs]: [&mut Vec<T>; 3],
        out: ArrayViewMut5<'_, T>,
    ) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let (row_len, filters) = (self.geometry.row_len(), self.geometry.group_filters());
        let work = out.len().saturating_mul(row_len.max(1));
        let blocks = blocks(work, PRODUCTS_PER_BLOCK);

        // The size of a tile is that of the problem alone: floats are summed in the same order
        // at any number of threads.
        let tile_rows = (TILE_LEN / row_len.max(1)).clamp(1, 64);
        let gathered = if self.geometry.is_pointwise() { 0 } else { tile_rows };
        let shares = |buffer, sizes: [usize; 2]| -> Result<_> {
            let len = product(&sizes, "windows")?;
            Ok(Shares::new(take(buffer, product(&[blocks, len], "windows")?, "windows")?, len))
        };
        let buffers = Buffers {
            rows: shares(rows, [gathered, row_len])?,
            dots: shares(dots, [tile_rows, filters])?,
            outs: shares(outs, [tile_rows, filters])?,
        };
        let (filters_together, positions_together) = match self.weights {
            FloatWeights::Values(_) => (usize::MAX, 0),
            // A thread that has a share of the rows would read all weights.
            FloatWeights::Codes(_) if self.geometry.groups() == 1 => (2 * PANEL, MANY_ROWS),
            FloatWeights::Codes(_) => (usize::MAX, 0),
        };
        let cut = Cut {
            geometry: self.geometry,
            filters_per_element: 1,
            filters_together,
            positions_together,
        };
        cut.for_each(Block::whole(out), blocks, buffers, &|block, buffers| {
            self.compute(block, tile_rows, buffers);
        });
        Ok(())
    }

    fn compute(&self, block: Block<'_, T>, tile_rows: usize, buffers: Buffers<'_, T>) {
        let Block { mut out, first_image, first_filter, first_position } = block;
        let (rows, dots, outs) = (buffers.rows.take(), buffers.dots.take(), buffers.outs.take());
        let (groups, row_len) = (self.geometry.groups(), self.geometry.row_len());
        let (images, filters, depth, height, width) = out.dim();
        // Blocks have all filters of all groups, or some of the only one.
        let filters = filters / groups;
        let positions = depth * height * width;
        for (image, mut out) in (first_image..first_image + images).zip(out.outer_iter_mut()) {
            for group in 0..groups {
                let mut out = out.slice_mut(s![group * filters..(group + 1) * filters, .., .., ..]);
                let first = first_filter + group * filters;
                for start in (0..positions).step_by(tile_rows) {
                    let count = tile_rows.min(positions - start);
                    let position = first_position + start;
                    let rows = &self.rows(image, group, position, rows)[..count * row_len];
                    let dots = &mut dots[..count * filters];
                    self.multiply(rows, first..first + filters, dots);
                    let row = (image * self.geometry.positions() + position) * groups;
                    let place = Place { first_filter: first, row: row + group };
                    self.finish(place, dots, outs, &mut out, start);
                }
            }
        }
    }

    /// Writes the products of rows with some filters, `[row][filter]`.
    fn multiply(&self, rows: &[T], filters: Range<usize>, dots: &mut [T]) {
        match self.weights {
            FloatWeights::Values(weights) => {
                let (row_len, count) = (self.geometry.row_len(), dots.len() / filters.len());
                let rows = matrix(count, row_len, rows);
                let weights = matrix(filters.len(), row_len, &weights[filters.start * row_len..]);
                let mut dots = matrix_mut(count, filters.len(), dots);
                // Threads may cut tiles short. The gemm crate sums in another order then.
                general_mat_mul(T::one(), &rows, &weights.t(), T::zero(), &mut dots);
            }
            FloatWeights::Codes(weights) => weights.multiply(rows, filters, dots),
        }
    }

    /// Finishes the rows of a tile, whose outputs begin at position `start` of `out`.
    fn finish(
        &self,
        place: Place,
        dots: &[T],
        outs: &mut [T],
        out: &mut ArrayViewMut4<'_, T>,
        start: usize,
    ) {
        let filters = out.dim().0;
        let mut rows = OutputRows::new(out.view_mut(), start, dots.len() / filters, outs);
        for (i, dots) in dots.chunks(filters).enumerate() {
            let place = Place { row: place.row + i * self.geometry.groups(), ..place };
            self.epilogue.finish_floats(place, dots, rows.row(i));
        }
        rows.finish(self.kernel);
    }

    /// The windows of consecutive positions of an image, from the first on.
    fn rows<'r>(&'r self, image: usize, group: usize, first: usize, rows: &'r mut [T]) -> &'r [T] {
        let geometry = self.geometry;
        let image_len = geometry.pixels() * geometry.channels;
        let image = &self.lanes[image * image_len..][..image_len];
        let row_len = geometry.row_len();
        if geometry.is_pointwise() {
            return &image[first * row_len..];
        }
        let positions = first..geometry.positions();
        for (row, position) in rows.chunks_mut(row_len.max(1)).zip(positions) {
            gather(geometry, image, self.pad, group, position, row);
        }
        rows
    }
}
