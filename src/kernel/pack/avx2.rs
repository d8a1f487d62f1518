//! Compared to masks, of which those of a word are narrowed to bytes and turned into bits of a row
//! by one `pmovmskb`, and which additions turn into bits of planes.

use super::{BYTES_AHEAD, Planes, portable, prefetch};
use crate::Element;
use crate::kernel::same_type;
use crate::quantizer::Threshold;
use std::arch::x86_64::*;

/// Numbers in a vector.
const LANES: usize = 8;

/// See [`Kernel::pack_rows`](super::Kernel::pack_rows).
#[target_feature(enable = "avx2")]
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

#[target_feature(enable = "avx2")]
fn rows_of_f32<const COMPARISON: i32>(
    rows: &[f32],
    width: usize,
    t: f32,
    words: &mut [u32],
) -> bool {
    let t = _mm256_set1_ps(t);
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let mut nan = _mm256_setzero_ps();
    for (row, words) in rows.chunks_exact(width).zip(words.chunks_exact_mut(width.div_ceil(32))) {
        let (whole, rest) = row.as_chunks::<32>();
        for (numbers, word) in whole.iter().zip(&mut *words) {
            prefetch::<2, _>(numbers, BYTES_AHEAD);
            // SAFETY: four times eight numbers.
            let x: [_; 4] =
                std::array::from_fn(|i| unsafe { _mm256_loadu_ps(numbers.as_ptr().add(8 * i)) });
            // One comparison finds a NaN in either of two numbers.
            nan = _mm256_or_ps(nan, _mm256_cmp_ps::<_CMP_UNORD_Q>(x[0], x[1]));
            nan = _mm256_or_ps(nan, _mm256_cmp_ps::<_CMP_UNORD_Q>(x[2], x[3]));
            let masks = x.map(|x| _mm256_castps_si256(_mm256_cmp_ps::<COMPARISON>(x, t)));
            // Both work within halves of vectors: what is next to each other then are the first
            // halves of all four, then the second ones.
            let halves = [0, 2].map(|i| _mm256_packs_epi32(masks[i], masks[i + 1]));
            let bytes = _mm256_packs_epi16(halves[0], halves[1]);
            *word = _mm256_movemask_epi8(_mm256_permutevar8x32_epi32(bytes, order)) as u32;
        }
        if rest.is_empty() {
            continue;
        }
        let mut bits = 0;
        for (i, numbers) in rest.chunks(LANES).enumerate() {
            // SAFETY: so many numbers are there.
            let x = unsafe { _mm256_maskload_ps(numbers.as_ptr(), first_lanes(numbers.len())) };
            nan = _mm256_or_ps(nan, _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
            let above = _mm256_movemask_ps(_mm256_cmp_ps::<COMPARISON>(x, t)) as u32;
            bits |= above << (LANES * i);
        }
        words[whole.len()] = bits & !(u32::MAX << rest.len());
    }
    _mm256_movemask_ps(nan) != 0
}

#[target_feature(enable = "avx2")]
fn rows_of_f64<const COMPARISON: i32>(
    rows: &[f64],
    width: usize,
    threshold: f64,
    words: &mut [u32],
) -> bool {
    let t = _mm256_set1_pd(threshold);
    let mut nan = _mm256_setzero_pd();
    let mut nan_in_rest = false;
    for (row, words) in rows.chunks_exact(width).zip(words.chunks_exact_mut(width.div_ceil(32))) {
        let (whole, rest) = row.as_chunks::<32>();
        let (whole_words, last_word) = words.split_at_mut(whole.len());
        for (numbers, word) in whole.iter().zip(whole_words) {
            prefetch::<4, _>(numbers, BYTES_AHEAD);
            let mut bits = 0;
            for i in (0..8).step_by(2) {
                // SAFETY: eight times four numbers.
                let [x, y] =
                    [i, i + 1].map(|i| unsafe { _mm256_loadu_pd(numbers.as_ptr().add(4 * i)) });
                nan = _mm256_or_pd(nan, _mm256_cmp_pd::<_CMP_UNORD_Q>(x, y));
                let [x, y] = [x, y].map(|x| _mm256_movemask_pd(_mm256_cmp_pd::<COMPARISON>(x, t)));
                bits |= (x as u32 | (y as u32) << 4) << (4 * i);
            }
            *word = bits;
        }
        let threshold = match COMPARISON {
            _CMP_GT_OQ => Threshold::Above(threshold),
            _ => Threshold::AtLeast(threshold),
        };
        nan_in_rest |= portable::pack_row(rest, threshold, last_word);
    }
    nan_in_rest | (_mm256_movemask_pd(nan) != 0)
}

/// See [`Kernel::pack_planes`](super::Kernel::pack_planes).
///
/// # Safety
/// The lengths must be what the caller there checks.
#[target_feature(enable = "avx2")]
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
#[target_feature(enable = "avx2")]
unsafe fn all_planes<const COMPARISON: i32>(
    planes: Planes,
    words: &mut [u32],
    step: usize,
) -> bool {
    /// Vectors at a time: two cache lines of each plane.
    const VECTORS: usize = 4;
    let mut nan = _mm256_setzero_ps();
    let mut block = [0; VECTORS * LANES];
    for start in (0..planes.len).step_by(block.len()) {
        let len = block.len().min(planes.len - start);
        // SAFETY: each plane has so many numbers from the first on.
        unsafe {
            let words = block.as_mut_ptr();
            match len.div_ceil(LANES) {
                _ if len == VECTORS * LANES => {
                    vectors::<COMPARISON, VECTORS, false>(planes, start, len, &mut nan, words);
                }
                1 => vectors::<COMPARISON, 1, true>(planes, start, len, &mut nan, words),
                2 => vectors::<COMPARISON, 2, true>(planes, start, len, &mut nan, words),
                _ => vectors::<COMPARISON, VECTORS, true>(planes, start, len, &mut nan, words),
            }
        }
        let to = words[start * step..].iter_mut().step_by(step);
        to.zip(&block[..len]).for_each(|(to, &word)| *to = word);
    }
    _mm256_movemask_ps(nan) != 0
}

/// Packs `len` numbers of each plane to `N` vectors of words.
///
/// # Safety
/// Each plane has `len` numbers from `start` on, as many as `N` vectors unless `PART`, and there are
/// as many words.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn vectors<const COMPARISON: i32, const N: usize, const PART: bool>(
    planes: Planes,
    start: usize,
    len: usize,
    nan: &mut __m256,
    to: *mut u32,
) {
    let t = _mm256_set1_ps(planes.threshold.number());
    let mut words = [_mm256_setzero_si256(); N];
    let ahead = planes.ahead(start);
    let masks: [_; N] = std::array::from_fn(|i| first_lanes(len.saturating_sub(LANES * i)));
    for plane in (0..planes.count).rev() {
        // SAFETY: the numbers of this plane from `start` on. Those that are masked are not read.
        let x: [_; N] = unsafe {
            let plane = planes.first.offset(plane as isize * planes.stride).add(start);
            prefetch::<2, _>(plane, ahead);
            std::array::from_fn(|i| match PART {
                true => _mm256_maskload_ps(plane.wrapping_add(LANES * i), masks[i]),
                false => _mm256_loadu_ps(plane.add(LANES * i)),
            })
        };
        for pair in x.chunks(2) {
            let unordered = _mm256_cmp_ps::<_CMP_UNORD_Q>(pair[0], pair[pair.len() - 1]);
            *nan = _mm256_or_ps(*nan, unordered);
        }
        for (word, x) in words.iter_mut().zip(x) {
            // A mask is -1 where the code is 1.
            let mask = _mm256_castps_si256(_mm256_cmp_ps::<COMPARISON>(x, t));
            *word = _mm256_sub_epi32(_mm256_add_epi32(*word, *word), mask);
        }
    }
    for (i, word) in words.into_iter().enumerate() {
        // SAFETY: there are as many words.
        unsafe { _mm256_storeu_si256(to.add(LANES * i).cast(), word) };
    }
}

/// A mask of so many lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn first_lanes(count: usize) -> __m256i {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(count.min(LANES) as i32), lanes)
}
