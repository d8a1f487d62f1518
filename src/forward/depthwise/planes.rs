//! Depthwise convolutions channel by channel, where the pixels of a channel lie side by side, and so
//! do the outputs of a filter, as they do in NCHW.
//!
//! Vectors run along the lines of a plane, and all their elements have the same weight. A plane is
//! read, summed up and written while it stays in the first cache, and nothing is transposed.

use crate::epilogue::to_floats::FloatOutput;
use crate::epilogue::to_planes::PlaneSums;
use crate::forward::depthwise::Operands;
use crate::forward::depthwise::arithmetic::Arithmetic;
use crate::forward::depthwise::cyclic::Cyclic;
use crate::forward::depthwise::grid::Pixels;
use crate::forward::partition::{Block, Engine};
use crate::geometry::Geometry;
use crate::kernel::{LANES, prefetch_elements};
use crate::memory::{Workspace, WorkspaceSize};
use crate::tuning::{OUTPUTS_AHEAD, PLANE_OUTPUTS};
use crate::{Element, Result};

/// Whether to go plane by plane from an input to an output, from their strides.
pub(super) fn are_planes(geometry: &Geometry, x: &[isize], out: &[isize]) -> bool {
    let [_, height, width] = geometry.input.map(|len| len as isize);
    let [depth_len, height_len, width_len] = geometry.input;
    let whole = x[4] == 1
        && (height_len == 1 || x[3] == width)
        && (depth_len == 1 || x[2] == height * width);
    let lines = width_len > 1 && geometry.output[2] > 1 && out[4] == 1;
    whole && lines && geometry.positions() >= PLANE_OUTPUTS
}

/// See the module.
pub(super) struct Planes<'a, A: Arithmetic, T> {
    /// Of copies of planes.
    pub(super) operands: &'a Operands<'a, A, T>,
    pub(super) output: FloatOutput<'a, T>,
}

impl<A: Arithmetic, T: Element> Engine for Planes<'_, A, T> {
    type Out = T;
    const FILTERS: usize = 1;

    fn workspace(&self) -> Result<WorkspaceSize> {
        let geometry = self.operands.geometry;
        WorkspaceSize::default()
            .and::<A::Int>(&[geometry.pixels()], "packed activations")?
            .and::<A::Int>(&[self.copies_len()], "packed activations")?
            .and::<A::Int>(&[1 + geometry.taps(), 2 * LANES], "packed weights")?
            .and::<A::Sum>(&[self.sums_len()], "sums")
    }

    #[inline(always)]
    fn compute(&self, block: Block<'_, T>, mut workspace: Workspace<'_>) {
        let Block { mut out, first_image, first_filter, .. } = block;
        let Operands { geometry, grid, pad, ref source, weights, .. } = *self.operands;
        let plane = workspace.take(geometry.pixels());
        let copies = workspace.take(self.copies_len());
        let filter_weights = workspace.take((1 + geometry.taps()) * 2 * LANES);
        let sums = workspace.take(self.sums_len());
        let positions = geometry.positions();
        copies.fill(pad);
        for (image, mut out) in (first_image..).zip(out.outer_iter_mut()) {
            let mut held = None;
            for (filter, mut out) in (first_filter..).zip(out.outer_iter_mut()) {
                // The plane behind this one, as a rule the next.
                prefetch_elements(
                    out.as_ptr().wrapping_add(positions),
                    positions.min(OUTPUTS_AHEAD),
                );
                let channel = filter / geometry.group_filters();
                if held != Some(channel) {
                    source.write(image, channel, Pixels::one(plane));
                    grid.write_copies(plane, pad, &mut copies[..grid.copies_len()]);
                    held = Some(channel);
                }
                let weights = weights.of_filter(filter, filter_weights);
                for (depth, out) in out.outer_iter_mut().enumerate() {
                    self.sum(copies, weights, depth, sums);
                    let step = self.step();
                    self.output.write_plane(PlaneSums { sums, step, image, filter, depth }, out);
                }
            }
        }
    }
}

impl<A: Arithmetic, T: Element> Planes<'_, A, T> {
    /// How far apart lines of sums lie.
    fn step(&self) -> usize {
        let Operands { geometry, grid, .. } = *self.operands;
        // Lines that follow each other are summed up as one, with what lies between them.
        if geometry.stride()[1] == 1 { grid.slots } else { geometry.output[2] }
    }

    /// The sums of a depth, and a vector more.
    fn sums_len(&self) -> usize {
        self.operands.geometry.output[1] * self.step() + LANES
    }

    /// Elements of all copies of a plane, and a vector more.
    fn copies_len(&self) -> usize {
        self.operands.grid.copies_len() + LANES
    }

    /// Writes the sums of all lines of a depth.
    #[inline(always)]
    fn sum(
        &self,
        copies: &[A::Int],
        weights: Cyclic<'_, A::Int, LANES>,
        depth: usize,
        sums: &mut [A::Sum],
    ) {
        let Operands { kernel, geometry, grid, offsets, .. } = *self.operands;
        let ([_, height, width], step) = (geometry.output, self.step());
        let (lines, len) = match geometry.stride()[1] {
            1 => (1, (height - 1) * step + width),
            _ => (height, width),
        };
        for line in 0..lines {
            let window = &copies[grid.window((depth * height + line) * width)..];
            A::sum_line(kernel, window, offsets, weights, len, &mut sums[line * step..]);
        }
    }
}
