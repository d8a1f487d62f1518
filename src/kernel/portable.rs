//! Kernels in portable Rust: the reference that every other instruction set is tested against.

use super::PANEL;
use crate::Element;
use crate::quantizer::Threshold;

/// See [`Kernel::pack_row`](super::Kernel::pack_row). Inlined, to be vectorized anew for each
/// instruction set.
#[inline(always)]
pub(super) fn pack_row<T: Element>(row: &[T], threshold: Threshold<T>, words: &mut [u32]) -> bool {
    words.fill(0);
    let mut nan = false;
    let mut blocks = row.chunks_exact(32);
    for (block, word) in (&mut blocks).zip(&mut *words) {
        *word = (0..32).fold(0, |word, i| word | threshold.code(block[i]) << i);
        nan |= block.iter().fold(false, |nan, x| nan | x.is_nan());
    }
    for (i, &x) in blocks.remainder().iter().enumerate() {
        words[row.len() / 32] |= threshold.code(x) << i;
        nan |= x.is_nan();
    }
    nan
}

/// See [`Kernel::count_differing`](super::Kernel::count_differing).
pub(super) fn count_differing(rows: &[u32], panel: &[u32], sums: &mut [i32], stride: usize) {
    let words = panel.len() / PANEL;
    for (row, sums) in rows.chunks(words).zip(sums.chunks_mut(stride)) {
        let mut parity = [0u32; PANEL];
        let mut carries = [0u32; PANEL];
        for (pair, weights) in row.chunks_exact(2).zip(panel.chunks_exact(2 * PANEL)) {
            let (w_parity, w_first) = weights.split_at(PANEL);
            for f in 0..PANEL {
                let n = pair[0] ^ w_parity[f];
                let x = pair[1] ^ w_first[f];
                let differ = parity[f] ^ x;
                carries[f] += (differ & !n | !differ & x).count_ones();
                parity[f] = n;
            }
        }
        for f in 0..PANEL {
            sums[f] = (2 * carries[f] + parity[f].count_ones()) as i32;
        }
    }
}

/// The dot product of two rows of codes. Inlined, to be vectorized anew for each instruction set.
#[inline(always)]
pub(crate) fn dot_bytes(a: &[u8], b: &[u8]) -> u64 {
    // 2^16 products of two bytes stay below 2^32, so each block sums in 32 bits.
    const BLOCK: usize = 1 << 16;
    a.chunks(BLOCK)
        .zip(b.chunks(BLOCK))
        .map(|(a, b)| {
            let sum: u32 = a.iter().zip(b).map(|(&a, &b)| u32::from(a) * u32::from(b)).sum();
            u64::from(sum)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_do_not_overflow() {
        for len in [0, 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 200_000] {
            assert_eq!(dot_bytes(&vec![255; len], &vec![255; len]), 65_025 * len as u64);
        }
    }
}
