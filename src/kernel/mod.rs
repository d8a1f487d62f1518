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
//! One folder an operation, in it one file an instruction set.

#![allow(unsafe_code)]

#[allow(dead_code)]
mod arch;
mod compare;
mod cpu;
mod dot;
mod float_product;
mod isa;
mod lanes;
mod pack;
mod planes;
mod popcount;
mod prefetch;
mod rows;
#[cfg(test)]
mod testing;
mod transpose;
#[allow(dead_code)]
mod vector;

pub(crate) use arch::Vectors;
pub(crate) use cpu::starts_two_byte_products;
pub(crate) use dot::{LONGEST, Weights, Width};
pub(crate) use float_product::multiply;
pub use isa::{Isa, force_isa};
pub(crate) use lanes::{LANES, SignWindows};
pub(crate) use planes::CODES;
pub(crate) use popcount::{Addends, FilterPlanes, ToFloats, ToSigns};
pub(crate) use prefetch::prefetch_elements;
pub(crate) use rows::{Offsets, Rows};
#[allow(unused_imports)]
pub(crate) use vector::{Epilogue, Sums, Vector};

use std::any::TypeId;

/// Filters in a panel.
pub(crate) const PANEL: usize = 16;

/// A piece of code for [`Kernel::vectorize`]. Its `run` should be `#[inline(always)]`.
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
        match self.vectors() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has these, as `self` proves.
            Isa::Avx512 => unsafe { with_avx512(code) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX2, as `self` proves.
            Isa::Avx2 | Isa::AvxVnni => unsafe { with_avx2(code) },
            _ => code.run(),
        }
    }
}

/// Runs an expression that is compiled anew for each instruction set. It may use the vectors `v`, a
/// [`Vector`](vector::Vector); what it calls should be `#[inline(always)]`.
#[allow(unused_macros)]
macro_rules! vectorize {
    ($kernel:expr, |$v:ident| $code:expr) => {{
        #[allow(unused_imports)]
        use $crate::kernel::{Vector, Vectors};
        match $kernel.vector() {
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx512($v) => $v.run(|| $code),
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2($v) => $v.run(|| $code),
            #[cfg(target_arch = "aarch64")]
            Vectors::Neon($v) => $v.run(|| $code),
            Vectors::Portable($v) => $v.run(|| $code),
        }
    }};
}
#[allow(unused_imports)]
pub(crate) use vectorize;

/// A slice as one of another type, if it is the same.
pub(crate) fn same_type<T: 'static, U: 'static>(slice: &[T]) -> Option<&[U]> {
    // SAFETY: both are the same type.
    (TypeId::of::<T>() == TypeId::of::<U>())
        .then(|| unsafe { std::slice::from_raw_parts(slice.as_ptr().cast(), slice.len()) })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<C: Code>(code: C) -> C::Output {
    code.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn with_avx512<C: Code>(code: C) -> C::Output {
    code.run()
}
