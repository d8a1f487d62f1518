//! The sums of a tile of rows with a few panels of filters.

use crate::epilogue::exact::Summed;
use crate::forward::gemm::{Tile, WordTiles};
use crate::kernel::{LONGEST, Offsets, PANEL, Rows};
use std::ops::Range;

/// The sums of a tile, `[row][filter]`.
pub(crate) struct Sums<'a> {
    pub(crate) sums: &'a [i32],
    /// The sums instead, where 32 bits may not hold them.
    pub(crate) wide: &'a [i64],
    pub(crate) stride: usize,
    pub(crate) rows: usize,
    pub(crate) filters: Range<usize>,
    pub(crate) image: usize,
    pub(crate) group: usize,
    /// The output position of the first row.
    pub(crate) position: usize,
}

impl Sums<'_> {
    /// Those of a row.
    #[inline(always)]
    pub(crate) fn row<'a, S>(&self, sums: &'a [S], i: usize) -> &'a [S] {
        &sums[i * self.stride..][..self.filters.len()]
    }
}

/// Where the sums of a tile are made.
pub(crate) struct TileSums<'a> {
    pub(crate) sums: &'a mut [i32],
    /// Where kernels put sums down.
    pub(crate) counts: &'a mut [i32],
    /// The sums in 64 bits; nothing where 32 are enough.
    pub(crate) wide: &'a mut [i64],
}

impl WordTiles<'_> {
    /// Sums the products of a tile with some filters of its group, which lie in these panels.
    #[inline(always)]
    pub(crate) fn sum<'s>(
        &self,
        tile: &Tile<'_>,
        panels: Range<usize>,
        filters: Range<usize>,
        buffers: &'s mut TileSums<'_>,
    ) -> Sums<'s> {
        let TileSums { sums, counts, wide } = buffers;
        match self.summed {
            _ if self.offsets.len() == 0 => sums.fill(0),
            Summed::DifferingBits => self.multiply_planes(*tile, panels.clone(), sums, counts),
            Summed::CodeProducts { .. } => {
                let panels = self.panels.plane(0, panels.clone());
                match wide.is_empty() {
                    true => self.multiply(*tile, panels, self.offsets, sums),
                    false => self.multiply_long(*tile, panels, sums, wide),
                }
            }
        }
        let Tile { image, group, position, rows, .. } = *tile;
        let before = filters.start - panels.start * PANEL;
        Sums {
            sums: &sums[before..],
            wide: wide.get(before..).unwrap_or_default(),
            stride: panels.len() * PANEL,
            rows,
            filters,
            image,
            group,
            position,
        }
    }

    /// Whether the sums of a whole row may not fit into 32 bits.
    pub(crate) fn is_wide(&self) -> bool {
        self.summed != Summed::DifferingBits && self.offsets.len() > LONGEST
    }

    /// Writes the sums of a tile with a few panels, of all planes.
    fn multiply_planes(
        &self,
        tile: Tile<'_>,
        panels: Range<usize>,
        sums: &mut [i32],
        counts: &mut [i32],
    ) {
        let stride = panels.len() * PANEL;
        let filters = self.panels.all_planes(panels);
        self.for_each_line(tile, 0, self.offsets, |row, rows| {
            let rows = rows.in_planes(self.layout.planes, self.layout.plane_step());
            self.kernel.count_differing(rows, filters, counts, &mut sums[row * stride..], stride);
        });
    }

    /// Writes the sums of a tile with a few panels, of which `offsets` may be a part.
    fn multiply(&self, tile: Tile<'_>, panels: &[u32], offsets: Offsets<'_>, sums: &mut [i32]) {
        let stride = panels.len() * self.panels.span() / offsets.len();
        let weights = self.panels.weights(panels, self.largest);
        self.for_each_line(tile, 0, offsets, |row, rows| {
            self.kernel.sum_products(rows, weights, &mut sums[row * stride..], stride);
        });
    }

    /// Calls `f` with a plane of the rows of a tile, and the number of the first of them: line
    /// after line of output positions.
    #[inline(always)]
    pub(crate) fn for_each_line(
        &self,
        tile: Tile<'_>,
        plane: usize,
        offsets: Offsets<'_>,
        mut f: impl FnMut(usize, Rows<'_>),
    ) {
        let Tile { words, position, rows, .. } = tile;
        let words = &words[plane * self.layout.plane_step()..];
        if !self.layout.direct {
            return f(0, Rows::new(words, rows, self.layout.gathered_words(), offsets));
        }
        let step = self.layout.step(self.geometry);
        let width = self.geometry.output[2];
        let mut row = 0;
        while row < rows {
            let at = position + row;
            let count = (width - at % width).min(rows - row);
            let line = &words[self.layout.window(self.geometry, at)..];
            f(row, Rows::new(line, count, step, offsets));
            row += count;
        }
    }

    /// The same for rows so long that they are summed in parts, panel by panel.
    fn multiply_long(&self, tile: Tile<'_>, panels: &[u32], sums: &mut [i32], wide: &mut [i64]) {
        let panel_words = self.panels.panel_words();
        let stride = panels.len() / panel_words;
        wide.fill(0);
        for (i, panel) in panels.chunks(panel_words * PANEL).enumerate() {
            let parts = panel.chunks(LONGEST / self.panels.span() * PANEL);
            let parts = parts.zip(self.offsets.words().chunks(LONGEST));
            for (part, offsets) in parts {
                self.multiply(tile, part, Offsets::new(offsets), sums);
                for row in 0..tile.rows {
                    let wide = &mut wide[row * stride + i * PANEL..][..PANEL];
                    let sums = sums[row * PANEL..].iter();
                    wide.iter_mut().zip(sums).for_each(|(wide, &sum)| *wide += i64::from(sum));
                }
            }
        }
    }
}
