//! Integer sums to floats, and where they are written.

use crate::Element;
use crate::epilogue::{Epilogue, Place};
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel};
use crate::numerator::{Carrier, Numerator, Precision, SumIn};
use crate::padding::Padding;
use crate::word_tiles::{Finish, Sums};
use ndarray::{ArrayView1, ArrayView5, ArrayViewMut2, ArrayViewMut4, Axis, s};

/// Integer sums to floats.
pub(crate) struct FloatOutput<'a, T> {
    pub(crate) kernel: Kernel,
    pub(crate) geometry: &'a Geometry,
    pub(crate) numerator: Numerator,
    pub(crate) padding: &'a Padding,
    /// `Σ c_a` of each row, `[image][position][group]`, or nothing where it is not wanted.
    pub(crate) code_sums: &'a [i64],
    pub(crate) epilogue: Epilogue<'a, T>,
    /// What is added to the outputs at last, of their shape.
    pub(crate) residual: Option<ArrayView5<'a, T>>,
}

impl<T: Element> Finish for FloatOutput<'_, T> {
    type Out = T;
    const FILTERS: usize = 1;

    fn buffer_len(&self, rows: usize, filters: usize) -> usize {
        rows * filters
    }

    fn finish(
        &self,
        tile: &Sums<'_>,
        buffer: &mut [T],
        out: &mut ArrayViewMut4<'_, T>,
        start: usize,
    ) {
        // Apart from the products, so that it is compiled once for all of them.
        let out = out.view_mut();
        self.kernel.vectorize(FinishTile { output: self, tile, buffer, out, start });
    }
}

struct FinishTile<'a, 'b, T> {
    output: &'a FloatOutput<'b, T>,
    tile: &'a Sums<'a>,
    buffer: &'a mut [T],
    out: ArrayViewMut4<'a, T>,
    start: usize,
}

impl<T: Element> Code for FinishTile<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Sums { sums, wide, .. } = *self.tile;
        match (self.output.padding.precision(), wide.is_empty()) {
            (Precision::Float, true) => self.write::<f32, _>(sums),
            (Precision::Narrow, true) => self.write::<i32, _>(sums),
            (Precision::Wide, true) => self.write::<i64, _>(sums),
            (_, false) => self.write::<i64, _>(wide),
        }
    }
}

impl<T: Element> FinishTile<'_, '_, T> {
    #[inline(always)]
    fn write<C: Carrier, S: SumIn<C>>(self, sums: &[S]) {
        let FinishTile { output, tile, buffer, out, start } = self;
        let mut rows = OutputRows::new(out, start, tile.rows, buffer);
        for i in 0..tile.rows {
            output.write_row::<C, S>(tile, i, tile.row(sums, i), rows.row(i));
        }
        rows.finish(output.kernel);
    }
}

impl<T: Element> FloatOutput<'_, T> {
    /// Writes the outputs of one position.
    #[inline(always)]
    fn write_row<C: Carrier, S: SumIn<C>>(
        &self,
        tile: &Sums<'_>,
        i: usize,
        sums: &[S],
        out: &mut [T],
    ) {
        let position = tile.position + i;
        let row = (tile.image * self.geometry.positions() + position) * self.geometry.groups();
        let place = Place { first_filter: tile.filters.start, row: row + tile.group };
        let addends = self.padding.addends::<C>(self.geometry, position);
        let terms = sums.iter().zip(&addends[place.first_filter..]);
        let product = C::of_twice(self.numerator.product);
        let denominator = self.numerator.denominator;
        if self.code_sums.is_empty() && denominator == 1 {
            let numerators = terms.map(|(&sum, &addend)| product * sum.carried() + addend);
            self.epilogue.write(place, out, numerators.map(C::to_float));
        } else {
            let code_sum = self.code_sums.get(place.row).copied().unwrap_or_default();
            let row = C::of_twice(self.numerator.row * code_sum);
            let numerators = terms.map(|(&sum, &addend)| product * sum.carried() + (row + addend));
            let denominator = T::of_integer(denominator);
            let values = numerators.map(|numerator| numerator.to_float::<T>() / denominator);
            self.epilogue.write(place, out, values);
        }
        if let Some(residual) = &self.residual {
            let [_, height, width] = self.geometry.output;
            let at = [position / (height * width), position / width % height, position % width];
            let filters = tile.filters.clone();
            let residual = residual.slice(s![tile.image, filters, at[0], at[1], at[2]]);
            match residual.as_slice() {
                Some(residual) => out.iter_mut().zip(residual).for_each(|(out, &r)| *out += r),
                None => out.iter_mut().zip(&residual).for_each(|(out, &r)| *out += r),
            }
        }
    }
}

/// The outputs of consecutive positions, as a slice for each. Where those of a position do not lie
/// side by side, they are written to a buffer first.
pub(crate) struct OutputRows<'a, T> {
    out: Layout<'a, T>,
    /// `[position][filter]`.
    buffer: &'a mut [T],
    filters: usize,
}

/// How outputs lie.
enum Layout<'a, T> {
    /// (filter, position), those of a position side by side.
    Rows(ArrayViewMut2<'a, T>),
    /// (filter, position), those of a filter side by side.
    Planes(ArrayViewMut2<'a, T>),
    /// (filter, depth, height, width), and the position of the first.
    Scattered(ArrayViewMut4<'a, T>, usize),
}

impl<'a, T: Element> OutputRows<'a, T> {
    /// Those of `count` positions of `out` (filters, depth, height, width) from `start` on.
    #[inline(always)]
    pub(crate) fn new(
        mut out: ArrayViewMut4<'a, T>,
        start: usize,
        count: usize,
        buffer: &'a mut [T],
    ) -> Self {
        let filters = out.len_of(Axis(0));
        let buffer = &mut buffer[..count * filters];
        let merged = out.merge_axes(Axis(2), Axis(3)) && out.merge_axes(Axis(1), Axis(3));
        let strides = [0, 3].map(|axis| out.strides()[axis]);
        let matrix = |out: ArrayViewMut4<'a, T>| out.slice_move(s![.., 0, 0, start..start + count]);
        let out = match strides {
            [between_filters, _] if merged && (filters == 1 || between_filters == 1) => {
                Layout::Rows(matrix(out))
            }
            [_, between_positions] if merged && (count == 1 || between_positions == 1) => {
                Layout::Planes(matrix(out))
            }
            _ => Layout::Scattered(out, start),
        };
        OutputRows { out, buffer, filters }
    }

    /// Where to write the outputs of a position.
    #[inline(always)]
    pub(crate) fn row(&mut self, i: usize) -> &mut [T] {
        let row = match &mut self.out {
            Layout::Rows(out) => out.column_mut(i).into_slice(),
            Layout::Planes(_) | Layout::Scattered(..) => None,
        };
        row.unwrap_or(&mut self.buffer[i * self.filters..][..self.filters])
    }

    /// Moves what was written to where it belongs.
    #[inline(always)]
    pub(crate) fn finish(self, kernel: Kernel) {
        match self.out {
            Layout::Rows(_) => {}
            Layout::Planes(out) => kernel.transpose(self.buffer, out),
            Layout::Scattered(mut out, start) => {
                let (_, _, height, width) = out.dim();
                for (at, row) in (start..).zip(self.buffer.chunks(self.filters)) {
                    let at = s![.., at / (height * width), at / width % height, at % width];
                    out.slice_mut(at).assign(&ArrayView1::from(row));
                }
            }
        }
    }
}
