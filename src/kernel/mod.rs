//! The innermost loops, on slices of codes, for each instruction set: the only `unsafe` code.
//!
//! # Words, rows and panels
//!
//! Codes are held in words of 32 bits, the first code lowest. A row ([`Rows`]) is what a filter is
//! multiplied with: the window of an output position. Its words may lie scattered, as those of a
//! window in an image do, at the same offsets for every row.
//!
//! Weights are interleaved: a panel holds [`PANEL`] filters, `[word][filter]`. A vector then holds
//! a word of each of several filters, activations are broadcast, and the sums of the filters need
//! no horizontal addition however short the rows are. A few rows and panels at a time stay in
//! registers over the whole length of the rows, so that a panel is read once for several rows, and
//! little enough a cycle that it may lie in the second cache: rows need not be cut.
//!
//! One file or folder an operation.

#![allow(unsafe_code)]

mod arch;
mod bit_planes;
mod blocks;
mod cpu;
mod depthwise_signs;
mod dot;
mod gemm;
mod isa;
mod output_rows;
mod pack;
mod prefetch;
mod rows;
#[cfg(test)]
mod testing;
mod transpose;
mod vector;
mod xnor;

pub(crate) use arch::Vectors;
pub(crate) use bit_planes::CODES;
pub(crate) use cpu::starts_two_byte_products;
pub(crate) use depthwise_signs::{LANES, SignWindows};
pub(crate) use dot::{LONGEST, Weights, Width};
pub(crate) use gemm::multiply;
pub use isa::{Isa, force_isa};
pub(crate) use output_rows::OutputRows;
pub(crate) use prefetch::prefetch_elements;
pub(crate) use rows::{Offsets, Rows};
pub(crate) use vector::{Epilogue, Vector};
pub(crate) use xnor::FilterPlanes;

use std::any::TypeId;

/// Filters in a panel.
pub(crate) const PANEL: usize = 16;

/// A piece of code for [`Kernel::vectorize`] and [`Vector::run`]. Its `run` should be
/// `#[inline(always)]`: a closure would not do, which is inlined only if the compiler likes to, and
/// compiled without any of these instructions if not.
pub(crate) trait Code {
    type Output;
    fn run(self) -> Self::Output;
}

/// The kernels of one instruction set. Holding one proves that the CPU has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel(Isa);

impl Kernel {
    /// The kernels of an instruction set, if the CPU has it.
    pub(crate) fn new(isa: Isa) -> Option<Self> {
        isa.is_available().then_some(Kernel(isa))
    }

    /// The kernels to use: forced ones, else the best there are.
    pub(crate) fn current() -> Self {
        Kernel::new(isa::current()).unwrap_or(Kernel(Isa::Portable))
    }

    pub(crate) fn isa(self) -> Isa {
        self.0
    }

    /// The instruction set of its vectors: what has more than these uses them for all but that.
    fn vectors(self) -> Isa {
        match self.0 {
            Isa::Amx => Isa::Avx512,
            isa => isa,
        }
    }

    /// Whether code that it [`vectorize`](Self::vectorize)s multiplies and adds in one instruction.
    pub(crate) fn has_fused_multiply_add(self) -> bool {
        self.vectors() == Isa::Avx512
    }

    /// Runs code that is compiled anew for each instruction set, so that its loops use it.
    pub(crate) fn vectorize<C: Code>(self, code: C) -> C::Output {
        with_vectors!(self, |v| v.run(code))
    }
}

/// Runs an expression with the vectors `v` of a kernel, a [`Vector`]. It is compiled for each kind of
/// them, but with their instructions only in what [`Vector::run`] runs.
macro_rules! with_vectors {
    ($kernel:expr, |$v:ident| $code:expr) => {
        match $kernel.vector() {
            #[cfg(target_arch = "x86_64")]
            $crate::kernel::Vectors::Avx512($v) => $code,
            #[cfg(target_arch = "x86_64")]
            $crate::kernel::Vectors::Avx2($v) => $code,
            #[cfg(target_arch = "aarch64")]
            $crate::kernel::Vectors::Neon($v) => $code,
            $crate::kernel::Vectors::Portable($v) => $code,
        }
    };
}
pub(crate) use with_vectors;

/// Makes a function of which the body is compiled anew for each instruction set, so that its loops use
/// it. A kernel comes before its arguments; generic parameters stand in brackets, with all lifetimes
/// elided:
///
/// ```text
/// vectorized! {
///     /// Adds them up.
///     pub(crate) fn add_up[T: Element](numbers: &[T], sums: &mut [T]) -> usize { ... }
/// }
/// let count = add_up(kernel, numbers, sums);
/// ```
///
/// What the body calls should be `#[inline(always)]`.
#[allow(unused_macros)] // while it is new
macro_rules! vectorized {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident[$($generics:tt)*](
            $($argument:ident: $type:ty),* $(,)?
        ) $(-> $output:ty)? $body:block
    ) => {
        $(#[$attribute])*
        #[inline]
        $visibility fn $name<$($generics)*>(
            kernel: $crate::kernel::Kernel,
            $($argument: $type),*
        ) $(-> $output)? {
            struct Arguments<A>(A);
            impl<$($generics)*> $crate::kernel::Code for Arguments<($($type,)*)> {
                #[allow(unused_parens)]
                type Output = ($($output)?);
                #[inline(always)]
                fn run(self) -> Self::Output {
                    let Arguments(($($argument,)*)) = self;
                    $body
                }
            }
            kernel.vectorize(Arguments(($($argument,)*)))
        }
    };
}
#[allow(unused_imports)]
pub(crate) use vectorized;

/// A slice as one of another type, if it is the same.
pub(crate) fn same_type<T: 'static, U: 'static>(slice: &[T]) -> Option<&[U]> {
    // SAFETY: both are the same type.
    (TypeId::of::<T>() == TypeId::of::<U>())
        .then(|| unsafe { std::slice::from_raw_parts(slice.as_ptr().cast(), slice.len()) })
}
