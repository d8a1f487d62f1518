//! Without a dot product of bytes: products of 16 bits, of unsigned factors.
//!
//! Signed weights are made unsigned, and the sum is corrected by that of the codes:
//! `Σ a w = Σ a (w + 128) - 128 Σ a`.

use super::{Block, PANEL, Rows, Weights, Width, run_over};
use std::arch::aarch64::*;

/// Vectors that hold a word of every filter of a panel.
const VECTORS: usize = PANEL / 4;

/// See [`Kernel::sum_products`](super::Kernel::sum_products).
///
/// # Safety
/// The lengths must be what the caller there checks.
#[target_feature(enable = "neon")]
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
    // SAFETY: the CPU has NEON, and the lengths are checked.
    unsafe { run_over(blocks, rows, weights, sums, stride) }
}

const fn blocks<const SPAN: usize>() -> [Block; 2] {
    [
        Block { rows: 2, panels: 1, run: block::<2, SPAN> },
        Block { rows: 1, panels: 1, run: block::<1, SPAN> },
    ]
}

/// The sums of `M` rows with a panel whose words each hold the weights of `SPAN` words.
///
/// # Safety
/// There are `M` rows from the first on; the panel is one for rows of their length, and `sums` has
/// `(M - 1) * stride + PANEL` elements.
#[target_feature(enable = "neon")]
unsafe fn block<const M: usize, const SPAN: usize>(
    rows: Rows<'_>,
    first: usize,
    weights: Weights<'_>,
    sums: &mut [i32],
    stride: usize,
) {
    // Of each filter two neighbouring sums; of the codes, the same sum in all lanes.
    let mut total = [[[vdupq_n_u32(0); 2]; VECTORS]; M];
    let mut codes_total = [vdupq_n_u32(0); M];
    let (base, step) = (rows.from(first), rows.step());
    let mut panel = weights.panels.as_ptr();
    // Words whose products can be added up in 16 bits.
    let words = match SPAN {
        1 => 1,
        _ => u16::MAX as usize / weights.largest.max(1) as usize / SPAN * SPAN,
    };
    // SAFETY: `Rows` keeps every word of its rows within them; `panel` moves over as many words of
    // the panel as it has. Sums are written as far as promised.
    unsafe {
        for offsets in rows.offsets().chunks(words.max(SPAN)) {
            let mut short = [[[vdupq_n_u16(0); 2]; VECTORS]; M];
            for offsets in offsets.as_chunks::<SPAN>().0 {
                for w in 0..SPAN {
                    let codes: [_; M] = std::array::from_fn(|m| {
                        let word = base.add(offsets[w] as usize + m * step);
                        vreinterpretq_u8_u32(vld1q_dup_u32(word))
                    });
                    for v in 0..VECTORS {
                        let packed = vreinterpretq_u8_u32(vld1q_u32(panel.add(4 * v)));
                        let filters = unpack::<SPAN>(packed, w);
                        for m in 0..M {
                            let [low, high] = short[m][v];
                            let (codes_low, filters_low) =
                                (vget_low_u8(codes[m]), vget_low_u8(filters));
                            short[m][v] = [
                                vmlal_u8(low, codes_low, filters_low),
                                vmlal_high_u8(high, codes[m], filters),
                            ];
                        }
                    }
                    if SPAN == 1 {
                        for m in 0..M {
                            codes_total[m] = vpadalq_u16(codes_total[m], vpaddlq_u8(codes[m]));
                        }
                    }
                }
                panel = panel.add(PANEL);
            }
            let totals = total.as_flattened_mut().as_flattened_mut().iter_mut();
            for (total, short) in totals.zip(short.as_flattened().as_flattened()) {
                *total = vpadalq_u16(*total, *short);
            }
        }
        for m in 0..M {
            let correction = vshlq_n_u32::<7>(codes_total[m]);
            for v in 0..VECTORS {
                let [low, high] = total[m][v];
                let sum = vsubq_u32(vpaddq_u32(low, high), correction);
                let to = sums.as_mut_ptr().add(m * stride + 4 * v);
                vst1q_s32(to, vreinterpretq_s32_u32(sum));
            }
        }
    }
}

/// The weights of the `w`th of the words that share a word of the panel, signed ones with 128
/// added.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn unpack<const SPAN: usize>(packed: uint8x16_t, w: usize) -> uint8x16_t {
    if SPAN == 1 {
        return veorq_u8(packed, vdupq_n_u8(0x80));
    }
    let bits = 8 / SPAN;
    let shifted = vshlq_u8(packed, vdupq_n_s8(-((w * bits) as i8)));
    vandq_u8(shifted, vdupq_n_u8((1 << bits) - 1))
}
