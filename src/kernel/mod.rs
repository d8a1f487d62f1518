//! The innermost loops, on slices of codes, for each instruction set: the only `unsafe` code.
//!
//! # Bits in chains and panels
//!
//! A row of bits is kept as u32 words in pairs. Of words `w0 w1 | w2 w3 | ...` each pair is stored
//! as its *running parity* (`w0 ^ w1`, `w0 ^ w1 ^ w2 ^ w3`, ...) and its first word. Rows are
//! filled up to whole pairs with zeros.
//!
//! The parity of `a ^ b` is the xor of both parities, so the carries of adding up the words of
//! `a ^ b` bit by bit come cheaply. With `s` the parity up to the last pair, `n` up to this one
//! and `x`, `y` the words of this pair,
//!
//! ```text
//! s + x + y = 2 c + n,     c = maj(s, x, y) = if s ^ x { !n } else { x }
//! Σ popcount(words) = 2 Σ popcount(c) + popcount(last n)
//! ```
//!
//! which takes one popcount a pair: it is the first layer of a carry-save adder tree (Harley and
//! Seal; Muła, Kurz and Lemire, <https://arxiv.org/abs/1611.07612>) with its xors done while
//! packing.
//!
//! Weights are interleaved: a panel holds [`PANEL`] filters, `[pair][parity, first][filter]`. A
//! vector then holds a word of each of several filters, activations are broadcast, and the sums
//! of the filters need no horizontal addition however short the rows are.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
mod isa;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use crate::Element;
use crate::quantizer::Threshold;

pub use isa::{Isa, force_isa};
pub(crate) use portable::dot_bytes;

/// Filters in a panel.
pub(crate) const PANEL: usize = 16;

/// Words that a row of so many bits takes.
pub(crate) fn chain_words(bits: usize) -> usize {
    2 * bits.div_ceil(64)
}

/// Turns words, two a pair, into a chain in place.
pub(crate) fn chain(words: &mut [u32]) {
    let mut parity = 0;
    for pair in words.chunks_exact_mut(2) {
        parity ^= pair[0] ^ pair[1];
        (pair[0], pair[1]) = (parity, pair[0]);
    }
}

/// The `i`th word that a chain was made from, where `at` reads the chain.
pub(crate) fn unchained(i: usize, at: impl Fn(usize) -> u32) -> u32 {
    let pair = i / 2 * 2;
    let first = at(pair + 1);
    match (i % 2, pair) {
        (0, _) => first,
        (_, 0) => at(0) ^ first,
        _ => at(pair) ^ at(pair - 2) ^ first,
    }
}

/// A piece of code for [`Kernel::vectorize`]. Its `run` should be `#[inline(always)]`.
pub(crate) trait Code {
    type Output;
    fn run(self) -> Self::Output;
}

/// The kernels of one instruction set. Holding one proves that the CPU has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel(Isa);

impl Kernel {
    /// The kernels of an instruction set, if the CPU has it.
    pub(crate) fn new(isa: Isa) -> Option<Self> {
        isa.is_available().then_some(Kernel(isa))
    }

    /// The kernels to use: forced ones, else the best there are.
    pub(crate) fn current() -> Self {
        Kernel::new(isa::current()).unwrap_or(Kernel(Isa::Portable))
    }

    /// Runs code that is compiled anew for each instruction set, so that its loops use it.
    pub(crate) fn vectorize<C: Code>(self, code: C) -> C::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX2, as `self` proves.
            Isa::Avx2 => unsafe { avx2::vectorize(code) },
            _ => code.run(),
        }
    }

    /// Packs the 1-bit codes of a row, the first lowest. Returns whether there is a NaN among its
    /// numbers.
    pub(crate) fn pack_row<T: Element>(
        self,
        row: &[T],
        threshold: Threshold<T>,
        words: &mut [u32],
    ) -> bool {
        assert!(words.len() >= row.len().div_ceil(32));
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX2, as `self` proves; the length has just been checked.
            Isa::Avx2 => unsafe { avx2::pack_row(row, threshold, words) },
            _ => portable::pack_row(row, threshold, words),
        }
    }

    /// How many bits of each row differ from each filter of a panel.
    ///
    /// `rows` are chains of at least one pair, one after the other, `panel` is one of weights with
    /// as many words a filter; sums go to `sums[row * stride..][..PANEL]`.
    pub(crate) fn count_differing(
        self,
        rows: &[u32],
        panel: &[u32],
        sums: &mut [i32],
        stride: usize,
    ) {
        let words = panel.len() / PANEL;
        assert!(words > 0 && words % 2 == 0 && panel.len() == words * PANEL);
        let Some(others) = (rows.len() / words).checked_sub(1) else { return };
        assert!(rows.len() == (others + 1) * words);
        assert!(stride >= PANEL && sums.len() >= others * stride + PANEL);
        match self.0 {
            Isa::Portable => portable::count_differing(rows, panel, sums, stride),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX2, as `self` proves; the lengths have just been checked.
            Isa::Avx2 => unsafe { avx2::count_differing(rows, panel, sums, stride) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: the CPU has NEON, as `self` proves; the lengths have just been checked.
            Isa::Neon => unsafe { neon::count_differing(rows, panel, sums, stride) },
            #[allow(unreachable_patterns)]
            _ => unreachable!("a kernel for another architecture"),
        }
    }
}

#[cfg(test)]
mod tests;
