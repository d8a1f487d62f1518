//! Where outputs are written: those of consecutive positions, however they lie.

use crate::kernel::Kernel;
use ndarray::{ArrayView1, ArrayViewMut1, ArrayViewMut2, ArrayViewMut4, Axis, ShapeBuilder, s};
use std::ops::Range;

/// Consecutive positions of (filters, depth, height, width).
pub(crate) enum Positions<'a, O> {
    /// (filter, position)
    Merged(ArrayViewMut2<'a, O>),
    /// All positions, and the first of those that are meant.
    Scattered(ArrayViewMut4<'a, O>, usize),
}

impl<'a, O> Positions<'a, O> {
    #[inline(always)]
    pub(crate) fn new(mut out: ArrayViewMut4<'a, O>, positions: Range<usize>) -> Self {
        let merged = out.merge_axes(Axis(2), Axis(3)) && out.merge_axes(Axis(1), Axis(3));
        match merged {
            true => Positions::Merged(out.slice_move(s![.., 0, 0, positions])),
            false => Positions::Scattered(out, positions.start),
        }
    }

    /// The outputs of one of them.
    #[inline(always)]
    pub(crate) fn at(&mut self, i: usize) -> ArrayViewMut1<'_, O> {
        match self {
            Positions::Merged(out) => out.index_axis_mut(Axis(1), i),
            Positions::Scattered(out, start) => {
                let (_, _, height, width) = out.dim();
                let at = *start + i;
                out.slice_mut(s![.., at / (height * width), at / width % height, at % width])
            }
        }
    }
}

/// The outputs of consecutive positions, as a slice for each. Where those of a position do not lie
/// side by side, they are written to a buffer first.
pub(crate) struct OutputRows<'a, T> {
    out: Positions<'a, T>,
    /// Whether outputs are written to where they belong.
    direct: bool,
    /// `[position][filter]`.
    buffer: &'a mut [T],
    filters: usize,
    count: usize,
}

impl<'a, T: Copy> OutputRows<'a, T> {
    /// Those of `count` positions of `out` (filters, depth, height, width) from `start` on.
    #[inline(always)]
    pub(crate) fn new(
        out: ArrayViewMut4<'a, T>,
        start: usize,
        count: usize,
        buffer: &'a mut [T],
    ) -> Self {
        let filters = out.len_of(Axis(0));
        let between_filters = out.strides()[0];
        let out = Positions::new(out, start..start + count);
        let direct = matches!(out, Positions::Merged(_)) && (filters == 1 || between_filters == 1);
        OutputRows { out, direct, buffer: &mut buffer[..count * filters], filters, count }
    }

    /// How many positions there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Where to write the outputs of a position.
    #[inline(always)]
    pub(crate) fn row(&mut self, i: usize) -> &mut [T] {
        let row = match &mut self.out {
            Positions::Merged(out) if self.direct => out.index_axis_mut(Axis(1), i).into_slice(),
            _ => None,
        };
        row.unwrap_or(&mut self.buffer[i * self.filters..][..self.filters])
    }

    /// Where to write the outputs of some positions: (filter, position), those of a position side by
    /// side.
    #[inline(always)]
    pub(crate) fn lines(&mut self, positions: Range<usize>) -> ArrayViewMut2<'_, T> {
        match &mut self.out {
            Positions::Merged(out) if self.direct => out.slice_mut(s![.., positions]),
            _ => {
                let shape = (self.filters, positions.len()).strides((1, self.filters));
                let buffer = &mut self.buffer[positions.start * self.filters..];
                ArrayViewMut2::from_shape(shape, buffer).expect("as long as the positions")
            }
        }
    }

    /// Moves what was written to where it belongs.
    #[inline(always)]
    pub(crate) fn finish(mut self, kernel: Kernel) {
        match self.out {
            _ if self.direct => {}
            Positions::Merged(out) if out.ncols() == 1 || out.strides()[1] == 1 => {
                kernel.transpose(self.buffer, out);
            }
            _ => {
                for (i, row) in self.buffer.chunks(self.filters).enumerate() {
                    self.out.at(i).assign(&ArrayView1::from(row));
                }
            }
        }
    }
}
