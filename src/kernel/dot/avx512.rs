//! With a dot product of four bytes: one instruction for a word of 16 filters.

use super::{Block, PANEL, Rows, Weights, Width, run_over};
use std::arch::x86_64::*;

/// See [`Kernel::sum_products`](super::Kernel::sum_products).
///
/// # Safety
/// The lengths must be what the caller there checks.
#[target_feature(enable = "avx512f,avx512vnni")]
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
    // SAFETY: the CPU has AVX-512, and the lengths are checked.
    unsafe { run_over(blocks, rows, weights, sums, stride) }
}

/// Each broadcast word serves two panels, each loaded vector of weights eight rows: so many sums
/// hide the latency of the dot product, and the loads are fewer than it takes cycles. A single row
/// has more panels instead.
const fn blocks<const SPAN: usize>() -> [Block; 9] {
    [
        Block { rows: 8, panels: 2, run: block::<8, 2, SPAN> },
        Block { rows: 4, panels: 2, run: block::<4, 2, SPAN> },
        Block { rows: 2, panels: 2, run: block::<2, 2, SPAN> },
        Block { rows: 1, panels: 4, run: block::<1, 4, SPAN> },
        Block { rows: 1, panels: 2, run: block::<1, 2, SPAN> },
        Block { rows: 8, panels: 1, run: block::<8, 1, SPAN> },
        Block { rows: 4, panels: 1, run: block::<4, 1, SPAN> },
        Block { rows: 2, panels: 1, run: block::<2, 1, SPAN> },
        Block { rows: 1, panels: 1, run: block::<1, 1, SPAN> },
    ]
}

/// The sums of `M` rows with `P` panels whose words each hold the weights of `SPAN` words.
///
/// # Safety
/// There are `M` rows from the first on; the panels are `P`, for rows of their length, and `sums`
/// has `(M - 1) * stride + P * PANEL` elements.
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn block<const M: usize, const P: usize, const SPAN: usize>(
    rows: Rows<'_>,
    first: usize,
    weights: Weights<'_>,
    sums: &mut [i32],
    stride: usize,
) {
    let mut total = [[_mm512_setzero_si512(); P]; M];
    let (base, step) = (rows.from(first), rows.step());
    let mut panel = weights.panels.as_ptr();
    let panel_len = weights.panels.len() / P;
    // SAFETY: `Rows` keeps every word of its rows within them; `panel` moves over as many words of
    // the first panel as it has, and as many of the others. Sums are written as far as promised.
    unsafe {
        for offsets in rows.offsets().as_chunks::<SPAN>().0 {
            let packed: [_; P] =
                std::array::from_fn(|p| _mm512_loadu_si512(panel.add(p * panel_len).cast()));
            for (w, &offset) in offsets.iter().enumerate() {
                let filters = packed.map(|packed| unpack::<SPAN>(packed, w));
                for (m, total) in total.iter_mut().enumerate() {
                    let codes = *base.add(offset as usize + m * step);
                    let codes = _mm512_set1_epi32(codes as i32);
                    for (total, filters) in total.iter_mut().zip(filters) {
                        *total = _mm512_dpbusd_epi32(*total, codes, filters);
                    }
                }
            }
            panel = panel.add(PANEL);
        }
        for (m, total) in total.iter().enumerate() {
            for (p, &total) in total.iter().enumerate() {
                let to = sums.as_mut_ptr().add(m * stride + p * PANEL);
                _mm512_storeu_si512(to.cast(), total);
            }
        }
    }
}

/// The weights of the `w`th of the words that share a word of the panel.
#[inline]
#[target_feature(enable = "avx512f")]
fn unpack<const SPAN: usize>(packed: __m512i, w: usize) -> __m512i {
    if SPAN == 1 {
        return packed;
    }
    let bits = 8 / SPAN;
    let shifted = _mm512_srl_epi32(packed, _mm_cvtsi32_si128((w * bits) as i32));
    _mm512_and_si512(shifted, _mm512_set1_epi8((1 << bits) - 1))
}
