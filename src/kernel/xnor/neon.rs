//! With a popcount of bytes: as cheap as a carry, so every word is counted on its own.

use super::Xnor;
use crate::kernel::PANEL;
use crate::kernel::arch::{Neon, each};
use std::arch::aarch64::*;

/// Words after which the byte counters are emptied: a word adds at most 8 to each.
const WORDS: usize = 31;

impl Xnor for Neon {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn differing<const M: usize, const P: usize>(
        self,
        offsets: &[u32],
        row: *const u32,
        step: usize,
        mut panel: *const u32,
    ) -> [[[int32x4_t; 4]; P]; M] {
        let mut total = [[[vdupq_n_u32(0); 4]; P]; M];
        let panel_len = offsets.len() * PANEL;
        for offsets in offsets.chunks(WORDS) {
            let mut counters = [[[vdupq_n_u8(0); 4]; P]; M];
            for &offset in offsets {
                // SAFETY: the caller vouches for all words. `panel` moves over as many of the first
                // panel as there are offsets, and as many of the others.
                unsafe {
                    let words: [_; M] =
                        std::array::from_fn(|m| vdupq_n_u32(*row.add(offset as usize + m * step)));
                    for p in 0..P {
                        for i in 0..4 {
                            let filters = vld1q_u32(panel.add(p * panel_len + 4 * i));
                            for m in 0..M {
                                let differ = vreinterpretq_u8_u32(veorq_u32(words[m], filters));
                                let counter = &mut counters[m][p][i];
                                *counter = vaddq_u8(*counter, vcntq_u8(differ));
                            }
                        }
                    }
                    panel = panel.add(PANEL);
                }
            }
            let totals = total.as_flattened_mut().as_flattened_mut().iter_mut();
            for (total, counters) in totals.zip(counters.as_flattened().as_flattened()) {
                *total = vpadalq_u16(*total, vpaddlq_u8(*counters));
            }
        }
        total.map(|total| total.map(|total| each(|i| vreinterpretq_s32_u32(total[i]))))
    }
}
