//! Four registers, of four lanes each.

use super::intrinsics;
use crate::kernel::vector::Vector;
use crate::kernel::{Code, PANEL};
use std::arch::aarch64::*;

/// Proves that the CPU has Advanced SIMD.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon(());

impl Neon {
    /// # Safety
    /// The CPU must have what it proves.
    pub(in crate::kernel) unsafe fn new() -> Self {
        Neon(())
    }
}

#[target_feature(enable = "neon")]
fn run<C: Code>(code: C) -> C::Output {
    code.run()
}

type Ints = [int32x4_t; 4];
type Floats = [float32x4_t; 4];

impl Vector for Neon {
    type Ints = Ints;
    type Floats = Floats;

    #[inline(always)]
    fn run<C: Code>(self, code: C) -> C::Output {
        // SAFETY: the CPU has NEON, as `self` proves.
        unsafe { run(code) }
    }

    intrinsics! {
        fn ints(value: i32) -> Ints { [vdupq_n_s32(value); 4] }
        fn load_ints(from: &[i32; PANEL]) -> Ints { each(|i| vld1q_s32(from.as_ptr().add(4 * i))) }
        fn store_ints(ints: Ints, to: &mut [i32; PANEL]) {
            (0..4).for_each(|i| vst1q_s32(to.as_mut_ptr().add(4 * i), ints[i]))
        }
        fn add_ints(a: Ints, b: Ints) -> Ints { each(|i| vaddq_s32(a[i], b[i])) }
        fn mul_ints(a: Ints, b: Ints) -> Ints { each(|i| vmulq_s32(a[i], b[i])) }
        fn shift_left(ints: Ints, bits: u32) -> Ints {
            each(|i| vshlq_s32(ints[i], vdupq_n_s32(bits as i32)))
        }
        fn shift_right_1(ints: Ints) -> Ints { each(|i| vshrq_n_s32::<1>(ints[i])) }
        fn ints_at_least(a: Ints, b: Ints) -> u16 { mask(each(|i| vcgeq_s32(a[i], b[i]))) }
        fn to_floats(ints: Ints) -> Floats { each(|i| vcvtq_f32_s32(ints[i])) }
        fn floats(value: f32) -> Floats { [vdupq_n_f32(value); 4] }
        fn load(from: &[f32]) -> Floats {
            let mut some = [0.0; PANEL];
            let all = from.first_chunk().unwrap_or_else(|| {
                some[..from.len()].copy_from_slice(from);
                &some
            });
            each(|i| vld1q_f32(all.as_ptr().add(4 * i)))
        }
        fn store(floats: Floats, to: &mut [f32]) {
            let store = |to: &mut [f32; PANEL]| {
                (0..4).for_each(|i| vst1q_f32(to.as_mut_ptr().add(4 * i), floats[i]));
            };
            if let Some(to) = to.first_chunk_mut() {
                return store(to);
            }
            let mut all = [0.0; PANEL];
            store(&mut all);
            to.copy_from_slice(&all[..to.len()])
        }
        fn add(a: Floats, b: Floats) -> Floats { each(|i| vaddq_f32(a[i], b[i])) }
        fn mul(a: Floats, b: Floats) -> Floats { each(|i| vmulq_f32(a[i], b[i])) }
        fn mul_add_exact(a: Floats, b: Floats, c: Floats) -> Floats {
            each(|i| vfmaq_f32(c[i], a[i], b[i]))
        }
        fn quotient(n: Floats, d: f32, inverse: f32) -> Floats {
            let (d, inverse) = (vdupq_n_f32(d), vdupq_n_f32(inverse));
            each(|i| {
                let estimate = vmulq_f32(n[i], inverse);
                vfmaq_f32(estimate, vfmsq_f32(n[i], estimate, d), inverse)
            })
        }
        fn at_least(a: Floats, b: Floats) -> u16 { mask(each(|i| vcgeq_f32(a[i], b[i]))) }
    }
}

/// A register for each four lanes.
#[inline(always)]
pub(crate) fn each<T>(register: impl Fn(usize) -> T) -> [T; 4] {
    [register(0), register(1), register(2), register(3)]
}

/// A bit of each lane, of which all bits are the same.
#[inline]
#[target_feature(enable = "neon")]
fn mask(lanes: [uint32x4_t; 4]) -> u16 {
    let narrow = |a, b| vcombine_u16(vmovn_u32(a), vmovn_u32(b));
    let [low, high] = [narrow(lanes[0], lanes[1]), narrow(lanes[2], lanes[3])];
    let bytes = vcombine_u8(vmovn_u16(low), vmovn_u16(high));
    let bits = vdupq_n_u64(0x8040_2010_0804_0201);
    let bits = vandq_u8(bytes, vreinterpretq_u8_u64(bits));
    u16::from(vaddv_u8(vget_low_u8(bits))) | u16::from(vaddv_u8(vget_high_u8(bits))) << 8
}
