//! The engine of exact products: cuts a block of the output into tiles of rows for the second cache,
//! and has a kernel multiply a tile with a few panels of filters at a time, whose sums go to the
//! epilogue while they are in registers.

use crate::Result;
use crate::epilogue::exact::Summed;
use crate::epilogue::{Output, Outputs, Tile};
use crate::forward::partition::{Block, Engine};
use crate::forward::plan::TileShape;
use crate::geometry::Geometry;
use crate::kernel::{Epilogue, Kernel, LONGEST, Offsets, PANEL, Rows, Vector};
use crate::memory::{Workspace, WorkspaceSize};
use crate::packed::layout::WordLayout;
use crate::packed::panels::Panels;
use ndarray::s;
use std::ops::Range;

/// A forward whose operands are packed: only products and the epilogue are left to do.
pub(crate) struct Gemm<'a, O> {
    pub(crate) operands: Operands<'a>,
    pub(crate) output: &'a O,
    pub(crate) shape: TileShape,
}

/// What is multiplied.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub(crate) kernel: Kernel,
    pub(crate) geometry: &'a Geometry,
    pub(crate) layout: &'a WordLayout,
    pub(crate) offsets: Offsets<'a>,
    /// Packed activations, `[image][pixel][group][plane][word]`.
    pub(crate) words: &'a [u32],
    /// The code of a padded position, where windows are gathered.
    pub(crate) pad: u8,
    pub(crate) panels: &'a Panels,
    pub(crate) summed: Summed,
    /// The largest code of an activation.
    pub(crate) largest: u32,
}

impl<O: Output> Gemm<'_, O> {
    /// Lengths of what a block is computed in: gathered rows, what a kernel puts down, sums of 64
    /// bits, and outputs.
    fn lengths(&self) -> [[usize; 2]; 4] {
        let Operands { layout, .. } = self.operands;
        let TileShape { rows, panels, .. } = self.shape;
        let filters = panels * PANEL;
        [
            [if layout.direct { 0 } else { rows }, layout.gathered_words()],
            [1, self.operands.buffer_len(rows, filters)],
            [if self.operands.is_long() { rows } else { 0 }, filters],
            [rows, filters.div_ceil(O::FILTERS)],
        ]
    }
}

impl<O: Output> Engine for Gemm<'_, O> {
    type Out = O::Element;
    const FILTERS: usize = O::FILTERS;

    fn workspace(&self) -> Result<WorkspaceSize> {
        let [windows, buffer, long, outputs] = self.lengths();
        WorkspaceSize::default()
            .and::<u32>(&windows, "windows")?
            .and::<i32>(&buffer, "sums")?
            .and::<i64>(&long, "sums")?
            .and::<O::Element>(&outputs, "outputs")
    }

    #[inline(always)]
    fn compute(&self, block: Block<'_, O::Element>, mut workspace: Workspace<'_>) {
        let Block { mut out, first_image, first_filter, first_position } = block;
        let geometry = self.operands.geometry;
        let [windows, buffer, long, outs] = self.lengths().map(|[rows, len]| rows * len);
        let (gathered, buffer) = (workspace.take(windows), workspace.take(buffer));
        let (long, outs) = (workspace.take(long), workspace.take(outs));
        let (_, elements, depth, height, width) = out.dim();
        let end_filter = (first_filter + elements * O::FILTERS).min(geometry.filters);
        let end_position = first_position + depth * height * width;
        let group_filters = geometry.group_filters();
        for (image, mut out) in (first_image..).zip(out.outer_iter_mut()) {
            for group in first_filter / group_filters..end_filter.div_ceil(group_filters) {
                let filters = first_filter.max(group * group_filters)
                    ..end_filter.min((group + 1) * group_filters);
                let panels = filters.start / PANEL..filters.end.div_ceil(PANEL);
                for cached in chunks(panels, self.shape.cached_panels) {
                    for positions in chunks(first_position..end_position, self.shape.rows) {
                        let windows = self.operands.windows(image, group, positions, gathered);
                        for panels in chunks(cached.clone(), self.shape.panels) {
                            let filters = filters.start.max(panels.start * PANEL)
                                ..filters.end.min(panels.end * PANEL);
                            let first = (filters.start - first_filter) / O::FILTERS;
                            let end = (filters.end - first_filter).div_ceil(O::FILTERS);
                            let out = out.slice_mut(s![first..end, .., .., ..]);
                            let start = windows.position - first_position;
                            let tile = windows.tile(image, group, filters);
                            let outputs = Outputs::new(self.output, tile, out, start, outs);
                            self.multiply(&windows, panels, outputs, buffer, long);
                        }
                    }
                }
            }
        }
    }
}

impl<O: Output> Gemm<'_, O> {
    /// Makes the outputs of a tile with a few panels.
    #[inline(always)]
    fn multiply(
        &self,
        windows: &Windows<'_>,
        panels: Range<usize>,
        mut outputs: Outputs<'_, O>,
        buffer: &mut [i32],
        long: &mut [i64],
    ) {
        let Operands { kernel, layout, offsets, summed, largest, .. } = self.operands;
        if !long.is_empty() {
            self.operands.sum_long(windows, panels.clone(), buffer, long);
            outputs.take_long(long, panels.len() * PANEL);
            return outputs.finish();
        }
        if offsets.len() == 0 {
            outputs.take(&[], 0);
            return outputs.finish();
        }
        self.operands.for_each_line(windows, offsets, |row, rows| {
            outputs.first_row = row;
            match summed {
                Summed::DifferingBits => {
                    let rows = rows.in_planes(layout.planes, layout.plane_step());
                    let filters = self.operands.panels.all_planes(panels.clone());
                    kernel.xnor(rows, filters, buffer, &mut outputs);
                }
                Summed::CodeProducts { .. } => {
                    let weights = self.operands.panels.plane(0, panels.clone());
                    let weights = self.operands.panels.weights(weights, largest);
                    kernel.dot(rows, weights, buffer, &mut outputs);
                }
            }
        });
        outputs.finish();
    }
}

/// The windows of consecutive output positions.
struct Windows<'a> {
    /// What they are read from: a group's part of an image, or gathered windows.
    words: &'a [u32],
    position: usize,
    count: usize,
}

impl Windows<'_> {
    fn tile(&self, image: usize, group: usize, filters: Range<usize>) -> Tile {
        Tile { image, group, position: self.position, rows: self.count, filters }
    }
}

impl Operands<'_> {
    /// Whether the sums of a whole row may not fit into 32 bits.
    fn is_long(&self) -> bool {
        self.summed != Summed::DifferingBits && self.offsets.len() > LONGEST
    }

    /// What a kernel puts down for a tile.
    fn buffer_len(&self, rows: usize, filters: usize) -> usize {
        match self.summed {
            Summed::DifferingBits => {
                let planes = self.layout.planes * self.panels.planes();
                self.kernel.xnor_buffer(self.offsets.len(), planes, filters)
            }
            Summed::CodeProducts { .. } => self.kernel.dot_buffer(rows, filters),
        }
    }

    /// The windows of some positions, which are gathered if they must be.
    fn windows<'w>(
        &'w self,
        image: usize,
        group: usize,
        positions: Range<usize>,
        gathered: &'w mut [u32],
    ) -> Windows<'w> {
        let Operands { layout, geometry, .. } = *self;
        let image_words = layout.image_words();
        let image = &self.words[image * image_words..][..image_words];
        let image = image.get(group * layout.group_words..).unwrap_or_default();
        let (position, count) = (positions.start, positions.len());
        if layout.direct {
            return Windows { words: image, position, count };
        }
        let row_words = layout.gathered_words();
        let words = &mut gathered[..count * row_words];
        for (row, position) in words.chunks_mut(row_words.max(1)).zip(positions) {
            layout.gather(geometry, image, self.pad, position, row);
        }
        Windows { words, position, count }
    }

    /// Writes the sums of rows so long that they are summed in parts, panel by panel.
    fn sum_long(
        &self,
        windows: &Windows<'_>,
        panels: Range<usize>,
        buffer: &mut [i32],
        sums: &mut [i64],
    ) {
        sums.fill(0);
        let stride = panels.len() * PANEL;
        let parts = LONGEST / self.panels.storage.span() * PANEL;
        for (i, panel) in panels.enumerate() {
            let panel = self.panels.plane(0, panel..panel + 1);
            let parts = panel.chunks(parts).zip(self.offsets.words().chunks(LONGEST));
            for (part, offsets) in parts {
                let weights = self.panels.weights(part, self.largest);
                let offsets = Offsets::new(offsets);
                self.for_each_line(windows, offsets, |row, rows| {
                    let sums = &mut sums[row * stride + i * PANEL..];
                    self.kernel.dot(rows, weights, buffer, &mut AddTo { sums, stride });
                });
            }
        }
    }

    /// Calls `f` with rows of a tile, and the number of the first of them: line after line of output
    /// positions.
    #[inline(always)]
    fn for_each_line(
        &self,
        windows: &Windows<'_>,
        offsets: Offsets<'_>,
        mut f: impl FnMut(usize, Rows<'_>),
    ) {
        let Windows { words, position, count } = *windows;
        if !self.layout.direct {
            return f(0, Rows::new(words, count, self.layout.gathered_words(), offsets));
        }
        let step = self.layout.step(self.geometry);
        let width = self.geometry.output[2];
        let mut row = 0;
        while row < count {
            let at = position + row;
            let rows = (width - at % width).min(count - row);
            let line = &words[self.layout.window(self.geometry, at)..];
            f(row, Rows::new(line, rows, step, offsets));
            row += rows;
        }
    }
}

/// Adds sums to those of 64 bits in memory, of which that of a row and a filter is
/// `sums[row * stride + filter]`.
struct AddTo<'a> {
    sums: &'a mut [i64],
    stride: usize,
}

impl Epilogue for AddTo<'_> {
    #[inline(always)]
    fn block<V: Vector, const M: usize, const P: usize>(
        &mut self,
        v: V,
        row: usize,
        panel: usize,
        sums: &[[V::Ints; P]; M],
    ) {
        for (row, sums) in (row..).zip(sums) {
            let to = &mut self.sums[row * self.stride + panel * PANEL..][..P * PANEL];
            for (&sums, to) in sums.iter().zip(to.as_chunks_mut::<PANEL>().0) {
                let mut stored = [0; PANEL];
                v.store_ints(sums, &mut stored);
                to.iter_mut().zip(stored).for_each(|(to, sum)| *to += i64::from(sum));
            }
        }
    }
}

/// Cuts a range into parts of at most so many.
fn chunks(range: Range<usize>, len: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let end = range.end;
    range.step_by(len).map(move |start| start..end.min(start + len))
}
