//! What a lane of a vector does with an activation and a weight.
//!
//! Both are the integers that their codes stand for, the numerators of their levels. The narrower
//! the lanes, the more of them a vector has: 8 bits for signs, 16 wherever a sum fits.

use crate::forward::depthwise::weights::Cyclic;
use crate::forward::depthwise::{DepthBuffers, LaneBuffers, TileBuffers};
use crate::kernel::{Kernel, SignWindows};
use std::ops::Neg;

/// Products of integers, and their sums.
pub(crate) trait Product {
    type Lane: Copy + Default + Send + Sync;
    type Sum: Copy + Default + From<Self::Lane> + Into<i32> + Send + Sync;

    /// The buffers of this type of lanes, and those of tiles.
    fn buffers(
        buffers: &mut DepthBuffers,
    ) -> (&mut LaneBuffers<Self::Lane, Self::Sum>, &mut TileBuffers);
    /// The number of a code, from those of 0 and 1.
    fn number(code: u8, numbers: [Self::Lane; 2]) -> Self::Lane;
    /// An activation, which is known to fit.
    fn activation(value: i64) -> Self::Lane;
    /// A weight, which is known to fit.
    fn weight(value: i64) -> Self::Lane;
    /// What a weight adds to every sum, to be begun with.
    fn start(start: Self::Lane, weight: Self::Lane) -> Self::Lane;
    fn add(sum: Self::Sum, activation: Self::Lane, weight: Self::Lane) -> Self::Sum;

    /// Writes the sums of so many lanes of windows that follow each other, and of some more.
    #[inline(always)]
    fn sum_line<const N: usize>(
        _: Kernel,
        line: &[Self::Lane],
        offsets: &[usize],
        weights: Cyclic<'_, Self::Lane, N>,
        len: usize,
        sums: &mut [Self::Sum],
    ) {
        let filters = weights.row();
        let mut filter = 0;
        for at in (0..len).step_by(N) {
            let mut weights = weights.from(filter);
            let sums = sums[at..].first_chunk_mut::<N>();
            let (Some(start), Some(sums)) = (weights.next(), sums) else { return };
            let line = &line[at..];
            let mut lanes = start.map(Self::Sum::from);
            for (&offset, weights) in offsets.iter().zip(weights) {
                let Some(activations) = line[offset..].first_chunk::<N>() else { return };
                for i in 0..N {
                    lanes[i] = Self::add(lanes[i], activations[i], weights[i]);
                }
            }
            *sums = lanes;
            filter += N % filters;
            if filter >= filters {
                filter -= filters;
            }
        }
    }
}

/// Weights of -1 and +1: `-a = (a xor -1) + 1`.
///
/// A weight is held as what `a` is combined with, -1 or 0, and the ones are added beforehand.
/// Sums may wrap on the way to a result that fits.
pub(crate) struct Signs;

impl Product for Signs {
    type Lane = i8;
    type Sum = i8;

    fn buffers(buffers: &mut DepthBuffers) -> (&mut LaneBuffers<i8, i8>, &mut TileBuffers) {
        (&mut buffers.bytes, &mut buffers.tiles)
    }
    #[inline(always)]
    fn number(code: u8, [zero, one]: [i8; 2]) -> i8 {
        zero.wrapping_add(one.wrapping_sub(zero).wrapping_mul(code as i8))
    }
    #[inline(always)]
    fn activation(value: i64) -> i8 {
        value as i8
    }
    #[inline(always)]
    fn weight(value: i64) -> i8 {
        i8::from(value < 0).neg()
    }
    #[inline(always)]
    fn start(start: i8, weight: i8) -> i8 {
        start.wrapping_sub(weight)
    }
    #[inline(always)]
    fn add(sum: i8, activation: i8, weight: i8) -> i8 {
        sum.wrapping_add(activation ^ weight)
    }
    #[inline(always)]
    fn sum_line<const N: usize>(
        kernel: Kernel,
        line: &[i8],
        offsets: &[usize],
        weights: Cyclic<'_, i8, N>,
        len: usize,
        sums: &mut [i8],
    ) {
        let (row, weights) = (weights.row(), weights.elements());
        kernel.sum_signs(SignWindows::new(line, offsets, weights, row, len), sums);
    }
}

/// Sums that fit into 16 bits.
pub(crate) struct Short;

impl Product for Short {
    type Lane = i16;
    type Sum = i16;

    fn buffers(buffers: &mut DepthBuffers) -> (&mut LaneBuffers<i16, i16>, &mut TileBuffers) {
        (&mut buffers.halves, &mut buffers.tiles)
    }
    #[inline(always)]
    fn number(code: u8, [zero, one]: [i16; 2]) -> i16 {
        zero.wrapping_add(one.wrapping_sub(zero).wrapping_mul(code.into()))
    }
    #[inline(always)]
    fn activation(value: i64) -> i16 {
        value as i16
    }
    #[inline(always)]
    fn weight(value: i64) -> i16 {
        value as i16
    }
    #[inline(always)]
    fn start(start: i16, _: i16) -> i16 {
        start
    }
    #[inline(always)]
    fn add(sum: i16, activation: i16, weight: i16) -> i16 {
        sum.wrapping_add(activation.wrapping_mul(weight))
    }
}

/// Sums that fit into 32 bits.
pub(crate) struct Long;

impl Product for Long {
    type Lane = i16;
    type Sum = i32;

    fn buffers(buffers: &mut DepthBuffers) -> (&mut LaneBuffers<i16, i32>, &mut TileBuffers) {
        (&mut buffers.wide, &mut buffers.tiles)
    }
    #[inline(always)]
    fn number(code: u8, [zero, one]: [i16; 2]) -> i16 {
        zero.wrapping_add(one.wrapping_sub(zero).wrapping_mul(code.into()))
    }
    #[inline(always)]
    fn activation(value: i64) -> i16 {
        value as i16
    }
    #[inline(always)]
    fn weight(value: i64) -> i16 {
        value as i16
    }
    #[inline(always)]
    fn start(start: i16, _: i16) -> i16 {
        start
    }
    #[inline(always)]
    fn add(sum: i32, activation: i16, weight: i16) -> i32 {
        sum.wrapping_add(i32::from(activation) * i32::from(weight))
    }
}
