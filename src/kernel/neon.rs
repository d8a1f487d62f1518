//! Kernels for AArch64 with Advanced SIMD.

use super::PANEL;
use std::arch::aarch64::*;

/// Vectors that hold a word of every filter of a panel.
const VECTORS: usize = PANEL / 4;

/// Pairs after which the byte counters are emptied: a pair adds at most 8 to each.
const PAIRS: usize = 31;

/// See [`Kernel::count_differing`](super::Kernel::count_differing).
///
/// # Safety
/// The CPU must have NEON, and the lengths must be what the caller there checks.
#[target_feature(enable = "neon")]
pub(super) unsafe fn count_differing(rows: &[u32], panel: &[u32], sums: &mut [i32], stride: usize) {
    let words = panel.len() / PANEL;
    for (row, sums) in rows.chunks(words).zip(sums.chunks_mut(stride)) {
        // SAFETY: each pointer stays within its slice: a row has `words` words, the panel `PANEL`
        // times as many, and `sums` `PANEL` elements at least.
        unsafe {
            let mut parity = [vdupq_n_u32(0); VECTORS];
            let mut total = [vdupq_n_u32(0); VECTORS];
            let block_len = 2 * PAIRS;
            for (block, row) in row.chunks(block_len).enumerate() {
                let panel = panel.as_ptr().add(block * block_len * PANEL);
                let mut counters = [vdupq_n_u8(0); VECTORS];
                for (i, pair) in row.chunks_exact(2).enumerate() {
                    let weights = panel.add(i * 2 * PANEL);
                    let (a_parity, a_first) = (vdupq_n_u32(pair[0]), vdupq_n_u32(pair[1]));
                    for v in 0..VECTORS {
                        let n = veorq_u32(a_parity, vld1q_u32(weights.add(4 * v)));
                        let x = veorq_u32(a_first, vld1q_u32(weights.add(PANEL + 4 * v)));
                        let differ = veorq_u32(parity[v], x);
                        let carry = vbslq_u32(differ, vmvnq_u32(n), x);
                        parity[v] = n;
                        let ones = vcntq_u8(vreinterpretq_u8_u32(carry));
                        counters[v] = vaddq_u8(counters[v], ones);
                    }
                }
                for v in 0..VECTORS {
                    total[v] = vpadalq_u16(total[v], vpaddlq_u8(counters[v]));
                }
            }
            for v in 0..VECTORS {
                let ones = vcntq_u8(vreinterpretq_u8_u32(parity[v]));
                let last = vpaddlq_u16(vpaddlq_u8(ones));
                let sum = vaddq_u32(vshlq_n_u32::<1>(total[v]), last);
                vst1q_s32(sums.as_mut_ptr().add(4 * v), vreinterpretq_s32_u32(sum));
            }
        }
    }
}
