//! Integer sums to floats.

use crate::Element;
use crate::epilogue::{Epilogue, LastSteps};
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel, ToFloats};
use crate::numerator::{Carrier, Numerator, Precision, SumIn};
use crate::output_rows::OutputRows;
use crate::padding::Padding;
use crate::word_tiles::{Finish, Sums};
use ndarray::{ArrayView5, ArrayViewMut4, s};
use std::marker::PhantomData;
use std::ops::Range;

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

    fn to_floats(&self, filters: Range<usize>) -> Option<ToFloats<'_, T>> {
        let Epilogue { factors, k_map, bias, .. } = self.epilogue;
        let addends = self.padding.addends_everywhere()?;
        let plain = self.numerator.denominator == 1 && self.code_sums.is_empty();
        (plain && k_map.is_empty() && self.residual.is_none()).then(|| ToFloats {
            product: f32::of_twice(self.numerator.product),
            addends: &addends[filters.clone()],
            factors: factors.get(filters.clone()).unwrap_or_default(),
            bias: bias.get(filters).unwrap_or_default(),
        })
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
        let Numerator { product, denominator, .. } = output.numerator;
        let product = C::of_twice(product);
        let writer = RowWriter { output, tile, sums, rows: &mut rows };
        if output.code_sums.is_empty() && denominator == 1 {
            writer.run(|sum, addend: C, _| (product * sum.carried() + addend).to_float());
        } else {
            let denominator = T::of_integer(denominator);
            writer.run(|sum, addend, row: C| {
                (product * sum.carried() + (row + addend)).to_float::<T>() / denominator
            });
        }
        if let Some(residual) = &output.residual {
            output.add_residual(residual, tile, &mut rows);
        }
        rows.finish(output.kernel);
    }
}

impl<T: Element> FloatOutput<'_, T> {
    /// Adds the residual to the outputs of a tile.
    fn add_residual(
        &self,
        residual: &ArrayView5<'_, T>,
        tile: &Sums<'_>,
        rows: &mut OutputRows<'_, T>,
    ) {
        let [_, height, width] = self.geometry.output;
        for i in 0..tile.rows {
            let position = tile.position + i;
            let at = [position / (height * width), position / width % height, position % width];
            let filters = tile.filters.clone();
            let residual = residual.slice(s![tile.image, filters, at[0], at[1], at[2]]);
            let out = rows.row(i).iter_mut();
            match residual.as_slice() {
                Some(residual) => out.zip(residual).for_each(|(out, &r)| *out += r),
                None => out.zip(&residual).for_each(|(out, &r)| *out += r),
            }
        }
    }
}

/// Writes the outputs of a tile, position by position.
struct RowWriter<'a, 'b, 'o, T, S> {
    output: &'a FloatOutput<'b, T>,
    tile: &'a Sums<'a>,
    sums: &'a [S],
    rows: &'a mut OutputRows<'o, T>,
}

impl<T: Element, S: Copy> RowWriter<'_, '_, '_, T, S> {
    /// `value` makes the value before the last steps of a sum, what is added to it for the filter
    /// and what for the row.
    #[inline(always)]
    fn run<C: Carrier>(self, value: impl Fn(S, C, C) -> T) {
        let filters = self.tile.filters.clone();
        let epilogue = &self.output.epilogue;
        epilogue.last_steps(filters, WriteRows { writer: self, value, carrier: PhantomData });
    }
}

struct WriteRows<W, F, C> {
    writer: W,
    value: F,
    carrier: PhantomData<C>,
}

impl<T, S, C, F> LastSteps<T> for WriteRows<RowWriter<'_, '_, '_, T, S>, F, C>
where
    T: Element,
    S: Copy,
    C: Carrier,
    F: Fn(S, C, C) -> T,
{
    #[inline(always)]
    fn run(self, filters: usize, last: impl Fn(T, usize, T) -> T) {
        let RowWriter { output, tile, sums, rows } = self.writer;
        let first_row = tile.image * output.geometry.positions() + tile.position;
        let k_map = output.epilogue.k_map;
        for i in 0..tile.rows {
            let row = (first_row + i) * output.geometry.groups() + tile.group;
            let k = k_map.get(row).copied().unwrap_or_default();
            let code_sum = output.code_sums.get(row).copied().unwrap_or_default();
            let row = C::of_twice(output.numerator.row * code_sum);
            let addends = output.padding.addends::<C>(output.geometry, tile.position + i);
            let addends = &addends[tile.filters.start..][..filters];
            let sums = &sums[i * tile.stride..][..filters];
            let out = &mut rows.row(i)[..filters];
            for f in 0..filters {
                out[f] = last((self.value)(sums[f], addends[f], row), f, k);
            }
        }
    }
}
