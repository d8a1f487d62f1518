//! Depthwise convolutions of channels that lie side by side, as they do in NHWC.
//!
//! Vectors run over the channels of consecutive positions, whatever these are: windows of a line of
//! outputs are one run of elements of the image, multiplied with as many of weights.

use crate::Element;
use crate::Result;
use crate::epilogue::{Output, Outputs, Tile};
use crate::forward::depthwise::Operands;
use crate::forward::depthwise::arithmetic::Arithmetic;
use crate::forward::depthwise::grid::Strip;
use crate::forward::partition::{Block, Engine};
use crate::kernel::{LANES, prefetch_elements};
use crate::memory::{Workspace, WorkspaceSize, product};
use crate::tuning::{DEPTHWISE_FILTERS, DEPTHWISE_ROWS, DEPTHWISE_SUMS, STRIP_BYTES};
use ndarray::{ArrayViewMut5, Axis};
use std::ops::Range;

/// See the module.
pub(super) struct ChannelsLast<'a, A: Arithmetic, T, O> {
    operands: &'a Operands<'a, A, T>,
    output: O,
    /// Positions of a tile.
    rows: usize,
    /// Filters that are finished together.
    filters: usize,
    /// Lines of an image that are in memory.
    lines: usize,
    /// Their elements, and the sums of a tile: room for a vector more than there are.
    lines_len: usize,
    sums_len: usize,
}

impl<'a, A: Arithmetic, T: Element, O: Output> ChannelsLast<'a, A, T, O> {
    /// For an output (images, filters, depth, height, width).
    pub(super) fn new(
        operands: &'a Operands<'a, A, T>,
        output: O,
        out: &ArrayViewMut5<'_, O::Element>,
    ) -> Result<Self> {
        let Operands { grid, geometry, .. } = *operands;
        let (_, words, depth, height, width) = out.dim();
        // Outputs of a filter are written as many at a time as may be.
        let planes = words > 1 && depth * height * width > 1 && out.strides()[1] != 1;
        let (rows, filters) = match planes {
            true => (DEPTHWISE_ROWS, DEPTHWISE_FILTERS.min(geometry.filters)),
            false => {
                ((DEPTHWISE_SUMS / geometry.filters).clamp(1, DEPTHWISE_ROWS), geometry.filters)
            }
        };
        let lines = grid.strip_lines(rows, STRIP_BYTES / size_of::<A::Int>());
        let lines_len = product(&[lines, grid.line_len()], "packed activations")? + LANES;
        let sums_len = product(&[rows, geometry.filters], "sums")? + LANES;
        Ok(ChannelsLast { operands, output, rows, filters, lines, lines_len, sums_len })
    }
}

impl<A, T, O> Engine for ChannelsLast<'_, A, T, O>
where
    A: Arithmetic,
    T: Element,
    O: Output,
{
    type Out = O::Element;
    const FILTERS: usize = O::FILTERS;

    fn workspace(&self) -> Result<WorkspaceSize> {
        WorkspaceSize::default()
            .and::<A::Int>(&[self.lines_len], "packed activations")?
            .and::<A::Sum>(&[self.sums_len], "sums")?
            .and::<i32>(&[self.rows, self.filters], "sums")?
            .and::<O::Element>(&[self.rows, self.filters.div_ceil(O::FILTERS)], "outputs")
    }

    #[inline(always)]
    fn compute(&self, block: Block<'_, O::Element>, mut workspace: Workspace<'_>) {
        let Block { mut out, first_image, first_position, .. } = block;
        let Operands { geometry, grid, pad, ref source, .. } = *self.operands;
        let mut strip = Strip::new(grid, self.lines, workspace.take(self.lines_len));
        let narrow = workspace.take(self.sums_len);
        let sums = workspace.take(self.rows * self.filters);
        let outs = workspace.take(self.rows * self.filters.div_ceil(O::FILTERS));
        let (_, _, depth, height, width) = out.dim();
        let (positions, all) = (depth * height * width, geometry.filters);
        // Outputs of a tile are one run.
        let all_together = out.strides()[1] == 1 && out.strides()[4] == all as isize;
        for (image, mut out) in (first_image..).zip(out.outer_iter_mut()) {
            strip.clear();
            for start in (0..positions).step_by(self.rows) {
                let rows = self.rows.min(positions - start);
                let position = first_position + start;
                // Written when they are needed, they are in a near cache.
                let lines = grid.lines_of(position..position + rows);
                strip.follow(lines, |lines, elements| {
                    grid.write_lines(lines, elements, pad, |line, to| {
                        source.write(image, line, to)
                    });
                });
                if all_together {
                    let next = out.as_ptr().wrapping_add((start + rows) * all);
                    prefetch_elements(next, rows * all);
                }
                self.sum(&strip, position, rows, narrow);
                for first in (0..all).step_by(self.filters) {
                    let filters = first..all.min(first + self.filters);
                    widen(&narrow[..rows * all], all, filters.clone(), sums);
                    let words = first / O::FILTERS..filters.end.div_ceil(O::FILTERS);
                    let out = out.slice_axis_mut(Axis(0), words.into());
                    let stride = filters.len();
                    let tile = Tile { image, group: 0, position, rows, filters };
                    let mut outputs = Outputs::new(&self.output, tile, out, start, outs);
                    outputs.take(sums, stride);
                    outputs.finish();
                }
            }
        }
    }
}

impl<A: Arithmetic, T: Element, O: Output> ChannelsLast<'_, A, T, O> {
    /// Writes the sums of consecutive positions, `[row][filter]`: line by line of outputs.
    #[inline(always)]
    fn sum(&self, strip: &Strip<'_, A::Int>, position: usize, rows: usize, sums: &mut [A::Sum]) {
        let Operands { kernel, geometry, offsets, weights, .. } = self.operands;
        let (width, filters) = (geometry.output[2], geometry.filters);
        let mut row = 0;
        while row < rows {
            let at = position + row;
            let count = (width - at % width).min(rows - row);
            let sums = &mut sums[row * filters..];
            A::sum_line(*kernel, strip.window(at), offsets, *weights, count * filters, sums);
            row += count;
        }
    }
}

/// Writes sums of some filters as integers of 32 bits. A loop of its own: in that of the sums
/// these would be the elements that vectors are made of.
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
