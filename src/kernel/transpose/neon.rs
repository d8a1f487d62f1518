//! Four vectors of four at a time: pairs, then halves change places.

use super::SIDE;
use std::arch::aarch64::*;

/// See [`super::transpose_square`].
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn transpose_square(
    from: *const f32,
    from_stride: usize,
    to: *mut f32,
    to_stride: isize,
) {
    for (row, column) in [(0, 0), (0, SIDE / 2), (SIDE / 2, 0), (SIDE / 2, SIDE / 2)] {
        // SAFETY: half a row of the square each.
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| unsafe {
            vreinterpretq_f64_f32(vld1q_f32(from.add((row + i) * from_stride + column)))
        });
        let single = |x| vreinterpretq_f32_f64(x);
        let double = |x| vreinterpretq_f64_f32(x);
        let even = |x, y| double(vtrn1q_f32(single(x), single(y)));
        let odd = |x, y| double(vtrn2q_f32(single(x), single(y)));
        let (ab_even, ab_odd, cd_even, cd_odd) = (even(a, b), odd(a, b), even(c, d), odd(c, d));
        let columns = [
            vtrn1q_f64(ab_even, cd_even),
            vtrn1q_f64(ab_odd, cd_odd),
            vtrn2q_f64(ab_even, cd_even),
            vtrn2q_f64(ab_odd, cd_odd),
        ];
        for (i, values) in columns.into_iter().enumerate() {
            // SAFETY: half a column of the square each.
            unsafe {
                vst1q_f32(to.offset((column + i) as isize * to_stride).add(row), single(values));
            }
        }
    }
}
