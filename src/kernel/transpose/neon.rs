//! Four rows at a time: singles, then pairs change places.

use std::arch::aarch64::*;

rows!(ROWS_4, 4, "neon");

/// Transposes a strip.
///
/// # Safety
/// It lies within both matrices.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn transpose_strip(from: *const f32, from_stride: usize, to: *mut f32, to_stride: isize) {
    // SAFETY: four numbers of a row each.
    let [a, b, c, d] = [0, 1, 2, 3]
        .map(|i| unsafe { vreinterpretq_f64_f32(vld1q_f32(from.add(i * from_stride))) });
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
        // SAFETY: a column of the strip.
        unsafe { vst1q_f32(to.offset(i as isize * to_stride), single(values)) };
    }
}
