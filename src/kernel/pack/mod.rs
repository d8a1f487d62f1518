//! Numbers to signs, a bit each.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use super::{Isa, Kernel};
use crate::Element;
use crate::quantizer::Threshold;

impl Kernel {
    /// Packs the 1-bit codes of a row, the first lowest, and fills the last word with zeros.
    /// Returns whether there is a NaN among its numbers.
    ///
    /// # Panics
    /// If there are fewer words than that takes.
    pub(crate) fn pack_row<T: Element>(
        self,
        row: &[T],
        threshold: Threshold<T>,
        words: &mut [u32],
    ) -> bool {
        let words = &mut words[..row.len().div_ceil(32)];
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX-512, as `self` proves.
            Isa::Avx512 => unsafe { avx512::pack_row(row, threshold, words) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX2, as `self` proves.
            Isa::Avx2 | Isa::AvxVnni => unsafe { avx2::pack_row(row, threshold, words) },
            _ => portable::pack_row(row, threshold, words),
        }
    }
}

/// A slice as one of another type, if it is the same.
#[cfg(target_arch = "x86_64")]
fn same_type<T: 'static, U: 'static>(slice: &[T]) -> Option<&[U]> {
    // SAFETY: both are the same type.
    (std::any::TypeId::of::<T>() == std::any::TypeId::of::<U>())
        .then(|| unsafe { std::slice::from_raw_parts(slice.as_ptr().cast(), slice.len()) })
}

#[cfg(test)]
mod tests;
