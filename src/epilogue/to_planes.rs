//! Integer sums to floats, of a filter alone: along the lines of its outputs.

use crate::Element;
use crate::element::{Family, Typed};
use crate::epilogue::exact::{Accumulator, Exact, ExactLanes};
use crate::epilogue::panel_of;
use crate::epilogue::to_floats::{Denominator, FloatOutput, scaled};
use crate::kernel::{Code, PANEL, Vector, with_vectors};
use ndarray::{ArrayViewMut2, s};
use std::marker::PhantomData;

/// The sums of a filter at one depth of an image.
#[derive(Clone, Copy)]
pub(crate) struct PlaneSums<'a, S> {
    pub(crate) sums: &'a [S],
    /// How far apart lines begin.
    pub(crate) step: usize,
    pub(crate) image: usize,
    pub(crate) filter: usize,
    pub(crate) depth: usize,
}

/// What is added to the sums of a filter, and what its outputs in an image are scaled with.
#[derive(Clone, Copy)]
struct PlaneTerms<T> {
    /// Twice the offset.
    offset: i64,
    scale: T,
    k: T,
    bias: T,
}

struct WritePlane<'a, 'b, V, T, S> {
    v: V,
    output: &'a FloatOutput<'b, T>,
    plane: PlaneSums<'a, S>,
    out: ArrayViewMut2<'a, T>,
}

impl<V: Vector, T: Element, S: Copy + Default + Into<i32>> Code for WritePlane<'_, '_, V, T, S> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let WritePlane { v, output, plane, mut out } = self;
        let PlaneSums { sums, step, image, filter, depth } = plane;
        let FloatOutput { numerators, scale, residual, .. } = output;
        let residual = residual.as_ref().map(|r| r.slice(s![image, filter, depth, .., ..]));
        let terms = PlaneTerms {
            offset: numerators.padding.i64()[filter],
            scale: scale.scales.get(filter).copied().unwrap_or(T::one()),
            k: scale.k(numerators.index(image, 0, 0)),
            bias: scale.bias.get(filter).copied().unwrap_or(-T::zero()),
        };
        // Without gaps, the plane is one line.
        if step == out.ncols()
            && residual.is_none()
            && let Some(line) = out.as_slice_mut()
        {
            return output.line(v, sums, terms, line);
        }
        for (i, line) in out.outer_iter_mut().enumerate() {
            let Some(line) = line.into_slice() else { continue };
            output.line(v, &sums[i * step..], terms, line);
            if let Some(residual) = &residual {
                line.iter_mut().zip(residual.row(i)).for_each(|(out, &r)| *out += r);
            }
        }
    }
}

impl<T: Element> FloatOutput<'_, T> {
    /// Writes the outputs of a plane (height, width), of whose lines each is a slice. All positions
    /// must be of one border class, and those of an image have the same K, the scale of its sample.
    pub(crate) fn write_plane<S: Copy + Default + Into<i32>>(
        &self,
        plane: PlaneSums<'_, S>,
        out: ArrayViewMut2<'_, T>,
    ) {
        let kernel = self.numerators.kernel;
        with_vectors!(kernel, |v| v.run(WritePlane { v, output: self, plane, out }));
    }

    #[inline(always)]
    fn line<V: Vector, S: Copy + Default + Into<i32>>(
        &self,
        v: V,
        sums: &[S],
        terms: PlaneTerms<T>,
        line: &mut [T],
    ) {
        if self.numerators.padding.accumulator() != Accumulator::F32 {
            return self.scalar_line::<i64, S>(sums, terms, line); // rare, and compiled once
        }
        let of_line = (self.denominator, terms, &mut *line);
        let Typed::F32((denominator, terms, line)) = T::typed::<Line<'_>>(of_line) else {
            return self.scalar_line::<f32, S>(sums, terms, line);
        };
        let of_twice = |twice| f32::of_twice(twice).splat(v);
        let factor = of_twice(self.numerators.zero_points.sum_factor);
        let offsets = [of_twice(terms.offset), v.floats(0.0)];
        let scale = (v.floats(terms.scale), v.floats(terms.k), v.floats(terms.bias));
        for (i, line) in line.chunks_mut(PANEL).enumerate() {
            let sums = v.load_ints(&widened(&sums[i * PANEL..]));
            let numerators = f32::numerators(v, factor, sums, offsets);
            v.store(scaled::<V, false>(v, numerators, denominator, scale), line);
        }
    }

    #[inline(always)]
    fn scalar_line<A: Exact, S: Copy + Default + Into<i32>>(
        &self,
        sums: &[S],
        terms: PlaneTerms<T>,
        line: &mut [T],
    ) {
        let factor = A::of_twice(self.numerators.zero_points.sum_factor);
        let offset = A::of_twice(terms.offset);
        for (out, &sum) in line.iter_mut().zip(sums) {
            *out = (factor * A::of_sum(sum.into()) + offset).to_float();
        }
        self.denominator.divide(line);
        line.iter_mut().for_each(|out| *out = *out * terms.scale * terms.k + terms.bias);
    }
}

/// The first sums, 0 in lanes that there are none for.
#[inline(always)]
fn widened<S: Copy + Default + Into<i32>>(sums: &[S]) -> [i32; PANEL] {
    let (narrow, mut wide) = (panel_of(sums, 0, S::default()), [0; PANEL]);
    for f in 0..PANEL {
        wide[f] = narrow[f].into();
    }
    wide
}

/// What makes a line, for each `T`.
struct Line<'a>(PhantomData<&'a ()>);

impl<'a> Family for Line<'a> {
    type Of<T: Element> = (Denominator<T>, PlaneTerms<T>, &'a mut [T]);
}
