//! With ternary logic and a popcount of words: five instructions for two words of 16 filters.

use super::{PANEL, Rows};
use std::arch::x86_64::*;

/// Rows, and panels, that are computed at a time. Each broadcast word serves `PANELS` panels, each
/// loaded vector of weights `ROWS` rows, and all sums stay in registers.
const ROWS: usize = 4;
const PANELS: usize = 2;

/// See [`Kernel::count_differing`](super::Kernel::count_differing).
///
/// # Safety
/// The lengths must be what the caller there checks.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
pub(super) unsafe fn count_differing(
    rows: Rows<'_>,
    panels: &[u32],
    sums: &mut [i32],
    stride: usize,
) {
    let panel_len = rows.offsets().len() * PANEL;
    if panel_len == 0 {
        return; // no filters
    }
    for (i, panels) in panels.chunks(PANELS * panel_len).enumerate() {
        let sums = &mut sums[i * PANELS * PANEL..];
        // SAFETY: there are as many panels as is said, and room for the sums of all their filters.
        unsafe {
            match panels.len() / panel_len {
                PANELS => blocks::<PANELS>(rows, panels, sums, stride),
                _ => blocks::<1>(rows, panels, sums, stride),
            }
        }
    }
}

/// # Safety
/// `panels` holds `P` panels, and `sums` has `(rows - 1) * stride + P * PANEL` elements.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
unsafe fn blocks<const P: usize>(rows: Rows<'_>, panels: &[u32], sums: &mut [i32], stride: usize) {
    for first in (0..rows.count()).step_by(ROWS) {
        let sums = &mut sums[first * stride..];
        // SAFETY: so many rows are left from the first on.
        unsafe {
            match rows.count() - first {
                1 => block::<1, P>(rows, first, panels, sums, stride),
                2 => block::<2, P>(rows, first, panels, sums, stride),
                3 => block::<3, P>(rows, first, panels, sums, stride),
                _ => block::<ROWS, P>(rows, first, panels, sums, stride),
            }
        }
    }
}

/// # Safety
/// There are `M` rows from the first on; `panels` holds `P` panels, and `sums` has
/// `(M - 1) * stride + P * PANEL` elements.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
unsafe fn block<const M: usize, const P: usize>(
    rows: Rows<'_>,
    first: usize,
    panels: &[u32],
    sums: &mut [i32],
    stride: usize,
) {
    let zero = _mm512_setzero_si512();
    let mut parity = [[zero; P]; M];
    let mut carries = [[zero; P]; M];
    let (base, step) = (rows.from(first), rows.step());
    let panel_len = rows.offsets().len() * PANEL;
    let mut weights = panels.as_ptr();
    let (pairs, last) = rows.offsets().as_chunks::<2>();
    // SAFETY: `Rows` keeps every word of its rows within them. `weights` moves over `offsets.len()`
    // vectors of the first panel, and as many of the others. Sums are written as far as promised.
    unsafe {
        let word =
            |offset: u32, m: usize| _mm512_set1_epi32(*base.add(offset as usize + m * step) as i32);
        for pair in pairs {
            let filters: [_; P] = std::array::from_fn(|p| {
                let at = weights.add(p * panel_len);
                [_mm512_loadu_si512(at.cast()), _mm512_loadu_si512(at.add(PANEL).cast())]
            });
            for m in 0..M {
                let (a0, a1) = (word(pair[0], m), word(pair[1], m));
                for p in 0..P {
                    let before = parity[m][p];
                    let between = xor3(before, a0, filters[p][0]);
                    let after = xor3(between, a1, filters[p][1]);
                    let carry = carry(before, between, after);
                    carries[m][p] = _mm512_add_epi32(carries[m][p], _mm512_popcnt_epi32(carry));
                    parity[m][p] = after;
                }
            }
            weights = weights.add(2 * PANEL);
        }
        if let [offset] = *last {
            for m in 0..M {
                for p in 0..P {
                    let filters = _mm512_loadu_si512(weights.add(p * panel_len).cast());
                    let after = xor3(parity[m][p], word(offset, m), filters);
                    let carry = carry(parity[m][p], after, after);
                    carries[m][p] = _mm512_add_epi32(carries[m][p], _mm512_popcnt_epi32(carry));
                    parity[m][p] = after;
                }
            }
        }
        for m in 0..M {
            for p in 0..P {
                let twice = _mm512_slli_epi32::<1>(carries[m][p]);
                let sum = _mm512_add_epi32(twice, _mm512_popcnt_epi32(parity[m][p]));
                _mm512_storeu_si512(sums.as_mut_ptr().add(m * stride + p * PANEL).cast(), sum);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0b1001_0110>(a, b, c)
}

/// The carry of adding two words, from the parity before, between and after them: where both
/// steps change the parity both words are 1, where one does the parity before it counts.
#[inline]
#[target_feature(enable = "avx512f")]
fn carry(before: __m512i, between: __m512i, after: __m512i) -> __m512i {
    // Bit 4 before + 2 between + after: set for 010 and 101 (1 + 1), 100 and 110 (1 with parity 1).
    _mm512_ternarylogic_epi32::<0b0111_0100>(before, between, after)
}
