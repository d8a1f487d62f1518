//! Integer sums to the signs of what floats would have become of them: numerators are compared with
//! the threshold of their filter, which `layers::fold` finds.

use crate::epilogue::exact::{Accumulator, Exact, ExactLanes};
use crate::epilogue::{Numerators, Output, TileOutputs, panel_of};
use crate::kernel::{PANEL, Vector};

/// Filters that share a word of the output.
const WORD: usize = u32::BITS as usize;

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

/// Integer sums to signs. Rows of outputs lie where they belong, as words may hold filters of other
/// groups too.
pub(crate) struct SignOutput<'a> {
    /// Thresholds are part of the offsets.
    pub(crate) numerators: Numerators<'a>,
    pub(crate) thresholds: &'a SignThresholds,
}

impl SignOutput<'_> {
    /// Packs the signs of a row with some panels.
    #[inline(always)]
    fn pack<const P: usize>(
        &self,
        outputs: &mut TileOutputs<'_, u32>,
        row: usize,
        panel: usize,
        signs: [u16; P],
    ) {
        let first_word = outputs.tile.filters.start / WORD;
        let first = outputs.first_filter(panel);
        for p in 0..P {
            let (at, lanes) = (first + p * PANEL, outputs.lanes(panel + p));
            let (word, shift) = (at / WORD, at % WORD);
            let held = (u32::MAX >> (WORD - lanes.len())) << lanes.start << shift;
            let signs = u32::from(signs[p]) << shift ^ self.thresholds.flips[word];
            let word = &mut outputs.rows.row(row)[word - first_word];
            *word = *word & !held | signs & held;
        }
    }

    #[inline(always)]
    fn in_registers<A: ExactLanes, V: Vector, const M: usize, const P: usize>(
        &self,
        v: V,
        outputs: &mut TileOutputs<'_, u32>,
        (row, panel): (usize, usize),
        sums: &[[V::Ints; P]; M],
    ) {
        let Numerators { geometry, zero_points, .. } = self.numerators;
        let factor = A::of_twice(zero_points.sum_factor).splat(v);
        let first = outputs.first_filter(panel);
        for (row, sums) in (row..).zip(sums) {
            let index = outputs.index + row * geometry.groups();
            let (offsets, of_row) = self.numerators.terms::<A>(outputs.tile.position + row, index);
            let (offsets, of_row) = (&offsets[first..][..P * PANEL], of_row.splat(v));
            let offsets = offsets.as_chunks().0;
            // A closure would not be inlined into code of an instruction set.
            let mut signs = [0; P];
            for p in 0..P {
                let offsets = [A::load(v, &offsets[p]), of_row];
                signs[p] = A::are_positive(v, A::numerators(v, factor, sums[p], offsets));
            }
            self.pack::<P>(outputs, row, panel, signs);
        }
    }
}

impl Output for SignOutput<'_> {
    type Element = u32;
    const FILTERS: usize = WORD;

    fn numerators(&self) -> &Numerators<'_> {
        &self.numerators
    }

    #[inline(always)]
    fn block<V: Vector, const M: usize, const P: usize>(
        &self,
        v: V,
        outputs: &mut TileOutputs<'_, u32>,
        row: usize,
        panel: usize,
        sums: &[[V::Ints; P]; M],
    ) {
        let at = (row, panel);
        match self.numerators.padding.accumulator() {
            Accumulator::F32 => self.in_registers::<f32, V, M, P>(v, outputs, at, sums),
            Accumulator::I32 => self.in_registers::<i32, V, M, P>(v, outputs, at, sums),
            Accumulator::I64 => {
                for (row, sums) in (row..).zip(sums) {
                    for (panel, &sums) in (panel..).zip(sums) {
                        let mut stored = [0; PANEL];
                        v.store_ints(sums, &mut stored);
                        self.long_sums(outputs, row, panel, &stored.map(i64::from));
                    }
                }
            }
        }
    }

    // Rare, and compiled once.
    #[inline(never)]
    fn long_sums(
        &self,
        outputs: &mut TileOutputs<'_, u32>,
        row: usize,
        panel: usize,
        sums: &[i64; PANEL],
    ) {
        let index = outputs.index + row * self.numerators.geometry.groups();
        let position = outputs.tile.position + row;
        let (offsets, of_row) = self.numerators.terms::<i64>(position, index);
        let offsets = panel_of(offsets, outputs.first_filter(panel), 0);
        let factor = i64::of_twice(self.numerators.zero_points.sum_factor);
        let sign = |f: usize| u16::from(factor * sums[f] + (offsets[f] + of_row) >= 0) << f;
        self.pack(outputs, row, panel, [(0..PANEL).fold(0, |signs, f| signs | sign(f))]);
    }
}
