//! Without a popcount instruction: table look-ups of half bytes, counted in bytes.

use super::{PANEL, Rows};
use std::arch::x86_64::*;

/// Rows that are computed at a time: with both halves of a panel, as many as the registers hold.
const ROWS: usize = 2;

/// Filters in a vector.
const LANES: usize = 8;
const HALVES: usize = PANEL / LANES;

/// Words after which the byte counters are emptied: two words add at most 8 to each.
const WORDS: usize = 2 * 31;

/// See [`Kernel::count_differing`](super::Kernel::count_differing).
///
/// # Safety
/// The lengths must be what the caller there checks.
#[target_feature(enable = "avx2")]
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
    for (i, panel) in panels.chunks(panel_len).enumerate() {
        for first in (0..rows.count()).step_by(ROWS) {
            let sums = &mut sums[first * stride + i * PANEL..];
            // SAFETY: so many rows are left from the first on.
            unsafe {
                match rows.count() - first {
                    1 => block::<1>(rows, first, panel, sums, stride),
                    _ => block::<ROWS>(rows, first, panel, sums, stride),
                }
            }
        }
    }
}

/// # Safety
/// There are `M` rows from the first on; `panel` is one of as many words, and `sums` has
/// `(M - 1) * stride + PANEL` elements.
#[target_feature(enable = "avx2")]
unsafe fn block<const M: usize>(
    rows: Rows<'_>,
    first: usize,
    panel: &[u32],
    sums: &mut [i32],
    stride: usize,
) {
    let zero = _mm256_setzero_si256();
    let mut parity = [[zero; HALVES]; M];
    let mut total = [[zero; HALVES]; M];
    let (base, step) = (rows.from(first), rows.step());
    let mut weights = panel.as_ptr();
    // SAFETY: `Rows` keeps every word of its rows within them; `weights` moves over as many words
    // of the panel. Sums are written as far as promised.
    unsafe {
        let word =
            |offset: u32, m: usize| _mm256_set1_epi32(*base.add(offset as usize + m * step) as i32);
        for offsets in rows.offsets().chunks(WORDS) {
            let mut counters = [[zero; HALVES]; M];
            let (pairs, last) = offsets.as_chunks::<2>();
            for pair in pairs {
                for half in 0..HALVES {
                    let filters = weights.add(LANES * half);
                    let first = _mm256_loadu_si256(filters.cast());
                    let second = _mm256_loadu_si256(filters.add(PANEL).cast());
                    for m in 0..M {
                        let x = _mm256_xor_si256(word(pair[0], m), first);
                        let y = _mm256_xor_si256(word(pair[1], m), second);
                        let differ = _mm256_xor_si256(parity[m][half], x);
                        let carry = _mm256_or_si256(
                            _mm256_and_si256(parity[m][half], x),
                            _mm256_and_si256(differ, y),
                        );
                        parity[m][half] = _mm256_xor_si256(differ, y);
                        counters[m][half] = _mm256_add_epi8(counters[m][half], popcounts(carry));
                    }
                }
                weights = weights.add(2 * PANEL);
            }
            if let [offset] = *last {
                for half in 0..HALVES {
                    let filters = _mm256_loadu_si256(weights.add(LANES * half).cast());
                    for m in 0..M {
                        let x = _mm256_xor_si256(word(offset, m), filters);
                        let carry = _mm256_and_si256(parity[m][half], x);
                        parity[m][half] = _mm256_xor_si256(parity[m][half], x);
                        counters[m][half] = _mm256_add_epi8(counters[m][half], popcounts(carry));
                    }
                }
            }
            let totals = total.as_flattened_mut().iter_mut();
            for (total, counters) in totals.zip(counters.as_flattened()) {
                *total = _mm256_add_epi32(*total, add_up(*counters));
            }
        }
        for m in 0..M {
            for half in 0..HALVES {
                let twice = _mm256_slli_epi32::<1>(total[m][half]);
                let sum = _mm256_add_epi32(twice, add_up(popcounts(parity[m][half])));
                let to = sums.as_mut_ptr().add(m * stride + LANES * half);
                _mm256_storeu_si256(to.cast(), sum);
            }
        }
    }
}

/// The number of bits set in each byte: two table look-ups, of its low and its high half.
#[inline]
#[target_feature(enable = "avx2")]
fn popcounts(bits: __m256i) -> __m256i {
    let table = _mm256_setr_epi8(
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, //
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
    );
    let low_half = _mm256_set1_epi8(0x0f);
    let low = _mm256_and_si256(bits, low_half);
    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bits), low_half);
    _mm256_add_epi8(_mm256_shuffle_epi8(table, low), _mm256_shuffle_epi8(table, high))
}

/// The sum of the four bytes of each u32.
#[inline]
#[target_feature(enable = "avx2")]
fn add_up(bytes: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(bytes, _mm256_set1_epi8(1));
    _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
}
