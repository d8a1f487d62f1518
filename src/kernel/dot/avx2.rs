//! Without a dot product of bytes: products are added up in 16 bits for as long as these hold.

use super::{Block, PANEL, Rows, Weights, Width, run_over};
use std::arch::x86_64::*;

/// Filters in a vector.
const LANES: usize = 8;
const HALVES: usize = PANEL / LANES;

/// How far ahead a panel is fetched for a single row, which may come in from memory: over the ends
/// of pages, where the CPU stops.
const AHEAD: usize = 32 * PANEL;

/// Vectors of weights of 16 bits that hold a word of every filter of a panel.
const QUARTERS: usize = 4;

/// See [`Kernel::sum_products`](super::Kernel::sum_products).
///
/// # Safety
/// The lengths must be what the caller there checks.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn sum_products(
    rows: Rows<'_>,
    weights: Weights<'_>,
    sums: &mut [i32],
    stride: usize,
) {
    let blocks: &[Block] = match (weights.width, words_of(weights, i16::MAX as usize)) {
        (Width::Bits8, 0) => &[
            Block { rows: 2, panels: 1, run: wide_block::<2> },
            Block { rows: 1, panels: 1, run: wide_block::<1> },
        ],
        (Width::Bits8, 1..4) => const { &blocks::<1, false>() },
        (Width::Bits8, _) => const { &blocks::<1, true>() },
        (Width::Bits4, _) => const { &blocks::<2, true>() },
        (Width::Bits2, _) => const { &blocks::<4, true>() },
    };
    // SAFETY: the CPU has AVX2, and the lengths are checked.
    unsafe { run_over(blocks, rows, weights, sums, stride) }
}

/// Words whose products, added up in pairs as they come, do not exceed a sum.
fn words_of(weights: Weights<'_>, sum: usize) -> usize {
    sum / (2 * weights.largest.max(1) as usize)
}

const fn blocks<const SPAN: usize, const SHORT: bool>() -> [Block; 3] {
    [
        Block { rows: 4, panels: 1, run: block::<4, SPAN, SHORT> },
        Block { rows: 2, panels: 1, run: block::<2, SPAN, SHORT> },
        Block { rows: 1, panels: 1, run: block::<1, SPAN, SHORT> },
    ]
}

/// The sums of `M` rows with a panel whose words each hold the weights of `SPAN` words. Two
/// products of bytes, added up in 16 bits, must not overflow; with `SHORT`, several are added up
/// before they are widened.
///
/// # Safety
/// There are `M` rows from the first on; the panel is one for rows of their length, and `sums` has
/// `(M - 1) * stride + PANEL` elements.
#[target_feature(enable = "avx2")]
unsafe fn block<const M: usize, const SPAN: usize, const SHORT: bool>(
    rows: Rows<'_>,
    first: usize,
    weights: Weights<'_>,
    sums: &mut [i32],
    stride: usize,
) {
    // Sums of unsigned weights start at the lowest, so that all 16 bits are theirs.
    let start = if SPAN == 1 { 0 } else { i16::MIN };
    let words = match SHORT {
        true => words_of(weights, i16::MAX.abs_diff(start).into()) / SPAN * SPAN,
        false => rows.offsets().len(),
    };
    let chunks = rows.offsets().chunks(words.max(SPAN));
    let starts = 2 * i32::from(start) * chunks.len() as i32;
    let mut total = [[_mm256_set1_epi32(-starts); HALVES]; M];
    let (base, step) = (rows.from(first), rows.step());
    let mut panel = weights.panels.as_ptr();
    // SAFETY: `Rows` keeps every word of its rows within them; `panel` moves over as many words of
    // the panel as it has. Sums are written as far as promised.
    unsafe {
        for offsets in chunks {
            let mut short = [[_mm256_set1_epi16(start); HALVES]; M];
            for offsets in offsets.as_chunks::<SPAN>().0 {
                let packed: [_; HALVES] =
                    std::array::from_fn(|half| _mm256_loadu_si256(panel.add(LANES * half).cast()));
                if M == 1 {
                    _mm_prefetch::<_MM_HINT_T0>(panel.wrapping_add(AHEAD).cast());
                }
                for (w, &offset) in offsets.iter().enumerate() {
                    let filters = packed.map(|packed| unpack::<SPAN>(packed, w));
                    for m in 0..M {
                        let codes = *base.add(offset as usize + m * step);
                        let codes = _mm256_set1_epi32(codes as i32);
                        for half in 0..HALVES {
                            let products = _mm256_maddubs_epi16(codes, filters[half]);
                            if SHORT {
                                short[m][half] = _mm256_add_epi16(short[m][half], products);
                            } else {
                                total[m][half] = _mm256_add_epi32(total[m][half], widen(products));
                            }
                        }
                    }
                }
                panel = panel.add(PANEL);
            }
            if SHORT {
                let totals = total.as_flattened_mut().iter_mut();
                for (total, short) in totals.zip(short.as_flattened()) {
                    *total = _mm256_add_epi32(*total, widen(*short));
                }
            }
        }
        for (m, total) in total.iter().enumerate() {
            for (half, &total) in total.iter().enumerate() {
                let to = sums.as_mut_ptr().add(m * stride + LANES * half);
                _mm256_storeu_si256(to.cast(), total);
            }
        }
    }
}

/// The weights of the `w`th of the words that share a word of the panel.
#[inline]
#[target_feature(enable = "avx2")]
fn unpack<const SPAN: usize>(packed: __m256i, w: usize) -> __m256i {
    if SPAN == 1 {
        return packed;
    }
    let bits = 8 / SPAN;
    let shifted = _mm256_srl_epi16(packed, _mm_cvtsi32_si128((w * bits) as i32));
    _mm256_and_si256(shifted, _mm256_set1_epi8((1 << bits) - 1))
}

/// The sum of both halves of each i32.
#[inline]
#[target_feature(enable = "avx2")]
fn widen(short: __m256i) -> __m256i {
    _mm256_madd_epi16(short, _mm256_set1_epi16(1))
}

/// The sums of `M` rows with a panel of weights of 8 bits when not even two products can be added
/// up in 16 bits: both factors are widened to these first.
///
/// # Safety
/// As of [`block`].
#[target_feature(enable = "avx2")]
unsafe fn wide_block<const M: usize>(
    rows: Rows<'_>,
    first: usize,
    weights: Weights<'_>,
    sums: &mut [i32],
    stride: usize,
) {
    // Of each filter two neighbouring sums.
    let mut total = [[_mm256_setzero_si256(); QUARTERS]; M];
    let (base, step) = (rows.from(first), rows.step());
    let mut panel = weights.panels.as_ptr();
    // SAFETY: `Rows` keeps every word of its rows within them; `panel` moves over as many words of
    // the panel. Sums are written as far as promised.
    unsafe {
        for &offset in rows.offsets() {
            let codes: [_; M] = std::array::from_fn(|m| {
                let word = *base.add(offset as usize + m * step);
                _mm256_unpacklo_epi8(_mm256_set1_epi32(word as i32), _mm256_setzero_si256())
            });
            if M == 1 {
                _mm_prefetch::<_MM_HINT_T0>(panel.wrapping_add(AHEAD).cast());
            }
            for quarter in 0..QUARTERS {
                let filters = _mm_loadu_si128(panel.add(4 * quarter).cast());
                let filters = _mm256_cvtepi8_epi16(filters);
                for (total, codes) in total.iter_mut().zip(codes) {
                    let products = _mm256_madd_epi16(codes, filters);
                    total[quarter] = _mm256_add_epi32(total[quarter], products);
                }
            }
            panel = panel.add(PANEL);
        }
        for (m, total) in total.iter().enumerate() {
            for (half, total) in total.as_chunks::<2>().0.iter().enumerate() {
                let pairs = _mm256_hadd_epi32(total[0], total[1]);
                let sum = _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs);
                let to = sums.as_mut_ptr().add(m * stride + LANES * half);
                _mm256_storeu_si256(to.cast(), sum);
            }
        }
    }
}
