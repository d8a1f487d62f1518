//! With the mask of bytes that have a bit.

use super::CODES;
use std::arch::x86_64::*;

/// See [`Kernel::write_bits`](super::Kernel::write_bits).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn write_bits(codes: &[[u8; CODES]], bit: usize, words: &mut [u32]) {
    let bit = _mm256_set1_epi8((1u8 << bit) as i8);
    for (word, codes) in words.iter_mut().zip(codes) {
        // SAFETY: these are 32 bytes.
        let codes = unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) };
        *word = _mm256_test_epi8_mask(codes, bit);
    }
}
