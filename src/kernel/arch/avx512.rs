//! A register for all lanes.

use super::intrinsics;
use crate::kernel::vector::Vector;
use crate::kernel::{Code, PANEL};
use std::arch::x86_64::*;

/// Proves that the CPU has all of [`Isa::Avx512`](crate::Isa::Avx512).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// # Safety
    /// The CPU must have what it proves.
    pub(in crate::kernel) unsafe fn new() -> Self {
        Avx512(())
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq,avx512vnni")]
fn run<C: Code>(code: C) -> C::Output {
    code.run()
}

impl Vector for Avx512 {
    type Ints = __m512i;
    type Floats = __m512;

    #[inline(always)]
    fn run<C: Code>(self, code: C) -> C::Output {
        // SAFETY: the CPU has these, as `self` proves.
        unsafe { run(code) }
    }

    intrinsics! {
        fn ints(value: i32) -> __m512i { _mm512_set1_epi32(value) }
        fn load_ints(from: &[i32; PANEL]) -> __m512i { _mm512_loadu_si512(from.as_ptr().cast()) }
        fn store_ints(ints: __m512i, to: &mut [i32; PANEL]) {
            _mm512_storeu_si512(to.as_mut_ptr().cast(), ints)
        }
        fn add_ints(a: __m512i, b: __m512i) -> __m512i { _mm512_add_epi32(a, b) }
        fn mul_ints(a: __m512i, b: __m512i) -> __m512i { _mm512_mullo_epi32(a, b) }
        fn shift_left(ints: __m512i, bits: u32) -> __m512i {
            _mm512_sll_epi32(ints, _mm_cvtsi32_si128(bits as i32))
        }
        fn shift_right_1(ints: __m512i) -> __m512i { _mm512_srai_epi32::<1>(ints) }
        fn ints_at_least(a: __m512i, b: __m512i) -> u16 { _mm512_cmpge_epi32_mask(a, b) }
        fn to_floats(ints: __m512i) -> __m512 { _mm512_cvtepi32_ps(ints) }
        fn floats(value: f32) -> __m512 { _mm512_set1_ps(value) }
        fn load(from: &[f32]) -> __m512 { _mm512_maskz_loadu_ps(lanes(from.len()), from.as_ptr()) }
        fn store(floats: __m512, to: &mut [f32]) {
            _mm512_mask_storeu_ps(to.as_mut_ptr(), lanes(to.len()), floats)
        }
        fn add(a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
        fn mul(a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
        fn mul_add_exact(a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
        fn quotient(n: __m512, d: f32, inverse: f32) -> __m512 {
            let inverse = _mm512_set1_ps(inverse);
            let estimate = _mm512_mul_ps(n, inverse);
            let left_over = _mm512_fnmadd_ps(estimate, _mm512_set1_ps(d), n);
            _mm512_fmadd_ps(left_over, inverse, estimate)
        }
        fn at_least(a: __m512, b: __m512) -> u16 { _mm512_cmp_ps_mask::<_CMP_GE_OQ>(a, b) }
    }
}

/// So many lanes, at most all.
#[inline(always)]
fn lanes(len: usize) -> __mmask16 {
    (0xffff_u32 >> PANEL.saturating_sub(len)) as u16
}
