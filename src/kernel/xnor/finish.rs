//! Outputs of differing bits while these are in registers, as operators still ask for them.

use super::FilterPlanes;
use crate::kernel::{Epilogue, Isa, Kernel, PANEL, Rows, Sums, Vector};
use ndarray::ArrayViewMut2;
use std::any::TypeId;

/// Makes an output of the bits that differ between a row and filter `f`, which count `2^(i + j)` in
/// plane `i` of the row and plane `j` of the filter:
/// `(product * differing + addend) / denominator * factors[f] + bias[f]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToFloats<'a> {
    /// Nothing must need rounding before the division.
    pub(crate) product: f32,
    pub(crate) addends: Addends<'a>,
    /// An integer of less than 23 bits.
    pub(crate) denominator: f32,
    /// One for each filter, or nothing.
    pub(crate) factors: &'a [f32],
    /// One for each filter, or nothing.
    pub(crate) bias: &'a [f32],
}

/// Makes signs of the same: a bit that is set where `product * differing + addend` is 0 or more,
/// unless it is turned over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToSigns<'a> {
    /// Nothing must need rounding.
    pub(crate) product: f32,
    pub(crate) addends: Addends<'a>,
    /// Bits that are turned over, 32 filters a word.
    pub(crate) flips: &'a [u32],
}

/// What is added for a filter and a row: `addends[kind of the row][f] + factor * sums[row]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addends<'a> {
    /// Those of the first kind of rows, then the others.
    pub(crate) addends: &'a [f32],
    pub(crate) filters: usize,
    /// From the addends of a kind to those of the next.
    pub(crate) stride: usize,
    /// The kind of each row, or nothing if all are of the first.
    pub(crate) kinds: &'a [u32],
    /// One of each row, or nothing.
    pub(crate) sums: &'a [i64],
    /// What they are multiplied with.
    pub(crate) factor: f32,
}

impl Addends<'_> {
    /// Whether there are addends of every kind, and a kind of every row.
    fn fit(&self, rows: usize) -> bool {
        let last = self.kinds.iter().max().map_or(0, |&kind| kind as usize);
        let end = last.checked_mul(self.stride).and_then(|start| start.checked_add(self.filters));
        [self.kinds.len(), self.sums.len()].iter().all(|len| [0, rows].contains(len))
            && end.is_some_and(|end| end <= self.addends.len())
    }

    /// The filters of a panel that there are.
    #[inline(always)]
    fn of_panel<'n, N>(&self, numbers: &'n [N], panel: usize) -> &'n [N] {
        &numbers[panel * PANEL..self.filters.min((panel + 1) * PANEL)]
    }

    /// What is made of the sums of a row before they are scaled, or compared.
    #[inline(always)]
    fn numerators<V: Vector>(
        &self,
        v: V,
        row: usize,
        panel: usize,
        product: f32,
        sums: V::Ints,
    ) -> V::Floats {
        let kind = self.kinds.get(row).map_or(0, |&kind| kind as usize);
        let addends = v.load(self.of_panel(&self.addends[kind * self.stride..], panel));
        // The sum is no more than can be: it fits.
        let of_row = self.factor * self.sums.get(row).map_or(0, |&sum| sum as i32) as f32;
        let addends = v.add(addends, v.floats(of_row));
        v.mul_add_exact(v.floats(product), v.to_floats(sums), addends)
    }
}

/// Outputs of type `O`, those of a row side by side.
struct Out<O> {
    first: *mut O,
    /// From those of a row to the next.
    stride: isize,
}

impl<O> Out<O> {
    fn new<T>(mut out: ArrayViewMut2<'_, T>) -> Self {
        Out { first: out.as_mut_ptr().cast(), stride: out.strides()[1] }
    }

    /// # Safety
    /// There must be so many outputs in such a row from there on, for as long.
    #[inline(always)]
    unsafe fn row<'o>(&self, row: usize, from: usize, len: usize) -> &'o mut [O] {
        // SAFETY: the caller vouches for them.
        unsafe {
            let row = self.first.offset(row as isize * self.stride);
            std::slice::from_raw_parts_mut(row.add(from), len)
        }
    }
}

struct Floats<'a, const SCALED: bool> {
    finish: ToFloats<'a>,
    out: Out<f32>,
}

impl<const SCALED: bool> Epilogue for Floats<'_, SCALED> {
    #[inline(always)]
    fn block<V: Vector, const M: usize, const P: usize>(
        &mut self,
        v: V,
        row: usize,
        panel: usize,
        sums: &[[V::Ints; P]; M],
    ) {
        let ToFloats { product, addends, denominator, factors, bias } = self.finish;
        for (m, sums) in sums.iter().enumerate() {
            for (p, &sums) in sums.iter().enumerate() {
                let (row, panel) = (row + m, panel + p);
                let mut y = addends.numerators(v, row, panel, product, sums);
                if SCALED {
                    let of = |numbers: &[f32], default: f32| match numbers.is_empty() {
                        true => v.floats(default),
                        false => v.load(addends.of_panel(numbers, panel)),
                    };
                    y = v.quotient(y, denominator, denominator.recip());
                    // These leave every number as it is, a zero of either sign too.
                    y = v.add(v.mul(y, of(factors, 1.0)), of(bias, -0.0));
                }
                let len = PANEL.min(addends.filters - panel * PANEL);
                // SAFETY: there are outputs of each row and filter.
                v.store(y, unsafe { self.out.row(row, panel * PANEL, len) });
            }
        }
    }
}

struct Signs<'a> {
    finish: ToSigns<'a>,
    out: Out<u32>,
}

impl Epilogue for Signs<'_> {
    #[inline(always)]
    fn block<V: Vector, const M: usize, const P: usize>(
        &mut self,
        v: V,
        row: usize,
        panel: usize,
        sums: &[[V::Ints; P]; M],
    ) {
        let ToSigns { product, addends, flips } = self.finish;
        for (m, sums) in sums.iter().enumerate() {
            for (p, &sums) in sums.iter().enumerate() {
                let (row, panel) = (row + m, panel + p);
                let y = addends.numerators(v, row, panel, product, sums);
                let half = panel % 2 * PANEL;
                let present = u16::MAX >> PANEL.saturating_sub(addends.filters - panel * PANEL);
                let bits = v.at_least(y, v.floats(0.0)) ^ (flips[panel / 2] >> half) as u16;
                let bits = u32::from(bits & present) << half;
                // SAFETY: there is a word for every two panels of each row.
                let word = &mut unsafe { self.out.row(row, panel / 2, 1) }[0];
                // The other half of the first may have no filters.
                *word = if half == 0 { bits } else { *word | bits };
            }
        }
    }
}

impl Kernel {
    /// Whether bits are counted so fast that it pays to finish them in registers.
    pub(crate) fn finishes_at_once(self) -> bool {
        self.vectors() == Isa::Avx512
    }

    /// Writes to `sums[row * stride + filter]` how many bits of a row differ from a filter, in all
    /// planes; see [`xnor`](Self::xnor).
    pub(crate) fn count_differing(
        self,
        rows: Rows<'_>,
        filters: FilterPlanes<'_>,
        buffer: &mut [i32],
        sums: &mut [i32],
        stride: usize,
    ) {
        self.xnor(rows, filters, buffer, &mut Sums { sums, stride });
    }

    /// Makes outputs of differing bits while they are in registers: `out[[filter, row]]`, those
    /// of a row side by side. They are `f32`, and the kernel [finishes](Self::finishes_at_once)
    /// them so.
    ///
    /// # Panics
    /// If that is not so, if there is an output too many or too few, or if the filters are not
    /// those of the panels.
    pub(crate) fn differing_to_floats<T: 'static>(
        self,
        rows: Rows<'_>,
        filters: FilterPlanes<'_>,
        finish: ToFloats<'_>,
        out: ArrayViewMut2<'_, T>,
    ) {
        let count = self.check_finish(rows, filters, &finish.addends);
        assert!(out.dim() == (count, rows.count()) && side_by_side(&out));
        assert!([finish.factors, finish.bias].iter().all(|of| [0, count].contains(&of.len())));
        assert!(TypeId::of::<T>() == TypeId::of::<f32>());
        let is_plain =
            finish.denominator == 1.0 && finish.factors.is_empty() && finish.bias.is_empty();
        let out = Out::new(out);
        match is_plain {
            true => self.xnor(rows, filters, &mut [], &mut Floats::<false> { finish, out }),
            false => self.xnor(rows, filters, &mut [], &mut Floats::<true> { finish, out }),
        }
    }

    /// The same to signs: `out[[word, row]]`, of 32 filters a word, and 0 where there are none.
    ///
    /// # Panics
    /// As there.
    pub(crate) fn differing_to_signs(
        self,
        rows: Rows<'_>,
        filters: FilterPlanes<'_>,
        finish: ToSigns<'_>,
        out: ArrayViewMut2<'_, u32>,
    ) {
        let words = self.check_finish(rows, filters, &finish.addends).div_ceil(32);
        assert!(out.dim() == (words, rows.count()) && side_by_side(&out));
        assert!(finish.flips.len() == words);
        self.xnor(rows, filters, &mut [], &mut Signs { finish, out: Out::new(out) });
    }

    /// Checks what is the same for both, and returns the number of filters.
    fn check_finish(
        self,
        rows: Rows<'_>,
        filters: FilterPlanes<'_>,
        addends: &Addends<'_>,
    ) -> usize {
        assert!(self.finishes_at_once() && addends.fit(rows.count()));
        assert!(addends.filters.div_ceil(PANEL) == filters.panels);
        addends.filters
    }
}

/// Whether the outputs of a row lie so.
fn side_by_side<T>(out: &ArrayViewMut2<'_, T>) -> bool {
    out.nrows() <= 1 || out.strides()[0] == 1
}
