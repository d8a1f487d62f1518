//! The only place where integers become floats.
//!
//! 1. exact integer: what the kernel summed becomes the numerator of the dot product (`numerator`),
//!    with what padded positions add to it (`padding`)
//! 2. one division by the common denominator (none for signs)
//! 3. BMXNet's offset, folded into 1. for integers
//! 4. the filter's scale, XNOR-Net's K, the bias, the residual

use crate::Element;
use crate::geometry::Geometry;
use crate::kernel::Kernel;
use crate::numerator::Numerator;
use crate::options::OutputForm;
use crate::padding::Padding;
use crate::word_tiles::{Finish, Sums};
use ndarray::{ArrayView5, ArrayViewMut1, ArrayViewMut2, ArrayViewMut4, Axis, s};
use std::ops::{Add, Mul, Shr};

/// What is done to a dot product on its way to the output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epilogue<'a, T> {
    pub(crate) form: OutputForm,
    /// Products in a dot product.
    pub(crate) row_len: usize,
    /// Scale of each filter, or nothing.
    pub(crate) factors: &'a [T],
    /// XNOR-Net's K, `[image][position][group]`, or nothing.
    pub(crate) k_map: &'a [T],
    /// Bias of each filter, or nothing.
    pub(crate) bias: &'a [T],
}

/// Which outputs are computed: of a position, those of some filters of a group.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) first_filter: usize,
    /// Index into `[image][position][group]`.
    pub(crate) row: usize,
}

impl<T: Element> Epilogue<'_, T> {
    /// What becomes of one numerator, without K.
    pub(crate) fn output(&self, filter: usize, numerator: i64, denominator: i64) -> T {
        let mut y = T::of_integer(numerator);
        if denominator != 1 {
            y /= T::of_integer(denominator);
        }
        if let Some(&factor) = self.factors.get(filter) {
            y *= factor;
        }
        if let Some(&bias) = self.bias.get(filter) {
            y += bias;
        }
        y
    }

    /// Writes the outputs of one position from its dot products.
    #[inline(always)]
    pub(crate) fn finish_floats(&self, place: Place, dots: &[T], mut out: ArrayViewMut1<'_, T>) {
        match self.form {
            OutputForm::Dot => zip(&mut out, dots, |out, dot| *out = dot),
            OutputForm::Offset { .. } => {
                let len = T::of_integer(self.row_len as i64);
                zip(&mut out, dots, |out, dot| *out = (len + dot) / T::of(2.0));
            }
        }
        self.scale(place, out);
    }

    #[inline(always)]
    fn scale(&self, place: Place, mut out: ArrayViewMut1<'_, T>) {
        if !self.factors.is_empty() {
            zip(&mut out, &self.factors[place.first_filter..], |out, factor| *out *= factor);
        }
        if let Some(&k) = self.k_map.get(place.row) {
            each(&mut out, |out| *out *= k);
        }
        if !self.bias.is_empty() {
            zip(&mut out, &self.bias[place.first_filter..], |out, bias| *out += bias);
        }
    }
}

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

impl<T: Element> FloatOutput<'_, T> {
    /// Writes the outputs of one position.
    #[inline(always)]
    fn finish_row(&self, tile: &Sums<'_>, i: usize, mut out: ArrayViewMut1<'_, T>) {
        self.finish_sums(tile, i, out.view_mut());
        if let Some(residual) = &self.residual {
            let [_, height, width] = self.geometry.output;
            let (image, at) = (tile.image, tile.position + i);
            let at = [at / (height * width), at / width % height, at % width];
            let residual = residual.slice(s![image, tile.filters.clone(), at[0], at[1], at[2]]);
            match residual.as_slice() {
                Some(residual) => zip(&mut out, residual, |out, residual| *out += residual),
                None => out += &residual,
            }
        }
    }

    #[inline(always)]
    fn finish_sums(&self, tile: &Sums<'_>, i: usize, out: ArrayViewMut1<'_, T>) {
        let position = tile.position + i;
        let row = (tile.image * self.geometry.positions() + position) * self.geometry.groups();
        let place = Place { first_filter: tile.filters.start, row: row + tile.group };
        match tile.wide.is_empty() {
            true if self.padding.is_narrow() => {
                let addends = self.padding.narrow(self.geometry, position);
                self.finish_integers(place, tile.row(tile.sums, i), addends, out);
            }
            true => {
                let addends = self.padding.wide(self.geometry, position);
                self.finish_integers(place, tile.row(tile.sums, i), addends, out);
            }
            false => {
                let addends = self.padding.wide(self.geometry, position);
                self.finish_integers(place, tile.row(tile.wide, i), addends, out);
            }
        }
    }

    #[inline(always)]
    fn finish_integers<S: Copy + Into<I>, I: Integer>(
        &self,
        place: Place,
        sums: &[S],
        addends: &[I],
        mut out: ArrayViewMut1<'_, T>,
    ) {
        let numerator = &self.numerator;
        let product = I::of(numerator.product);
        let code_sum = self.code_sums.get(place.row).copied().unwrap_or_default();
        let row_addend = I::of(numerator.row * code_sum);
        let addends = &addends[place.first_filter..][..sums.len()];
        let twice = |sum: S, addend: I| product * sum.into() + (row_addend + addend);
        // Twice a numerator is even, so nothing is lost.
        let value = |sum, addend| I::to_float::<T>(twice(sum, addend) >> 1);
        let denominator = T::of_integer(numerator.denominator);
        match (out.as_slice_mut(), numerator.denominator) {
            (Some(out), 1) => {
                for ((out, &sum), &addend) in out.iter_mut().zip(sums).zip(addends) {
                    *out = value(sum, addend);
                }
            }
            (Some(out), _) => {
                for ((out, &sum), &addend) in out.iter_mut().zip(sums).zip(addends) {
                    *out = value(sum, addend) / denominator;
                }
            }
            (None, _) => {
                for ((out, &sum), &addend) in out.iter_mut().zip(sums).zip(addends) {
                    *out = value(sum, addend) / denominator;
                }
            }
        }
        self.epilogue.scale(place, out);
    }
}

impl<T: Element> Finish for FloatOutput<'_, T> {
    type Out = T;
    const FILTERS: usize = 1;

    fn buffer_len(&self, rows: usize, filters: usize) -> usize {
        rows * filters
    }

    #[inline(always)]
    fn finish(
        &self,
        tile: &Sums<'_>,
        buffer: &mut [T],
        out: &mut ArrayViewMut4<'_, T>,
        start: usize,
    ) {
        let Some(mut out) = positions(out, start, tile.rows) else {
            let (_, _, height, width) = out.dim();
            for i in 0..tile.rows {
                let at = start + i;
                let at = s![.., at / (height * width), at / width % height, at % width];
                self.finish_row(tile, i, out.slice_mut(at));
            }
            return;
        };
        if !are_planes(&out) {
            let rows = out.axis_iter_mut(Axis(1)).enumerate();
            return rows.for_each(|(i, out)| self.finish_row(tile, i, out));
        }
        let rows = &mut buffer[..out.len()];
        for (i, row) in rows.chunks_mut(tile.filters.len()).enumerate() {
            self.finish_row(tile, i, row.into());
        }
        self.kernel.transpose(rows, out);
    }
}

/// The outputs of some consecutive positions, (filter, position), if they lie at one distance.
#[inline(always)]
pub(crate) fn positions<'a, T>(
    out: &'a mut ArrayViewMut4<'_, T>,
    start: usize,
    count: usize,
) -> Option<ArrayViewMut2<'a, T>> {
    let mut out = out.view_mut();
    let merged = out.merge_axes(Axis(2), Axis(3)) && out.merge_axes(Axis(1), Axis(3));
    merged.then(|| out.slice_move(s![.., 0, 0, start..start + count]))
}

/// Whether the outputs of each filter are a slice, and those of a position are not.
#[inline(always)]
pub(crate) fn are_planes<T>(out: &ArrayViewMut2<'_, T>) -> bool {
    let (filters, positions) = out.dim();
    let [between_filters, between_positions] = [0, 1].map(|axis| out.strides()[axis]);
    filters > 1 && positions > 1 && between_positions == 1 && between_filters != 1
}

/// What numerators are held in.
pub(crate) trait Integer:
    Copy + PartialOrd + Add<Output = Self> + Mul<Output = Self> + Shr<u32, Output = Self>
{
    /// A value that is known to fit.
    fn of(value: i64) -> Self;
    fn to_float<T: Element>(self) -> T;
}

impl Integer for i32 {
    #[inline(always)]
    fn of(value: i64) -> Self {
        value as i32
    }
    #[inline(always)]
    fn to_float<T: Element>(self) -> T {
        T::of_i32(self)
    }
}

impl Integer for i64 {
    #[inline(always)]
    fn of(value: i64) -> Self {
        value
    }
    #[inline(always)]
    fn to_float<T: Element>(self) -> T {
        T::of_integer(self)
    }
}

/// Visits the outputs with one value each. Slices apart, so that their loop is vectorized.
#[inline(always)]
fn zip<T, V: Copy>(out: &mut ArrayViewMut1<'_, T>, values: &[V], f: impl Fn(&mut T, V)) {
    match out.as_slice_mut() {
        Some(out) => out.iter_mut().zip(values).for_each(|(out, &value)| f(out, value)),
        None => out.iter_mut().zip(values).for_each(|(out, &value)| f(out, value)),
    }
}

#[inline(always)]
fn each<T>(out: &mut ArrayViewMut1<'_, T>, f: impl Fn(&mut T)) {
    match out.as_slice_mut() {
        Some(out) => out.iter_mut().for_each(f),
        None => out.iter_mut().for_each(f),
    }
}
