//! Two registers, of eight lanes each.

use super::intrinsics;
use crate::kernel::vector::Vector;
use crate::kernel::{Code, PANEL};
use std::arch::x86_64::*;

/// Proves that the CPU has AVX2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The CPU must have what it proves.
    pub(in crate::kernel) unsafe fn new() -> Self {
        Avx2(())
    }
}

#[target_feature(enable = "avx2")]
fn run<C: Code>(code: C) -> C::Output {
    code.run()
}

type Ints = [__m256i; 2];
type Floats = [__m256; 2];

impl Vector for Avx2 {
    type Ints = Ints;
    type Floats = Floats;

    #[inline(always)]
    fn run<C: Code>(self, code: C) -> C::Output {
        // SAFETY: the CPU has AVX2, as `self` proves.
        unsafe { run(code) }
    }

    intrinsics! {
        fn ints(value: i32) -> Ints { [_mm256_set1_epi32(value); 2] }
        fn load_ints(from: &[i32; PANEL]) -> Ints {
            let from = from.as_ptr().cast::<__m256i>();
            [_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1))]
        }
        fn store_ints(ints: Ints, to: &mut [i32; PANEL]) {
            let to = to.as_mut_ptr().cast::<__m256i>();
            _mm256_storeu_si256(to, ints[0]);
            _mm256_storeu_si256(to.add(1), ints[1])
        }
        fn add_ints(a: Ints, b: Ints) -> Ints {
            [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])]
        }
        fn mul_ints(a: Ints, b: Ints) -> Ints {
            [_mm256_mullo_epi32(a[0], b[0]), _mm256_mullo_epi32(a[1], b[1])]
        }
        fn shift_left(ints: Ints, bits: u32) -> Ints {
            let bits = _mm_cvtsi32_si128(bits as i32);
            [_mm256_sll_epi32(ints[0], bits), _mm256_sll_epi32(ints[1], bits)]
        }
        fn shift_right_1(ints: Ints) -> Ints {
            [_mm256_srai_epi32::<1>(ints[0]), _mm256_srai_epi32::<1>(ints[1])]
        }
        fn ints_at_least(a: Ints, b: Ints) -> u16 {
            let less = [_mm256_cmpgt_epi32(b[0], a[0]), _mm256_cmpgt_epi32(b[1], a[1])];
            !mask([_mm256_castsi256_ps(less[0]), _mm256_castsi256_ps(less[1])])
        }
        fn to_floats(ints: Ints) -> Floats {
            [_mm256_cvtepi32_ps(ints[0]), _mm256_cvtepi32_ps(ints[1])]
        }
        fn floats(value: f32) -> Floats { [_mm256_set1_ps(value); 2] }
        fn load(from: &[f32]) -> Floats {
            let (first, second) = (from.as_ptr(), from.as_ptr().wrapping_add(PANEL / 2));
            match from.len() {
                PANEL.. => [_mm256_loadu_ps(first), _mm256_loadu_ps(second)],
                len => {
                    let [low, high] = lanes(len);
                    [_mm256_maskload_ps(first, low), _mm256_maskload_ps(second, high)]
                }
            }
        }
        fn store(floats: Floats, to: &mut [f32]) {
            let (first, second) = (to.as_mut_ptr(), to.as_mut_ptr().wrapping_add(PANEL / 2));
            match to.len() {
                PANEL.. => {
                    _mm256_storeu_ps(first, floats[0]);
                    _mm256_storeu_ps(second, floats[1])
                }
                len => {
                    let [low, high] = lanes(len);
                    _mm256_maskstore_ps(first, low, floats[0]);
                    _mm256_maskstore_ps(second, high, floats[1])
                }
            }
        }
        fn add(a: Floats, b: Floats) -> Floats {
            [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])]
        }
        fn mul(a: Floats, b: Floats) -> Floats {
            [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])]
        }
        fn mul_add_exact(a: Floats, b: Floats, c: Floats) -> Floats {
            let product = [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])];
            [_mm256_add_ps(product[0], c[0]), _mm256_add_ps(product[1], c[1])]
        }
        fn quotient(n: Floats, d: f32, _inverse: f32) -> Floats {
            let d = _mm256_set1_ps(d);
            [_mm256_div_ps(n[0], d), _mm256_div_ps(n[1], d)]
        }
        fn at_least(a: Floats, b: Floats) -> u16 {
            let low = _mm256_cmp_ps::<_CMP_GE_OQ>(a[0], b[0]);
            mask([low, _mm256_cmp_ps::<_CMP_GE_OQ>(a[1], b[1])])
        }
    }
}

/// The first bit of each lane.
#[inline]
#[target_feature(enable = "avx2")]
fn mask(lanes: Floats) -> u16 {
    (_mm256_movemask_ps(lanes[0]) | _mm256_movemask_ps(lanes[1]) << 8) as u16
}

/// The first `len` lanes, of less than there are.
#[inline]
#[target_feature(enable = "avx2")]
fn lanes(len: usize) -> Ints {
    let (len, eight) = (_mm256_set1_epi32(len as i32), _mm256_set1_epi32(8));
    let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    [_mm256_cmpgt_epi32(len, lane), _mm256_cmpgt_epi32(len, _mm256_add_epi32(lane, eight))]
}
