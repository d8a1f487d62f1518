//! On tiles: registers that hold matrices, and instructions that multiply them.
//!
//! A tile holds a step of rows: 16 words each of up to 16 of them. 16 words of the filters of a
//! panel, which follow each other, make the other factor, and the sums are a tile as well. Two tiles
//! of rows are multiplied with two panels at a time: each factor is used twice, so that there are as
//! many products as factors to load. Rows are read where they lie if the words of a step follow
//! each other; if not, or if there are fewer at the end, they are gathered before.

use super::{PANEL, Rows, Weights};
use crate::tuning::AMX_TILE_PAIRS as PAIRS;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Rows of a tile, the words of each, and the words of a panel that these are multiplied with.
pub(super) const SIDE: usize = 16;

/// A row of a tile.
pub(super) type Words = [u32; SIDE];

/// A factor that has no place elsewhere, `[row][word]` or `[word][filter]`.
#[repr(C, align(64))]
struct Tile([MaybeUninit<Words>; SIDE]);

/// The words of two tiles of rows in a step; one of them may be missing.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct RowTiles {
    pub(super) tiles: [*const u32; 2],
    /// Bytes from row to row.
    pub(super) stride: usize,
}

/// The words of two panels in a step; the second may be missing.
pub(super) type PanelTiles = [*const u32; 2];

/// Where the sums of two tiles of rows go to, one of which may be missing: from the first panel on,
/// that of the second follows.
#[derive(Clone, Copy)]
pub(super) struct SumTiles {
    pub(super) tiles: [*mut i32; 2],
    /// Bytes from row to row.
    pub(super) stride: usize,
    /// Whether there are sums already, that products are added to.
    pub(super) are_begun: bool,
}

/// Words of a step that follow each other: those of the lanes in the mask, if lane 0 lay so many
/// words from the first word of a row.
pub(super) type Run = (u16, isize);

/// The registers. While there is a value, they are set up for tiles of some number of rows.
pub(super) trait Tiles {
    /// # Safety
    /// The CPU must have them. There are 1 to [`SIDE`] rows, and no other value on this thread.
    unsafe fn new(rows: usize) -> Self;

    /// Multiplies `M` tiles of rows with `P` panels, both 1 or 2, step by step.
    ///
    /// # Safety
    /// There are as many row tiles as panel tiles, and all that they and `sums` point to is there.
    unsafe fn multiply<const M: usize, const P: usize>(
        &self,
        rows: &[RowTiles],
        panels: &[PanelTiles],
        sums: SumTiles,
    );

    /// Writes the words of a step, zeros in the lanes that no run has.
    ///
    /// # Safety
    /// The words of all runs are there.
    unsafe fn gather(row: *const u32, runs: &[Run], to: &mut MaybeUninit<Words>);

    /// Writes the weights that a word of each filter of a panel holds: [`PANEL`] for each of `SPAN`
    /// words.
    ///
    /// # Safety
    /// The CPU must have what the tiles go with.
    unsafe fn unpack<const SPAN: usize>(packed: &Words, to: &mut [MaybeUninit<Words>; SPAN]);
}

/// Steps whose sums stay in registers.
const STEPS: usize = 64;
/// How many of the steps may take rows that are gathered.
const GATHERED: usize = 4;

/// What there is to multiply, in steps, with two panels after another. All of it may be
/// uninitialized; `N` steps have room for panels that are not multiplied where they lie.
struct Steps<const N: usize> {
    /// For each pair of tiles.
    rows: [[MaybeUninit<RowTiles>; STEPS]; PAIRS],
    panels: [MaybeUninit<PanelTiles>; STEPS],
    gathered: [[[Tile; 2]; GATHERED]; PAIRS],
    unpacked: [[Tile; 2]; N],
}

/// The tiles of some rows. They are all of a size, and if that takes more rows than there are, the
/// last begins with rows of the one before. These two are a pair, so that none gets sums of the
/// other.
#[derive(Clone, Copy)]
struct Cut {
    rows: usize,
    count: usize,
    height: usize,
}

impl Cut {
    fn new(rows: usize) -> Self {
        let count = rows.div_ceil(SIDE);
        Cut { rows, count, height: rows.div_ceil(count.max(1)) }
    }

    fn pairs(self) -> usize {
        self.count.div_ceil(2)
    }

    /// The first row of each tile of a pair; of an odd number of tiles, the first is alone.
    fn pair(self, pair: usize) -> impl ExactSizeIterator<Item = usize> {
        let odd = self.count % 2;
        let tiles = (2 * pair).saturating_sub(odd)..2 * (pair + 1) - odd;
        tiles.map(move |tile| (tile * self.height).min(self.rows - self.height))
    }
}

/// Writes what [`Kernel::dot`](super::Kernel::dot) hands over. A word of a panel holds the weights of
/// `SPAN` words. If these are more than one, panels are unpacked, for `N` steps at a time; if not,
/// the last words may have to be copied, and `N` is 1.
///
/// # Safety
/// The CPU must have the tiles, of which there is no other value on this thread, and the lengths be
/// what the callers there check.
#[inline(always)]
pub(super) unsafe fn sum_products<T: Tiles, const SPAN: usize, const N: usize>(
    rows: Rows<'_>,
    weights: Weights<'_>,
    sums: &mut [i32],
    stride: usize,
) {
    let len = rows.offsets().len();
    if rows.count() == 0 || len == 0 {
        return;
    }
    let cut = Cut::new(rows.count());
    let mut steps = MaybeUninit::<Steps<N>>::uninit();
    // SAFETY: all of it may be uninitialized.
    let steps = unsafe { &mut *steps.as_mut_ptr() };
    // SAFETY: the caller vouches for the CPU and the lengths; a tile is no higher than `SIDE`, and
    // `Steps` sets what it points to.
    unsafe {
        let tiles = T::new(cut.height);
        for first in (0..cut.pairs()).step_by(PAIRS) {
            let pairs = first..cut.pairs().min(first + PAIRS);
            let mut word = 0;
            while word < len {
                let most = if SPAN == 1 { STEPS } else { N };
                let count = steps.set_rows::<T>(rows, cut, pairs.clone(), word, most);
                let panels = weights.panels.chunks(2 * len / SPAN * PANEL).enumerate();
                for (i, panels) in panels {
                    let panel_len = len / SPAN * PANEL;
                    steps.set_panels::<T, SPAN>(panels, panel_len, word, count);
                    for (pair, row_tiles) in pairs.clone().zip(&steps.rows) {
                        let to = sums.as_mut_ptr().add(2 * i * PANEL);
                        let mut to = SumTiles {
                            tiles: [to; 2],
                            stride: stride * size_of::<i32>(),
                            are_begun: word > 0,
                        };
                        let starts = cut.pair(pair);
                        let is_two = (starts.len() == 2, panels.len() > panel_len);
                        for (tile, start) in to.tiles.iter_mut().zip(starts) {
                            *tile = tile.add(start * stride);
                        }
                        let (rows, panels) =
                            (first_of(row_tiles, count), first_of(&steps.panels, count));
                        match is_two {
                            (true, true) => tiles.multiply::<2, 2>(rows, panels, to),
                            (true, false) => tiles.multiply::<2, 1>(rows, panels, to),
                            (false, true) => tiles.multiply::<1, 2>(rows, panels, to),
                            (false, false) => tiles.multiply::<1, 1>(rows, panels, to),
                        }
                    }
                }
                word += count * SIDE;
            }
        }
    }
}

impl<const N: usize> Steps<N> {
    /// Sets the rows of some pairs for as many steps as there is room for, and returns how many.
    ///
    /// # Safety
    /// The CPU must have what the tiles go with. The pairs are some of these rows, no more than
    /// [`AMX_TILE_PAIRS`](PAIRS).
    #[inline(always)]
    unsafe fn set_rows<T: Tiles>(
        &mut self,
        rows: Rows<'_>,
        cut: Cut,
        pairs: Range<usize>,
        first_word: usize,
        most: usize,
    ) -> usize {
        let mut gathered = 0;
        let mut count = 0;
        for offsets in rows.offsets()[first_word..].chunks(SIDE).take(most) {
            let direct = offsets.len() == SIDE && are_consecutive(offsets);
            let mut found = [(0, 0); SIDE];
            let runs = if direct {
                &[]
            } else if gathered < GATHERED {
                gathered += 1;
                runs(offsets, &mut found)
            } else {
                break;
            };
            for (i, pair) in pairs.clone().enumerate() {
                let mut tiles = [std::ptr::null(); 2];
                for (t, start) in cut.pair(pair).enumerate() {
                    let from = rows.from(start);
                    if direct {
                        // SAFETY: `Rows` keeps every word of its rows within them.
                        tiles[t] = unsafe { from.add(offsets[0] as usize) };
                        continue;
                    }
                    let to = &mut self.gathered[i][gathered - 1][t].0;
                    for (row, to) in to[..cut.height].iter_mut().enumerate() {
                        // SAFETY: as above.
                        unsafe { T::gather(from.wrapping_add(row * rows.step()), runs, to) };
                    }
                    tiles[t] = to.as_ptr().cast();
                }
                let stride = if direct { rows.step() } else { SIDE } * size_of::<u32>();
                self.rows[i][count].write(RowTiles { tiles, stride });
            }
            count += 1;
        }
        count
    }

    /// Sets one or two panels for some steps.
    ///
    /// # Safety
    /// The CPU must have what the tiles go with.
    #[inline(always)]
    unsafe fn set_panels<T: Tiles, const SPAN: usize>(
        &mut self,
        panels: &[u32],
        panel_len: usize,
        first_word: usize,
        count: usize,
    ) {
        let step_len = SIDE / SPAN * PANEL;
        for i in 0..count {
            let mut tiles = [std::ptr::null(); 2];
            for (p, (panel, tile)) in panels.chunks(panel_len).zip(&mut tiles).enumerate() {
                let words = &panel[first_word / SPAN * PANEL + i * step_len..];
                *tile = if SPAN == 1 && words.len() >= step_len {
                    words.as_ptr()
                } else {
                    let words = words[..step_len.min(words.len())].as_chunks().0;
                    let unpacked = &mut self.unpacked[if SPAN == 1 { 0 } else { i }][p];
                    // SAFETY: the caller vouches for the CPU.
                    unsafe { unpacked.unpack::<T, SPAN>(words) }
                };
            }
            self.panels[i].write(tiles);
        }
    }
}

/// The first of a table.
///
/// # Safety
/// So many are written.
unsafe fn first_of<V>(table: &[MaybeUninit<V>], count: usize) -> &[V] {
    // SAFETY: the caller vouches for them.
    unsafe { std::slice::from_raw_parts(table[..count].as_ptr().cast(), count) }
}

impl Tile {
    /// Writes the weights of up to a step, and zeros behind them.
    ///
    /// # Safety
    /// The CPU must have what the tiles go with.
    #[inline(always)]
    unsafe fn unpack<T: Tiles, const SPAN: usize>(&mut self, packed: &[Words]) -> *const u32 {
        let rows = self.0.as_chunks_mut::<SPAN>().0;
        let (written, others) = rows.split_at_mut(packed.len());
        for (packed, to) in packed.iter().zip(written) {
            // SAFETY: the caller vouches for the CPU.
            unsafe { T::unpack(packed, to) };
        }
        others.as_flattened_mut().fill(MaybeUninit::new([0; SIDE]));
        self.0.as_ptr().cast()
    }
}

#[inline(always)]
fn are_consecutive(offsets: &[u32]) -> bool {
    // Without an end before the last, vectors can do it.
    let found = offsets.iter().zip(offsets[0]..);
    found.fold(true, |all, (&offset, expected)| all & (offset == expected))
}

/// The runs of up to a step.
fn runs<'a>(offsets: &[u32], runs: &'a mut [Run; SIDE]) -> &'a [Run] {
    let mut count = 0;
    for (lane, &offset) in offsets.iter().enumerate() {
        let first = offset as isize - lane as isize;
        if count == 0 || runs[count - 1].1 != first {
            runs[count] = (0, first);
            count += 1;
        }
        runs[count - 1].0 |= 1 << lane;
    }
    &runs[..count]
}
