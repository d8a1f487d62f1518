//! With a dot product of four bytes, of unsigned factors: signed weights are treated as in
//! [`neon`](super::neon).

use super::Dot;
use super::neon::{correct, load, unpack};
use crate::kernel::arch::{Neon, each, intrinsics};
use crate::kernel::{Code, PANEL};
use std::arch::aarch64::*;
use std::arch::asm;

/// Proves that the CPU has the dot product, too.
#[derive(Clone, Copy)]
pub(super) struct Dotprod(Neon);

impl Dotprod {
    /// # Safety
    /// The CPU must have it.
    pub(super) unsafe fn new(v: Neon) -> Self {
        Dotprod(v)
    }
}

#[target_feature(enable = "neon,dotprod")]
fn run<C: Code>(code: C) -> C::Output {
    code.run()
}

/// The sums of the filters, and of the codes in all lanes, if weights are signed.
type SumsAndCodes = ([uint32x4_t; 4], uint32x4_t);

impl<const SPAN: usize> Dot<SPAN> for Dotprod {
    type Vector = Neon;
    type Weights = [uint8x16_t; 4];
    type Codes = uint8x16_t;
    type Sums = SumsAndCodes;

    #[inline(always)]
    fn vector(self) -> Neon {
        self.0
    }

    #[inline(always)]
    fn run_block<C: Code>(self, code: C) -> C::Output {
        // SAFETY: the CPU has both, as `self` proves.
        unsafe { run(code) }
    }

    intrinsics! {
        fn load(panel: &[u32; PANEL]) -> [uint8x16_t; 4] { load(panel) }
        fn unpack(packed: [uint8x16_t; 4], w: usize) -> [uint8x16_t; 4] { unpack::<SPAN>(packed, w) }
        fn codes(word: u32) -> uint8x16_t { vreinterpretq_u8_u32(vdupq_n_u32(word)) }
        fn begin(_times: usize) -> SumsAndCodes { ([vdupq_n_u32(0); 4], vdupq_n_u32(0)) }
        fn multiply(
            sums: SumsAndCodes,
            codes: uint8x16_t,
            weights: [uint8x16_t; 4]
        ) -> SumsAndCodes {
            let code_sum = if SPAN == 1 { dot(sums.1, codes, vdupq_n_u8(1)) } else { sums.1 };
            (each(|i| dot(sums.0[i], codes, weights[i])), code_sum)
        }
        fn finish(sums: SumsAndCodes) -> [int32x4_t; 4] { correct(sums.0, sums.1) }
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
