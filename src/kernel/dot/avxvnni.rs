//! As with AVX-512, in registers of half the width.

use super::{Dot, avx2::load, avx2::unpack};
use crate::kernel::arch::{Avx2, intrinsics};
use crate::kernel::{Code, PANEL};
use std::arch::x86_64::*;

/// Proves that the CPU has AVX-VNNI, too.
#[derive(Clone, Copy)]
pub(super) struct AvxVnni(Avx2);

impl AvxVnni {
    /// # Safety
    /// The CPU must have it.
    pub(super) unsafe fn new(v: Avx2) -> Self {
        AvxVnni(v)
    }
}

#[target_feature(enable = "avx2,avxvnni")]
fn run<C: Code>(code: C) -> C::Output {
    code.run()
}

impl<const SPAN: usize> Dot<SPAN> for AvxVnni {
    const ADDRESSED: usize = 6;

    type Vector = Avx2;
    type Weights = [__m256i; 2];
    type Codes = __m256i;
    type Sums = [__m256i; 2];

    #[inline(always)]
    fn vector(self) -> Avx2 {
        self.0
    }

    #[inline(always)]
    fn run_block<C: Code>(self, code: C) -> C::Output {
        // SAFETY: the CPU has both, as `self` proves.
        unsafe { run(code) }
    }

    intrinsics! {
        fn load(panel: &[u32; PANEL]) -> [__m256i; 2] { load(panel) }
        fn unpack(packed: [__m256i; 2], w: usize) -> [__m256i; 2] { unpack::<SPAN>(packed, w) }
        fn codes(word: u32) -> __m256i { _mm256_set1_epi32(word as i32) }
        fn begin(_times: usize) -> [__m256i; 2] { [_mm256_setzero_si256(); 2] }
        fn multiply(sums: [__m256i; 2], codes: __m256i, weights: [__m256i; 2]) -> [__m256i; 2] {
            [
                _mm256_dpbusd_avx_epi32(sums[0], codes, weights[0]),
                _mm256_dpbusd_avx_epi32(sums[1], codes, weights[1]),
            ]
        }
        fn finish(sums: [__m256i; 2]) -> [__m256i; 2] { sums }
    }
}
