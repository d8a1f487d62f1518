//! Arrays, in plain Rust: the reference that every instruction set is tested against.

use crate::kernel::vector::Vector;
use crate::kernel::{Code, PANEL};
use std::array::from_fn;

/// Takes nothing of the CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

type Ints = [i32; PANEL];
type Floats = [f32; PANEL];

impl Vector for Portable {
    type Ints = Ints;
    type Floats = Floats;

    #[inline(always)]
    fn run<C: Code>(self, code: C) -> C::Output {
        code.run()
    }

    #[inline(always)]
    fn ints(self, value: i32) -> Ints {
        [value; PANEL]
    }
    #[inline(always)]
    fn load_ints(self, from: &[i32; PANEL]) -> Ints {
        *from
    }
    #[inline(always)]
    fn store_ints(self, ints: Ints, to: &mut [i32; PANEL]) {
        *to = ints;
    }
    #[inline(always)]
    fn add_ints(self, a: Ints, b: Ints) -> Ints {
        from_fn(|f| a[f].wrapping_add(b[f]))
    }
    #[inline(always)]
    fn mul_ints(self, a: Ints, b: Ints) -> Ints {
        from_fn(|f| a[f].wrapping_mul(b[f]))
    }
    #[inline(always)]
    fn shift_left(self, ints: Ints, bits: u32) -> Ints {
        ints.map(|x| x << bits)
    }
    #[inline(always)]
    fn shift_right_1(self, ints: Ints) -> Ints {
        ints.map(|x| x >> 1)
    }
    #[inline(always)]
    fn ints_at_least(self, a: Ints, b: Ints) -> u16 {
        mask(|f| a[f] >= b[f])
    }

    #[inline(always)]
    fn to_floats(self, ints: Ints) -> Floats {
        ints.map(|x| x as f32)
    }
    #[inline(always)]
    fn floats(self, value: f32) -> Floats {
        [value; PANEL]
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> Floats {
        let mut floats = [0.0; PANEL];
        floats.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
        floats
    }
    #[inline(always)]
    fn store(self, floats: Floats, to: &mut [f32]) {
        to.iter_mut().zip(floats).for_each(|(to, from)| *to = from);
    }
    #[inline(always)]
    fn add(self, a: Floats, b: Floats) -> Floats {
        from_fn(|f| a[f] + b[f])
    }
    #[inline(always)]
    fn mul(self, a: Floats, b: Floats) -> Floats {
        from_fn(|f| a[f] * b[f])
    }
    #[inline(always)]
    fn mul_add_exact(self, a: Floats, b: Floats, c: Floats) -> Floats {
        from_fn(|f| a[f] * b[f] + c[f])
    }
    #[inline(always)]
    fn quotient(self, n: Floats, d: f32, _: f32) -> Floats {
        n.map(|n| n / d)
    }
    #[inline(always)]
    fn at_least(self, a: Floats, b: Floats) -> u16 {
        mask(|f| a[f] >= b[f])
    }
}

#[inline(always)]
fn mask(lane: impl Fn(usize) -> bool) -> u16 {
    (0..PANEL).fold(0, |mask, f| mask | u16::from(lane(f)) << f)
}
