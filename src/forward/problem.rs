//! A forward that is known to be valid: checked sizes and options, and where outputs go. What `plan`
//! makes its choices from, and what the backward computes the gradients of.

use crate::geometry::Geometry;
use crate::options::{InputScaling, OutputForm, PadValue};
use crate::packed::panels::Panels;
use crate::packed::weights::Codes;
use crate::quantizer::{Levels, check_no_nan};
use crate::{ActivationQuantizer, Element, Operand, PackedWeights, Result, SignThresholds};
use ndarray::{ArrayView1, ArrayView5, ArrayViewMut5, Axis};

/// What a forward is to compute, beside its operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Problem<'a> {
    pub(crate) geometry: Geometry,
    pub(crate) activation: &'a ActivationQuantizer,
    pub(crate) form: OutputForm,
    pub(crate) input_scaling: InputScaling,
    pub(crate) pad: PadValue,
    /// Whether the pixels of the one image are the rows of a dense layer.
    pub(crate) dense: bool,
}

/// Codes of up to 8 bits on both sides: their products are exact integers.
#[derive(Clone, Copy)]
pub(crate) struct Exact<'a> {
    pub(crate) activation: Levels,
    pub(crate) weight: Levels,
    pub(crate) panels: &'a Panels,
}

impl<'a> Exact<'a> {
    /// Of operands that both have codes of up to 8 bits.
    pub(crate) fn new<T: Element>(
        problem: &Problem<'_>,
        weights: &'a PackedWeights<T>,
    ) -> Option<Self> {
        let activation = problem.activation.levels().filter(Levels::fit_a_byte)?;
        match weights.codes() {
            Codes::Panels(panels, weight) => Some(Exact { activation, weight, panels }),
            Codes::Values(_) => None,
        }
    }
}

/// Where outputs go, (images, filters, depth, height, width).
pub(crate) enum Target<'a, T> {
    Floats(FloatTarget<'a, T>),
    /// The signs of floats, of 32 filters a word.
    Signs {
        thresholds: &'a SignThresholds,
        out: ArrayViewMut5<'a, u32>,
    },
}

/// Floats, and what is added to them.
pub(crate) struct FloatTarget<'a, T> {
    /// One a filter.
    pub(crate) bias: Option<ArrayView1<'a, T>>,
    /// Of the shape of the output.
    pub(crate) residual: Option<ArrayView5<'a, T>>,
    pub(crate) out: ArrayViewMut5<'a, T>,
}

impl<T: Element> Target<'_, T> {
    /// Checks what is added, and hands out the bias.
    pub(crate) fn check_addends(&self) -> Result<Option<ArrayView1<'_, T>>> {
        let Target::Floats(FloatTarget { bias, residual, .. }) = self else { return Ok(None) };
        if let Some(residual) = residual {
            check_no_nan(Operand::Residual, residual)?;
        }
        if let Some(bias) = bias {
            check_no_nan(Operand::Bias, bias)?;
        }
        Ok(bias.as_ref().map(|bias| bias.view()))
    }

    /// What numerators are compared with, one of each filter, or nothing.
    pub(crate) fn thresholds(&self) -> &[i64] {
        match self {
            Target::Floats(_) => &[],
            Target::Signs { thresholds, .. } => thresholds.thresholds(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Target::Floats(target) => target.out.is_empty(),
            Target::Signs { out, .. } => out.is_empty(),
        }
    }

    /// Elements, and how many filters each holds.
    pub(crate) fn elements(&self) -> (usize, usize) {
        match self {
            Target::Floats(target) => (target.out.len(), 1),
            Target::Signs { out, .. } => (out.len(), 32),
        }
    }

    /// Whether the outputs of a position lie side by side.
    pub(crate) fn is_side_by_side(&self) -> bool {
        match self {
            Target::Floats(FloatTarget { out, .. }) => {
                out.strides()[1] == 1 || out.len_of(Axis(1)) == 1
            }
            Target::Signs { .. } => true,
        }
    }
}
