//! The only place where integers become floats.
//!
//! 1. exact numerator: what the kernel summed becomes that of the dot product (`numerator`), with
//!    what padded positions add to it (`padding`)
//! 2. one division by the common denominator (none for signs)
//! 3. BMXNet's offset, folded into 1. for integers
//! 4. the filter's scale, XNOR-Net's K, the bias, the residual

use crate::Element;
use crate::options::OutputForm;
use std::ops::Range;

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
    pub(crate) fn finish_floats(&self, place: Place, dots: &[T], out: &mut [T]) {
        let Place { first_filter, row } = place;
        let filters = first_filter..first_filter + out.len();
        let k = self.k_map.get(row).copied().unwrap_or_default();
        self.last_steps(filters, FinishFloats { epilogue: self, k, dots, out });
    }

    /// Runs code with what is left to do to the values of some filters. Which steps these are is
    /// decided here, once, so that each output is computed and written in one loop.
    #[inline(always)]
    pub(crate) fn last_steps(&self, filters: Range<usize>, code: impl LastSteps<T>) {
        let len = filters.len();
        let factors = self.factors.get(filters.clone()).map(|factors| &factors[..len]);
        let bias = self.bias.get(filters).map(|bias| &bias[..len]);
        match (factors, self.k_map.is_empty(), bias) {
            (None, true, None) => code.run(len, |y, _, _| y),
            (Some(s), true, None) => code.run(len, |y, f, _| y * s[f]),
            (None, true, Some(b)) => code.run(len, |y, f, _| y + b[f]),
            (Some(s), true, Some(b)) => code.run(len, |y, f, _| y * s[f] + b[f]),
            (None, false, None) => code.run(len, |y, _, k| y * k),
            (Some(s), false, None) => code.run(len, |y, f, k| y * s[f] * k),
            (None, false, Some(b)) => code.run(len, |y, f, k| y * k + b[f]),
            (Some(s), false, Some(b)) => code.run(len, |y, f, k| y * s[f] * k + b[f]),
        }
    }
}

/// Code that finishes the values of so many filters. Its function makes an output of a value, the
/// number of its filter among them, and XNOR-Net's K.
pub(crate) trait LastSteps<T> {
    fn run(self, filters: usize, last: impl Fn(T, usize, T) -> T);
}

/// Finishes dot products of floats, of one position.
struct FinishFloats<'a, T> {
    epilogue: &'a Epilogue<'a, T>,
    k: T,
    dots: &'a [T],
    out: &'a mut [T],
}

impl<T: Element> LastSteps<T> for FinishFloats<'_, T> {
    #[inline(always)]
    fn run(self, filters: usize, last: impl Fn(T, usize, T) -> T) {
        let (dots, out) = (&self.dots[..filters], &mut self.out[..filters]);
        let len = T::of_integer(self.epilogue.row_len as i64);
        match self.epilogue.form {
            OutputForm::Dot => (0..filters).for_each(|f| out[f] = last(dots[f], f, self.k)),
            OutputForm::Offset { .. } => {
                let value = |dot| (len + dot) / T::of(2.0);
                (0..filters).for_each(|f| out[f] = last(value(dots[f]), f, self.k));
            }
        }
    }
}
