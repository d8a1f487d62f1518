//! Tiles in plain Rust, so that what surrounds them is tested on any CPU.

use crate::kernel::PANEL;
use crate::kernel::dot::tiles::{PanelTiles, RowTiles, Run, SIDE, SumTiles, Tiles, Words};
use std::mem::MaybeUninit;

/// Tiles of so many rows.
pub(super) struct Model(usize);

impl Model {
    /// The tile, filter and row of each sum.
    fn sums<const M: usize, const P: usize>(
        &self,
    ) -> impl Iterator<Item = (usize, usize, usize)> + use<M, P> {
        let rows = self.0;
        let filters = (0..M).flat_map(|tile| (0..P * PANEL).map(move |filter| (tile, filter)));
        filters.flat_map(move |(tile, filter)| (0..rows).map(move |row| (tile, filter, row)))
    }
}

impl SumTiles {
    fn at(&self, tile: usize, row: usize, filter: usize) -> *mut i32 {
        self.tiles[tile].wrapping_byte_add(row * self.stride).wrapping_add(filter)
    }
}

impl Tiles for Model {
    unsafe fn new(rows: usize) -> Self {
        assert!((1..=SIDE).contains(&rows));
        Model(rows)
    }

    unsafe fn multiply<const M: usize, const P: usize>(
        &self,
        rows: &[RowTiles],
        panels: &[PanelTiles],
        sums: SumTiles,
    ) {
        assert_eq!(rows.len(), panels.len());
        // As in registers, all sums are loaded before any is stored: two tiles may share rows.
        let mut totals = Vec::new();
        for (tile, filter, row) in self.sums::<M, P>() {
            // SAFETY: the caller vouches for what all tiles point to.
            unsafe {
                let mut total = match sums.are_begun {
                    true => *sums.at(tile, row, filter),
                    false => 0,
                };
                for (rows, panels) in rows.iter().zip(panels) {
                    let codes = rows.tiles[tile].wrapping_byte_add(row * rows.stride);
                    let weights = panels[filter / PANEL].wrapping_add(filter % PANEL);
                    for word in 0..SIDE {
                        let codes = (*codes.add(word)).to_le_bytes();
                        let weights = (*weights.add(word * PANEL)).to_le_bytes();
                        for (a, w) in codes.into_iter().zip(weights) {
                            total = total.wrapping_add(i32::from(a) * i32::from(w as i8));
                        }
                    }
                }
                totals.push(total);
            }
        }
        for ((tile, filter, row), total) in self.sums::<M, P>().zip(totals) {
            // SAFETY: as above.
            unsafe { *sums.at(tile, row, filter) = total };
        }
    }

    unsafe fn gather(row: *const u32, runs: &[Run], to: &mut MaybeUninit<Words>) {
        let mut words = [0; SIDE];
        for (lane, word) in words.iter_mut().enumerate() {
            for &(_, first) in runs.iter().filter(|(mask, _)| mask >> lane & 1 == 1) {
                // SAFETY: the caller vouches for the words of all runs.
                *word = unsafe { *row.offset(first + lane as isize) };
            }
        }
        to.write(words);
    }

    unsafe fn unpack<const SPAN: usize>(packed: &Words, to: &mut [MaybeUninit<Words>; SPAN]) {
        let bits = 8 / SPAN;
        for (w, to) in to.iter_mut().enumerate() {
            let each = |byte: u8| ((u32::from(byte) >> (w * bits)) & ((1 << bits) - 1)) as u8;
            to.write(packed.map(|word| u32::from_ne_bytes(word.to_ne_bytes().map(each))));
        }
    }
}
