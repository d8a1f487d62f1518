//! Rooflines of AArch64 with Advanced SIMD, which every such CPU has.

#![allow(unsafe_code)]

use super::{BITS, BYTE_ROUNDS, FACTORS, Loop, ROUNDS, VECTORS};
use std::arch::{aarch64::*, asm};

/// Makes the compiler forget what a register holds, at no instruction, so that nothing computed
/// from it can be taken out of a loop.
macro_rules! forget {
    ($register:ident) => {
        // SAFETY: a comment.
        unsafe {
            asm!("/* {0:v} */", inout(vreg) $register, options(nomem, nostack, preserves_flags));
        }
    };
}

// SAFETY: every AArch64 CPU that runs the standard library has it.
pub(super) const POPCOUNT: Loop = Loop { bytes: 16 * VECTORS, sum: || unsafe { popcount() } };

// SAFETY: every AArch64 CPU that runs the standard library has it.
pub(super) const BYTE_DOT: Loop = Loop { bytes: 8 * VECTORS, sum: || unsafe { byte_dot() } };

/// With counters of bytes.
#[target_feature(enable = "neon")]
fn popcount() -> u64 {
    let [mut a, mut b] = BITS.map(|byte| vdupq_n_u8(byte));
    forget!(a);
    let mut total = vdupq_n_u32(0);
    for _ in 0..ROUNDS / BYTE_ROUNDS {
        let mut counters = [vdupq_n_u8(0); VECTORS];
        for _ in 0..BYTE_ROUNDS {
            for counter in &mut counters {
                forget!(b);
                *counter = vaddq_u8(*counter, vcntq_u8(veorq_u8(a, b)));
            }
        }
        for counter in counters {
            total = vpadalq_u16(total, vpaddlq_u8(counter));
        }
    }
    vaddlvq_u32(total)
}

/// A long product and a pairwise addition for half a vector. (`vmull_high_u8` would do as much, but
/// compilers make two instructions of it.)
#[target_feature(enable = "neon")]
fn byte_dot() -> u64 {
    let [mut a, mut b] = FACTORS.map(|factor| vdup_n_u8(factor));
    forget!(a);
    let mut sums = [vdupq_n_u32(0); VECTORS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            forget!(b);
            *sum = vpadalq_u16(*sum, vmull_u8(a, b));
        }
    }
    sums.iter().map(|&sum| vaddlvq_u32(sum)).sum()
}
