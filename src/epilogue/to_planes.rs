//! Integer sums to floats, of a filter alone: along the lines of its outputs.

use crate::Element;
use crate::epilogue::exact::{Carrier, Precision, SumIn};
use crate::epilogue::runs::map_runs;
use crate::epilogue::to_floats::{FloatOutput, quotient};
use crate::kernel::Code;
use ndarray::{ArrayView2, ArrayViewMut2, s};

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

impl<T: Element> FloatOutput<'_, T> {
    /// Writes the outputs of a plane (height, width), of whose lines each is a slice. All positions
    /// must be of one kind, and those of an image have the same K, the scale of its sample.
    pub(crate) fn write_plane<S: Copy + Into<i32>>(
        &self,
        plane: PlaneSums<'_, S>,
        out: ArrayViewMut2<'_, T>,
    ) {
        self.finishing.kernel.vectorize(WritePlane { output: self, plane, out });
    }
}

struct WritePlane<'a, 'b, T, S> {
    output: &'a FloatOutput<'b, T>,
    plane: PlaneSums<'a, S>,
    out: ArrayViewMut2<'a, T>,
}

impl<T: Element, S: Copy + Into<i32>> Code for WritePlane<'_, '_, T, S> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        match self.output.finishing.padding.precision() {
            Precision::Float => self.write::<f32>(),
            // Rare, and compiled once.
            Precision::Narrow | Precision::Wide => self.write::<i64>(),
        }
    }
}

impl<T: Element, S: Copy + Into<i32>> WritePlane<'_, '_, T, S> {
    #[inline(always)]
    fn write<C: Carrier>(self)
    where
        i32: SumIn<C>,
    {
        let WritePlane { output, plane: PlaneSums { image, filter, depth, .. }, .. } = self;
        let epilogue = &output.epilogue;
        let product = C::of_twice(output.finishing.numerator.product);
        let addend = C::of_twice(output.finishing.padding.wide()[filter]);
        let denominator = T::of_integer(output.finishing.numerator.denominator);
        let inverse = denominator.recip();
        // What changes no number, whatever its sign, where there is none.
        let factor = epilogue.factors.get(filter).copied().unwrap_or(T::one());
        let row = output.finishing.row(image, 0, 0);
        let scale = epilogue.k_map.get(row).copied().unwrap_or(T::one());
        let bias = epilogue.bias.get(filter).copied().unwrap_or(-T::zero());
        let numerator = |sum: S| (product * sum.into().carried() + addend).to_float::<T>();
        let last = |y: T| y * factor * scale + bias;
        let residual = output.residual.as_ref().map(|r| r.slice(s![image, filter, depth, .., ..]));
        if denominator == T::one() {
            self.lines(residual, |sum| last(numerator(sum)));
        } else if output.finishing.kernel.has_fused_multiply_add() {
            self.lines(residual, |sum| last(quotient(numerator(sum), denominator, inverse)));
        } else {
            self.lines(residual, |sum| last(numerator(sum) / denominator));
        }
    }

    #[inline(always)]
    fn lines(mut self, residual: Option<ArrayView2<'_, T>>, value: impl Fn(S) -> T) {
        let PlaneSums { sums, step, .. } = self.plane;
        // Without gaps, the plane is one line.
        if step == self.out.ncols()
            && residual.is_none()
            && let Some(line) = self.out.as_slice_mut()
        {
            return map_runs(&sums[..line.len()], line, value);
        }
        for (i, line) in self.out.outer_iter_mut().enumerate() {
            let Some(line) = line.into_slice() else { continue };
            map_runs(&sums[i * step..][..line.len()], line, &value);
            if let Some(residual) = &residual {
                line.iter_mut().zip(residual.row(i)).for_each(|(out, &r)| *out += r);
            }
        }
    }
}
