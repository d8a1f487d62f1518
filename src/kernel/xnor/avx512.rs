//! With ternary logic, for which the two xors with a filter cost nothing: `s ^ a ^ b` is one
//! instruction, and `c` a function of the parity before, between and after both words. With a popcount
//! of words, two words of 16 filters take five. A further layer of the tree saves nothing more: a full
//! adder costs as much as the popcount and the addition that it saves.

use super::Xnor;
use crate::kernel::PANEL;
use crate::kernel::arch::Avx512;
use crate::kernel::prefetch::prefetch;
use crate::tuning::BIT_PANEL_BYTES_AHEAD;
use std::arch::x86_64::*;

impl Xnor for Avx512 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512vpopcntdq")]
    unsafe fn differing<const M: usize, const P: usize>(
        self,
        offsets: &[u32],
        row: *const u32,
        step: usize,
        mut panel: *const u32,
    ) -> [[__m512i; P]; M] {
        let mut carries = [[_mm512_setzero_si512(); P]; M];
        let mut parity = [[_mm512_setzero_si512(); P]; M];
        let panel_len = offsets.len() * PANEL;
        let (pairs, last) = offsets.as_chunks::<2>();
        // SAFETY: the caller vouches for all words. `panel` moves over as many of the first panel as
        // there are offsets, and as many of the others.
        unsafe {
            let word = |offset: u32, m: usize| {
                _mm512_set1_epi32(*row.add(offset as usize + m * step) as i32)
            };
            for pair in pairs {
                let filters: [_; P] = std::array::from_fn(|p| {
                    let at = panel.add(p * panel_len);
                    if M == 1 {
                        prefetch(at, 2 * PANEL, BIT_PANEL_BYTES_AHEAD);
                    }
                    [_mm512_loadu_si512(at.cast()), _mm512_loadu_si512(at.add(PANEL).cast())]
                });
                for m in 0..M {
                    let (a0, a1) = (word(pair[0], m), word(pair[1], m));
                    for p in 0..P {
                        let before = parity[m][p];
                        let between = xor3(before, a0, filters[p][0]);
                        let after = xor3(between, a1, filters[p][1]);
                        let carry = carry(before, between, after);
                        carries[m][p] = _mm512_add_epi32(carries[m][p], _mm512_popcnt_epi32(carry));
                        parity[m][p] = after;
                    }
                }
                panel = panel.add(2 * PANEL);
            }
            if let [offset] = *last {
                for m in 0..M {
                    for p in 0..P {
                        let filters = _mm512_loadu_si512(panel.add(p * panel_len).cast());
                        let after = xor3(parity[m][p], word(offset, m), filters);
                        let carry = carry(parity[m][p], after, after);
                        carries[m][p] = _mm512_add_epi32(carries[m][p], _mm512_popcnt_epi32(carry));
                        parity[m][p] = after;
                    }
                }
            }
        }
        for m in 0..M {
            for p in 0..P {
                let twice = _mm512_slli_epi32::<1>(carries[m][p]);
                carries[m][p] = _mm512_add_epi32(twice, _mm512_popcnt_epi32(parity[m][p]));
            }
        }
        carries
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0b1001_0110>(a, b, c)
}

/// The carry of adding two words, from the parity before, between and after them: where both
/// steps change the parity both words are 1, where one does the parity before it counts.
#[inline]
#[target_feature(enable = "avx512f")]
fn carry(before: __m512i, between: __m512i, after: __m512i) -> __m512i {
    // Bit 4 before + 2 between + after: set for 010 and 101 (1 + 1), 100 and 110 (1 with parity 1).
    _mm512_ternarylogic_epi32::<0b0111_0100>(before, between, after)
}
