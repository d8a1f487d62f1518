//! Without a dot product of bytes: products of 16 bits, of unsigned factors.
//!
//! Signed weights are made unsigned, and the sum is corrected by that of the codes:
//! `Σ a w = Σ a (w + 128) - 128 Σ a`.

use super::Dot;
use crate::kernel::PANEL;
use crate::kernel::arch::{Neon, each, intrinsics};
use std::arch::aarch64::*;

/// Two neighbouring sums of each filter.
#[derive(Clone, Copy)]
pub(super) struct PairSums {
    wide: [[uint32x4_t; 2]; 4],
    /// What is to be added to them, of weights of less than 8 bits.
    short: [[uint16x8_t; 2]; 4],
    /// The sum of the codes in all lanes, if weights are signed.
    codes: uint32x4_t,
}

impl<const SPAN: usize> Dot<SPAN> for Neon {
    type Vector = Neon;
    type Weights = [uint8x16_t; 4];
    type Codes = uint8x16_t;
    type Sums = PairSums;

    #[inline(always)]
    fn vector(self) -> Neon {
        self
    }

    #[inline(always)]
    fn words(self, largest: u32) -> usize {
        match SPAN {
            1 => usize::MAX,
            _ => (u16::MAX as usize / largest.max(1) as usize / SPAN * SPAN).max(SPAN),
        }
    }

    intrinsics! {
        fn load(panel: &[u32; PANEL]) -> [uint8x16_t; 4] { load(panel) }
        fn unpack(packed: [uint8x16_t; 4], w: usize) -> [uint8x16_t; 4] { unpack::<SPAN>(packed, w) }
        fn codes(word: u32) -> uint8x16_t { vreinterpretq_u8_u32(vdupq_n_u32(word)) }
        fn begin(_times: usize) -> PairSums {
            PairSums {
                wide: [[vdupq_n_u32(0); 2]; 4],
                short: [[vdupq_n_u16(0); 2]; 4],
                codes: vdupq_n_u32(0),
            }
        }
        fn multiply(sums: PairSums, codes: uint8x16_t, weights: [uint8x16_t; 4]) -> PairSums {
            let mut sums = sums;
            let codes_low = vget_low_u8(codes);
            if SPAN == 1 {
                sums.wide = each(|i| {
                    let [low, high] = sums.wide[i];
                    let low = vpadalq_u16(low, vmull_u8(codes_low, vget_low_u8(weights[i])));
                    [low, vpadalq_u16(high, vmull_high_u8(codes, weights[i]))]
                });
                sums.codes = vpadalq_u16(sums.codes, vpaddlq_u8(codes));
            } else {
                sums.short = each(|i| {
                    let [low, high] = sums.short[i];
                    let low = vmlal_u8(low, codes_low, vget_low_u8(weights[i]));
                    [low, vmlal_high_u8(high, codes, weights[i])]
                });
            }
            sums
        }
        fn widen(sums: PairSums) -> PairSums {
            let wide = each(|i| {
                let ([low, high], short) = (sums.wide[i], sums.short[i]);
                [vpadalq_u16(low, short[0]), vpadalq_u16(high, short[1])]
            });
            PairSums { wide, short: [[vdupq_n_u16(0); 2]; 4], ..sums }
        }
        fn finish(sums: PairSums) -> [int32x4_t; 4] {
            let sum = |[low, high]: [uint32x4_t; 2]| vpaddq_u32(low, high);
            correct(sums.wide.map(sum), sums.codes)
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load(panel: &[u32; PANEL]) -> [uint8x16_t; 4] {
    // SAFETY: a panel has four vectors for each word.
    each(|i| vreinterpretq_u8_u32(unsafe { vld1q_u32(panel.as_ptr().add(4 * i)) }))
}

/// The weights of the `w`th of the words that share a word of the panel, signed ones with 128
/// added.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn unpack<const SPAN: usize>(packed: [uint8x16_t; 4], w: usize) -> [uint8x16_t; 4] {
    let bits = 8 / SPAN;
    let shift = vdupq_n_s8(-((w * bits) as i8));
    packed.map(|packed| match SPAN {
        1 => veorq_u8(packed, vdupq_n_u8(0x80)),
        _ => vandq_u8(vshlq_u8(packed, shift), vdupq_n_u8(((1 << bits) - 1) as u8)),
    })
}

/// The sums of signed weights from those of unsigned ones.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn correct(sums: [uint32x4_t; 4], codes: uint32x4_t) -> [int32x4_t; 4] {
    let correction = vshlq_n_u32::<7>(codes);
    sums.map(|sums| vreinterpretq_s32_u32(vsubq_u32(sums, correction)))
}
