//! Where outputs are written: those of consecutive positions, however they lie.

use crate::kernel::{Kernel, OutputRows};
use ndarray::{ArrayView1, ArrayViewMut1, ArrayViewMut2, ArrayViewMut4, Axis, ShapeBuilder, s};

/// Consecutive positions of (filters, depth, height, width).
enum Positions<'a, O> {
    /// (filter, position)
    Merged(ArrayViewMut2<'a, O>),
    /// All positions, and the first of those that are meant.
    Scattered(ArrayViewMut4<'a, O>, usize),
}

impl<'a, O> Positions<'a, O> {
    #[inline(always)]
    fn new(mut out: ArrayViewMut4<'a, O>, start: usize, count: usize) -> Self {
        let merged = out.merge_axes(Axis(2), Axis(3)) && out.merge_axes(Axis(1), Axis(3));
        match merged {
            true => Positions::Merged(out.slice_move(s![.., 0, 0, start..start + count])),
            false => Positions::Scattered(out, start),
        }
    }

    /// The outputs of one of them.
    fn at(&mut self, i: usize) -> ArrayViewMut1<'_, O> {
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

/// The outputs of consecutive positions, a row of each that is a slice. Where those of a position do
/// not lie side by side, they are written to a buffer first.
pub(crate) struct Rows<'a, O> {
    rows: OutputRows<'a, O>,
    /// Where they belong, if they are in the buffer.
    out: Option<Positions<'a, O>>,
}

impl<'a, O: Copy> Rows<'a, O> {
    /// Those of `count` positions of `out` (filters, depth, height, width) from `start` on.
    #[inline(always)]
    pub(crate) fn new(
        out: ArrayViewMut4<'a, O>,
        start: usize,
        count: usize,
        buffer: &'a mut [O],
    ) -> Self {
        let (filters, between_filters) = (out.len_of(Axis(0)), out.strides()[0]);
        match Positions::new(out, start, count) {
            Positions::Merged(rows) if filters == 1 || between_filters == 1 => {
                Rows { rows: OutputRows::new(rows), out: None }
            }
            out => {
                let shape = (filters, count).strides((1, filters));
                let rows = ArrayViewMut2::from_shape(shape, buffer).expect("as long as the rows");
                Rows { rows: OutputRows::new(rows), out: Some(out) }
            }
        }
    }

    /// A row.
    #[inline(always)]
    pub(crate) fn row(&mut self, i: usize) -> &mut [O] {
        self.rows.row(i)
    }

    /// How many rows there are.
    pub(crate) fn count(&self) -> usize {
        self.rows.count()
    }

    /// Moves what has been written to where it belongs.
    #[inline(always)]
    pub(crate) fn finish(self, kernel: Kernel) {
        let Rows { rows, out } = self;
        let rows = rows.into_array();
        let (filters, rows) = (rows.nrows(), rows.reversed_axes().into_slice());
        match (out, rows) {
            (Some(Positions::Merged(out)), Some(rows))
                if out.ncols() == 1 || out.strides()[1] == 1 =>
            {
                kernel.transpose(rows, out);
            }
            (Some(mut out), Some(rows)) => {
                for (i, row) in rows.chunks(filters).enumerate() {
                    out.at(i).assign(&ArrayView1::from(row));
                }
            }
            _ => {}
        }
    }
}
