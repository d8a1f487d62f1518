//! Sixteen lanes, those of the filters of a panel, in the registers of one instruction set; and what
//! takes the sums that kernels hold in them.
//!
//! Kernels and epilogues are written once, generic over [`Vector`]; [`arch`](super::arch) has an
//! implementation for each instruction set. Inlined into a function that has its instructions (see
//! [`Vector::run`]), each method is a few of these.

use super::{Code, PANEL};

/// The registers of an instruction set. A value proves that the CPU has it, so that methods are safe.
pub(crate) trait Vector: Copy {
    /// Lanes of `i32`.
    type Ints: Copy;
    /// Lanes of `f32`.
    type Floats: Copy;

    /// Runs code that is compiled with these instructions.
    fn run<C: Code>(self, code: C) -> C::Output;

    /// The same value in all lanes.
    fn ints(self, value: i32) -> Self::Ints;
    fn load_ints(self, from: &[i32; PANEL]) -> Self::Ints;
    fn store_ints(self, ints: Self::Ints, to: &mut [i32; PANEL]);
    /// Wraps around, as all arithmetic of integers here.
    fn add_ints(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    fn mul_ints(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// Times `2^bits`, of which there are less than 32.
    fn shift_left(self, ints: Self::Ints, bits: u32) -> Self::Ints;
    /// Half of each, rounded down.
    fn shift_right_1(self, ints: Self::Ints) -> Self::Ints;
    /// Bit `f` is set where lane `f` of `a` is at least that of `b`.
    fn ints_at_least(self, a: Self::Ints, b: Self::Ints) -> u16;

    /// Rounded to the nearest, of two the even one; exact up to `2^24`.
    fn to_floats(self, ints: Self::Ints) -> Self::Floats;
    /// The same value in all lanes.
    fn floats(self, value: f32) -> Self::Floats;
    /// The first [`PANEL`] of these; 0 in lanes that there are none for.
    fn load(self, from: &[f32]) -> Self::Floats;
    /// Writes the first lanes, as many as there are places, at most [`PANEL`].
    fn store(self, floats: Self::Floats, to: &mut [f32]);
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a b + c`, of which nothing may need rounding: it may be one instruction or two.
    fn mul_add_exact(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// `n / d`, rounded as a division rounds it, of integers: `d` has less than 23 bits, and no `n`
    /// is -0. `inverse` is `1 / d`.
    ///
    /// Where there are fused instructions, two take the place of the division, which takes several
    /// times as long. The first estimate is less than two units in its last place away, so that what
    /// it leaves over is computed exactly; and no quotient by such a `d` lies so close to the middle
    /// of two numbers that the error of the inverse could take it to the wrong one.
    fn quotient(self, n: Self::Floats, d: f32, inverse: f32) -> Self::Floats;
    /// Bit `f` is set where lane `f` of `a` is at least that of `b`.
    fn at_least(self, a: Self::Floats, b: Self::Floats) -> u16;
}

/// What becomes of a block of sums while it is in registers.
pub(crate) trait Epilogue {
    /// `sums[m][p]` are those of row `row + m` with the filters of panel `panel + p`, both counted
    /// from the first of the kernel's call. Each comes once. It should be `#[inline(always)]`.
    fn block<V: Vector, const M: usize, const P: usize>(
        &mut self,
        v: V,
        row: usize,
        panel: usize,
        sums: &[[V::Ints; P]; M],
    );
}

#[cfg(test)]
mod tests;
