//! The exact products: cuts the output into blocks for the threads, each block into tiles of rows
//! for the second cache, and multiplies a tile with a few panels of filters at a time, whose sums
//! stay in the first cache until the epilogue has used them up.

use crate::Result;
use crate::epilogue::exact::Summed;
use crate::epilogue::store::OutputRows;
use crate::forward::blocks_old::{Block, Cut, Divide, Shares};
use crate::forward::scratch::WordBuffers;
use crate::forward::tile_sums::{Sums, TileSums};
use crate::geometry::Geometry;
use crate::kernel::{Code, FilterPlanes, Kernel, Offsets, PANEL, Rows};
use crate::memory::parallel::blocks;
use crate::memory::{product, take_aligned};
use crate::packed::layout::WordLayout;
use crate::packed::panels::Panels;
use ndarray::{ArrayViewMut2, ArrayViewMut4, ArrayViewMut5, Axis, s};
use std::ops::Range;

/// A tile of gathered rows has at most so many words, if that leaves it `MIN_ROWS`.
const TILE_WORDS: usize = 1 << 15;
const MIN_ROWS: usize = 8;

/// Words of panels that stay in the second cache.
const CACHED_WORDS: usize = 1 << 16;

/// Words times filters below which a second thread costs more than it saves.
const WORDS_PER_BLOCK: usize = 1 << 17;

/// A forward whose operands are packed: only products and the epilogue are left to do.
pub(crate) struct WordTiles<'a> {
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

/// What becomes of the sums.
pub(crate) trait Finish: Sync {
    /// An element of the output.
    type Out: Copy + Send + 'static;
    /// Filters that an element of the output holds.
    const FILTERS: usize;

    /// Elements of a buffer for a tile of so many rows and filters.
    fn buffer_len(&self, rows: usize, filters: usize) -> usize;

    /// Whether outputs can be made of differing bits at once.
    fn finishes_differing(&self) -> bool;

    /// Makes the outputs of some rows and filters at once.
    fn finish_differing(&self, bits: Bits<'_>, out: ArrayViewMut2<'_, Self::Out>);

    /// Does what is left to do to the outputs of a tile that were made at once.
    fn finish_last(
        &self,
        _tile: &Tile<'_>,
        _filters: Range<usize>,
        _rows: &mut OutputRows<'_, Self::Out>,
    ) {
    }

    /// Writes the outputs of a tile. `out` is (filters, depth, height, width) of an image, and the
    /// tile begins at its position `start`.
    fn finish(
        &self,
        sums: &Sums<'_>,
        buffer: &mut [Self::Out],
        out: &mut ArrayViewMut4<'_, Self::Out>,
        start: usize,
    );
}

/// Bits to be compared: of some rows of a tile with some filters.
pub(crate) struct Bits<'a> {
    pub(crate) tile: &'a Tile<'a>,
    /// Of the rows, the first in the tile.
    pub(crate) first_row: usize,
    pub(crate) rows: Rows<'a>,
    pub(crate) filters: Range<usize>,
    pub(crate) planes: FilterPlanes<'a>,
}

/// Rows to be multiplied: the windows of consecutive output positions.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a> {
    /// What they are read from: a group's part of an image, or gathered rows.
    pub(crate) words: &'a [u32],
    pub(crate) image: usize,
    pub(crate) group: usize,
    pub(crate) position: usize,
    pub(crate) rows: usize,
}

/// What one thread writes to while it computes a block.
struct Buffers<'a, O> {
    rows: Shares<'a, u32>,
    sums: Shares<'a, i32>,
    counts: Shares<'a, i32>,
    wide: Shares<'a, i64>,
    outs: Shares<'a, O>,
}

impl<O: Send> Divide for Buffers<'_, O> {
    fn divide(self, blocks: usize) -> (Self, Self) {
        let (rows, right_rows) = self.rows.split(blocks);
        let (sums, right_sums) = self.sums.split(blocks);
        let (counts, right_counts) = self.counts.split(blocks);
        let (wide, right_wide) = self.wide.split(blocks);
        let (outs, right_outs) = self.outs.split(blocks);
        let right = Buffers {
            rows: right_rows,
            sums: right_sums,
            counts: right_counts,
            wide: right_wide,
            outs: right_outs,
        };
        (Buffers { rows, sums, counts, wide, outs }, right)
    }
}

/// The computation of a block.
struct Compute<'a, 'b, 'c, F: Finish> {
    tiles: &'a WordTiles<'a>,
    finish: &'a F,
    block: Block<'b, F::Out>,
    shape: TileShape,
    buffers: Buffers<'c, F::Out>,
}

impl<F: Finish> Code for Compute<'_, '_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.tiles.compute(self.finish, self.block, self.shape, self.buffers);
    }
}

/// How many rows and panels a tile has.
#[derive(Clone, Copy)]
struct TileShape {
    rows: usize,
    panels: usize,
    /// Whether outputs are made without writing sums.
    at_once: bool,
    /// Panels that are used up for a tile of rows before the next: all tiles find them in the
    /// second cache.
    cached_panels: usize,
}

impl WordTiles<'_> {
    pub(crate) fn run<F: Finish>(
        &self,
        finish: &F,
        buffers: &mut WordBuffers,
        outs: &mut Vec<F::Out>,
        out: ArrayViewMut5<'_, F::Out>,
    ) -> Result<()>
    where
        F::Out: Copy + Default,
    {
        if out.is_empty() {
            return Ok(());
        }
        let row_words = self.layout.gathered_words();
        let words = row_words.saturating_mul(self.panels.planes());
        let work = out.len().saturating_mul(F::FILTERS).saturating_mul(words);
        let blocks = blocks(work, WORDS_PER_BLOCK);
        let side_by_side = out.strides()[1] == 1 || out.len_of(Axis(1)) == 1;
        let shape = self.tile_shape(self.finishes_at_once(finish), side_by_side);
        let filters = shape.panels * PANEL;
        let gathered = if self.layout.direct { 0 } else { shape.rows };
        let planes = self.layout.planes * self.panels.planes();
        let counts = self.kernel.xnor_buffer(self.offsets.len(), planes, filters);
        let wide = if self.is_wide() { filters } else { 0 };
        let buffers = Buffers {
            rows: shares(&mut buffers.rows, blocks, product(&[gathered, row_words], "windows")?)?,
            sums: shares(&mut buffers.sums, blocks, shape.rows * filters)?,
            counts: shares(&mut buffers.counts, blocks, counts)?,
            wide: shares(&mut buffers.wide, blocks, shape.rows * wide)?,
            outs: shares(outs, blocks, finish.buffer_len(shape.rows, filters))?,
        };
        let cut = Cut {
            geometry: self.geometry,
            filters_per_element: F::FILTERS,
            filters_together: filters.next_multiple_of(F::FILTERS),
            positions_together: if self.geometry.groups() == 1 { MIN_ROWS } else { 0 },
        };
        cut.for_each(Block::whole(out), blocks, buffers, &|block, buffers| {
            self.kernel.vectorize(Compute { tiles: self, finish, block, shape, buffers });
        });
        Ok(())
    }

    /// Sums stay in the first cache, as do the panels that a kernel takes at a time while it
    /// multiplies all rows with them. Filters come first, so that outputs that lie side by side are
    /// written together; where they lie apart, they come few at a time.
    fn tile_shape(&self, at_once: bool, side_by_side: bool) -> TileShape {
        let tiles = self.summed != Summed::DifferingBits && self.kernel.has_tiles();
        let (mut rows, panels) = match (side_by_side, at_once) {
            (true, true) => (64, 16),
            (true, false) if tiles => (64, 8),
            (true, false) => (64, 4),
            (false, _) => (128, 2),
        };
        let panels = self.geometry.group_filters().div_ceil(PANEL).clamp(2, panels);
        if !self.layout.direct {
            let words = if tiles { 4 * TILE_WORDS } else { TILE_WORDS };
            rows = rows.min(words / self.layout.gathered_words().max(1)).max(MIN_ROWS);
        }
        let panel_words = (self.panels.planes() * self.panels.panel_words()).max(1) * PANEL;
        let cached_panels = match side_by_side || !self.layout.direct {
            _ if self.geometry.positions() <= rows => self.geometry.filters.div_ceil(PANEL),
            true => (CACHED_WORDS / panel_words).max(1).next_multiple_of(panels),
            false => panels, // few planes at a time, for whole images
        };
        TileShape { rows, panels, cached_panels: cached_panels.max(panels), at_once }
    }

    /// Computes a block on this thread.
    #[inline(always)]
    fn compute<F: Finish>(
        &self,
        finish: &F,
        block: Block<'_, F::Out>,
        shape: TileShape,
        buffers: Buffers<'_, F::Out>,
    ) {
        let Block { mut out, first_image, first_filter, first_position } = block;
        let gathered = buffers.rows.take();
        let mut sums = TileSums {
            sums: buffers.sums.take(),
            counts: buffers.counts.take(),
            wide: buffers.wide.take(),
        };
        let outs = buffers.outs.take();
        let (_, elements, depth, height, width) = out.dim();
        let end_filter = (first_filter + elements * F::FILTERS).min(self.geometry.filters);
        let end_position = first_position + depth * height * width;
        let group_filters = self.geometry.group_filters();
        for (i, mut out) in out.outer_iter_mut().enumerate() {
            let image = first_image + i;
            for group in first_filter / group_filters..end_filter.div_ceil(group_filters) {
                let filters = first_filter.max(group * group_filters)
                    ..end_filter.min((group + 1) * group_filters);
                let mut compute = |tile: &Tile<'_>, panels: Range<usize>| {
                    let filters = filters.start.max(panels.start * PANEL)
                        ..filters.end.min(panels.end * PANEL);
                    let first = (filters.start - first_filter) / F::FILTERS;
                    let end = (filters.end - first_filter).div_ceil(F::FILTERS);
                    let mut out = out.slice_mut(s![first..end, .., .., ..]);
                    let start = tile.position - first_position;
                    if shape.at_once {
                        let out = OutputRows::new(out, start, tile.rows, outs);
                        return self.finish_tile(finish, tile, panels, filters, out);
                    }
                    let sums = self.sum(tile, panels, filters, &mut sums);
                    finish.finish(&sums, outs, &mut out, start);
                };
                let panels = filters.start / PANEL..filters.end.div_ceil(PANEL);
                for cached in chunks(panels, shape.cached_panels) {
                    for positions in chunks(first_position..end_position, shape.rows) {
                        let (position, rows) = (positions.start, positions.len());
                        let mut tile = Tile { words: &[], image, group, position, rows };
                        tile.words = match self.layout.direct {
                            true => self.image(image, group),
                            false => self.gather(&tile, gathered),
                        };
                        for panels in chunks(cached.clone(), shape.panels) {
                            compute(&tile, panels);
                        }
                    }
                }
            }
        }
    }

    /// Whether outputs are made of differing bits at once, without writing sums.
    fn finishes_at_once<F: Finish>(&self, finish: &F) -> bool {
        let bits = self.summed == Summed::DifferingBits && self.offsets.len() > 0;
        // The filters of a group may begin within a panel.
        let whole_panels = self.geometry.groups() == 1;
        self.kernel.finishes_at_once() && bits && whole_panels && finish.finishes_differing()
    }

    /// Makes the outputs of a tile with some panels at once.
    #[inline(always)]
    fn finish_tile<F: Finish>(
        &self,
        finish: &F,
        tile: &Tile<'_>,
        panels: Range<usize>,
        filters: Range<usize>,
        mut out: OutputRows<'_, F::Out>,
    ) {
        let planes = self.panels.all_planes(panels);
        self.for_each_line(*tile, 0, self.offsets, |first_row, rows| {
            let out = out.lines(first_row..first_row + rows.count());
            let rows = rows.in_planes(self.layout.planes, self.layout.plane_step());
            let filters = filters.clone();
            finish.finish_differing(Bits { tile, first_row, rows, filters, planes }, out);
        });
        finish.finish_last(tile, filters, &mut out);
        out.finish(self.kernel);
    }

    /// A group's part of an image.
    fn image(&self, image: usize, group: usize) -> &[u32] {
        let image_words = self.layout.image_words();
        let image = &self.words[image * image_words..][..image_words];
        image.get(group * self.layout.group_words..).unwrap_or_default()
    }

    /// The windows of a tile.
    fn gather<'r>(&self, tile: &Tile<'_>, rows: &'r mut [u32]) -> &'r [u32] {
        let image = self.image(tile.image, tile.group);
        let row_words = self.layout.gathered_words();
        let rows = &mut rows[..tile.rows * row_words];
        for (row, position) in rows.chunks_mut(row_words.max(1)).zip(tile.position..) {
            self.layout.gather(self.geometry, image, self.pad, position, row);
        }
        rows
    }
}

/// A share of `len` elements of a buffer for each block.
fn shares<V: Copy + Default>(
    buffer: &mut Vec<V>,
    blocks: usize,
    len: usize,
) -> Result<Shares<'_, V>> {
    Ok(Shares::new(take_aligned(buffer, product(&[blocks, len], "windows")?, "windows")?, len))
}

/// Cuts a range into parts of at most so many.
fn chunks(range: Range<usize>, len: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let end = range.end;
    range.step_by(len).map(move |start| start..end.min(start + len))
}
