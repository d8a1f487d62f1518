//! Rows to columns: outputs computed side by side, to where each filter's lie apart.
//!
//! Numbers of 32 bits are transposed in strips of four columns and as many rows as a vector has
//! lanes; what is left, and wider numbers, one by one.

use super::{Code, Isa, Kernel};
use ndarray::{ArrayViewMut2, Axis};
#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::*;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Columns of a strip.
const STRIP: usize = 4;

impl Kernel {
    /// Writes the rows that follow each other in `rows` to the columns of `to`, whose rows are
    /// slices.
    ///
    /// # Panics
    /// If the numbers of a row of `to` do not lie side by side, or there are not as many in `rows`.
    pub(crate) fn transpose<T: Copy>(self, rows: &[T], to: ArrayViewMut2<'_, T>) {
        let (columns, count) = to.dim();
        assert!(to.is_empty() || count == 1 || to.strides()[1] == 1, "numbers lie apart");
        assert_eq!(columns.checked_mul(count), Some(rows.len()));
        self.vectorize(Transpose { isa: self.vectors(), rows, to });
    }
}

struct Transpose<'a, T> {
    isa: Isa,
    rows: &'a [T],
    to: ArrayViewMut2<'a, T>,
}

impl<T: Copy> Code for Transpose<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let (columns, count) = self.to.dim();
        let whole_columns = columns / STRIP * STRIP;
        let stride = self.to.strides()[0];
        let mut done = 0;
        for &(lanes, transpose) in ways::<T>(self.isa) {
            // An array of no columns has no memory that a pointer could point into.
            while whole_columns > 0 && count - done >= lanes {
                // SAFETY: the CPU has the instruction set, and the rows lie within both matrices, of
                // numbers of 32 bits.
                unsafe {
                    let from = self.rows.as_ptr().add(done * columns).cast();
                    let to = self.to.as_mut_ptr().add(done).cast();
                    transpose(whole_columns, from, columns, to, stride);
                }
                done += lanes;
            }
        }
        for (column, mut to) in self.to.axis_iter_mut(Axis(0)).enumerate() {
            let first = if column < whole_columns { done } else { 0 };
            let Some(to) = to.as_slice_mut() else { continue };
            let values = self.rows[first * columns..].iter().skip(column).step_by(columns);
            to[first..].iter_mut().zip(values).for_each(|(to, &value)| *to = value);
        }
    }
}

/// Transposes so many columns, of [`STRIP`] each, of numbers of 32 bits with the stride of their rows
/// to others with the stride of what were columns. The CPU must have the instruction set, and the
/// columns lie within both.
type TransposeRows = unsafe fn(usize, *const f32, usize, *mut f32, isize);

/// The ways of an instruction set, each with its number of rows, the longest first.
#[inline(always)]
fn ways<T>(isa: Isa) -> &'static [(usize, TransposeRows)] {
    match isa {
        _ if size_of::<T>() != size_of::<f32>() => &[],
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => &[(16, avx512), (8, avx2)],
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::AvxVnni => &[(8, avx2)],
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::Dotprod => &[(4, neon)],
        _ => &[],
    }
}

/// Quarters of four rows in a vector, of which pairs, then singles change places.
///
/// # Safety
/// See [`TransposeRows`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(columns: usize, from: *const f32, stride: usize, to: *mut f32, to_stride: isize) {
    for column in (0..columns).step_by(STRIP) {
        // SAFETY: the strip lies within both.
        let (from, to) = unsafe { (from.add(column), to.offset(column as isize * to_stride)) };
        // Rows `i`, `i + 4`, `i + 8` and `i + 12` in one vector. Loads under a mask take no shuffles,
        // of which there is but one a cycle.
        let rows = |i: usize| {
            // SAFETY: four numbers of a row.
            let row = |i: usize| unsafe { _mm_loadu_ps(from.add(i * stride)) };
            let rows = _mm512_broadcast_f32x4(row(i));
            let rows = _mm512_mask_broadcast_f32x4(rows, 0x00f0, row(i + 4));
            let rows = _mm512_mask_broadcast_f32x4(rows, 0x0f00, row(i + 8));
            _mm512_mask_broadcast_f32x4(rows, 0xf000, row(i + 12))
        };
        let [a, b, c, d] = [rows(0), rows(1), rows(2), rows(3)];
        let (ab_low, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        let strip = [
            _mm512_shuffle_ps::<0b01_00_01_00>(ab_low, cd_low),
            _mm512_shuffle_ps::<0b11_10_11_10>(ab_low, cd_low),
            _mm512_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
            _mm512_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
        ];
        for (i, values) in strip.into_iter().enumerate() {
            // SAFETY: a column of the strip.
            unsafe { _mm512_storeu_ps(to.offset(i as isize * to_stride), values) };
        }
    }
}

/// Quarters of two rows in a vector, of which pairs, then singles change places.
///
/// # Safety
/// See [`TransposeRows`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2(columns: usize, from: *const f32, stride: usize, to: *mut f32, to_stride: isize) {
    for column in (0..columns).step_by(STRIP) {
        // SAFETY: the strip lies within both.
        let (from, to) = unsafe { (from.add(column), to.offset(column as isize * to_stride)) };
        // Rows `i` and `i + 4` in one vector, so that only pairs and singles are left.
        let rows = |i: usize| {
            // SAFETY: four numbers of a row.
            let [low, high] = [i, i + 4].map(|i| unsafe { _mm_loadu_ps(from.add(i * stride)) });
            _mm256_set_m128(high, low)
        };
        let [a, b, c, d] = [rows(0), rows(1), rows(2), rows(3)];
        let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        let strip = [
            _mm256_shuffle_ps::<0b01_00_01_00>(ab_low, cd_low),
            _mm256_shuffle_ps::<0b11_10_11_10>(ab_low, cd_low),
            _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
            _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
        ];
        for (i, values) in strip.into_iter().enumerate() {
            // SAFETY: a column of the strip.
            unsafe { _mm256_storeu_ps(to.offset(i as isize * to_stride), values) };
        }
    }
}

/// Singles, then pairs change places.
///
/// # Safety
/// See [`TransposeRows`].
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn neon(columns: usize, from: *const f32, stride: usize, to: *mut f32, to_stride: isize) {
    for column in (0..columns).step_by(STRIP) {
        // SAFETY: the strip lies within both.
        let (from, to) = unsafe { (from.add(column), to.offset(column as isize * to_stride)) };
        // SAFETY: four numbers of a row each.
        let [a, b, c, d] =
            [0, 1, 2, 3].map(|i| unsafe { vreinterpretq_f64_f32(vld1q_f32(from.add(i * stride))) });
        let single = |x| vreinterpretq_f32_f64(x);
        let double = |x| vreinterpretq_f64_f32(x);
        let even = |x, y| double(vtrn1q_f32(single(x), single(y)));
        let odd = |x, y| double(vtrn2q_f32(single(x), single(y)));
        let (ab_even, ab_odd, cd_even, cd_odd) = (even(a, b), odd(a, b), even(c, d), odd(c, d));
        let strip = [
            vtrn1q_f64(ab_even, cd_even),
            vtrn1q_f64(ab_odd, cd_odd),
            vtrn2q_f64(ab_even, cd_even),
            vtrn2q_f64(ab_odd, cd_odd),
        ];
        for (i, values) in strip.into_iter().enumerate() {
            // SAFETY: a column of the strip.
            unsafe { vst1q_f32(to.offset(i as isize * to_stride), single(values)) };
        }
    }
}

#[cfg(test)]
mod tests {
    //! Every instruction set against ndarray's transposition.

    use crate::Element;
    use crate::kernel::testing::{Random, available};
    use ndarray::{Array2, ArrayView2, s};

    fn check<T: Element>() {
        let of = |word: u32| T::of(word.into());
        let mut random = Random::new(11);
        for rows in [0, 1, 2, 7, 8, 9, 16, 23] {
            for columns in [0, 1, 3, 8, 9, 15, 16, 24, 31] {
                let numbers: Vec<T> = random.words(rows * columns).into_iter().map(of).collect();
                let expected = ArrayView2::from_shape((rows, columns), &numbers).unwrap();
                for kernel in available() {
                    // What lies around must be left as it is.
                    let mut whole = Array2::from_elem((columns + 2, rows + 3), of(7));
                    kernel.transpose(&numbers, whole.slice_mut(s![1..=columns, 2..rows + 2]));
                    for ((column, row), &found) in whole.indexed_iter() {
                        let row = row.checked_sub(2).zip(column.checked_sub(1));
                        let expected = row.and_then(|at| expected.get(at)).copied();
                        assert_eq!(
                            found,
                            expected.unwrap_or(of(7)),
                            "{kernel:?}: {rows} x {columns}"
                        );
                    }
                    let mut reversed = Array2::from_elem((columns, rows), of(7));
                    kernel.transpose(&numbers, reversed.slice_mut(s![..;-1, ..]));
                    assert_eq!(reversed.slice(s![..;-1, ..]), expected.t(), "{kernel:?}");
                }
            }
        }
    }

    #[test]
    fn rows_become_columns() {
        check::<f32>();
        check::<f64>();
    }
}
