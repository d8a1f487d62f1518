//! With the sign bits of comparisons.

use super::BITS;
use std::arch::x86_64::*;

/// Sums in a vector.
const LANES: usize = 8;

/// See [`Kernel::at_least`](super::Kernel::at_least).
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn at_least(sums: &[i32; BITS], product: f32, addends: &[f32; BITS], least: f32) -> u32 {
    let (product, least) = (_mm256_set1_ps(product), _mm256_set1_ps(least));
    let mut bits = 0;
    for first in (0..BITS).step_by(LANES) {
        let (sums, addends) = (&sums[first..first + LANES], &addends[first..first + LANES]);
        // SAFETY: both are as long as a vector.
        let (sums, addends) = unsafe {
            (_mm256_loadu_si256(sums.as_ptr().cast()), _mm256_loadu_ps(addends.as_ptr()))
        };
        let products = _mm256_mul_ps(product, _mm256_cvtepi32_ps(sums));
        let reached = _mm256_cmp_ps::<_CMP_GE_OQ>(_mm256_add_ps(products, addends), least);
        bits |= (_mm256_movemask_ps(reached) as u32) << first;
    }
    bits
}
