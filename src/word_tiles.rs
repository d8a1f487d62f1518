//! The exact products: cuts the output into blocks for the threads, each block into tiles of rows
//! for the second cache, and multiplies a tile with a few panels of filters at a time, whose sums
//! stay in the first cache until the epilogue has used them up.

use crate::Result;
use crate::blocks::{Block, Cut, Divide, Shares};
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel, Offsets, PANEL, ToFloats};
use crate::numerator::Summed;
use crate::output_rows::Positions;
use crate::panels::Panels;
use crate::parallel::blocks;
use crate::scratch::{WordBuffers, product, take_aligned};
use crate::tile_sums::{Sums, TileSums};
use crate::word_layout::WordLayout;
use ndarray::{ArrayViewMut4, ArrayViewMut5, Axis, s};
use std::ops::Range;

/// Sums of a tile: they stay in the first cache. Filters come first, so that outputs that lie side
/// by side are written together.
const TILE_SUMS: usize = 4096;
const MAX_PANELS: usize = 16;
const MAX_ROWS: usize = 64;

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
    type Out: Send + 'static;
    /// Filters that an element of the output holds.
    const FILTERS: usize;

    /// Elements of a buffer for a tile of so many rows and filters.
    fn buffer_len(&self, rows: usize, filters: usize) -> usize;

    /// How the outputs of a tile with some filters are made of differing bits, if that is all there
    /// is to it.
    fn to_floats(&self, _tile: &Tile<'_>, _filters: Range<usize>) -> Option<ToFloats<'_>> {
        None
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

/// Rows to be multiplied: the windows of consecutive output positions.
#[derive(Clone, Copy, Default)]
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
        let shape = self.tile_shape(self.finishes_at_once(finish, &out));
        let filters = shape.panels * PANEL;
        let gathered = if self.layout.direct { 0 } else { shape.rows };
        let counts = if self.layout.planes * self.panels.planes() > 1 { filters } else { 0 };
        let wide = if self.is_wide() { filters } else { 0 };
        let buffers = Buffers {
            rows: shares(&mut buffers.rows, blocks, product(&[gathered, row_words], "windows")?)?,
            sums: shares(&mut buffers.sums, blocks, shape.rows * filters)?,
            counts: shares(&mut buffers.counts, blocks, shape.rows * counts)?,
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

    fn tile_shape(&self, at_once: bool) -> TileShape {
        let panels = self.geometry.group_filters().div_ceil(PANEL).clamp(2, MAX_PANELS);
        let mut rows = match at_once {
            true => MAX_ROWS, // there are no sums
            false => (TILE_SUMS / (panels * PANEL)).min(MAX_ROWS),
        };
        if !self.layout.direct {
            rows = rows.min(TILE_WORDS / self.layout.gathered_words().max(1)).max(MIN_ROWS);
        }
        let panel_words = (self.panels.planes() * self.panels.panel_words()).max(1) * PANEL;
        let cached = (CACHED_WORDS / panel_words).max(1).next_multiple_of(panels);
        TileShape { rows, panels, cached_panels: cached, at_once }
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
                    if shape.at_once
                        && let Some(to_floats) = finish.to_floats(tile, filters.clone())
                        && self.finish_tile::<F>(
                            tile,
                            panels.clone(),
                            to_floats,
                            out.view_mut(),
                            start,
                        )
                    {
                        return;
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
    fn finishes_at_once<F: Finish>(&self, finish: &F, out: &ArrayViewMut5<'_, F::Out>) -> bool {
        let signs = self.summed == Summed::DifferingBits
            && self.layout.planes * self.panels.planes() == 1
            && self.offsets.len() > 0;
        let side_by_side = out.strides()[1] == 1 || out.len_of(Axis(1)) == 1;
        // The filters of a group may begin within a panel.
        let whole_panels = self.geometry.groups() == 1;
        let can = self.kernel.finishes_at_once() && signs && side_by_side && whole_panels;
        can && finish.to_floats(&Tile::default(), 0..0).is_some()
    }

    /// Makes the outputs of a tile with some panels at once, if its positions follow each other in
    /// `out`, which they begin at `start`.
    #[inline(always)]
    fn finish_tile<F: Finish>(
        &self,
        tile: &Tile<'_>,
        panels: Range<usize>,
        to_floats: ToFloats<'_>,
        out: ArrayViewMut4<'_, F::Out>,
        start: usize,
    ) -> bool {
        let Positions::Merged(mut out) = Positions::new(out, start..start + tile.rows) else {
            return false;
        };
        let panels = self.panels.plane(0, panels);
        self.for_each_line(*tile, 0, self.offsets, |row, rows| {
            let lines = row..row + rows.count();
            let addends = to_floats.addends.of_rows(lines.clone());
            let out = out.slice_mut(s![.., lines]);
            let to_floats = ToFloats { addends, ..to_floats };
            self.kernel.finish_differing(rows, panels, to_floats, out);
        });
        true
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
