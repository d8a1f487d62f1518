//! With comparisons to masks.

use super::BITS;
use std::arch::x86_64::*;

/// See [`Kernel::at_least`](super::Kernel::at_least).
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn at_least(sums: &[i32; BITS], product: f32, addends: &[f32; BITS], least: f32) -> u32 {
    let (product, least) = (_mm512_set1_ps(product), _mm512_set1_ps(least));
    let half = |first: usize| {
        let (sums, addends) = (&sums[first..first + BITS / 2], &addends[first..first + BITS / 2]);
        // SAFETY: both are as long as a vector.
        let (sums, addends) = unsafe {
            (_mm512_loadu_si512(sums.as_ptr().cast()), _mm512_loadu_ps(addends.as_ptr()))
        };
        let numerators = _mm512_fmadd_ps(product, _mm512_cvtepi32_ps(sums), addends);
        u32::from(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(numerators, least))
    };
    half(0) | half(BITS / 2) << (BITS / 2)
}
