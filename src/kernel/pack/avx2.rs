//! Compared to masks, which `movmskps` and `movmskpd` turn into bits.

use super::{portable, same_type};
use crate::Element;
use crate::quantizer::Threshold;
use std::arch::x86_64::*;

/// See [`Kernel::pack_row`](super::Kernel::pack_row).
#[target_feature(enable = "avx2")]
pub(super) fn pack_row<T: Element>(row: &[T], threshold: Threshold<T>, words: &mut [u32]) -> bool {
    let (t, above) = (threshold.number().as_f64(), threshold.is_open());
    let (whole, rest) = row.as_chunks::<32>();
    let (whole_words, last_word) = words.split_at_mut(whole.len());
    let nan = match (same_type(whole), same_type(whole), above) {
        (Some(numbers), _, true) => pack_f32::<_CMP_GT_OQ>(numbers, t as f32, whole_words),
        (Some(numbers), _, false) => pack_f32::<_CMP_GE_OQ>(numbers, t as f32, whole_words),
        (_, Some(numbers), true) => pack_f64::<_CMP_GT_OQ>(numbers, t, whole_words),
        (_, Some(numbers), false) => pack_f64::<_CMP_GE_OQ>(numbers, t, whole_words),
        _ => portable::pack_row(whole.as_flattened(), threshold, whole_words),
    };
    nan | portable::pack_row(rest, threshold, last_word)
}

#[target_feature(enable = "avx2")]
fn pack_f32<const COMPARISON: i32>(numbers: &[[f32; 32]], t: f32, words: &mut [u32]) -> bool {
    let t = _mm256_set1_ps(t);
    let mut nan = _mm256_setzero_ps();
    for (numbers, word) in numbers.iter().zip(words) {
        // SAFETY: four times eight numbers.
        let x: [_; 4] =
            std::array::from_fn(|i| unsafe { _mm256_loadu_ps(numbers.as_ptr().add(8 * i)) });
        // One comparison finds a NaN in either of two numbers.
        nan = _mm256_or_ps(nan, _mm256_cmp_ps::<_CMP_UNORD_Q>(x[0], x[1]));
        nan = _mm256_or_ps(nan, _mm256_cmp_ps::<_CMP_UNORD_Q>(x[2], x[3]));
        let bits = x.map(|x| _mm256_movemask_ps(_mm256_cmp_ps::<COMPARISON>(x, t)) as u32);
        *word = bits[0] | bits[1] << 8 | bits[2] << 16 | bits[3] << 24;
    }
    _mm256_movemask_ps(nan) != 0
}

#[target_feature(enable = "avx2")]
fn pack_f64<const COMPARISON: i32>(numbers: &[[f64; 32]], t: f64, words: &mut [u32]) -> bool {
    let t = _mm256_set1_pd(t);
    let mut nan = _mm256_setzero_pd();
    for (numbers, word) in numbers.iter().zip(words) {
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
    _mm256_movemask_pd(nan) != 0
}
