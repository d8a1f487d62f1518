//! The number types of the operators: `f32` and `f64`.

use bytemuck::Pod;
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
    + Pod
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
    /// The smallest number above this one.
    #[doc(hidden)]
    fn next_up(self) -> Self;
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
    /// A value of which the element type is known.
    #[doc(hidden)]
    fn typed<F: Family>(value: F::Of<Self>) -> Typed<F>;
    /// The one of both that belongs to this element type.
    #[doc(hidden)]
    fn pick<F: Family>(f32: F::Of<f32>, f64: F::Of<f64>) -> F::Of<Self>;
}

/// A type for each element type, such as `&[T]`. With it generic code calls functions that are
/// compiled once for each element type, in this crate: see [`Element::typed`].
#[doc(hidden)]
pub trait Family {
    /// The type.
    type Of<T: Element>;
}

/// A value of a [`Family`].
#[doc(hidden)]
#[allow(missing_debug_implementations)]
pub enum Typed<F: Family> {
    /// Of `f32`.
    F32(F::Of<f32>),
    /// Of `f64`.
    F64(F::Of<f64>),
}

macro_rules! element {
    ($float:ident, $bits:ident, $variant:ident, $which:tt, $magic:expr) => {
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
            fn next_up(self) -> Self {
                self.next_up()
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
            #[inline(always)]
            fn typed<F: Family>(value: F::Of<Self>) -> Typed<F> {
                Typed::$variant(value)
            }
            #[inline(always)]
            fn pick<F: Family>(f32: F::Of<f32>, f64: F::Of<f64>) -> F::Of<Self> {
                (f32, f64).$which
            }
        }
    };
}
element!(f32, u32, F32, 0, 8_388_608.0);
element!(f64, u64, F64, 1, 4_503_599_627_370_496.0);

/// Functions that are compiled twice, for `f32` and for `f64`, and in this crate: what a caller's
/// crate gets of them is a jump. Where a program is built without optimization, they stay fast.
///
/// The types of arguments may name the lifetimes and `T`; results may not.
macro_rules! compiled_once {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident<$($life:lifetime),* ; T>(
            $($argument:ident: $type:ty),* $(,)?
        ) $(-> $result:ty)? $body:block
    )*) => {$(
        $(#[$attribute])*
        $visibility fn $name<$($life,)* T: $crate::Element>($($argument: $type),*) $(-> $result)? {
            struct Arguments<$($life),*>($(std::marker::PhantomData<&$life ()>),*);

            impl<$($life),*> $crate::element::Family for Arguments<$($life),*> {
                type Of<T: $crate::Element> = ($($type,)*);
            }

            type Of<$($life,)* T> = <Arguments<$($life),*> as $crate::element::Family>::Of<T>;

            fn generic<$($life,)* T: $crate::Element>(
                ($($argument,)*): ($($type,)*),
            ) $(-> $result)? $body

            #[inline(never)]
            fn of_f32<$($life),*>(arguments: Of<$($life,)* f32>) $(-> $result)? {
                generic::<f32>(arguments)
            }

            #[inline(never)]
            fn of_f64<$($life),*>(arguments: Of<$($life,)* f64>) $(-> $result)? {
                generic::<f64>(arguments)
            }

            match T::typed::<Arguments<$($life),*>>(($($argument,)*)) {
                $crate::element::Typed::F32(arguments) => of_f32(arguments),
                $crate::element::Typed::F64(arguments) => of_f64(arguments),
            }
        }
    )*};
}
pub(crate) use compiled_once;
