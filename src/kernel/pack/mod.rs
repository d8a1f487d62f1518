//! Numbers to signs, a bit each: as fast as memory is read.
//!
//! Reading alone is then what limits the loops, and they ask for memory well before they need it:
//! what the CPU fetches of its own accord ends with a page, and covers less than it takes to come
//! from memory if much is done with each number.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
use super::Isa;
use super::Kernel;
#[cfg(target_arch = "x86_64")]
use super::prefetch::prefetch;
use crate::Element;
use crate::quantizer::Threshold;
use ndarray::ArrayView2;
use std::any::TypeId;

impl Kernel {
    /// Packs the 1-bit codes of rows of `width` numbers each. Every row starts a new word, its
    /// first number lowest, and its last word is filled up with zeros. Returns whether there is a
    /// NaN among the numbers.
    ///
    /// # Panics
    /// If there are fewer words than that takes.
    pub(crate) fn pack_rows<T: Element>(
        self,
        rows: &[T],
        width: usize,
        threshold: Threshold<T>,
        words: &mut [u32],
    ) -> bool {
        // Rows that fill their words are one.
        let width = if width.is_multiple_of(32) { rows.len().max(1) } else { width };
        let words = &mut words[..rows.len() / width * width.div_ceil(32)];
        match self.vectors() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX-512, as `self` proves.
            Isa::Avx512 => unsafe { avx512::pack_rows(rows, width, threshold, words) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX2, as `self` proves.
            Isa::Avx2 | Isa::AvxVnni => unsafe { avx2::pack_rows(rows, width, threshold, words) },
            _ => portable::pack_rows(rows, width, threshold, words),
        }
    }

    /// Packs the 1-bit codes of up to 32 planes of numbers, (plane, number), into one word for the
    /// numbers at the same place in each, the first plane lowest: word `i * step` for those at `i`.
    /// Returns whether there is a NaN among the numbers.
    ///
    /// # Panics
    /// If the numbers of a plane do not lie side by side, if there are more than 32 planes, or
    /// fewer words than that takes.
    pub(crate) fn pack_planes<T: Element>(
        self,
        planes: ArrayView2<'_, T>,
        threshold: Threshold<T>,
        words: &mut [u32],
        step: usize,
    ) -> bool {
        let (count, len) = planes.dim();
        assert!(count <= 32 && (count == 0 || len <= 1 || planes.strides()[1] == 1));
        let Some(others) = len.checked_sub(1) else { return false };
        let last = others.checked_mul(step);
        assert!(step > 0 && last.is_some_and(|last| last < words.len()));
        match (self.vectors(), Planes::of_f32(&planes, threshold)) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX-512, as `self` proves; the lengths have just been checked.
            (Isa::Avx512, Some(planes)) => unsafe { avx512::pack_planes(planes, words, step) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX2, as `self` proves; the lengths have just been checked.
            (Isa::Avx2 | Isa::AvxVnni, Some(planes)) => unsafe {
                avx2::pack_planes(planes, words, step)
            },
            _ => self.vectorize(portable::PackPlanes { planes, threshold, words, step }),
        }
    }
}

/// Planes of numbers: number `i` of plane `p` lies at `first + p * stride + i`.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
struct Planes {
    first: *const f32,
    stride: isize,
    count: usize,
    len: usize,
    threshold: Threshold<f32>,
}

/// How many numbers of a plane are asked for before they are packed: two blocks of two cache lines.
#[cfg(target_arch = "x86_64")]
const NUMBERS_AHEAD: usize = 64;

impl Planes {
    /// How many bytes behind the numbers at `start` of a plane those lie that are to be asked for.
    /// After the last numbers of these planes come the first of the planes behind them, which as a
    /// rule are packed next.
    #[cfg(target_arch = "x86_64")]
    fn ahead(&self, start: usize) -> isize {
        let numbers = match (start + NUMBERS_AHEAD).checked_sub(self.len) {
            None => NUMBERS_AHEAD as isize,
            Some(past) => {
                let planes = self.stride.wrapping_mul(self.count as isize);
                planes.wrapping_add(past as isize - start as isize)
            }
        };
        numbers.wrapping_mul(size_of::<f32>() as isize)
    }

    /// Planes of numbers that lie side by side, if they are `f32`.
    fn of_f32<T: Element>(planes: &ArrayView2<'_, T>, threshold: Threshold<T>) -> Option<Self> {
        let (count, len) = planes.dim();
        (TypeId::of::<T>() == TypeId::of::<f32>()).then(|| Planes {
            first: planes.as_ptr().cast(),
            stride: planes.strides()[0],
            count,
            len,
            threshold: threshold.map(|t| t.as_f64() as f32),
        })
    }
}

/// How many bytes of rows are asked for before they are packed.
#[cfg(target_arch = "x86_64")]
const BYTES_AHEAD: isize = 4096;

#[cfg(test)]
mod tests;
