//! Integer sums to the signs of what floats would have become of them (see `fold`).

use crate::epilogue::exact::{Carrier, Precision, SumIn};
use crate::epilogue::store::Positions;
use crate::epilogue::terms::Finishing;
use crate::forward::gemm::{Bits, Finish};
use crate::forward::tile_sums::Sums;
use crate::kernel::{Code, ToSigns};
use ndarray::{ArrayViewMut1, ArrayViewMut2, ArrayViewMut4};

/// Compares numerators with the threshold of their filter, and packs the bits: an output element
/// is a word of 32 filters.
pub(crate) struct BitOutput<'a> {
    pub(crate) finishing: Finishing<'a>,
    /// Bits that are turned over, 32 filters a word.
    pub(crate) flips: &'a [u32],
}

impl Finish for BitOutput<'_> {
    type Out = u32;
    const FILTERS: usize = 32;

    fn buffer_len(&self, rows: usize, filters: usize) -> usize {
        rows * filters.div_ceil(32)
    }

    fn finishes_differing(&self) -> bool {
        self.finishing.padding.precision() == Precision::Float
    }

    #[inline(always)]
    fn finish_differing(&self, bits: Bits<'_>, out: ArrayViewMut2<'_, u32>) {
        let finish = ToSigns {
            product: f32::of_twice(self.finishing.numerator.product),
            addends: self.finishing.addends(&bits),
            flips: &self.flips[bits.filters.start / 32..bits.filters.end.div_ceil(32)],
        };
        self.finishing.kernel.differing_to_signs(bits.rows, bits.planes, finish, out);
    }

    fn finish(
        &self,
        tile: &Sums<'_>,
        _: &mut [u32],
        out: &mut ArrayViewMut4<'_, u32>,
        start: usize,
    ) {
        // Apart from the products, so that it is compiled once for all of them.
        self.finishing.kernel.vectorize(FinishTile {
            output: self,
            tile,
            out: out.view_mut(),
            start,
        });
    }
}

struct FinishTile<'a, 'b> {
    output: &'a BitOutput<'b>,
    tile: &'a Sums<'a>,
    out: ArrayViewMut4<'a, u32>,
    start: usize,
}

impl Code for FinishTile<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Sums { sums, wide, .. } = *self.tile;
        match (self.output.finishing.padding.precision(), wide.is_empty()) {
            (Precision::Float, true) => self.write::<f32, _>(sums),
            (Precision::Narrow, true) => self.write::<i32, _>(sums),
            (Precision::Wide, true) => self.write::<i64, _>(sums),
            (_, false) => self.write::<i64, _>(wide),
        }
    }
}

impl FinishTile<'_, '_> {
    #[inline(always)]
    fn write<C: Carrier, S: SumIn<C>>(self, sums: &[S]) {
        let FinishTile { output, tile, out, start } = self;
        let mut positions = Positions::new(out, start..start + tile.rows);
        for i in 0..tile.rows {
            output.write_row::<C, S>(tile, i, tile.row(sums, i), positions.at(i));
        }
    }
}

impl BitOutput<'_> {
    #[inline(always)]
    fn write_row<C: Carrier, S: SumIn<C>>(
        &self,
        tile: &Sums<'_>,
        i: usize,
        sums: &[S],
        mut out: ArrayViewMut1<'_, u32>,
    ) {
        let position = tile.position + i;
        let row = self.finishing.row(tile.image, position, tile.group);
        let code_sum = self.finishing.code_sums.get(row).copied().unwrap_or_default();
        let product = C::of_twice(self.finishing.numerator.product);
        let least = C::of_twice(-self.finishing.numerator.row * code_sum);
        let first = tile.filters.start;
        let addends = &self.finishing.padding.addends::<C>(self.finishing.geometry, position)
            [first..][..sums.len()];
        // A group may begin within a word.
        let mut at = first % 32;
        let (mut sums, mut addends) = (sums, addends);
        for (word, flips) in out.iter_mut().zip(&self.flips[first / 32..]) {
            let whole = sums.first_chunk().zip(addends.first_chunk());
            if let Some((sums32, addends32)) = whole.filter(|_| at == 0) {
                *word =
                    S::at_least(self.finishing.kernel, sums32, product, addends32, least) ^ flips;
                (sums, addends) = (&sums[32..], &addends[32..]);
                continue;
            }
            let len = sums.len().min(32 - at);
            let bit = |i: usize| u32::from(product * sums[i].carried() + addends[i] >= least);
            let bits = (0..len).fold(0, |bits, i| bits | bit(i) << (at + i));
            let held = u32::MAX >> (32 - len) << at;
            *word = *word & !held | (bits ^ flips) & held;
            (sums, addends) = (&sums[len..], &addends[len..]);
            at = 0;
        }
    }
}
