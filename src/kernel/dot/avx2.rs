//! Without a dot product of bytes: products are added up in 16 bits for as long as these hold.

use super::Dot;
use crate::kernel::PANEL;
use crate::kernel::arch::{Avx2, intrinsics};
use std::arch::x86_64::*;

/// Words whose products, added up in pairs as they come, do not exceed a sum.
pub(super) fn words_of(largest: u32, sum: u32) -> usize {
    (sum / (2 * largest.max(1))) as usize
}

/// For weights of which two products, added up in 16 bits, do not overflow. If `MANY`, those of
/// several words are added up before they are widened.
#[derive(Clone, Copy)]
pub(super) struct Pairs<const MANY: bool>(pub(super) Avx2);

impl<const MANY: bool> Pairs<MANY> {
    /// Sums of unsigned weights start at the lowest, so that all 16 bits are theirs.
    const fn start<const SPAN: usize>() -> i16 {
        if SPAN == 1 { 0 } else { i16::MIN }
    }
}

/// Sums of 32 bits, and what is to be added to them.
#[derive(Clone, Copy)]
pub(super) struct PairSums {
    wide: [__m256i; 2],
    short: [__m256i; 2],
}

impl<const MANY: bool, const SPAN: usize> Dot<SPAN> for Pairs<MANY> {
    type Vector = Avx2;
    type Weights = [__m256i; 2];
    type Codes = __m256i;
    type Sums = PairSums;

    #[inline(always)]
    fn vector(self) -> Avx2 {
        self.0
    }

    #[inline(always)]
    fn words(self, largest: u32) -> usize {
        let most = i16::MAX.abs_diff(Self::start::<SPAN>()).into();
        match MANY {
            true => (words_of(largest, most) / SPAN * SPAN).max(SPAN),
            false => usize::MAX,
        }
    }

    intrinsics! {
        fn load(panel: &[u32; PANEL]) -> [__m256i; 2] { load(panel) }
        fn unpack(packed: [__m256i; 2], w: usize) -> [__m256i; 2] { unpack::<SPAN>(packed, w) }
        fn codes(word: u32) -> __m256i { _mm256_set1_epi32(word as i32) }
        fn begin(times: usize) -> PairSums {
            let starts = 2 * i32::from(Self::start::<SPAN>()) * times as i32;
            let short = [_mm256_set1_epi16(Self::start::<SPAN>()); 2];
            PairSums { wide: [_mm256_set1_epi32(-starts); 2], short }
        }
        fn multiply(sums: PairSums, codes: __m256i, weights: [__m256i; 2]) -> PairSums {
            let [low, high] = weights;
            let products = [_mm256_maddubs_epi16(codes, low), _mm256_maddubs_epi16(codes, high)];
            let PairSums { wide, short: [low, high] } = sums;
            match MANY {
                true => {
                    let low = _mm256_add_epi16(low, products[0]);
                    PairSums { wide, short: [low, _mm256_add_epi16(high, products[1])] }
                }
                false => PairSums { wide: add_pairs(wide, products), short: sums.short },
            }
        }
        fn widen(sums: PairSums) -> PairSums {
            match MANY {
                true => PairSums {
                    wide: add_pairs(sums.wide, sums.short),
                    short: [_mm256_set1_epi16(Self::start::<SPAN>()); 2],
                },
                false => sums,
            }
        }
        fn finish(sums: PairSums) -> [__m256i; 2] { sums.wide }
    }
}

/// For weights of 8 bits when not even two products can be added up in 16 bits: both factors are
/// widened to these first. Of each filter there are two neighbouring sums.
#[derive(Clone, Copy)]
pub(super) struct Wide(pub(super) Avx2);

impl Dot<1> for Wide {
    type Vector = Avx2;
    type Weights = [__m256i; 4];
    type Codes = __m256i;
    type Sums = [__m256i; 4];

    #[inline(always)]
    fn vector(self) -> Avx2 {
        self.0
    }

    intrinsics! {
        fn load(panel: &[u32; PANEL]) -> [__m256i; 4] {
            let quarter = |i| _mm_loadu_si128(panel.as_ptr().cast::<__m128i>().add(i));
            [
                _mm256_cvtepi8_epi16(quarter(0)),
                _mm256_cvtepi8_epi16(quarter(1)),
                _mm256_cvtepi8_epi16(quarter(2)),
                _mm256_cvtepi8_epi16(quarter(3)),
            ]
        }
        fn unpack(packed: [__m256i; 4], _w: usize) -> [__m256i; 4] { packed }
        fn codes(word: u32) -> __m256i {
            _mm256_unpacklo_epi8(_mm256_set1_epi32(word as i32), _mm256_setzero_si256())
        }
        fn begin(_times: usize) -> [__m256i; 4] { [_mm256_setzero_si256(); 4] }
        fn multiply(sums: [__m256i; 4], codes: __m256i, weights: [__m256i; 4]) -> [__m256i; 4] {
            let mut sums = sums;
            for i in 0..4 {
                sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(codes, weights[i]));
            }
            sums
        }
        fn finish(sums: [__m256i; 4]) -> [__m256i; 2] {
            let low = _mm256_hadd_epi32(sums[0], sums[1]);
            let high = _mm256_hadd_epi32(sums[2], sums[3]);
            [
                _mm256_permute4x64_epi64::<0b11_01_10_00>(low),
                _mm256_permute4x64_epi64::<0b11_01_10_00>(high),
            ]
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load(panel: &[u32; PANEL]) -> [__m256i; 2] {
    let panel = panel.as_ptr().cast::<__m256i>();
    // SAFETY: a panel has two vectors for each word.
    unsafe { [_mm256_loadu_si256(panel), _mm256_loadu_si256(panel.add(1))] }
}

/// The weights of the `w`th of the words that share a word of the panel.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn unpack<const SPAN: usize>(packed: [__m256i; 2], w: usize) -> [__m256i; 2] {
    if SPAN == 1 {
        return packed;
    }
    let bits = 8 / SPAN;
    let (shift, mask) = (_mm_cvtsi32_si128((w * bits) as i32), _mm256_set1_epi8((1 << bits) - 1));
    let shifted = [_mm256_srl_epi16(packed[0], shift), _mm256_srl_epi16(packed[1], shift)];
    [_mm256_and_si256(shifted[0], mask), _mm256_and_si256(shifted[1], mask)]
}

/// Adds both halves of each i32 of `short`.
#[inline]
#[target_feature(enable = "avx2")]
fn add_pairs(wide: [__m256i; 2], short: [__m256i; 2]) -> [__m256i; 2] {
    let one = _mm256_set1_epi16(1);
    [
        _mm256_add_epi32(wide[0], _mm256_madd_epi16(short[0], one)),
        _mm256_add_epi32(wide[1], _mm256_madd_epi16(short[1], one)),
    ]
}
