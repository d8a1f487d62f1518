//! Sixteen rows at a time: quarters of four in a vector, of which pairs, then singles change places.

use std::arch::x86_64::*;

rows!(ROWS_16, 16, "avx512f");

/// Transposes a strip.
///
/// # Safety
/// It lies within both matrices.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn transpose_strip(from: *const f32, from_stride: usize, to: *mut f32, to_stride: isize) {
    // Rows `i`, `i + 4`, `i + 8` and `i + 12` in one vector. Loads under a mask take no shuffles,
    // of which there is but one a cycle.
    let rows = |i: usize| {
        // SAFETY: four numbers of a row.
        let row = |i: usize| unsafe { _mm_loadu_ps(from.add(i * from_stride)) };
        let rows = _mm512_broadcast_f32x4(row(i));
        let rows = _mm512_mask_broadcast_f32x4(rows, 0x00f0, row(i + 4));
        let rows = _mm512_mask_broadcast_f32x4(rows, 0x0f00, row(i + 8));
        _mm512_mask_broadcast_f32x4(rows, 0xf000, row(i + 12))
    };
    let [a, b, c, d] = [rows(0), rows(1), rows(2), rows(3)];
    let (ab_low, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    let columns = [
        _mm512_shuffle_ps::<0b01_00_01_00>(ab_low, cd_low),
        _mm512_shuffle_ps::<0b11_10_11_10>(ab_low, cd_low),
        _mm512_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
        _mm512_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
    ];
    for (i, values) in columns.into_iter().enumerate() {
        // SAFETY: a column of the strip.
        unsafe { _mm512_storeu_ps(to.offset(i as isize * to_stride), values) };
    }
}
