//! Integer sums to floats.

use crate::Element;
use crate::epilogue::exact::{Carrier, Numerator, Precision, SumIn};
use crate::epilogue::output_scale::{Epilogue, LastSteps};
use crate::epilogue::store::OutputRows;
use crate::epilogue::terms::Finishing;
use crate::forward::gemm::{Bits, Finish, Tile};
use crate::forward::tile_sums::Sums;
use crate::kernel::{Code, ToFloats, same_type};
use ndarray::{ArrayView5, ArrayViewMut2, ArrayViewMut4, s};
use std::any::TypeId;
use std::marker::PhantomData;
use std::ops::Range;

/// Integer sums to floats.
pub(crate) struct FloatOutput<'a, T> {
    pub(crate) finishing: Finishing<'a>,
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

    fn finishes_differing(&self) -> bool {
        self.finishing.padding.precision() == Precision::Float
            && TypeId::of::<T>() == TypeId::of::<f32>()
            && self.epilogue.k_map.is_empty()
    }

    #[inline(always)]
    fn finish_differing(&self, bits: Bits<'_>, out: ArrayViewMut2<'_, T>) {
        let numerator = self.finishing.numerator;
        let finish = ToFloats {
            product: f32::of_twice(numerator.product),
            addends: self.finishing.addends(&bits),
            denominator: numerator.denominator as f32,
            factors: of_filters(self.epilogue.factors, &bits.filters),
            bias: of_filters(self.epilogue.bias, &bits.filters),
        };
        self.finishing.kernel.differing_to_floats(bits.rows, bits.planes, finish, out);
    }

    #[inline(always)]
    fn finish_last(&self, tile: &Tile<'_>, filters: Range<usize>, rows: &mut OutputRows<'_, T>) {
        self.add_residual(tile.image, tile.position, filters, rows);
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
        self.finishing.kernel.vectorize(FinishTile { output: self, tile, buffer, out, start });
    }
}

/// Those of some filters, or nothing if there are none.
fn of_filters<'n, T: Element>(numbers: &'n [T], filters: &Range<usize>) -> &'n [f32] {
    let numbers = same_type(numbers).unwrap_or_default();
    numbers.get(filters.clone()).unwrap_or_default()
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
        match (self.output.finishing.padding.precision(), wide.is_empty()) {
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
        let Numerator { product, denominator, .. } = output.finishing.numerator;
        let product = C::of_twice(product);
        let writer = RowWriter { output, tile, sums, rows: &mut rows };
        if output.finishing.code_sums.is_empty() && denominator == 1 {
            writer.run(|sum, addend: C, _| (product * sum.carried() + addend).to_float());
        } else {
            let denominator = T::of_integer(denominator);
            let numerator =
                |sum: S, addend, row| (product * sum.carried() + (row + addend)).to_float::<T>();
            if output.finishing.kernel.has_fused_multiply_add() {
                let inverse = denominator.recip();
                writer.run(|sum, addend, row: C| {
                    quotient(numerator(sum, addend, row), denominator, inverse)
                });
            } else {
                writer.run(|sum, addend, row| numerator(sum, addend, row) / denominator);
            }
        }
        output.add_residual(tile.image, tile.position, tile.filters.clone(), &mut rows);
        rows.finish(output.finishing.kernel);
    }
}

impl<T: Element> FloatOutput<'_, T> {
    /// Adds the residual, if there is one, to outputs from a position on.
    #[inline(always)]
    fn add_residual(
        &self,
        image: usize,
        position: usize,
        filters: Range<usize>,
        rows: &mut OutputRows<'_, T>,
    ) {
        let Some(residual) = &self.residual else { return };
        let [_, height, width] = self.finishing.geometry.output;
        for i in 0..rows.count() {
            let at = position + i;
            let at = [at / (height * width), at / width % height, at % width];
            let residual = residual.slice(s![image, filters.clone(), at[0], at[1], at[2]]);
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
        let k_map = output.epilogue.k_map;
        for i in 0..tile.rows {
            let row = output.finishing.row(tile.image, tile.position + i, tile.group);
            let k = k_map.get(row).copied().unwrap_or_default();
            let code_sum = output.finishing.code_sums.get(row).copied().unwrap_or_default();
            let row = C::of_twice(output.finishing.numerator.row * code_sum);
            let addends =
                output.finishing.padding.addends::<C>(output.finishing.geometry, tile.position + i);
            let addends = &addends[tile.filters.start..][..filters];
            let sums = &sums[i * tile.stride..][..filters];
            let out = &mut rows.row(i)[..filters];
            for f in 0..filters {
                out[f] = last((self.value)(sums[f], addends[f], row), f, k);
            }
        }
    }
}

/// A quotient of integers, rounded as a division rounds it, which takes several times as long.
///
/// The first estimate is less than two units in its last place away, so what it leaves over is
/// computed exactly; and no quotient by an integer of less than 23 bits lies so close to the middle
/// of two numbers that the error of the inverse could take it to the wrong one.
#[inline(always)]
pub(crate) fn quotient<T: Element>(numerator: T, denominator: T, inverse: T) -> T {
    let estimate = numerator * inverse;
    let left_over = (-estimate).mul_add(denominator, numerator);
    left_over.mul_add(inverse, estimate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_are_those_of_divisions() {
        let levels = [1, 2, 3, 7, 15, 31, 63, 127, 255];
        let denominators = levels.iter().flat_map(|a| levels.iter().map(move |b| a * b));
        for denominator in denominators.flat_map(|d| [d, 2 * d]) {
            let mut random = 1u64;
            for i in 0..3000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Small ones, multiples and their neighbours, and any up to 40 bits.
                let numerator = match i % 3 {
                    0 => i / 3 - 500,
                    1 => denominator * (random >> 50) as i64 + i % 5 - 2,
                    _ => (random as i64) >> (24 + i % 30),
                };
                let (n, d) = (numerator as f32, denominator as f32);
                assert_eq!(quotient(n, d, d.recip()).to_bits(), (n / d).to_bits(), "{n} / {d}");
                let (n, d) = (numerator as f64, denominator as f64);
                assert_eq!(quotient(n, d, d.recip()).to_bits(), (n / d).to_bits(), "{n} / {d}");
            }
        }
    }
}
