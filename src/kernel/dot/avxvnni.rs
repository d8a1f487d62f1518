//! As with AVX-512, in vectors of half the width.

use super::{Block, PANEL, Rows, Weights, Width, run_over};
use std::arch::x86_64::*;

/// Filters in a vector.
const LANES: usize = 8;
const HALVES: usize = PANEL / LANES;

/// See [`Kernel::sum_products`](super::Kernel::sum_products).
///
/// # Safety
/// The lengths must be what the caller there checks.
#[target_feature(enable = "avx2,avxvnni")]
pub(super) unsafe fn sum_products(
    rows: Rows<'_>,
    weights: Weights<'_>,
    sums: &mut [i32],
    stride: usize,
) {
    let blocks: &[Block] = match weights.width {
        Width::Bits8 => const { &blocks::<1>() },
        Width::Bits4 => const { &blocks::<2>() },
        Width::Bits2 => const { &blocks::<4>() },
    };
    // SAFETY: the CPU has AVX-VNNI, and the lengths are checked.
    unsafe { run_over(blocks, rows, weights, sums, stride) }
}

/// As many rows as the registers hold, to hide the latency of the dot product.
const fn blocks<const SPAN: usize>() -> [Block; 4] {
    [
        Block { rows: 6, panels: 1, run: block::<6, SPAN> },
        Block { rows: 4, panels: 1, run: block::<4, SPAN> },
        Block { rows: 2, panels: 1, run: block::<2, SPAN> },
        Block { rows: 1, panels: 1, run: block::<1, SPAN> },
    ]
}

/// The sums of `M` rows with a panel whose words each hold the weights of `SPAN` words.
///
/// # Safety
/// There are `M` rows from the first on; the panel is one for rows of their length, and `sums` has
/// `(M - 1) * stride + PANEL` elements.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn block<const M: usize, const SPAN: usize>(
    rows: Rows<'_>,
    first: usize,
    weights: Weights<'_>,
    sums: &mut [i32],
    stride: usize,
) {
    let mut total = [[_mm256_setzero_si256(); HALVES]; M];
    let (base, step) = (rows.from(first), rows.step());
    let mut panel = weights.panels.as_ptr();
    // SAFETY: `Rows` keeps every word of its rows within them; `panel` moves over as many words of
    // the panel as it has. Sums are written as far as promised.
    unsafe {
        for offsets in rows.offsets().as_chunks::<SPAN>().0 {
            let packed: [_; HALVES] =
                std::array::from_fn(|half| _mm256_loadu_si256(panel.add(LANES * half).cast()));
            for (w, &offset) in offsets.iter().enumerate() {
                let filters = packed.map(|packed| unpack::<SPAN>(packed, w));
                for (m, total) in total.iter_mut().enumerate() {
                    let codes = *base.add(offset as usize + m * step);
                    let codes = _mm256_set1_epi32(codes as i32);
                    for (total, filters) in total.iter_mut().zip(filters) {
                        *total = _mm256_dpbusd_avx_epi32(*total, codes, filters);
                    }
                }
            }
            panel = panel.add(PANEL);
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
    let shifted = _mm256_srl_epi32(packed, _mm_cvtsi32_si128((w * bits) as i32));
    _mm256_and_si256(shifted, _mm256_set1_epi8((1 << bits) - 1))
}
