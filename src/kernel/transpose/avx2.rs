//! Eight vectors of eight: pairs, then quarters, then halves change places.

use super::SIDE;
use std::arch::x86_64::*;

/// See [`super::transpose_square`].
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn transpose_square(
    from: *const f32,
    from_stride: usize,
    to: *mut f32,
    to_stride: isize,
) {
    // Halves of rows `i` and `i + 4` in one vector, so that only pairs and quarters are left.
    let halves = |column: usize| -> [__m256; 4] {
        std::array::from_fn(|i| {
            // SAFETY: half a row of the square.
            let [low, high] =
                [i, i + 4].map(|i| unsafe { _mm_loadu_ps(from.add(i * from_stride + column)) });
            _mm256_set_m128(high, low)
        })
    };
    for column in [0, SIDE / 2] {
        let [a, b, c, d] = halves(column);
        let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        let columns = [
            _mm256_shuffle_ps::<0b01_00_01_00>(ab_low, cd_low),
            _mm256_shuffle_ps::<0b11_10_11_10>(ab_low, cd_low),
            _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
            _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
        ];
        for (i, values) in columns.into_iter().enumerate() {
            // SAFETY: a column of the square.
            unsafe { _mm256_storeu_ps(to.offset((column + i) as isize * to_stride), values) };
        }
    }
}
