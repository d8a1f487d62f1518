//! With a dot product of four bytes, of unsigned factors: signed weights are treated as in
//! [`neon`](super::neon).

use super::neon::unpack;
use super::{Block, PANEL, Rows, Weights, Width, run_over};
use std::arch::aarch64::*;
use std::arch::asm;

/// Vectors that hold a word of every filter of a panel.
const VECTORS: usize = PANEL / 4;

/// See [`Kernel::sum_products`](super::Kernel::sum_products).
///
/// # Safety
/// The lengths must be what the caller there checks.
#[target_feature(enable = "neon,dotprod")]
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
    // SAFETY: the CPU has the dot product, and the lengths are checked.
    unsafe { run_over(blocks, rows, weights, sums, stride) }
}

const fn blocks<const SPAN: usize>() -> [Block; 3] {
    [
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
#[target_feature(enable = "neon,dotprod")]
unsafe fn block<const M: usize, const SPAN: usize>(
    rows: Rows<'_>,
    first: usize,
    weights: Weights<'_>,
    sums: &mut [i32],
    stride: usize,
) {
    let mut total = [[vdupq_n_u32(0); VECTORS]; M];
    let mut codes_total = [vdupq_n_u32(0); M];
    let (base, step) = (rows.from(first), rows.step());
    let mut panel = weights.panels.as_ptr();
    // SAFETY: `Rows` keeps every word of its rows within them; `panel` moves over as many words of
    // the panel as it has. Sums are written as far as promised.
    unsafe {
        for offsets in rows.offsets().as_chunks::<SPAN>().0 {
            let packed: [_; VECTORS] =
                std::array::from_fn(|v| vreinterpretq_u8_u32(vld1q_u32(panel.add(4 * v))));
            for w in 0..SPAN {
                let filters = packed.map(|packed| unpack::<SPAN>(packed, w));
                for m in 0..M {
                    let word = base.add(offsets[w] as usize + m * step);
                    let codes = vreinterpretq_u8_u32(vld1q_dup_u32(word));
                    for v in 0..VECTORS {
                        total[m][v] = dot(total[m][v], codes, filters[v]);
                    }
                    if SPAN == 1 {
                        codes_total[m] = dot(codes_total[m], codes, vdupq_n_u8(1));
                    }
                }
            }
            panel = panel.add(PANEL);
        }
        for m in 0..M {
            let correction = vshlq_n_u32::<7>(codes_total[m]);
            for v in 0..VECTORS {
                let sum = vsubq_u32(total[m][v], correction);
                let to = sums.as_mut_ptr().add(m * stride + 4 * v);
                vst1q_s32(to, vreinterpretq_s32_u32(sum));
            }
        }
    }
}

/// Adds to each lane its four products. The intrinsic is not stable.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot(mut sum: uint32x4_t, a: uint8x16_t, b: uint8x16_t) -> uint32x4_t {
    // SAFETY: the instruction only reads and writes the registers named.
    unsafe {
        asm!(
            "udot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
