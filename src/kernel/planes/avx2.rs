//! With the mask of the highest bits of bytes.

use super::CODES;
use std::arch::x86_64::*;

/// See [`Kernel::write_bits`](super::Kernel::write_bits).
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn write_bits(codes: &[[u8; CODES]], bit: usize, words: &mut [u32]) {
    // What is shifted into a byte from its neighbour stays below its highest bit.
    let shift = _mm_cvtsi32_si128(7 - bit as i32);
    for (word, codes) in words.iter_mut().zip(codes) {
        // SAFETY: these are 32 bytes.
        let codes = unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) };
        *word = _mm256_movemask_epi8(_mm256_sll_epi16(codes, shift)) as u32;
    }
}
