//! The vectors of each instruction set.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::{Neon, each};
pub(crate) use portable::Portable;

use super::{Isa, Kernel};

/// The vectors that a kernel uses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Vectors {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    Portable(Portable),
}

impl Kernel {
    /// Its vectors. See [`with_vectors!`](super::with_vectors).
    pub(crate) fn vector(self) -> Vectors {
        match self.isa() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX-512, as `self` proves.
            Isa::Amx | Isa::Avx512 => Vectors::Avx512(unsafe { Avx512::new() }),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX2, as `self` proves.
            Isa::AvxVnni | Isa::Avx2 => Vectors::Avx2(unsafe { Avx2::new() }),
            #[cfg(target_arch = "aarch64")]
            // SAFETY: the CPU has NEON, as `self` proves.
            Isa::Dotprod | Isa::Neon => Vectors::Neon(unsafe { Neon::new() }),
            _ => Vectors::Portable(Portable),
        }
    }
}

/// Methods of intrinsics, for types whose values prove that the CPU has their instructions.
macro_rules! intrinsics {
    ($($(#[$attribute:meta])* fn $name:ident($($arg:ident: $type:ty),*) $(-> $out:ty)? { $($body:tt)* })*) => {
        $(
            $(#[$attribute])*
            #[inline(always)]
            #[allow(unused_unsafe)]
            fn $name(self, $($arg: $type),*) $(-> $out)? {
                // SAFETY: the CPU has these instructions, as `self` proves; references are to what
                // is loaded and stored.
                unsafe { $($body)* }
            }
        )*
    };
}
pub(super) use intrinsics;
