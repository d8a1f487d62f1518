//! Compared straight to bits of a row, and to masks of an addition for bits of planes.

use super::{BYTES_AHEAD, Planes, portable, prefetch};
use crate::Element;
use crate::kernel::same_type;
use crate::quantizer::Threshold;
use std::arch::x86_64::*;

/// Numbers in a vector.
const LANES: usize = 16;

/// See [`Kernel::pack_rows`](super::Kernel::pack_rows).
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn pack_rows<T: Element>(
    rows: &[T],
    width: usize,
    threshold: Threshold<T>,
    words: &mut [u32],
) -> bool {
    let (t, above) = (threshold.number().as_f64(), threshold.is_open());
    match (same_type(rows), same_type(rows), above) {
        (Some(rows), _, true) => rows_of_f32::<_CMP_GT_OQ>(rows, width, t as f32, words),
        (Some(rows), _, false) => rows_of_f32::<_CMP_GE_OQ>(rows, width, t as f32, words),
        (_, Some(rows), true) => rows_of_f64::<_CMP_GT_OQ>(rows, width, t, words),
        (_, Some(rows), false) => rows_of_f64::<_CMP_GE_OQ>(rows, width, t, words),
        _ => portable::pack_rows(rows, width, threshold, words),
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn rows_of_f32<const COMPARISON: i32>(
    rows: &[f32],
    width: usize,
    t: f32,
    words: &mut [u32],
) -> bool {
    let t = _mm512_set1_ps(t);
    let mut nan = 0;
    for (row, words) in rows.chunks_exact(width).zip(words.chunks_exact_mut(width.div_ceil(32))) {
        let (whole, rest) = row.as_chunks::<32>();
        for (numbers, word) in whole.iter().zip(&mut *words) {
            prefetch::<2, _>(numbers, BYTES_AHEAD);
            // SAFETY: twice sixteen numbers.
            let [x, y] = [0, 16].map(|i| unsafe { _mm512_loadu_ps(numbers.as_ptr().add(i)) });
            // One comparison finds a NaN in either of two numbers.
            nan |= _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, y);
            let [x, y] = [x, y].map(|x| _mm512_cmp_ps_mask::<COMPARISON>(x, t));
            *word = _mm512_kunpackw(y.into(), x.into());
        }
        if rest.is_empty() {
            continue;
        }
        let mut bits = 0;
        for (i, numbers) in rest.chunks(LANES).enumerate() {
            let lanes = first_lanes(numbers.len());
            // SAFETY: so many numbers are there.
            let x = unsafe { _mm512_maskz_loadu_ps(lanes, numbers.as_ptr()) };
            nan |= _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
            bits |= u32::from(_mm512_mask_cmp_ps_mask::<COMPARISON>(lanes, x, t)) << (LANES * i);
        }
        words[whole.len()] = bits;
    }
    nan != 0
}

#[target_feature(enable = "avx512f,avx512bw")]
fn rows_of_f64<const COMPARISON: i32>(
    rows: &[f64],
    width: usize,
    threshold: f64,
    words: &mut [u32],
) -> bool {
    let t = _mm512_set1_pd(threshold);
    let mut nan = 0;
    let mut nan_in_rest = false;
    for (row, words) in rows.chunks_exact(width).zip(words.chunks_exact_mut(width.div_ceil(32))) {
        let (whole, rest) = row.as_chunks::<32>();
        let (whole_words, last_word) = words.split_at_mut(whole.len());
        for (numbers, word) in whole.iter().zip(whole_words) {
            prefetch::<4, _>(numbers, BYTES_AHEAD);
            // SAFETY: four times eight numbers.
            let x = [0, 8, 16, 24].map(|i| unsafe { _mm512_loadu_pd(numbers.as_ptr().add(i)) });
            nan |= _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(x[0], x[1]);
            nan |= _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(x[2], x[3]);
            *word = u32::from_le_bytes(x.map(|x| _mm512_cmp_pd_mask::<COMPARISON>(x, t)));
        }
        let threshold = match COMPARISON {
            _CMP_GT_OQ => Threshold::Above(threshold),
            _ => Threshold::AtLeast(threshold),
        };
        nan_in_rest |= portable::pack_row(rest, threshold, last_word);
    }
    nan_in_rest | (nan != 0)
}

/// See [`Kernel::pack_planes`](super::Kernel::pack_planes).
///
/// # Safety
/// The lengths must be what the caller there checks.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn pack_planes(planes: Planes, words: &mut [u32], step: usize) -> bool {
    // SAFETY: as here.
    unsafe {
        match planes.threshold.is_open() {
            true => all_planes::<_CMP_GT_OQ>(planes, words, step),
            false => all_planes::<_CMP_GE_OQ>(planes, words, step),
        }
    }
}

/// # Safety
/// As of [`pack_planes`].
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn all_planes<const COMPARISON: i32>(
    planes: Planes,
    words: &mut [u32],
    step: usize,
) -> bool {
    let t = _mm512_set1_ps(planes.threshold.number());
    let mut nan = 0;
    for start in (0..planes.len).step_by(2 * LANES) {
        let len = (2 * LANES).min(planes.len - start);
        let lanes = [first_lanes(len), first_lanes(len.saturating_sub(LANES))];
        let ahead = planes.ahead(start);
        let mut block = [_mm512_setzero_si512(); 2];
        for plane in 0..planes.count {
            // SAFETY: the numbers of this plane from `start` on. Those that are masked are not read.
            let x = unsafe {
                let plane = planes.first.offset(plane as isize * planes.stride).add(start);
                prefetch::<2, _>(plane, ahead);
                [0, 1].map(|i| _mm512_maskz_loadu_ps(lanes[i], plane.wrapping_add(LANES * i)))
            };
            nan |= _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x[0], x[1]);
            let bit = _mm512_set1_epi32(1 << plane);
            for (word, x) in block.iter_mut().zip(x) {
                *word =
                    _mm512_mask_or_epi32(*word, _mm512_cmp_ps_mask::<COMPARISON>(x, t), *word, bit);
            }
        }
        let mut packed = [0u32; 2 * LANES];
        for (packed, vector) in packed.chunks_exact_mut(LANES).zip(block) {
            // SAFETY: sixteen words.
            unsafe { _mm512_storeu_si512(packed.as_mut_ptr().cast(), vector) };
        }
        let to = words[start * step..].iter_mut().step_by(step);
        to.zip(&packed[..len]).for_each(|(to, &word)| *to = word);
    }
    nan != 0
}

/// A mask of so many lanes.
fn first_lanes(count: usize) -> __mmask16 {
    ((1u32 << count.min(LANES)) - 1) as __mmask16
}
