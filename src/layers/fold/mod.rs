//! Folding: what happens between two layers in bits, from the sums of one to the signs of the
//! next, as one comparison of integers.
//!
//! A layer makes a float `y` of an exact integer `n`, the numerator of its dot product (see
//! `epilogue`). Batch normalization makes `z` of `y`, and the next layer takes the sign of `z`:
//!
//! ```text
//! y = float(n) / denominator * factor + bias        z = scale * y + shift        bit = z >= 0
//! ```
//!
//! where every operation rounds. The bit as a function of the integer is folded, not the formula
//! solved for `n`, so no rounding can come between the two:
//!
//! 1. Rounding to nearest never decreases: `a <= b` gives `round(a) <= round(b)`. So each operation
//!    on its own (to float, division by a positive constant, multiplication by a constant, addition
//!    of a constant, comparison with a constant), rounded, is either never decreasing or never
//!    increasing, also where it underflows, or overflows to an infinity. Their composition is too.
//! 2. A bit that never decreases, or never increases, along a range of integers changes at most
//!    once. Where it changes is found by bisection, which evaluates the very float operations of the
//!    unfolded computation.
//! 3. A NaN would break the order. With finite parameters `y` is none: it may overflow, but no
//!    infinity is multiplied by 0 or meets another. Then `z` is one only where `scale * y` is
//!    `0 * ±∞`; as `y` is monotone, it is infinite at an end of the range if anywhere. So that `z` is
//!    no NaN at both ends shows that it is none between.

use crate::element::compiled_once;
use crate::epilogue::to_floats::OutputScale;
use crate::layers::operator::Operator;
use crate::memory::reserve;
use crate::options::OutputForm;
use crate::packed::bit_tensor::sign_threshold;
use crate::quantizer::{Levels, check_no_nan, check_same_shape};
use crate::{
    ActivationQuantizer, Affine, Element, Error, Operand, PackedWeights, Result, SignThresholds,
};
use ndarray::ArrayView1;
use std::ops::RangeInclusive;

const WHAT: &str = "sign thresholds";

/// Folds `z(filter, numerator) >= sign`, where `z` must be monotone in the numerator.
fn thresholds<T: Element>(
    filters: usize,
    numerators: RangeInclusive<i64>,
    sign: T,
    z: impl Fn(usize, i64) -> T,
) -> Result<SignThresholds> {
    let (mut thresholds, mut flips) = (Vec::new(), Vec::new());
    reserve(&mut thresholds, filters, WHAT)?;
    reserve(&mut flips, filters.div_ceil(32), WHAT)?;
    flips.resize(filters.div_ceil(32), 0);
    for filter in 0..filters {
        let z = |numerator| z(filter, numerator);
        if z(*numerators.start()).is_nan() || z(*numerators.end()).is_nan() {
            return Err(Error::NaN { operand: Operand::Output });
        }
        let bit = |numerator| u32::from(z(numerator) >= sign);
        let (threshold, flip) = turn(&numerators, bit);
        thresholds.push(threshold);
        flips[filter / 32] |= flip << (filter % 32);
    }
    Ok(SignThresholds::new(thresholds, flips))
}

/// The threshold and flip with `bit(n) = (n >= threshold) ^ flip` in a range where `bit` changes at
/// most once.
fn turn(range: &RangeInclusive<i64>, bit: impl Fn(i64) -> u32) -> (i64, u32) {
    let (mut low, mut high) = (*range.start(), *range.end());
    let first = bit(low);
    if bit(high) == first {
        return (low, first ^ 1);
    }
    // bit(low) == first != bit(high)
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if bit(middle) == first {
            low = middle;
        } else {
            high = middle;
        }
    }
    (high, first)
}

compiled_once! {
    /// Folds what comes behind an operator.
    pub(crate) fn fold<'a, 'b; T>(
        operator: Operator<'a>,
        w: &'a PackedWeights<T>,
        bias: Option<ArrayView1<'b, T>>,
        affine: Option<&'a Affine<T>>,
        next: &'a ActivationQuantizer,
    ) -> Result<SignThresholds> {
        operator.check_packed(w)?;
        let sign = sign_threshold(next)?;
        let (activation, weight) = operator.check_foldable(w)?;
        let filters = w.filters();
        if let Some(affine) = affine {
            check_same_shape(Operand::Scale, &[filters], &[affine.channels()])?;
        }
        let bias = finite_bias(filters, bias)?;

        let (form, row_len) = (operator.options.form, w.row_len());
        let mut denominator = activation.denominator() * weight.denominator();
        if form != OutputForm::Dot {
            denominator *= 2;
        }
        let scale = OutputScale { form, row_len, scales: w.factors(), k_map: &[], bias: &bias };
        let numerators = numerators(activation, weight, row_len, form);
        thresholds(filters, numerators, sign, |filter, numerator| {
            let y = scale.output(filter, numerator, denominator);
            affine.map_or(y, |affine| affine.value(filter, y))
        })
    }
}

fn finite_bias<T: Element>(filters: usize, bias: Option<ArrayView1<'_, T>>) -> Result<Vec<T>> {
    let Some(bias) = bias else { return Ok(Vec::new()) };
    check_same_shape(Operand::Bias, &[filters], bias.shape())?;
    check_no_nan(Operand::Bias, &bias)?;
    match bias.iter().find(|bias| !bias.is_finite()) {
        None => Ok(bias.to_vec()),
        Some(bias) => Err(Error::Parameter {
            parameter: "bias",
            expected: "a finite number",
            value: bias.as_f64(),
        }),
    }
}

/// All numerators that dot products can have. Values are from -1 to 1, those of padding too, so
/// their numerators are no greater than their denominators.
fn numerators(
    activation: Levels,
    weight: Levels,
    row_len: usize,
    form: OutputForm,
) -> RangeInclusive<i64> {
    let largest = row_len as i64 * activation.denominator() * weight.denominator();
    match form {
        OutputForm::Dot => -largest..=largest,
        OutputForm::Offset { .. } => 0..=2 * largest, // K more than the dot product
    }
}

#[cfg(test)]
mod tests;
