//! With a popcount of bytes: as cheap as a carry, so every word is counted on its own.

use super::{PANEL, Rows};
use std::arch::aarch64::*;

/// Vectors that hold a word of every filter of a panel.
const VECTORS: usize = PANEL / 4;

/// Rows that are computed at a time, to read each panel once for both.
const ROWS: usize = 2;

/// Words after which the byte counters are emptied: a word adds at most 8 to each.
const WORDS: usize = 31;

/// See [`Kernel::count_differing`](super::Kernel::count_differing).
///
/// # Safety
/// The lengths must be what the caller there checks.
#[target_feature(enable = "neon")]
pub(super) unsafe fn count_differing(
    rows: Rows<'_>,
    panels: &[u32],
    sums: &mut [i32],
    stride: usize,
) {
    let panel_len = rows.offsets().len() * PANEL;
    if panel_len == 0 {
        return; // no filters
    }
    for (i, panel) in panels.chunks(panel_len).enumerate() {
        for first in (0..rows.count()).step_by(ROWS) {
            let sums = &mut sums[first * stride + i * PANEL..];
            // SAFETY: so many rows are left from the first on.
            unsafe {
                match rows.count() - first {
                    1 => block::<1>(rows, first, panel, sums, stride),
                    _ => block::<ROWS>(rows, first, panel, sums, stride),
                }
            }
        }
    }
}

/// # Safety
/// There are `M` rows from the first on; `panel` is one of as many words, and `sums` has
/// `(M - 1) * stride + PANEL` elements.
#[target_feature(enable = "neon")]
unsafe fn block<const M: usize>(
    rows: Rows<'_>,
    first: usize,
    panel: &[u32],
    sums: &mut [i32],
    stride: usize,
) {
    let mut total = [[vdupq_n_u32(0); VECTORS]; M];
    let (base, step) = (rows.from(first), rows.step());
    let mut weights = panel.as_ptr();
    // SAFETY: `Rows` keeps every word of its rows within them; `weights` moves over as many words
    // of the panel. Sums are written as far as promised.
    unsafe {
        for offsets in rows.offsets().chunks(WORDS) {
            let mut counters = [[vdupq_n_u8(0); VECTORS]; M];
            for &offset in offsets {
                let words: [_; M] =
                    std::array::from_fn(|m| vdupq_n_u32(*base.add(offset as usize + m * step)));
                for v in 0..VECTORS {
                    let filters = vld1q_u32(weights.add(4 * v));
                    for m in 0..M {
                        let differ = vreinterpretq_u8_u32(veorq_u32(words[m], filters));
                        counters[m][v] = vaddq_u8(counters[m][v], vcntq_u8(differ));
                    }
                }
                weights = weights.add(PANEL);
            }
            let totals = total.as_flattened_mut().iter_mut();
            for (total, counters) in totals.zip(counters.as_flattened()) {
                *total = vpadalq_u16(*total, vpaddlq_u8(*counters));
            }
        }
        for m in 0..M {
            for v in 0..VECTORS {
                let to = sums.as_mut_ptr().add(m * stride + 4 * v);
                vst1q_s32(to, vreinterpretq_s32_u32(total[m][v]));
            }
        }
    }
}
