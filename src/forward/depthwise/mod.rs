//! Depthwise convolutions: every filter sees one channel alone.
//!
//! There is nothing to share among filters, as panels do, so a vector runs over the channels of
//! consecutive positions instead: windows are runs of lanes in an image with its padding around it,
//! multiplied with as many of weights, lane by lane. Lanes hold the numerators of values rather
//! than codes, so that a sum is the numerator of the dot product, padding included.
//!
//! Large planes that are planes in memory are computed one by one instead (`planes`). From signs to
//! signs, bits are counted where they are (`bits`).

mod bits;
mod columns;
mod dispatch;
mod grid;
mod input;
mod layout;
mod plane_input;
mod planes;
mod product;
mod weights;

pub(crate) use bits::{BitBuffers, BitOperands, BitTiles, MOST_TAPS};
pub(crate) use columns::Columns;
pub(crate) use input::{Bits, Codes, Source, numbers_of_bits};
pub(crate) use layout::{Arithmetic, Layout};
pub(crate) use plane_input::{PlaneBits, PlaneCodes, PlaneSource, plane};
pub(crate) use planes::{PlaneTiles, are_planes};
pub(crate) use product::{Long, Product, Short, Signs};
pub(crate) use weights::lay_weights;

use crate::Result;
use crate::epilogue::{Output, Outputs, Tile};
use crate::forward::blocks_old::{Block, Cut, Divide, Shares};
use crate::forward::depthwise::weights::Cyclic;
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel, prefetch_elements};
use crate::memory::parallel::blocks;
use crate::memory::{product, take, take_aligned};
use ndarray::{ArrayViewMut5, Axis};
use std::ops::Range;

/// Sums of a tile: they stay in the first cache.
const TILE_SUMS: usize = 2048;
const MAX_ROWS: usize = 64;

/// Filters that are finished together where outputs of a filter lie side by side: whole words.
const FILTERS: usize = 64;

/// Products below which a second thread costs more than it saves.
const PRODUCTS_PER_BLOCK: usize = 1 << 19;

/// A depthwise forward but for packing numbers to bits. `N` lanes are computed at a time.
pub(crate) struct DepthTiles<'a, P: Product, const N: usize> {
    pub(crate) kernel: Kernel,
    pub(crate) geometry: &'a Geometry,
    pub(crate) layout: &'a Layout,
    pub(crate) input: &'a dyn Source<P::Lane>,
    /// What the sums begin with, then the weights of each tap.
    pub(crate) weights: Cyclic<'a, P::Lane, N>,
    /// Where the pixels of a window lie.
    pub(crate) offsets: &'a [usize],
}

/// Buffers of depthwise convolutions.
#[derive(Clone, Debug, Default)]
pub(crate) struct DepthBuffers {
    pub(crate) bytes: LaneBuffers<i8, i8>,
    pub(crate) halves: LaneBuffers<i16, i16>,
    pub(crate) wide: LaneBuffers<i16, i32>,
    pub(crate) bits: BitBuffers,
    pub(crate) tiles: TileBuffers,
}

/// Buffers of tiles.
#[derive(Clone, Debug, Default)]
pub(crate) struct TileBuffers {
    pub(crate) offsets: Vec<usize>,
    pub(crate) sums: Vec<i32>,
}

/// Activations and weights in lanes of one type, and their sums.
#[derive(Clone, Debug, Default)]
pub(crate) struct LaneBuffers<L, S> {
    pub(crate) input: Vec<L>,
    /// Planes without their padding.
    pub(crate) plane: Vec<L>,
    /// Weights of a filter alone.
    pub(crate) lane_weights: Vec<L>,
    pub(crate) weights: Vec<L>,
    pub(crate) sums: Vec<S>,
}

/// What one thread writes to while it computes a block.
struct Buffers<'a, L, S, O> {
    /// A padded image.
    input: Shares<'a, L>,
    narrow: Shares<'a, S>,
    sums: Shares<'a, i32>,
    outs: Shares<'a, O>,
}

impl<L: Send, S: Send, O: Send> Divide for Buffers<'_, L, S, O> {
    fn divide(self, blocks: usize) -> (Self, Self) {
        let (input, right_input) = self.input.split(blocks);
        let (narrow, right_narrow) = self.narrow.split(blocks);
        let (sums, right_sums) = self.sums.split(blocks);
        let (outs, right_outs) = self.outs.split(blocks);
        let right = Buffers {
            input: right_input,
            narrow: right_narrow,
            sums: right_sums,
            outs: right_outs,
        };
        (Buffers { input, narrow, sums, outs }, right)
    }
}

/// How many positions a tile has, and how many filters of it are finished together.
#[derive(Clone, Copy)]
struct TileShape {
    rows: usize,
    filters: usize,
}

impl TileShape {
    fn new<O>(filters: usize, out: &ArrayViewMut5<'_, O>) -> Self {
        let (_, words, depth, height, width) = out.dim();
        // Outputs of a filter are written as many at a time as may be.
        let planes = words > 1 && depth * height * width > 1 && out.strides()[1] != 1;
        match planes {
            true => TileShape { rows: MAX_ROWS, filters: FILTERS.min(filters) },
            false => TileShape { rows: (TILE_SUMS / filters).clamp(1, MAX_ROWS), filters },
        }
    }
}

/// The computation of a block.
struct Compute<'a, 'b, 'c, P: Product, F: Output, const N: usize> {
    tiles: &'a DepthTiles<'a, P, N>,
    finish: &'a F,
    block: Block<'b, F::Element>,
    shape: TileShape,
    buffers: Buffers<'c, P::Lane, P::Sum, F::Element>,
}

impl<P: Product, F: Output, const N: usize> Code for Compute<'_, '_, '_, P, F, N> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.tiles.compute(self.finish, self.block, self.shape, self.buffers);
    }
}

impl<P: Product, const N: usize> DepthTiles<'_, P, N> {
    pub(crate) fn run<F: Output>(
        &self,
        finish: &F,
        (lanes, narrow): (&mut Vec<P::Lane>, &mut Vec<P::Sum>),
        sums: &mut Vec<i32>,
        outs: &mut Vec<F::Element>,
        out: ArrayViewMut5<'_, F::Element>,
    ) -> Result<()>
    where
        F::Element: Copy + Default,
    {
        let (geometry, filters) = (self.geometry, self.geometry.filters);
        let work = out.len().saturating_mul(F::FILTERS).saturating_mul(geometry.taps());
        let blocks = blocks(work, PRODUCTS_PER_BLOCK);
        let shape = TileShape::new(filters, &out);
        let narrow_len = product(&[shape.rows, filters], "sums")?.saturating_add(N);
        // Each begins with a cache line.
        let image_len = self.layout.grid.image_len().saturating_add(N + 63) & !63;
        let images_len = product(&[blocks, image_len], "packed activations")?;
        let images = take_aligned(lanes, images_len, "packed activations")?;
        let outs_len = shape.rows * shape.filters.div_ceil(F::FILTERS);
        let buffers = Buffers {
            input: Shares::new(images, image_len),
            narrow: shares(narrow, blocks, narrow_len)?,
            sums: shares(sums, blocks, shape.rows * shape.filters)?,
            outs: shares(outs, blocks, outs_len)?,
        };
        let cut = Cut {
            geometry,
            filters_per_element: F::FILTERS,
            filters_together: usize::MAX,
            positions_together: 0,
        };
        cut.for_each(Block::whole(out), blocks, buffers, &|block, buffers| {
            self.kernel.vectorize(Compute { tiles: self, finish, block, shape, buffers });
        });
        Ok(())
    }

    /// Computes a block on this thread.
    #[inline(always)]
    fn compute<F: Output>(
        &self,
        finish: &F,
        block: Block<'_, F::Element>,
        shape: TileShape,
        buffers: Buffers<'_, P::Lane, P::Sum, F::Element>,
    ) {
        let Block { mut out, first_image, first_position, .. } = block;
        let (lanes, narrow) = (buffers.input.take(), buffers.narrow.take());
        let (sums, outs) = (buffers.sums.take(), buffers.outs.take());
        let (_, _, depth, height, width) = out.dim();
        let (positions, all) = (depth * height * width, self.geometry.filters);
        let grid = &self.layout.grid;
        // Outputs of a tile are one run.
        let all_together = out.strides()[1] == 1 && out.strides()[4] == all as isize;
        let reach = self.offsets.iter().max().map_or(0, |&offset| offset);
        for (image, mut out) in (first_image..).zip(out.outer_iter_mut()) {
            let mut written = 0;
            for start in (0..positions).step_by(shape.rows) {
                let rows = shape.rows.min(positions - start);
                let position = first_position + start;
                // Written when they are needed, they are in a near cache.
                let lines = grid.lines(self.geometry, position..position + rows, reach);
                let missing = lines.start.max(written)..lines.end.max(written);
                written = missing.end;
                self.input.write(image, missing, lanes);
                if all_together {
                    let next = out.as_ptr().wrapping_add((start + rows) * all);
                    prefetch_elements(next, rows * all);
                }
                self.sum_rows(lanes, position, rows, narrow);
                for first in (0..all).step_by(shape.filters) {
                    let filters = first..all.min(first + shape.filters);
                    widen(&narrow[..rows * all], all, filters.clone(), sums);
                    let words = first / F::FILTERS..filters.end.div_ceil(F::FILTERS);
                    let out = out.slice_axis_mut(Axis(0), words.into());
                    let stride = filters.len();
                    let tile = Tile { image, group: 0, position, rows, filters };
                    let mut outputs = Outputs::new(finish, tile, out, start, outs);
                    outputs.take(sums, stride);
                    outputs.finish();
                }
            }
        }
    }

    /// Writes the sums of consecutive positions, `[row][filter]`.
    #[inline(always)]
    fn sum_rows(&self, image: &[P::Lane], position: usize, rows: usize, sums: &mut [P::Sum]) {
        let (width, filters) = (self.geometry.output[2], self.geometry.filters);
        let mut row = 0;
        while row < rows {
            let at = position + row;
            let count = (width - at % width).min(rows - row);
            let line = &image[self.layout.grid.window(self.geometry, at)..];
            let sums = &mut sums[row * filters..];
            P::sum_line(self.kernel, line, self.offsets, self.weights, count * filters, sums);
            row += count;
        }
    }
}

/// Writes sums of some filters as integers of 32 bits. A loop of its own: in that of the sums
/// these would be the lanes that vectors are made of.
#[inline(always)]
fn widen<S: Copy + Into<i32>>(narrow: &[S], all: usize, filters: Range<usize>, sums: &mut [i32]) {
    if filters.len() == all {
        sums.iter_mut().zip(narrow).for_each(|(sum, &narrow)| *sum = narrow.into());
        return;
    }
    for (sums, narrow) in sums.chunks_exact_mut(filters.len()).zip(narrow.chunks_exact(all)) {
        let narrow = &narrow[filters.clone()];
        sums.iter_mut().zip(narrow).for_each(|(sum, &narrow)| *sum = narrow.into());
    }
}

/// A share of `len` elements of a buffer for each block.
fn shares<V: Copy + Default>(
    buffer: &mut Vec<V>,
    blocks: usize,
    len: usize,
) -> Result<Shares<'_, V>> {
    Ok(Shares::new(take(buffer, product(&[blocks, len], "sums")?, "sums")?, len))
}
