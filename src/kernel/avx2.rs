//! Kernels for x86-64 with AVX2.

use super::{Code, PANEL};
use crate::Element;
use crate::quantizer::Threshold;
use std::any::TypeId;
use std::arch::x86_64::*;

/// Rows that are computed at a time: as many as the registers hold.
const ROWS: usize = 2;

/// Pairs after which the byte counters are emptied: a pair adds at most 8 to each.
const PAIRS: usize = 31;

/// See [`Kernel::vectorize`](super::Kernel::vectorize).
///
/// # Safety
/// The CPU must have AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn vectorize<C: Code>(code: C) -> C::Output {
    code.run()
}

/// See [`Kernel::pack_row`](super::Kernel::pack_row).
///
/// # Safety
/// The CPU must have AVX2; there must be a word for every 32 numbers.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn pack_row<T: Element>(
    row: &[T],
    threshold: Threshold<T>,
    words: &mut [u32],
) -> bool {
    if TypeId::of::<T>() != TypeId::of::<f32>() {
        return super::portable::pack_row(row, threshold, words);
    }
    let (t, above) = match threshold {
        Threshold::AtLeast(t) => (t, false),
        Threshold::Above(t) => (t, true),
    };
    let whole = row.len() / 32;
    // SAFETY: T is f32; 32 numbers are read for each word of whole ones.
    let nan = unsafe {
        let mut nan = _mm256_setzero_ps();
        let t = _mm256_set1_ps(t.as_f64() as f32);
        for (i, word) in words[..whole].iter_mut().enumerate() {
            let numbers = row.as_ptr().cast::<f32>().add(32 * i);
            let mut bits = 0;
            for part in 0..4 {
                let x = _mm256_loadu_ps(numbers.add(8 * part));
                let codes = match above {
                    true => _mm256_cmp_ps::<_CMP_GT_OQ>(x, t),
                    false => _mm256_cmp_ps::<_CMP_GE_OQ>(x, t),
                };
                bits |= (_mm256_movemask_ps(codes) as u32) << (8 * part);
                nan = _mm256_or_ps(nan, _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
            }
            *word = bits;
        }
        _mm256_movemask_ps(nan) != 0
    };
    nan | super::portable::pack_row(&row[32 * whole..], threshold, &mut words[whole..])
}

/// See [`Kernel::count_differing`](super::Kernel::count_differing).
///
/// # Safety
/// The CPU must have AVX2, and the lengths must be what the caller there checks.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn count_differing(rows: &[u32], panel: &[u32], sums: &mut [i32], stride: usize) {
    let words = panel.len() / PANEL;
    let blocks = rows.chunks(ROWS * words).zip(sums.chunks_mut(ROWS * stride));
    for (rows, sums) in blocks {
        // SAFETY: the chunks hold as many rows as the block is told.
        unsafe {
            match rows.len() / words {
                ROWS => block::<ROWS>(rows, words, panel, sums, stride),
                _ => block::<1>(rows, words, panel, sums, stride),
            }
        }
    }
}

/// # Safety
/// The CPU must have AVX2; `rows` holds `M` rows of `words`, `panel` has `PANEL * words` and `sums`
/// at least `(M - 1) * stride + PANEL` elements; `words` is even.
#[target_feature(enable = "avx2")]
unsafe fn block<const M: usize>(
    rows: &[u32],
    words: usize,
    panel: &[u32],
    sums: &mut [i32],
    stride: usize,
) {
    // SAFETY: all pointers stay within the slices: pair < words / 2, filter halves end at PANEL.
    unsafe {
        let zero = _mm256_setzero_si256();
        let (rows, panel) = (rows.as_ptr(), panel.as_ptr());
        let mut parity = [[zero; 2]; M];
        let mut total = [[zero; 2]; M];
        let pairs = words / 2;
        let mut first = 0;
        while first < pairs {
            let end = pairs.min(first + PAIRS);
            let mut counters = [[zero; 2]; M];
            for pair in first..end {
                let weights = panel.add(pair * 2 * PANEL);
                for half in 0..2 {
                    let w_parity = _mm256_loadu_si256(weights.add(8 * half).cast());
                    let w_first = _mm256_loadu_si256(weights.add(PANEL + 8 * half).cast());
                    for m in 0..M {
                        let row = rows.add(m * words + 2 * pair);
                        let n = _mm256_xor_si256(_mm256_set1_epi32(*row as i32), w_parity);
                        let x = _mm256_xor_si256(_mm256_set1_epi32(*row.add(1) as i32), w_first);
                        let differ = _mm256_xor_si256(parity[m][half], x);
                        let carry = _mm256_or_si256(
                            _mm256_andnot_si256(n, differ),
                            _mm256_andnot_si256(differ, x),
                        );
                        parity[m][half] = n;
                        counters[m][half] = _mm256_add_epi8(counters[m][half], popcounts(carry));
                    }
                }
            }
            for (total, counters) in
                total.as_flattened_mut().iter_mut().zip(counters.as_flattened())
            {
                *total = _mm256_add_epi32(*total, add_up(*counters));
            }
            first = end;
        }
        for m in 0..M {
            for half in 0..2 {
                let twice = _mm256_slli_epi32::<1>(total[m][half]);
                let sum = _mm256_add_epi32(twice, add_up(popcounts(parity[m][half])));
                let to = sums.as_mut_ptr().add(m * stride + 8 * half);
                _mm256_storeu_si256(to.cast(), sum);
            }
        }
    }
}

/// The number of bits set in each byte: two table look-ups, of its low and its high half.
///
/// # Safety
/// The CPU must have AVX2.
#[target_feature(enable = "avx2")]
#[allow(unused_unsafe)] // Needed before Rust 1.87.
unsafe fn popcounts(bits: __m256i) -> __m256i {
    // SAFETY: AVX2 is enabled here.
    unsafe {
        let table = _mm256_setr_epi8(
            0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, //
            0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
        );
        let low_half = _mm256_set1_epi8(0x0f);
        let low = _mm256_and_si256(bits, low_half);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bits), low_half);
        _mm256_add_epi8(_mm256_shuffle_epi8(table, low), _mm256_shuffle_epi8(table, high))
    }
}

/// The sum of the four bytes of each u32.
///
/// # Safety
/// The CPU must have AVX2.
#[target_feature(enable = "avx2")]
#[allow(unused_unsafe)] // Needed before Rust 1.87.
unsafe fn add_up(bytes: __m256i) -> __m256i {
    // SAFETY: AVX2 is enabled here.
    unsafe {
        let pairs = _mm256_maddubs_epi16(bytes, _mm256_set1_epi8(1));
        _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
    }
}
