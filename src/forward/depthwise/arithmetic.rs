//! How activations are multiplied with weights in vectors, and into integers of how many bits.
//!
//! Both are numerators, the integers that codes stand for, so that their sum is the numerator of a
//! dot product, padding included. The narrower they are, the more a vector holds: 8 bits where
//! weights are signs and the sums fit, else 16.

use crate::forward::depthwise::cyclic::Cyclic;
use crate::kernel::{Kernel, LANES, SignWindows};
use bytemuck::Pod;
use std::marker::PhantomData;

/// An activation or a weight.
pub(super) trait Int: Pod + Default + Send + Sync {
    /// The numerator of a code, from those of the codes 0 and 1.
    fn of_code(code: u8, numerators: [Self; 2]) -> Self;
}

impl Int for i8 {
    #[inline(always)]
    fn of_code(code: u8, [zero, one]: [i8; 2]) -> i8 {
        zero.wrapping_add(one.wrapping_sub(zero).wrapping_mul(code as i8))
    }
}

impl Int for i16 {
    #[inline(always)]
    fn of_code(code: u8, [zero, one]: [i16; 2]) -> i16 {
        zero.wrapping_add(one.wrapping_sub(zero).wrapping_mul(code.into()))
    }
}

/// Products of integers, and their sums.
pub(super) trait Arithmetic: Sync {
    /// Activations and weights.
    type Int: Int;
    type Sum: Pod + Default + Into<i32> + Send + Sync;

    /// An activation, which is known to fit.
    fn activation(numerator: i64) -> Self::Int;
    /// What stands for a weight, which is known to fit.
    fn weight(numerator: i64) -> Self::Int;
    /// What sums begin with, given that of the taps before and the next one's weight.
    fn start(start: Self::Int, weight: Self::Int) -> Self::Int;

    /// Writes the sums of `len` elements of windows that follow each other, and of some more: up to
    /// a multiple of [`LANES`]. That of element `i` is the start of filter `i`, plus the product of
    /// `line[offset + i]` with the filter's weight for each tap.
    fn sum_line(
        kernel: Kernel,
        line: &[Self::Int],
        offsets: &[usize],
        weights: Cyclic<'_, Self::Int, LANES>,
        len: usize,
        sums: &mut [Self::Sum],
    );
}

/// Weights of -1 and +1: `-a = (a xor -1) + 1`.
///
/// A weight is held as what `a` is combined with, -1 or 0, and the ones are added beforehand. Sums
/// may wrap on the way to a result that fits.
pub(super) struct Signs;

impl Arithmetic for Signs {
    type Int = i8;
    type Sum = i8;

    fn activation(numerator: i64) -> i8 {
        numerator as i8
    }

    #[inline(always)]
    fn weight(numerator: i64) -> i8 {
        -i8::from(numerator < 0)
    }

    #[inline(always)]
    fn start(start: i8, weight: i8) -> i8 {
        start.wrapping_sub(weight)
    }

    #[inline(always)]
    fn sum_line(
        kernel: Kernel,
        line: &[i8],
        offsets: &[usize],
        weights: Cyclic<'_, i8, LANES>,
        len: usize,
        sums: &mut [i8],
    ) {
        let (row, weights) = (weights.row(), weights.elements());
        kernel.sum_signs(SignWindows::new(line, offsets, weights, row, len), sums);
    }
}

/// Activations and weights of 16 bits, whose products are summed up in an `S`.
pub(super) struct Products<S>(PhantomData<S>);

/// A sum of products that fits.
pub(super) trait Sum: Pod + Default + From<i16> + Into<i32> + Send + Sync {
    fn add(self, activation: i16, weight: i16) -> Self;
}

impl Sum for i16 {
    #[inline(always)]
    fn add(self, activation: i16, weight: i16) -> i16 {
        self.wrapping_add(activation.wrapping_mul(weight))
    }
}

impl Sum for i32 {
    #[inline(always)]
    fn add(self, activation: i16, weight: i16) -> i32 {
        self.wrapping_add(i32::from(activation) * i32::from(weight))
    }
}

/// Elements whose sums stay in registers.
const BLOCK: usize = 32;

impl<S: Sum> Arithmetic for Products<S> {
    type Int = i16;
    type Sum = S;

    fn activation(numerator: i64) -> i16 {
        numerator as i16
    }

    #[inline(always)]
    fn weight(numerator: i64) -> i16 {
        numerator as i16
    }

    #[inline(always)]
    fn start(start: i16, _: i16) -> i16 {
        start
    }

    #[inline(always)]
    fn sum_line(
        _: Kernel,
        line: &[i16],
        offsets: &[usize],
        weights: Cyclic<'_, i16, LANES>,
        len: usize,
        sums: &mut [S],
    ) {
        let filters = weights.row();
        let mut filter = 0;
        for at in (0..len).step_by(BLOCK) {
            let mut weights = weights.from::<BLOCK>(filter);
            let sums = sums[at..].first_chunk_mut::<BLOCK>();
            let (Some(start), Some(sums)) = (weights.next(), sums) else { return };
            let line = &line[at..];
            let mut totals = start.map(S::from);
            for (&offset, weights) in offsets.iter().zip(weights) {
                let Some(activations) = line[offset..].first_chunk::<BLOCK>() else { return };
                for i in 0..BLOCK {
                    totals[i] = totals[i].add(activations[i], weights[i]);
                }
            }
            *sums = totals;
            filter += BLOCK % filters;
            if filter >= filters {
                filter -= filters;
            }
        }
    }
}
