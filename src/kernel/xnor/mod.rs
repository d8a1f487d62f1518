//! How many bits of rows differ from those of filters: the matrix product of 1-bit codes and, in bit
//! planes, of codes of a few bits.
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
//! Seal; Muła, Kurz and Lemire, <https://arxiv.org/abs/1611.07612>).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use super::arch::Vectors;
use super::blocks::{BlockKernel, blocks, run_over};
use super::{Epilogue, Kernel, PANEL, Rows, Vector};

/// Filters in bit planes, of whole panels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilterPlanes<'a> {
    /// From the first panel of the lowest plane on. Each holds as many words of its filters as rows
    /// have, `[word][filter]`.
    pub(crate) words: &'a [u32],
    /// How many there are in a plane.
    pub(crate) panels: usize,
    pub(crate) planes: usize,
    /// Words from a plane to the next.
    pub(crate) step: usize,
}

/// Vectors that bits are counted in.
trait Xnor: Vector {
    /// How many bits differ in a plane between `M` rows and `P` panels.
    ///
    /// # Safety
    /// The words must be there: word `w` of row `m` at `row + offsets[w] + m * step`, those of the
    /// first panel from `panel` on, and those of each other after as many as there are offsets.
    unsafe fn differing<const M: usize, const P: usize>(
        self,
        offsets: &[u32],
        row: *const u32,
        step: usize,
        panel: *const u32,
    ) -> [[Self::Ints; P]; M];
}

/// Counts bits block by block.
struct CountBits<'a, V, E> {
    v: V,
    rows: Rows<'a>,
    filters: FilterPlanes<'a>,
    epilogue: &'a mut E,
}

impl<V: Xnor, E: Epilogue> BlockKernel for CountBits<'_, V, E> {
    type Vector = V;

    fn vector(&self) -> V {
        self.v
    }

    #[inline(always)]
    unsafe fn block<const M: usize, const P: usize>(&mut self, row: usize, panel: usize) {
        // SAFETY: there are so many, as the caller vouches.
        let sums = unsafe { self.sums::<M, P>(row, panel) };
        self.epilogue.block(self.v, row, panel, &sums);
    }
}

impl<V: Xnor, E: Epilogue> CountBits<'_, V, E> {
    /// # Safety
    /// There must be `M` rows and `P` panels from these on.
    #[inline(always)]
    unsafe fn sums<const M: usize, const P: usize>(
        &self,
        row: usize,
        panel: usize,
    ) -> [[V::Ints; P]; M] {
        let CountBits { v, rows, filters, .. } = *self;
        let panel = panel * rows.offsets().len() * PANEL;
        let mut sums = [[v.ints(0); P]; M];
        for j in 0..filters.planes {
            for i in 0..rows.planes() {
                // SAFETY: all planes have so many rows and panels.
                let counts = unsafe {
                    let row = rows.from(row).add(i * rows.plane_step());
                    let panel = filters.words.as_ptr().add(j * filters.step + panel);
                    v.differing::<M, P>(rows.offsets(), row, rows.step(), panel)
                };
                for m in 0..M {
                    for p in 0..P {
                        let counts = v.shift_left(counts[m][p], (i + j) as u32);
                        sums[m][p] = v.add_ints(sums[m][p], counts);
                    }
                }
            }
        }
        sums
    }
}

impl Kernel {
    /// Numbers that the buffer of [`xnor`](Self::xnor) takes for rows of so many words, pairs of a
    /// plane of theirs and one of the filters, and filters in whole panels.
    pub(crate) fn xnor_buffer(self, row_words: usize, planes: usize, filters: usize) -> usize {
        #[cfg(target_arch = "x86_64")]
        if let Vectors::Avx2(_) = self.vector() {
            return avx2::buffer_len(row_words, planes, filters);
        }
        let _ = (row_words, planes, filters);
        0
    }

    /// Hands over `Σ 2^(i + j) popcount(a_i ^ b_j)` of all rows and filters, where `a_i` is plane `i`
    /// of a row and `b_j` plane `j` of a filter. They must fit into 32 bits.
    ///
    /// `buffer` has [`xnor_buffer`](Self::xnor_buffer) numbers, of any values.
    ///
    /// # Panics
    /// If the filters do not lie within their words, or the buffer is shorter.
    pub(crate) fn xnor<E: Epilogue>(
        self,
        rows: Rows<'_>,
        filters: FilterPlanes<'_>,
        buffer: &mut [i32],
        epilogue: &mut E,
    ) {
        #[cfg(not(target_arch = "x86_64"))]
        let _ = buffer; // all their sums stay in registers
        let panel_len = rows.offsets().len() * PANEL;
        let last = filters.planes.checked_sub(1).and_then(|last| last.checked_mul(filters.step));
        let len = filters.panels.checked_mul(panel_len);
        let end = last.zip(len).and_then(|(last, len)| last.checked_add(len));
        assert!(filters.panels == 0 || end.is_some_and(|end| end <= filters.words.len()));
        let (count, panels) = (rows.count(), filters.panels);
        macro_rules! run_over {
            ($v:ident: $($blocks:tt)*) => {{
                let mut kernel = CountBits { v: $v, rows, filters, epilogue };
                // SAFETY: there are so many rows and panels, as has just been checked.
                unsafe { run_over(&mut kernel, &blocks!(CountBits<_, E>: $($blocks)*), count, panels) }
            }};
        }
        match self.vector() {
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx512(v) => {
                run_over!(v: 4 x 2, 3 x 2, 2 x 2, 1 x 2, 4 x 1, 3 x 1, 2 x 1, 1 x 1)
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the filters lie within their words.
            Vectors::Avx2(v) => unsafe { avx2::xnor(v, rows, filters, buffer, epilogue) },
            #[cfg(target_arch = "aarch64")]
            Vectors::Neon(v) => run_over!(v: 2 x 1, 1 x 1),
            Vectors::Portable(v) => run_over!(v: 1 x 1),
        }
    }
}

#[cfg(test)]
mod tests;
