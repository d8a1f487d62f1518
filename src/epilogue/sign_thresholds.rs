//! What numerators are compared with, in the place of a float computation: made by `layers::fold`.

/// Bias, scales, batch normalization and sign behind a layer, folded into one comparison of
/// integers a filter. Made by [`QFullyConnected::fold`](crate::QFullyConnected::fold) and
/// [`QConvolution::fold`](crate::QConvolution::fold), once for many forwards.
///
/// The signs are exactly those that the floats would have, for every input: thresholds are not
/// solved for but found by bisection over the float computation itself, each step of which is
/// monotone, with its rounding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignThresholds {
    /// `bit = (numerator >= threshold) ^ flip` for each filter.
    thresholds: Vec<i64>,
    /// The flips of 32 filters a word, as the bits of a pixel in a [`BitTensor`](crate::BitTensor).
    flips: Vec<u32>,
}

impl SignThresholds {
    /// Filters of the layer: channels of its output.
    pub fn filters(&self) -> usize {
        self.thresholds.len()
    }

    /// The sign (+1: true) of a filter's output whose dot product has the given numerator, or
    /// nothing if there is no such filter.
    ///
    /// The numerator is what the layer divides by the product of its denominators (see
    /// [`Levels`](crate::Levels)), before any scale: the dot product itself where activations and
    /// weights are signs. With [`OutputForm::Offset`](crate::OutputForm::Offset) it is the
    /// numerator of `K + dot`.
    pub fn is_positive(&self, filter: usize, numerator: i64) -> Option<bool> {
        let threshold = self.thresholds.get(filter)?;
        let flip = self.flips[filter / 32] >> (filter % 32) & 1 == 1;
        Some((numerator >= *threshold) != flip)
    }

    /// `bit = (numerator >= threshold) ^ flip` for each filter.
    pub(crate) fn thresholds(&self) -> &[i64] {
        &self.thresholds
    }

    /// The flips, 32 filters a word, the first lowest.
    pub(crate) fn flips(&self) -> &[u32] {
        &self.flips
    }

    /// Thresholds and flips of as many filters.
    pub(crate) fn new(thresholds: Vec<i64>, flips: Vec<u32>) -> Self {
        SignThresholds { thresholds, flips }
    }
}
