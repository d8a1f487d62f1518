//! Comparing what we computed with what a peer did.

use crate::report::{Check, failed};
use ndarray::{ArrayRef, Dimension};
use ndarray_qnn::Element;

/// Accepts `|found - expected| <= atol + rtol |expected|`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    pub(crate) rtol: f64,
    pub(crate) atol: f64,
}

impl Tolerance {
    pub(crate) const EXACT: Tolerance = Tolerance::absolute(0.0);

    pub(crate) const fn absolute(atol: f64) -> Self {
        Tolerance { rtol: 0.0, atol }
    }

    /// What a `T` has to meet where an `f32` meets this: an `f64` one millionth of it.
    pub(crate) fn of<T: Element>(self) -> Self {
        let share = if size_of::<T>() == 8 { 1e-6 } else { 1.0 };
        Tolerance { rtol: self.rtol * share, atol: self.atol * share }
    }

    pub(crate) fn accepts(&self, found: f64, expected: f64) -> bool {
        // Infinities agree with themselves only, NaN with nothing.
        found == expected
            || expected.is_finite()
                && (found - expected).abs() <= self.atol + self.rtol * expected.abs()
    }
}

/// Compares with the numbers of a peer, of which the `f64` is exact or the ideal value.
pub(crate) fn close<T: Element, D: Dimension, E: Dimension>(
    what: &str,
    found: &ArrayRef<T, D>,
    expected: &ArrayRef<f64, E>,
    tolerance: Tolerance,
) -> Check {
    same_shape(what, found.shape(), expected.shape())?;
    let found = found.iter().map(|&value| value.as_f64());
    for (i, (found, &expected)) in found.zip(expected).enumerate() {
        if !tolerance.accepts(found, expected) {
            return failed(format!(
                "{what}[{i}]: {found:e}, expected {expected:e} ({tolerance:?})"
            ));
        }
    }
    Ok(())
}

/// Integer codes, which are exact.
pub(crate) fn same_codes<D: Dimension, E: Dimension>(
    what: &str,
    found: &ArrayRef<u32, D>,
    expected: &ArrayRef<f64, E>,
) -> Check {
    close(what, &found.mapv(f64::from), expected, Tolerance::EXACT)
}

/// Equality bit for bit.
pub(crate) fn same_bits<T: Element, D: Dimension>(
    what: &str,
    found: &ArrayRef<T, D>,
    expected: &ArrayRef<T, D>,
) -> Check {
    same_shape(what, found.shape(), expected.shape())?;
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        if found.as_f64().to_bits() != expected.as_f64().to_bits() {
            return failed(format!("{what}[{i}]: bits of {found:?} and {expected:?}"));
        }
    }
    Ok(())
}

fn same_shape(what: &str, found: &[usize], expected: &[usize]) -> Check {
    if found == expected {
        Ok(())
    } else {
        failed(format!("{what}: shape {found:?}, expected {expected:?}"))
    }
}
