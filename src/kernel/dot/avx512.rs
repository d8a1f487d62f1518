//! With a dot product of four bytes: one instruction for a word of 16 filters.

use super::Dot;
use crate::kernel::PANEL;
use crate::kernel::arch::{Avx512, intrinsics};
use std::arch::x86_64::*;

impl<const SPAN: usize> Dot<SPAN> for Avx512 {
    type Vector = Avx512;
    type Weights = __m512i;
    type Codes = __m512i;
    type Sums = __m512i;

    #[inline(always)]
    fn vector(self) -> Avx512 {
        self
    }

    intrinsics! {
        fn load(panel: &[u32; PANEL]) -> __m512i { _mm512_loadu_si512(panel.as_ptr().cast()) }
        fn unpack(packed: __m512i, w: usize) -> __m512i { unpack::<SPAN>(packed, w) }
        fn codes(word: u32) -> __m512i { _mm512_set1_epi32(word as i32) }
        fn begin(_times: usize) -> __m512i { _mm512_setzero_si512() }
        fn multiply(sums: __m512i, codes: __m512i, weights: __m512i) -> __m512i {
            _mm512_dpbusd_epi32(sums, codes, weights)
        }
        fn finish(sums: __m512i) -> __m512i { sums }
    }
}

/// The weights of the `w`th of the words that share a word of the panel.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn unpack<const SPAN: usize>(packed: __m512i, w: usize) -> __m512i {
    if SPAN == 1 {
        return packed;
    }
    let bits = 8 / SPAN;
    let shifted = _mm512_srl_epi32(packed, _mm_cvtsi32_si128((w * bits) as i32));
    _mm512_and_si512(shifted, _mm512_set1_epi8((1 << bits) - 1))
}
