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
    /// Where the signs of a panel go.
    #[inline(always)]
    fn place(&self, outputs: &TileOutputs<'_, u32>, panel: usize) -> Place {
        let (first, lanes) = (outputs.first_filter(panel), outputs.lanes(panel));
        let (word, shift) = (first / WORD, first % WORD);
        let mask = (u32::MAX >> (WORD - lanes.len())) << lanes.start << shift;
        let flips = self.thresholds.flips[word] & mask;
        Place { word: word - outputs.tile.filters.start / WORD, shift, mask, flips }
    }

    /// Packs the signs of a block while its sums are in registers.
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
        let mut places = [Place::default(); P];
        for (p, place) in places.iter_mut().enumerate() {
            *place = self.place(outputs, panel + p);
        }
        // Where all rows are alike, their terms are those of the first.
        let are_alike = self.numerators.are_rows_alike();
        let (mut offsets, _) = self.numerators.terms::<A>(outputs.tile.position + row, 0);
        let mut of_row = A::default().splat(v);
        for (m, sums) in sums.iter().enumerate() {
            if !are_alike {
                let index = outputs.index + (row + m) * geometry.groups();
                let position = outputs.tile.position + row + m;
                let terms = self.numerators.terms::<A>(position, index);
                (offsets, of_row) = (terms.0, terms.1.splat(v));
            }
            let (offsets, _) = offsets[first..][..P * PANEL].as_chunks();
            let words = outputs.rows.row(row + m);
            // A closure would not be compiled for the instruction set.
            for (p, place) in places.iter().enumerate() {
                let offsets = [A::load(v, &offsets[p]), of_row];
                let signs = A::are_positive(v, A::numerators(v, factor, sums[p], offsets));
                place.write(signs, words);
            }
        }
    }
}

/// Where the signs of a panel go: to half of a word of each row.
#[derive(Clone, Copy, Default)]
struct Place {
    word: usize,
    shift: usize,
    /// The bits of filters of the tile, and those of them that are turned over.
    mask: u32,
    flips: u32,
}

impl Place {
    #[inline(always)]
    fn write(&self, signs: u16, words: &mut [u32]) {
        let Place { word, shift, mask, flips } = *self;
        let word = &mut words[word];
        *word = *word & !mask | (u32::from(signs) << shift & mask) ^ flips;
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
        let signs = (0..PANEL).fold(0, |signs, f| signs | sign(f));
        self.place(outputs, panel).write(signs, outputs.rows.row(row));
    }
}
