//! With a dot product of four bytes: one instruction for a word of 16 filters.

use super::{Block, PANEL, Rows, Weights, Width, run_over};
use std::arch::asm;
use std::arch::x86_64::*;

/// Rows that are addressed from one of them.
const ROWS: usize = 4;

/// How far ahead a panel is fetched for a single row, which may come in from memory: over the ends
/// of pages, where the CPU stops.
const AHEAD: usize = 32 * PANEL;

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
    let blocks: &[Block] = match (weights.width, rows.count()) {
        (Width::Bits8, 1) => const { &single_row::<1>() },
        (Width::Bits8, _) => const { &blocks::<1>() },
        (Width::Bits4, 1) => const { &single_row::<2>() },
        (Width::Bits2, 1) => FOUR_PANELS,
        (Width::Bits4, _) => const { &blocks::<2>() },
        (Width::Bits2, _) => const { &blocks::<4>() },
    };
    // SAFETY: the CPU has AVX-512, and the lengths are checked.
    unsafe { run_over(blocks, rows, weights, sums, stride) }
}

/// A block of so many rows and panels.
macro_rules! block {
    ($rows:literal x $panels:literal x $span:ident) => {
        Block { rows: $rows, panels: $panels, run: block::<$rows, $panels, $span> }
    };
}

/// Two panels of a thousand codes stay in the first cache while all rows are multiplied with them,
/// and come in for the first rows at less than the second cache can bring: four panels, which take
/// fewer loads, do neither. Narrow weights need many rows to pay for unpacking them.
const fn blocks<const SPAN: usize>() -> [Block; 18] {
    [
        block!(12 x 2 x SPAN),
        block!(11 x 2 x SPAN),
        block!(10 x 2 x SPAN),
        block!(9 x 2 x SPAN),
        block!(8 x 2 x SPAN),
        block!(7 x 2 x SPAN),
        block!(6 x 2 x SPAN),
        block!(5 x 2 x SPAN),
        block!(4 x 2 x SPAN),
        block!(3 x 2 x SPAN),
        block!(2 x 2 x SPAN),
        block!(1 x 2 x SPAN),
        block!(12 x 1 x SPAN),
        block!(8 x 1 x SPAN),
        block!(6 x 1 x SPAN),
        block!(4 x 1 x SPAN),
        block!(2 x 1 x SPAN),
        block!(1 x 1 x SPAN),
    ]
}

/// Panels from far away come in faster the fewer are read at once.
const fn single_row<const SPAN: usize>() -> [Block; 2] {
    [block!(1 x 2 x SPAN), block!(1 x 1 x SPAN)]
}

/// For weights so narrow that they take longer to unpack than to come in.
const FOUR_PANELS: &[Block] = {
    const FOUR: usize = 4;
    &[block!(1 x 4 x FOUR), block!(1 x 2 x FOUR), block!(1 x 1 x FOUR)]
};

/// The sums of `M` rows with `P` panels whose words each hold the weights of `SPAN` words.
///
/// # Safety
/// There are `M` rows from the first on; the panels are `P`, for rows of their length, and `sums`
/// has `(M - 1) * stride + P * PANEL` elements.
#[allow(clippy::pointers_in_nomem_asm_block)] // it only passes through a register
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
            if M == 1 {
                for p in 0..P {
                    let ahead = panel.wrapping_add(p * panel_len + AHEAD);
                    _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                }
            }
            for (w, &offset) in offsets.iter().enumerate() {
                let filters = packed.map(|packed| unpack::<SPAN>(packed, w));
                let mut row = base.add(offset as usize);
                for (m, total) in total.iter_mut().enumerate() {
                    if m > 0 && m % ROWS == 0 {
                        row = row.wrapping_add(ROWS * step);
                        // The compiler would address all rows from the first, with more registers
                        // than there are.
                        asm!(
                            "/* {} */",
                            inout(reg) row,
                            options(pure, nomem, nostack, preserves_flags)
                        );
                    }
                    let codes = _mm512_set1_epi32(*row.add(m % ROWS * step) as i32);
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
pub(super) fn unpack<const SPAN: usize>(packed: __m512i, w: usize) -> __m512i {
    if SPAN == 1 {
        return packed;
    }
    let bits = 8 / SPAN;
    let shifted = _mm512_srl_epi32(packed, _mm_cvtsi32_si128((w * bits) as i32));
    _mm512_and_si512(shifted, _mm512_set1_epi8((1 << bits) - 1))
}
