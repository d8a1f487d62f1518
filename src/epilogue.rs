//! The only place where integers become floats.
//!
//! 1. exact numerator: what the kernel summed becomes that of the dot product (`numerator`), with
//!    what padded positions add to it (`padding`)
//! 2. one division by the common denominator (none for signs)
//! 3. BMXNet's offset, folded into 1. for integers
//! 4. the filter's scale, XNOR-Net's K, the bias, the residual

use crate::Element;
use crate::options::OutputForm;

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
        let dots = dots.iter().copied();
        match self.form {
            OutputForm::Dot => self.write(place, out, dots),
            OutputForm::Offset { .. } => {
                let len = T::of_integer(self.row_len as i64);
                self.write(place, out, dots.map(|dot| (len + dot) / T::of(2.0)));
            }
        }
    }

    /// Writes the outputs of one position, from what they are but for the last steps.
    #[inline(always)]
    pub(crate) fn write(&self, place: Place, out: &mut [T], values: impl Iterator<Item = T>) {
        // One loop for all steps, so that each output is written once.
        let filters = place.first_filter..place.first_filter + out.len();
        let factors = self.factors.get(filters.clone());
        let bias = self.bias.get(filters).map(<[T]>::iter);
        let k = self.k_map.get(place.row);
        match (factors.map(<[T]>::iter), k, bias.clone()) {
            (None, None, None) => fill(out, values),
            (Some(f), None, None) => fill(out, values.zip(f).map(|(y, &f)| y * f)),
            (None, None, Some(b)) => fill(out, values.zip(b).map(|(y, &b)| y + b)),
            (Some(f), None, Some(b)) => {
                fill(out, values.zip(f.zip(b)).map(|(y, (&f, &b))| y * f + b));
            }
            (None, Some(&k), _) => fill(out, values.map(|y| y * k)),
            (Some(f), Some(&k), _) => fill(out, values.zip(f).map(|(y, &f)| y * f * k)),
        }
        if let (Some(_), Some(bias)) = (k, bias) {
            for (out, &bias) in out.iter_mut().zip(bias) {
                *out += bias;
            }
        }
    }
}

#[inline(always)]
fn fill<T>(out: &mut [T], values: impl Iterator<Item = T>) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = value;
    }
}
