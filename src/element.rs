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
    fn as_f64(self) -> f64;
    /// With those of the first [`MANTISSA`] bits of the mantissa flipped that are set in `bits`.
    #[doc(hidden)]
    fn flip_mantissa(self, bits: u32) -> Self;
    /// The integer part; saturates, NaN gives 0.
    #[doc(hidden)]
    fn as_code(self) -> u32;
    /// The buffers of this type in a scratch.
    #[doc(hidden)]
    fn floats(scratch: &mut Scratch) -> &mut Floats<Self>;
}

macro_rules! element {
    ($float:ident, $bits:ident) => {
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
            fn floats(scratch: &mut Scratch) -> &mut Floats<Self> {
                &mut scratch.$float
            }
        }
    };
}
element!(f32, u32);
element!(f64, u64);
