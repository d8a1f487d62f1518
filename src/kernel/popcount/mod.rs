//! How many bits of a row differ from those of a filter: the 1-bit matrix product.
//!
//! Of the words of `a ^ b`, two at a time are added up bit by bit to the running parity `s`. With
//! `x`, `y` the two words and `n` the next parity,
//!
//! ```text
//! s + x + y = 2 c + n,     n = s ^ x ^ y,     c = maj(s, x, y) = if s ^ x { y } else { x }
//! Σ popcount(words) = 2 Σ popcount(c) + popcount(last n)
//! ```
//!
//! which takes one popcount for two words: the first layer of a carry-save adder tree (Harley and
//! Seal; Muła, Kurz and Lemire, <https://arxiv.org/abs/1611.07612>). With ternary logic the two
//! xors with `b` cost nothing: `s ^ a ^ b` is one instruction, and `c` a function of the parity
//! before, between and after both words, so that two words take five. Further layers save nothing
//! more: a full adder costs as much as the popcount and the addition that it saves.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use super::{Isa, Kernel, PANEL, Rows};
use ndarray::ArrayViewMut2;
use std::any::TypeId;

/// Makes an output of the bits that differ between a row and filter `f`:
/// `(product * differing + addends[f]) * factors[f] + bias[f]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToFloats<'a, T> {
    /// It, the addends, and what both make can be computed without rounding.
    pub(crate) product: f32,
    /// One for each filter.
    pub(crate) addends: &'a [f32],
    /// One for each filter, or nothing.
    pub(crate) factors: &'a [T],
    /// One for each filter, or nothing.
    pub(crate) bias: &'a [T],
}

impl Kernel {
    /// Writes to `sums[row * stride + filter]` how many bits of a row differ from a filter.
    ///
    /// `panels` are whole panels, one after the other, of filters with as many words as the rows.
    ///
    /// # Panics
    /// If `panels` or `sums` have other lengths than that takes.
    pub(crate) fn count_differing(
        self,
        rows: Rows<'_>,
        panels: &[u32],
        sums: &mut [i32],
        stride: usize,
    ) {
        let filters = panels.len() / rows.offsets().len().max(1);
        assert!(panels.len() == filters * rows.offsets().len() && filters.is_multiple_of(PANEL));
        let Some(others) = rows.count().checked_sub(1) else { return };
        let end = others.checked_mul(stride).and_then(|start| start.checked_add(filters));
        assert!(stride >= filters && end.is_some_and(|end| end <= sums.len()));
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX-512, as `self` proves; the lengths have just been checked.
            Isa::Avx512 => unsafe { avx512::count_differing(rows, panels, sums, stride) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX2, as `self` proves; the lengths have just been checked.
            Isa::Avx2 | Isa::AvxVnni => unsafe {
                avx2::count_differing(rows, panels, sums, stride)
            },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: the CPU has NEON, as `self` proves; the lengths have just been checked.
            Isa::Neon | Isa::Dotprod => unsafe {
                neon::count_differing(rows, panels, sums, stride)
            },
            _ => portable::count_differing(rows, panels, sums, stride),
        }
    }

    /// Whether bits are counted so fast that [`finish_differing`](Self::finish_differing) pays.
    pub(crate) fn finishes_at_once(self) -> bool {
        self.0 == Isa::Avx512
    }

    /// Makes outputs of the differing bits while they are in registers, and writes these,
    /// `out[[filter, row]]`, if it can: `f32`, those of a row side by side. Returns whether it did.
    ///
    /// # Panics
    /// If there is an output too many or too few, or the filters are not those of the panels.
    pub(crate) fn finish_differing<T: 'static>(
        self,
        rows: Rows<'_>,
        panels: &[u32],
        finish: &ToFloats<'_, T>,
        mut out: ArrayViewMut2<'_, T>,
    ) -> bool {
        let (filters, words) = (finish.addends.len(), rows.offsets().len());
        assert!(out.dim() == (filters, rows.count()));
        assert!(filters.div_ceil(PANEL) * PANEL * words == panels.len());
        assert!([finish.factors, finish.bias].iter().all(|of| [0, filters].contains(&of.len())));
        let side_by_side = filters <= 1 || out.strides()[0] == 1;
        match (self.0, finish.of_f32()) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, Some(finish)) if side_by_side && words > 0 => {
                let (to, stride) = (out.as_mut_ptr().cast(), out.strides()[1]);
                // SAFETY: the CPU has AVX-512, as `self` proves; the sizes have just been checked,
                // and outputs are `f32`.
                unsafe { avx512::finish_differing(rows, panels, finish, to, stride) }
                true
            }
            _ => false,
        }
    }
}

impl<'a, T: 'static> ToFloats<'a, T> {
    /// The same, if the type is `f32`.
    fn of_f32(&self) -> Option<ToFloats<'a, f32>> {
        let ToFloats { product, addends, factors, bias } = *self;
        // SAFETY: both are the same type.
        let of_f32 =
            |of: &'a [T]| unsafe { std::slice::from_raw_parts(of.as_ptr().cast(), of.len()) };
        (TypeId::of::<T>() == TypeId::of::<f32>()).then(|| ToFloats {
            product,
            addends,
            factors: of_f32(factors),
            bias: of_f32(bias),
        })
    }
}

#[cfg(test)]
mod tests;
