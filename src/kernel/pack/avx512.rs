//! Compared straight to bits.

use super::{portable, same_type};
use crate::Element;
use crate::quantizer::Threshold;
use std::arch::x86_64::*;

/// See [`Kernel::pack_row`](super::Kernel::pack_row).
#[target_feature(enable = "avx512f,avx512bw")]
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

#[target_feature(enable = "avx512f,avx512bw")]
fn pack_f32<const COMPARISON: i32>(numbers: &[[f32; 32]], t: f32, words: &mut [u32]) -> bool {
    let t = _mm512_set1_ps(t);
    let mut nan = 0;
    for (numbers, word) in numbers.iter().zip(words) {
        // SAFETY: twice sixteen numbers.
        let [x, y] = [0, 16].map(|i| unsafe { _mm512_loadu_ps(numbers.as_ptr().add(i)) });
        // One comparison finds a NaN in either of two numbers.
        nan |= _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, y);
        let [x, y] = [x, y].map(|x| _mm512_cmp_ps_mask::<COMPARISON>(x, t));
        *word = _mm512_kunpackw(y.into(), x.into());
    }
    nan != 0
}

#[target_feature(enable = "avx512f,avx512bw")]
fn pack_f64<const COMPARISON: i32>(numbers: &[[f64; 32]], t: f64, words: &mut [u32]) -> bool {
    let t = _mm512_set1_pd(t);
    let mut nan = 0;
    for (numbers, word) in numbers.iter().zip(words) {
        // SAFETY: four times eight numbers.
        let x = [0, 8, 16, 24].map(|i| unsafe { _mm512_loadu_pd(numbers.as_ptr().add(i)) });
        nan |= _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(x[0], x[1]);
        nan |= _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(x[2], x[3]);
        *word = u32::from_le_bytes(x.map(|x| _mm512_cmp_pd_mask::<COMPARISON>(x, t)));
    }
    nan != 0
}
