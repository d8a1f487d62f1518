//! The formula by which integers become floats, for all outputs: [`OutputScale::of_numerators`], and
//! in vectors [`scaled`].

use crate::Element;
use crate::element::{Family, Typed};
use crate::epilogue::exact::{Accumulator, Exact, ExactLanes, Sum};
use crate::epilogue::{Numerators, Output, TileOutputs};
use crate::kernel::{Code, Kernel, PANEL, Vector};
use crate::options::OutputForm;
use ndarray::{ArrayView5, s};
use std::marker::PhantomData;

/// What floats are multiplied with and what is added to them, on their way to the output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutputScale<'a, T> {
    pub(crate) form: OutputForm,
    /// Products in a dot product.
    pub(crate) row_len: usize,
    /// Scale of each filter, or nothing.
    pub(crate) scales: &'a [T],
    /// XNOR-Net's K, times the scale of the sample, `[image][position][group]`, or nothing.
    pub(crate) k_map: &'a [T],
    /// Bias of each filter, or nothing.
    pub(crate) bias: &'a [T],
}

impl<T: Element> OutputScale<'_, T> {
    /// What becomes of one numerator, without K.
    pub(crate) fn output(&self, filter: usize, numerator: i64, denominator: i64) -> T {
        let scale = self.scales.get(filter).copied().unwrap_or(T::one());
        let bias = self.bias.get(filter).copied().unwrap_or(-T::zero());
        T::of_integer(numerator) / T::of_integer(denominator) * scale + bias
    }

    /// Writes the outputs of the row of this index from its dot products with filters from the first
    /// on.
    pub(crate) fn finish_floats(&self, first_filter: usize, row: usize, dots: &[T], out: &mut [T]) {
        let k = self.k(row);
        // Half of K + dot, or the dot product as it is.
        let (addend, factor) = match self.form {
            OutputForm::Dot => (-T::zero(), T::one()),
            OutputForm::Offset { .. } => (T::of_integer(self.row_len as i64), T::of(0.5)),
        };
        out.iter_mut().zip(dots).for_each(|(out, &dot)| *out = (addend + dot) * factor);
        self.scale(first_filter, k, out);
    }

    #[inline(always)]
    pub(super) fn k(&self, row: usize) -> T {
        self.k_map.get(row).copied().unwrap_or(T::one())
    }

    /// The last steps for the filters from one on, of a row with this K: times the scale, times K, plus
    /// the bias. What there is none of would leave every number as it is.
    #[inline(always)]
    fn scale(&self, first_filter: usize, k: T, out: &mut [T]) {
        if let Some(scales) = self.scales.get(first_filter..) {
            out.iter_mut().zip(scales).for_each(|(out, &scale)| *out *= scale);
        }
        if k != T::one() {
            out.iter_mut().for_each(|out| *out *= k);
        }
        if let Some(bias) = self.bias.get(first_filter..) {
            out.iter_mut().zip(bias).for_each(|(out, &bias)| *out += bias);
        }
    }
}

/// What numerators are divided by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Denominator<T> {
    denominator: T,
    inverse: T,
    /// Whether multiplying and adding in one instruction takes the place of dividing.
    fused: bool,
}

impl<T: Element> Denominator<T> {
    fn new(denominator: i64, kernel: Kernel) -> Self {
        let denominator = T::of_integer(denominator);
        let fused = kernel.has_fused_multiply_add();
        Denominator { denominator, inverse: denominator.recip(), fused }
    }

    /// Makes quotients of integers, rounded as a division rounds them, which takes several times as
    /// long as two fused instructions: see [`Vector::quotient`].
    #[inline(always)]
    pub(super) fn divide(self, numerators: &mut [T]) {
        let Denominator { denominator, inverse, fused } = self;
        if denominator == T::one() {
        } else if fused {
            for n in numerators {
                let estimate = *n * inverse;
                *n = (-estimate).mul_add(denominator, *n).mul_add(inverse, estimate);
            }
        } else {
            numerators.iter_mut().for_each(|n| *n /= denominator);
        }
    }
}

/// Integer sums to floats.
pub(crate) struct FloatOutput<'a, T> {
    pub(super) numerators: Numerators<'a>,
    pub(super) scale: OutputScale<'a, T>,
    pub(super) denominator: Denominator<T>,
    /// What is added to the outputs at last, of their shape.
    pub(super) residual: Option<ArrayView5<'a, T>>,
}

impl<'a, T: Element> FloatOutput<'a, T> {
    pub(crate) fn new(
        numerators: Numerators<'a>,
        scale: OutputScale<'a, T>,
        residual: Option<ArrayView5<'a, T>>,
    ) -> Self {
        let denominator = numerators.zero_points.denominator;
        let denominator = Denominator::new(denominator, numerators.kernel);
        FloatOutput { numerators, scale, denominator, residual }
    }

    /// Whether numerators are outputs.
    #[inline(always)]
    fn is_plain(&self) -> bool {
        let OutputScale { scales, k_map, bias, .. } = self.scale;
        let unscaled = scales.is_empty() && k_map.is_empty() && bias.is_empty();
        unscaled && self.denominator.denominator == T::one()
    }

    /// Makes the outputs of a row with some panels: the formula, step by step. Sums of the filters in
    /// these panels that the tile does not have are passed over.
    #[inline(always)]
    fn row<A: Exact, S: Sum<A>>(
        &self,
        outputs: &mut TileOutputs<'_, T>,
        row: usize,
        panel: usize,
        sums: &[S],
    ) {
        let index = outputs.index + row * self.numerators.geometry.groups();
        let (offsets, of_row) = self.numerators.terms::<A>(outputs.tile.position + row, index);
        let (first, tile) = (outputs.first_filter(panel), &outputs.tile.filters);
        let filters = first.max(tile.start)..tile.end.min(first + sums.len());
        let to = filters.start - tile.start;
        let (sums, offsets) = (&sums[filters.start - first..], &offsets[filters.start..]);
        let out = &mut outputs.rows.row(row)[to..][..filters.len()];
        let factor = A::of_twice(self.numerators.zero_points.sum_factor);
        for ((out, &sum), &offset) in out.iter_mut().zip(sums).zip(offsets) {
            *out = (factor * sum.accumulated() + (offset + of_row)).to_float();
        }
        self.denominator.divide(out);
        self.scale.scale(filters.start, self.scale.k(index), out);
    }
}

/// Makes the outputs of a block of sums in memory, `[row][filter]` of `P` panels.
struct OfSums<'a, 'b, 'c, T, const M: usize, const P: usize> {
    output: &'a FloatOutput<'b, T>,
    outputs: &'a mut TileOutputs<'c, T>,
    row: usize,
    panel: usize,
    sums: &'a [[[i32; PANEL]; P]; M],
}

impl<T: Element, const M: usize, const P: usize> Code for OfSums<'_, '_, '_, T, M, P> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let OfSums { output, outputs, row, panel, sums } = self;
        for (row, sums) in (row..).zip(sums) {
            let sums = sums.as_flattened();
            match output.numerators.padding.accumulator() {
                Accumulator::F32 => output.row::<f32, _>(outputs, row, panel, sums),
                Accumulator::I32 => output.row::<i32, _>(outputs, row, panel, sums),
                Accumulator::I64 => output.row::<i64, _>(outputs, row, panel, sums),
            }
        }
    }
}

/// Runs code apart from the kernels, so that they stay short.
#[inline(never)]
fn run_apart<V: Vector, C: Code>(v: V, code: C) -> C::Output {
    v.run(code)
}

/// The formula from numerators on, which `PLAIN` ones are the outputs of.
#[inline(always)]
pub(super) fn scaled<V: Vector, const PLAIN: bool>(
    v: V,
    numerators: V::Floats,
    denominator: Denominator<f32>,
    (scales, k, bias): (V::Floats, V::Floats, V::Floats),
) -> V::Floats {
    let Denominator { denominator, inverse, .. } = denominator;
    let quotients = match PLAIN || denominator == 1.0 {
        true => numerators,
        false => v.quotient(numerators, denominator, inverse),
    };
    match PLAIN {
        true => quotients,
        false => v.add(v.mul(v.mul(quotients, scales), k), bias),
    }
}

impl FloatOutput<'_, f32> {
    /// Makes the outputs of a block while it is in registers. The first filter of the tile is the
    /// first of a panel.
    #[inline(always)]
    fn in_registers<A: ExactLanes, V: Vector, const M: usize, const P: usize, const PLAIN: bool>(
        &self,
        v: V,
        outputs: &mut TileOutputs<'_, f32>,
        (row, panel): (usize, usize),
        sums: &[[V::Ints; P]; M],
    ) {
        let Numerators { geometry, zero_points, .. } = self.numerators;
        let factor = A::of_twice(zero_points.sum_factor).splat(v);
        let (to, first) = (panel * PANEL, outputs.first_filter(panel));
        let (mut scales, mut bias) = ([v.floats(1.0); P], [v.floats(-0.0); P]);
        if !PLAIN {
            for p in 0..P {
                let filters = first + p * PANEL;
                if !self.scale.scales.is_empty() {
                    scales[p] = v.load(&self.scale.scales[filters..]);
                }
                if !self.scale.bias.is_empty() {
                    bias[p] = v.load(&self.scale.bias[filters..]);
                }
            }
        }
        // Where all rows are alike, their terms are those of the first.
        let are_alike = self.numerators.are_rows_alike();
        let (mut offsets, of_row) = self.numerators.terms::<A>(outputs.tile.position + row, 0);
        let mut of_row = if are_alike { A::default() } else { of_row }.splat(v);
        let mut k = v.floats(1.0);
        for (m, sums) in sums.iter().enumerate() {
            if !are_alike || !PLAIN {
                let index = outputs.index + (row + m) * geometry.groups();
                let position = outputs.tile.position + row + m;
                let terms = self.numerators.terms::<A>(position, index);
                (offsets, of_row) = (terms.0, terms.1.splat(v));
                k = v.floats(self.scale.k(index));
            }
            let (offsets, _) = offsets[first..][..P * PANEL].as_chunks();
            let out = &mut outputs.rows.row(row + m)[to..];
            for p in 0..P {
                let offsets = [A::load(v, &offsets[p]), of_row];
                let numerators = A::to_floats(v, A::numerators(v, factor, sums[p], offsets));
                let scale = (scales[p], k, bias[p]);
                let values = scaled::<V, PLAIN>(v, numerators, self.denominator, scale);
                v.store(values, &mut out[p * PANEL..]);
            }
        }
    }
}

/// An output and its tile, for each `T`.
struct OutputOfTile<'a, 'b, 'c>(PhantomData<(&'a &'b (), &'a &'c ())>);

impl<'a, 'b, 'c> Family for OutputOfTile<'a, 'b, 'c> {
    type Of<T: Element> = (&'a FloatOutput<'b, T>, &'a mut TileOutputs<'c, T>);
}

impl<T: Element> Output for FloatOutput<'_, T> {
    type Element = T;
    const FILTERS: usize = 1;

    fn numerators(&self) -> &Numerators<'_> {
        &self.numerators
    }

    #[inline(always)]
    fn block<V: Vector, const M: usize, const P: usize>(
        &self,
        v: V,
        outputs: &mut TileOutputs<'_, T>,
        row: usize,
        panel: usize,
        sums: &[[V::Ints; P]; M],
    ) {
        let TileOutputs { tile, .. } = &*outputs;
        let begins_panel = tile.filters.start.is_multiple_of(PANEL);
        let accumulator = begins_panel.then(|| self.numerators.padding.accumulator());
        let of_tile = (self, &mut *outputs);
        if let Typed::F32((this, outputs)) = T::typed::<OutputOfTile<'_, '_, '_>>(of_tile) {
            let at = (row, panel);
            match accumulator {
                Some(Accumulator::F32) if this.is_plain() => {
                    return this.in_registers::<f32, V, M, P, true>(v, outputs, at, sums);
                }
                Some(Accumulator::F32) => {
                    return this.in_registers::<f32, V, M, P, false>(v, outputs, at, sums);
                }
                Some(Accumulator::I32) => {
                    return this.in_registers::<i32, V, M, P, false>(v, outputs, at, sums);
                }
                _ => {}
            }
        }
        let mut stored = [[[0; PANEL]; P]; M];
        for m in 0..M {
            for p in 0..P {
                v.store_ints(sums[m][p], &mut stored[m][p]);
            }
        }
        run_apart(v, OfSums { output: self, outputs, row, panel, sums: &stored });
    }

    fn long_sums(
        &self,
        outputs: &mut TileOutputs<'_, T>,
        row: usize,
        panel: usize,
        sums: &[i64; PANEL],
    ) {
        self.row::<i64, i64>(outputs, row, panel, sums);
    }

    /// Adds the residual, if there is one.
    #[inline(always)]
    fn finish(&self, outputs: &mut TileOutputs<'_, T>) {
        let Some(residual) = &self.residual else { return };
        let [_, height, width] = self.numerators.geometry.output;
        let TileOutputs { tile, rows, .. } = outputs;
        for i in 0..rows.count() {
            let at = tile.position + i;
            let at = [at / (height * width), at / width % height, at % width];
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
