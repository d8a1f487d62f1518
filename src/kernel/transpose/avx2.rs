//! Eight rows at a time: quarters of two in a vector, of which pairs, then singles change places.

use std::arch::x86_64::*;

rows!(ROWS_8, 8, "avx2");

/// Transposes a strip.
///
/// # Safety
/// It lies within both matrices.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn transpose_strip(from: *const f32, from_stride: usize, to: *mut f32, to_stride: isize) {
    // Rows `i` and `i + 4` in one vector, so that only pairs and singles are left.
    let rows = |i: usize| {
        // SAFETY: four numbers of a row.
        let [low, high] = [i, i + 4].map(|i| unsafe { _mm_loadu_ps(from.add(i * from_stride)) });
        _mm256_set_m128(high, low)
    };
    let [a, b, c, d] = [rows(0), rows(1), rows(2), rows(3)];
    let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    let columns = [
        _mm256_shuffle_ps::<0b01_00_01_00>(ab_low, cd_low),
        _mm256_shuffle_ps::<0b11_10_11_10>(ab_low, cd_low),
        _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
        _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
    ];
    for (i, values) in columns.into_iter().enumerate() {
        // SAFETY: a column of the strip.
        unsafe { _mm256_storeu_ps(to.offset(i as isize * to_stride), values) };
    }
}
