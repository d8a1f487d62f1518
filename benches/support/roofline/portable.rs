//! Rooflines of plain Rust, in vectors as the compiler likes.

use super::{BITS, FACTORS, Loop, ROUNDS, VECTORS};
use std::hint::black_box;

/// Bytes of a round.
const BYTES: usize = 8 * VECTORS;

pub(super) const POPCOUNT: Loop = Loop { bytes: BYTES, sum: popcount };
pub(super) const BYTE_DOT: Loop = Loop { bytes: BYTES, sum: byte_dot };

fn popcount() -> u64 {
    let [a, b] = black_box(BITS).map(|byte| [u64::from_ne_bytes([byte; 8]); VECTORS]);
    let mut b = b;
    let mut sums = [0; VECTORS];
    for _ in 0..ROUNDS {
        // The other operand then comes from memory; there is no portable way to say "register".
        black_box(&mut b);
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += u64::from((a ^ b).count_ones());
        }
    }
    sums.iter().sum()
}

fn byte_dot() -> u64 {
    let [a, b] = black_box(FACTORS).map(|factor| [factor; BYTES]);
    let mut b = b;
    let mut sum = 0u32;
    for _ in 0..ROUNDS {
        black_box(&mut b);
        sum += a.iter().zip(&b).map(|(&a, &b)| u32::from(a) * u32::from(b)).sum::<u32>();
    }
    u64::from(sum)
}
