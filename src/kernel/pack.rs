//! Floats to 1-bit codes, 32 a word: as fast as memory is read.
//!
//! For whoever packs activations or weights. The code of `x` is 1 where `x >= threshold`, else 0,
//! also that of a NaN, which is found on the way. Floats come in one of two shapes:
//!
//! - rows (NHWC): 32 values of a row are the bits of a word, the first lowest;
//! - planes (NCHW): up to 32 channels, of which each gives a bit of the words of all pixels.
//!
//! Both compare blocks of 32 values, in the registers of an instruction set ([`Compare`]).
//!
//! Reading alone limits the loops, as they ask for memory well before they need it: what the CPU
//! fetches of its own accord ends with a page, and covers less than it takes to come from memory if
//! much is done with each value.

use super::arch::Portable;
#[cfg(target_arch = "x86_64")]
use super::arch::{Avx2, Avx512, Vectors};
use super::prefetch::prefetch;
use super::{Code, Kernel, same_type};
use crate::Element;
use crate::tuning::{PLANE_VALUES_AHEAD, ROW_BYTES_AHEAD};
use ndarray::ArrayView2;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Numbers that are compared at a time.
const BLOCK: usize = 32;

impl Kernel {
    /// Packs the 1-bit codes of rows of `width` values each. Every row starts a new word, its
    /// first value lowest, and its last word is filled up with zeros. Returns whether there is a
    /// NaN among the values.
    ///
    /// # Panics
    /// If there are fewer words than that takes.
    pub(crate) fn pack_rows<T: Element>(
        self,
        rows: &[T],
        width: usize,
        threshold: T,
        words: &mut [u32],
    ) -> bool {
        // Rows that fill their words are one.
        let width = if width.is_multiple_of(BLOCK) { rows.len().max(1) } else { width };
        let words = &mut words[..rows.len() / width * width.div_ceil(BLOCK)];
        self.pack(Rows { rows, width, threshold, words })
    }

    /// Packs the 1-bit codes of up to 32 planes of values, (plane, value), into one word for the
    /// values at the same place in each, the first plane lowest: word `i * step` for those at `i`.
    /// Returns whether there is a NaN among the values.
    ///
    /// # Panics
    /// If the values of a plane do not lie side by side, if there are more than 32 planes, or
    /// fewer words than that takes.
    pub(crate) fn pack_planes<T: Element>(
        self,
        planes: ArrayView2<'_, T>,
        threshold: T,
        words: &mut [u32],
        step: usize,
    ) -> bool {
        let (count, len) = planes.dim();
        assert!(count <= 32 && (count == 0 || len <= 1 || planes.strides()[1] == 1));
        let Some(others) = len.checked_sub(1) else { return false };
        let last = others.checked_mul(step);
        assert!(step > 0 && last.is_some_and(|last| last < words.len()));
        self.pack(Planes { planes, threshold, words, step })
    }

    fn pack<P: Pack>(self, pack: P) -> bool {
        match self.vector() {
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx512(v) => self.vectorize(With(v, pack)),
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2(v) => self.vectorize(With(v, pack)),
            _ => self.vectorize(With(Portable, pack)),
        }
    }
}

/// What is packed, and where to.
trait Pack {
    /// Returns whether there is a NaN.
    fn run<C: Compare>(self, compare: C) -> bool;
}

struct With<C, P>(C, P);

impl<C: Compare, P: Pack> Code for With<C, P> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        self.1.run(self.0)
    }
}

/// See [`Kernel::pack_rows`].
struct Rows<'a, T> {
    rows: &'a [T],
    width: usize,
    threshold: T,
    words: &'a mut [u32],
}

impl<T: Element> Pack for Rows<'_, T> {
    #[inline(always)]
    fn run<C: Compare>(self, compare: C) -> bool {
        let Rows { rows, width, threshold, words } = self;
        let mut nans = 0;
        let words = words.chunks_exact_mut(width.div_ceil(BLOCK));
        for (row, words) in rows.chunks_exact(width).zip(words) {
            let (blocks, rest) = row.as_chunks::<BLOCK>();
            for (values, word) in blocks.iter().zip(&mut *words) {
                prefetch(values, 1, ROW_BYTES_AHEAD);
                *word = compare.bits(compare.at_least(values, threshold, &mut nans));
            }
            if !rest.is_empty() {
                let bits = compare.bits(compare.at_least(rest, threshold, &mut nans));
                words[blocks.len()] = bits & !(u32::MAX << rest.len());
            }
        }
        nans != 0
    }
}

/// See [`Kernel::pack_planes`], which checks all lengths.
struct Planes<'a, T> {
    planes: ArrayView2<'a, T>,
    threshold: T,
    words: &'a mut [u32],
    step: usize,
}

impl<T: Element> Pack for Planes<'_, T> {
    #[inline(always)]
    fn run<C: Compare>(self, compare: C) -> bool {
        let mut nans = 0;
        let len = self.planes.ncols();
        for start in (0..len).step_by(BLOCK) {
            // The length of a whole block is a constant, with which loads need no masks.
            let block = match len - start {
                rest @ ..BLOCK => self.block(compare, start, rest, &mut nans),
                _ => self.block(compare, start, BLOCK, &mut nans),
            };
            let to = self.words[start * self.step..].iter_mut().step_by(self.step);
            to.zip(&block[..BLOCK.min(len - start)]).for_each(|(to, &word)| *to = word);
        }
        nans != 0
    }
}

impl<T: Element> Planes<'_, T> {
    /// The words of the `len` values of each plane from `start` on; further words may be any.
    #[inline(always)]
    fn block<C: Compare>(
        &self,
        compare: C,
        start: usize,
        len: usize,
        nans: &mut u32,
    ) -> [u32; BLOCK] {
        let (first, stride) = (self.planes.as_ptr(), self.planes.strides()[0]);
        let ahead = self.ahead(start);
        let mut words = [0; BLOCK];
        for plane in (0..self.planes.nrows()).rev() {
            // SAFETY: each plane has `len` values side by side from `start` on.
            let values = unsafe {
                let plane = first.offset(plane as isize * stride).add(start);
                std::slice::from_raw_parts(plane, len)
            };
            prefetch(values.as_ptr(), BLOCK, ahead);
            let masks = compare.at_least(values, self.threshold, nans);
            compare.push(&mut words, masks);
        }
        words
    }

    /// How many bytes behind the values at `start` of a plane those lie that are to be asked for.
    /// After the last values of these planes come the first of the planes behind them, which as a
    /// rule are packed next.
    #[inline(always)]
    fn ahead(&self, start: usize) -> isize {
        let (count, len) = self.planes.dim();
        let values = match (start + PLANE_VALUES_AHEAD).checked_sub(len) {
            None => PLANE_VALUES_AHEAD as isize,
            Some(past) => {
                let planes = self.planes.strides()[0].wrapping_mul(count as isize);
                planes.wrapping_add(past as isize - start as isize)
            }
        };
        values.wrapping_mul(size_of::<T>() as isize)
    }
}

/// Comparisons in the registers of an instruction set. A value of an implementing type proves that
/// the CPU has it, which is all that its unsafe functions ask for.
trait Compare: Copy {
    /// Which values of a block are large enough; of those that it lacks, any may be.
    type Masks;

    /// See [`at_least`](Self::at_least).
    unsafe fn f32_at_least(x: &[f32], threshold: f32, nans: &mut u32) -> Self::Masks;
    /// See [`at_least`](Self::at_least).
    unsafe fn f64_at_least(x: &[f64], threshold: f64, nans: &mut u32) -> Self::Masks;
    /// See [`bits`](Self::bits).
    unsafe fn to_bits(masks: Self::Masks) -> u32;
    /// See [`push`](Self::push).
    unsafe fn push_bits(words: &mut [u32; BLOCK], masks: Self::Masks);

    /// `x >= threshold`, of at most 32 values. Sets some bit of `nans` if there are NaNs.
    #[inline(always)]
    fn at_least<T: Element>(self, x: &[T], threshold: T, nans: &mut u32) -> Self::Masks {
        // SAFETY: the CPU has the instruction set, as `self` proves.
        unsafe {
            match (same_type(x), same_type(x)) {
                (Some(x), _) => Self::f32_at_least(x, threshold.as_f64() as f32, nans),
                (None, x) => Self::f64_at_least(x.unwrap_or_default(), threshold.as_f64(), nans),
            }
        }
    }

    /// A bit of each value, the first lowest.
    #[inline(always)]
    fn bits(self, masks: Self::Masks) -> u32 {
        // SAFETY: the CPU has the instruction set, as `self` proves.
        unsafe { Self::to_bits(masks) }
    }

    /// Moves the bits of all words up by one; the lowest then is that of the word's value.
    #[inline(always)]
    fn push(self, words: &mut [u32; BLOCK], masks: Self::Masks) {
        // SAFETY: the CPU has the instruction set, as `self` proves.
        unsafe { Self::push_bits(words, masks) }
    }
}

#[inline(always)]
fn each_at_least<T: Element>(x: &[T], threshold: T, nans: &mut u32) -> [u32; BLOCK] {
    let mut masks = [0; BLOCK];
    for (mask, &x) in masks.iter_mut().zip(x) {
        *mask = u32::from(x >= threshold);
        *nans |= u32::from(x.is_nan());
    }
    masks
}

/// In loops that the compiler makes vectors of.
impl Compare for Portable {
    /// 1 or 0.
    type Masks = [u32; BLOCK];

    #[inline(always)]
    unsafe fn f32_at_least(x: &[f32], threshold: f32, nans: &mut u32) -> [u32; BLOCK] {
        each_at_least(x, threshold, nans)
    }

    #[inline(always)]
    unsafe fn f64_at_least(x: &[f64], threshold: f64, nans: &mut u32) -> [u32; BLOCK] {
        each_at_least(x, threshold, nans)
    }

    #[inline(always)]
    unsafe fn to_bits(masks: [u32; BLOCK]) -> u32 {
        masks.iter().enumerate().fold(0, |bits, (i, mask)| bits | mask << i)
    }

    #[inline(always)]
    unsafe fn push_bits(words: &mut [u32; BLOCK], masks: [u32; BLOCK]) {
        words.iter_mut().zip(masks).for_each(|(word, mask)| *word = *word << 1 | mask);
    }
}

/// Comparisons straight to bits, which are also masks of the words.
#[cfg(target_arch = "x86_64")]
impl Compare for Avx512 {
    type Masks = u32;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn f32_at_least(x: &[f32], threshold: f32, nans: &mut u32) -> u32 {
        let x = [0, 16].map(|first| {
            let absent = u32::MAX.unbounded_shl(x.len().saturating_sub(first) as u32);
            // SAFETY: the values that are there are read.
            unsafe { _mm512_maskz_loadu_ps(!absent as __mmask16, x.as_ptr().wrapping_add(first)) }
        });
        // One comparison finds a NaN in either of two values.
        *nans |= u32::from(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x[0], x[1]));
        let threshold = _mm512_set1_ps(threshold);
        let [low, high] = x.map(|x| _mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, threshold));
        _mm512_kunpackw(high.into(), low.into())
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn f64_at_least(x: &[f64], threshold: f64, nans: &mut u32) -> u32 {
        let x = [0, 8, 16, 24].map(|first| {
            let absent = u32::MAX.unbounded_shl(x.len().saturating_sub(first) as u32);
            // SAFETY: the values that are there are read.
            unsafe { _mm512_maskz_loadu_pd(!absent as __mmask8, x.as_ptr().wrapping_add(first)) }
        });
        *nans |= u32::from(_mm512_cmp_pd_mask::<_CMP_UNORD_Q>(x[0], x[1]));
        *nans |= u32::from(_mm512_cmp_pd_mask::<_CMP_UNORD_Q>(x[2], x[3]));
        let threshold = _mm512_set1_pd(threshold);
        u32::from_le_bytes(x.map(|x| _mm512_cmp_pd_mask::<_CMP_GE_OQ>(x, threshold)))
    }

    #[inline(always)]
    unsafe fn to_bits(masks: u32) -> u32 {
        masks
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn push_bits(words: &mut [u32; BLOCK], masks: u32) {
        for (i, words) in words.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let mask = (masks >> (16 * i)) as __mmask16;
            let address = words.as_mut_ptr().cast();
            // SAFETY: sixteen words.
            unsafe {
                let words = _mm512_loadu_si512(address);
                let doubled = _mm512_add_epi32(words, words);
                let ones = _mm512_set1_epi32(-1);
                _mm512_storeu_si512(address, _mm512_mask_sub_epi32(doubled, mask, doubled, ones));
            }
        }
    }
}

/// Comparisons to masks of 32 bits, of which the bytes of one vector become bits.
#[cfg(target_arch = "x86_64")]
impl Compare for Avx2 {
    type Masks = [__m256i; 4];

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn f32_at_least(x: &[f32], threshold: f32, nans: &mut u32) -> [__m256i; 4] {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let x = [0, 8, 16, 24].map(|first| {
            let present = _mm256_cmpgt_epi32(_mm256_set1_epi32(x.len() as i32 - first), lanes);
            // SAFETY: the values that are there are read.
            unsafe { _mm256_maskload_ps(x.as_ptr().wrapping_add(first as usize), present) }
        });
        // One comparison finds a NaN in either of two values.
        let unordered = [0, 2].map(|i| _mm256_cmp_ps::<_CMP_UNORD_Q>(x[i], x[i + 1]));
        *nans |= _mm256_movemask_ps(_mm256_or_ps(unordered[0], unordered[1])) as u32;
        let threshold = _mm256_set1_ps(threshold);
        x.map(|x| _mm256_castps_si256(_mm256_cmp_ps::<_CMP_GE_OQ>(x, threshold)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn f64_at_least(x: &[f64], threshold: f64, nans: &mut u32) -> [__m256i; 4] {
        let lanes = _mm256_setr_epi64x(0, 1, 2, 3);
        let threshold = _mm256_set1_pd(threshold);
        let mut unordered = _mm256_setzero_pd();
        let masks = [0, 8, 16, 24].map(|first| {
            let [low, high] = [first, first + 4].map(|first| {
                let present = _mm256_cmpgt_epi64(_mm256_set1_epi64x(x.len() as i64 - first), lanes);
                // SAFETY: the values that are there are read.
                unsafe { _mm256_maskload_pd(x.as_ptr().wrapping_add(first as usize), present) }
            });
            unordered = _mm256_or_pd(unordered, _mm256_cmp_pd::<_CMP_UNORD_Q>(low, high));
            let [low, high] =
                [low, high].map(|x| _mm256_castpd_ps(_mm256_cmp_pd::<_CMP_GE_OQ>(x, threshold)));
            // Half of each mask, two of `low` beside two of `high`, which then change places.
            let halves = _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(low, high));
            _mm256_permute4x64_epi64::<0b11_01_10_00>(halves)
        });
        *nans |= _mm256_movemask_pd(unordered) as u32;
        masks
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn to_bits(masks: [__m256i; 4]) -> u32 {
        // Both work within halves of vectors: what is next to each other then are the first halves
        // of all four, then the second ones.
        let pairs = [0, 2].map(|i| _mm256_packs_epi32(masks[i], masks[i + 1]));
        let bytes = _mm256_packs_epi16(pairs[0], pairs[1]);
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        _mm256_movemask_epi8(_mm256_permutevar8x32_epi32(bytes, order)) as u32
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn push_bits(words: &mut [u32; BLOCK], masks: [__m256i; 4]) {
        for (words, mask) in words.as_chunks_mut::<8>().0.iter_mut().zip(masks) {
            let address = words.as_mut_ptr().cast();
            // SAFETY: eight words.
            unsafe {
                let words = _mm256_loadu_si256(address);
                // A mask is -1 where the bit is 1.
                let words = _mm256_sub_epi32(_mm256_add_epi32(words, words), mask);
                _mm256_storeu_si256(address, words);
            }
        }
    }
}

#[cfg(test)]
mod tests;
