//! Products of anything wider than codes of a byte: as floats, by the matrix product of `ndarray`.

use crate::Element;
use crate::Result;
use crate::epilogue::store::Rows;
use crate::epilogue::to_floats::OutputScale;
use crate::forward::dequantize::CodedWeights;
use crate::forward::partition::{Block, Engine};
use crate::geometry::Geometry;
use crate::kernel::Kernel;
use crate::memory::{Workspace, WorkspaceSize, matrix, matrix_mut};
use crate::packed::im2row::gather;
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayViewMut4, s};
use std::ops::Range;

/// A forward whose operands are quantized: only products and the epilogue are left to do.
pub(crate) struct FloatEngine<'a, T> {
    pub(crate) kernel: Kernel,
    pub(crate) geometry: &'a Geometry,
    /// Quantized activations, `[image][pixel][channel]`.
    pub(crate) activations: &'a [T],
    pub(crate) tile_rows: usize,
    pub(crate) weights: Weights<'a, T>,
    /// What a padded position holds.
    pub(crate) pad: T,
    pub(crate) scale: OutputScale<'a, T>,
}

/// Quantized weights.
pub(crate) enum Weights<'a, T> {
    /// `[filter][tap][channel]`.
    Values(&'a [T]),
    Codes(CodedWeights<'a, T>),
}

impl<T: Element> Engine for FloatEngine<'_, T> {
    type Out = T;
    const FILTERS: usize = 1;

    fn workspace(&self) -> Result<WorkspaceSize> {
        let (row_len, filters) = (self.geometry.row_len(), self.geometry.group_filters());
        let rows = self.tile_rows;
        let gathered = if self.geometry.is_pointwise() { 0 } else { rows };
        WorkspaceSize::default()
            .and::<T>(&[gathered, row_len], "windows")?
            .and::<T>(&[rows, filters], "dot products")?
            .and::<T>(&[rows, filters], "outputs")
    }

    #[inline(always)]
    fn compute(&self, block: Block<'_, T>, mut workspace: Workspace<'_>) {
        let Block { mut out, first_image, first_filter, first_position } = block;
        let (groups, row_len) = (self.geometry.groups(), self.geometry.row_len());
        let (tile_rows, group_filters) = (self.tile_rows, self.geometry.group_filters());
        let gathered = if self.geometry.is_pointwise() { 0 } else { tile_rows };
        let rows = workspace.take(gathered * row_len);
        let [dots, outs] = [0; 2].map(|_| workspace.take(tile_rows * group_filters));
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
                    self.finish((first, row + group), dots, outs, &mut out, start);
                }
            }
        }
    }
}

impl<T: Element> FloatEngine<'_, T> {
    /// Writes the products of rows with some filters, `[row][filter]`.
    fn multiply(&self, rows: &[T], filters: Range<usize>, dots: &mut [T]) {
        match self.weights {
            Weights::Values(weights) => {
                let (row_len, count) = (self.geometry.row_len(), dots.len() / filters.len());
                let rows = matrix(count, row_len, rows);
                let weights = matrix(filters.len(), row_len, &weights[filters.start * row_len..]);
                let mut dots = matrix_mut(count, filters.len(), dots);
                // Threads may cut tiles short. The gemm crate sums in another order then.
                general_mat_mul(T::one(), &rows, &weights.t(), T::zero(), &mut dots);
            }
            Weights::Codes(weights) => weights.multiply(rows, filters, dots),
        }
    }

    /// Finishes the rows of a tile, from an index of a row and a filter on. Their outputs begin at
    /// position `start` of `out`.
    fn finish(
        &self,
        (first_filter, row): (usize, usize),
        dots: &[T],
        outs: &mut [T],
        out: &mut ArrayViewMut4<'_, T>,
        start: usize,
    ) {
        let filters = out.dim().0;
        let mut rows = Rows::new(out.view_mut(), start, dots.len() / filters, outs);
        for (i, dots) in dots.chunks(filters).enumerate() {
            let row = row + i * self.geometry.groups();
            self.scale.finish_floats(first_filter, row, dots, rows.row(i));
        }
        rows.finish(self.kernel);
    }

    /// The windows of consecutive positions of an image, from the first on.
    fn rows<'r>(&'r self, image: usize, group: usize, first: usize, rows: &'r mut [T]) -> &'r [T] {
        let geometry = self.geometry;
        let image_len = geometry.pixels() * geometry.channels;
        let image = &self.activations[image * image_len..][..image_len];
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
