//! Depthwise convolutions of planes: where the numbers of a channel lie side by side, and so do the
//! outputs of a filter.
//!
//! A vector runs along the lines of one plane, and all its lanes have the same weight. A plane is
//! read, summed up and written while it stays in the first cache, and nothing is transposed.

use crate::epilogue::to_floats::FloatOutput;
use crate::epilogue::to_planes::PlaneSums;
use crate::forward::blocks_old::{Block, Cut, Divide, Shares};
use crate::forward::depthwise::columns::Columns;
use crate::forward::depthwise::plane_input::PlaneSource;
use crate::forward::depthwise::product::Product;
use crate::forward::depthwise::weights::Cyclic;
use crate::forward::depthwise::{PRODUCTS_PER_BLOCK, shares};
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel, prefetch_elements};
use crate::memory::parallel::blocks;
use crate::memory::{product, take_aligned};
use crate::{Element, Result};
use ndarray::ArrayViewMut5;

/// Outputs of a plane below which what is done for each plane takes longer than its sums.
const SMALLEST_PLANE: usize = 256;

/// Outputs that are asked for at a time, which is when the ones before are computed.
const PREFETCHED: usize = 2048;

/// Whether to go plane by plane from an input to an output, from their strides.
pub(crate) fn are_planes(geometry: &Geometry, x: &[isize], out: &[isize]) -> bool {
    let [_, height, width] = geometry.input.map(|len| len as isize);
    let [depth_len, height_len, width_len] = geometry.input;
    let whole = x[4] == 1
        && (height_len == 1 || x[3] == width)
        && (depth_len == 1 || x[2] == height * width);
    let lines = width_len > 1 && geometry.output[2] > 1 && out[4] == 1;
    whole && lines && geometry.positions() >= SMALLEST_PLANE
}

/// A depthwise forward but for packing numbers to bits. `N` lanes are computed at a time.
pub(crate) struct PlaneTiles<'a, P: Product, const N: usize> {
    pub(crate) kernel: Kernel,
    pub(crate) geometry: &'a Geometry,
    pub(crate) columns: Columns,
    /// The number in the padding.
    pub(crate) pad: P::Lane,
    pub(crate) input: &'a dyn PlaneSource<P::Lane>,
    /// What the sums begin with, then the weights of each tap.
    pub(crate) weights: Cyclic<'a, P::Lane, N>,
    /// Where the pixels of a window lie.
    pub(crate) offsets: &'a [usize],
}

/// What one thread writes to while it computes a block.
struct Buffers<'a, L, S> {
    plane: Shares<'a, L>,
    /// The copies of it.
    copies: Shares<'a, L>,
    /// The weights of a filter, each in many lanes.
    weights: Shares<'a, L>,
    sums: Shares<'a, S>,
}

impl<L: Send, S: Send> Divide for Buffers<'_, L, S> {
    fn divide(self, blocks: usize) -> (Self, Self) {
        let (plane, right_plane) = self.plane.split(blocks);
        let (copies, right_copies) = self.copies.split(blocks);
        let (weights, right_weights) = self.weights.split(blocks);
        let (sums, right_sums) = self.sums.split(blocks);
        let right = Buffers {
            plane: right_plane,
            copies: right_copies,
            weights: right_weights,
            sums: right_sums,
        };
        (Buffers { plane, copies, weights, sums }, right)
    }
}

/// The computation of a block.
struct Compute<'a, 'b, 'c, 'd, P: Product, T, const N: usize> {
    tiles: &'a PlaneTiles<'a, P, N>,
    finish: &'a FloatOutput<'d, T>,
    block: Block<'b, T>,
    buffers: Buffers<'c, P::Lane, P::Sum>,
}

impl<P: Product, T: Element, const N: usize> Code for Compute<'_, '_, '_, '_, P, T, N> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.tiles.compute(self.finish, self.block, self.buffers);
    }
}

impl<P: Product, const N: usize> PlaneTiles<'_, P, N> {
    pub(crate) fn run<T: Element>(
        &self,
        finish: &FloatOutput<'_, T>,
        [plane, copies, weights]: [&mut Vec<P::Lane>; 3],
        sums: &mut Vec<P::Sum>,
        out: ArrayViewMut5<'_, T>,
    ) -> Result<()> {
        let (geometry, filters) = (self.geometry, self.geometry.filters);
        let work = out.len().saturating_mul(geometry.taps());
        let blocks = blocks(work, PRODUCTS_PER_BLOCK).min(filters);
        let (_, sums_len) = self.lines();
        // Each begins with a cache line.
        let weights_len = product(&[1 + geometry.taps(), 2 * N], "packed weights")?;
        let weights_all = product(&[blocks, weights_len], "packed weights")?;
        let weights = take_aligned(weights, weights_all, "packed weights")?;
        let copies_len = self.columns.len(geometry).saturating_add(N);
        let buffers = Buffers {
            plane: shares(plane, blocks, geometry.pixels())?,
            copies: shares(copies, blocks, copies_len)?,
            weights: Shares::new(weights, weights_len),
            sums: shares(sums, blocks, sums_len.saturating_add(N))?,
        };
        // By filters alone: a block has whole planes.
        let cut = Cut {
            geometry,
            filters_per_element: 1,
            filters_together: 1,
            positions_together: usize::MAX / 2,
        };
        cut.for_each(Block::whole(out), blocks, buffers, &|block, buffers| {
            self.kernel.vectorize(Compute { tiles: self, finish, block, buffers });
        });
        Ok(())
    }

    /// How far apart lines of sums lie, and the sums of all lines of a depth.
    fn lines(&self) -> (usize, usize) {
        let [_, height, width] = self.geometry.output;
        // Lines that follow each other are summed up as one, with what lies between them.
        let step = if self.geometry.stride()[1] == 1 { self.geometry.input[2] } else { width };
        (step, (height - 1) * step + width)
    }

    /// Computes a block on this thread.
    #[inline(always)]
    fn compute<T: Element>(
        &self,
        finish: &FloatOutput<'_, T>,
        block: Block<'_, T>,
        buffers: Buffers<'_, P::Lane, P::Sum>,
    ) {
        let Block { mut out, first_image, first_filter, .. } = block;
        let (plane, copies) = (buffers.plane.take(), buffers.copies.take());
        let (lane_weights, sums) = (buffers.weights.take(), buffers.sums.take());
        let (geometry, positions) = (self.geometry, self.geometry.positions());
        let (step, _) = self.lines();
        // The padding stays as it is.
        copies.fill(self.pad);
        for (image, mut out) in (first_image..).zip(out.outer_iter_mut()) {
            let mut held = None;
            for (filter, mut out) in (first_filter..).zip(out.outer_iter_mut()) {
                // The plane behind this one, as a rule the next.
                prefetch_elements(out.as_ptr().wrapping_add(positions), positions.min(PREFETCHED));
                let channel = filter / geometry.group_filters();
                if held != Some(channel) {
                    self.input.write(image, channel, plane);
                    let copies = &mut copies[..self.columns.len(geometry)];
                    self.columns.fill(geometry, plane, self.pad, copies);
                    held = Some(channel);
                }
                let weights = self.weights.of_row(filter, lane_weights);
                for (depth, out) in out.outer_iter_mut().enumerate() {
                    self.sum_lines(copies, weights, depth, sums);
                    finish.write_plane(PlaneSums { sums, step, image, filter, depth }, out);
                }
            }
        }
    }

    /// Writes the sums of all lines of a depth.
    #[inline(always)]
    fn sum_lines(
        &self,
        copies: &[P::Lane],
        weights: Cyclic<'_, P::Lane, N>,
        depth: usize,
        sums: &mut [P::Sum],
    ) {
        let [_, height, width] = self.geometry.output;
        let (step, len) = self.lines();
        let flat = self.geometry.stride()[1] == 1;
        let (lines, len) = if flat { (1, len) } else { (height, width) };
        for line in 0..lines {
            let lanes = &copies[self.columns.window(self.geometry, depth, line)..];
            let sums = &mut sums[line * step..];
            P::sum_line(self.kernel, lanes, self.offsets, weights, len, sums);
        }
    }
}
