//! The number types of the operators: `f32` and `f64`.

use crate::scratch::{Floats, Scratch};
use ndarray::LinalgScalar;
use num_traits::{Float, NumAssign};
use std::fmt::{Debug, Display};
use std::iter::Sum;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// Bits of the mantissa that every number type has.
pub(crate) const MANTISSA: usize = 23;

/// A floating-point type that the operators take: `f32` or `f64`. Sealed.
pub trait Element:
    Float
    + NumAssign
    + LinalgScalar
    + Sum
    + Debug
    + Display
    + Default
    + Send
    + Sync
    + sealed::Sealed
    + 'static
{
    /// The nearest value of this type.
    #[doc(hidden)]
    fn of(value: f64) -> Self;
    /// The nearest value of this type: where integers become floats.
    #[doc(hidden)]
    fn of_integer(value: i64) -> Self;
    /// The same, of a shorter integer: vectors of these are converted at once.
    #[doc(hidden)]
    fn of_i32(value: i32) -> Self;
    /// Exact.
    #[doc(hidden)]
    fn of_f32(value: f32) -> Self;
    /// Exact.
    #[doc(hidden)]
    fn as_f64(self) -> f64;
    /// With those of the first [`MANTISSA`] bits of the mantissa flipped that are set in `bits`.
    #[doc(hidden)]
    fn flip_mantissa(self, bits: u32) -> Self;
    /// The integer part; saturates, NaN gives 0.
    #[doc(hidden)]
    fn as_code(self) -> u32;
    /// A whole number from 0 to 255 as a byte. Vectors of these are converted at once, which a cast
    /// that saturates would prevent.
    #[doc(hidden)]
    fn as_byte(self) -> u8;
    /// The lowest byte of the nearest integer, the even one of two, of a number below 2^22.
    #[doc(hidden)]
    fn nearest_byte(self) -> u8;
    /// The buffers of this type in a scratch.
    #[doc(hidden)]
    fn floats(scratch: &mut Scratch) -> &mut Floats<Self>;
}

macro_rules! element {
    ($float:ident, $bits:ident, $magic:expr) => {
        impl Element for $float {
            fn of(value: f64) -> Self {
                value as $float
            }
            fn of_integer(value: i64) -> Self {
                value as $float
            }
            #[inline(always)]
            fn of_i32(value: i32) -> Self {
                value as $float
            }
            #[inline(always)]
            fn of_f32(value: f32) -> Self {
                value.into()
            }
            fn as_f64(self) -> f64 {
                self.into()
            }
            #[inline(always)]
            fn flip_mantissa(self, bits: u32) -> Self {
                let moved = $bits::from(bits) << ($float::MANTISSA_DIGITS as usize - 1 - MANTISSA);
                $float::from_bits(self.to_bits() ^ moved)
            }
            fn as_code(self) -> u32 {
                self as u32
            }
            #[inline(always)]
            fn as_byte(self) -> u8 {
                // In this binade the last bit of a number counts ones.
                (self + $magic).to_bits() as u8
            }
            #[inline(always)]
            fn nearest_byte(self) -> u8 {
                // The same, and a negative number does not leave the binade.
                (self + 1.5 * $magic).to_bits() as u8
            }
            fn floats(scratch: &mut Scratch) -> &mut Floats<Self> {
                &mut scratch.$float
            }
        }
    };
}
element!(f32, u32, 8_388_608.0);
element!(f64, u64, 4_503_599_627_370_496.0);
