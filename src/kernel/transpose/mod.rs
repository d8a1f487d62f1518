//! Rows to columns: outputs computed side by side, to where each filter's lie apart.

/// The way of an instruction set that transposes strips of so many rows.
macro_rules! rows {
    ($name:ident, $rows:literal, $feature:literal) => {
        pub(super) const $name: super::Rows = super::Rows { rows: $rows, transpose };

        /// See [`Rows`](super::Rows).
        ///
        /// # Safety
        /// As there.
        #[target_feature(enable = $feature)]
        unsafe fn transpose(
            columns: usize,
            from: *const f32,
            from_stride: usize,
            to: *mut f32,
            to_stride: isize,
        ) {
            for column in (0..columns).step_by(super::STRIP) {
                // SAFETY: so many columns lie within both.
                unsafe {
                    let to = to.offset(column as isize * to_stride);
                    transpose_strip(from.add(column), from_stride, to, to_stride);
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

use super::{Code, Isa, Kernel};
use ndarray::{ArrayViewMut2, Axis};

/// Columns that are transposed at a time.
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
        for &Rows { rows, transpose } in rows_at_a_time::<T>(self.isa) {
            while count - done >= rows {
                // SAFETY: the CPU has the instruction set, and the rows lie within both matrices, of
                // numbers of 32 bits.
                unsafe {
                    let from = self.rows.as_ptr().add(done * columns).cast();
                    let to = self.to.as_mut_ptr().add(done).cast();
                    transpose(whole_columns, from, columns, to, stride);
                }
                done += rows;
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

/// A way to transpose so many rows.
struct Rows {
    rows: usize,
    /// So many columns, of [`STRIP`] each, from numbers of 32 bits with the stride of their rows to
    /// others with the stride of what were columns. The CPU must have the instruction set.
    transpose: unsafe fn(usize, *const f32, usize, *mut f32, isize),
}

/// The ways of an instruction set, the longest first.
#[inline(always)]
fn rows_at_a_time<T>(isa: Isa) -> &'static [Rows] {
    match isa {
        _ if size_of::<T>() != size_of::<f32>() => &[],
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => &[avx512::ROWS_16, avx2::ROWS_8],
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::AvxVnni => &[avx2::ROWS_8],
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::Dotprod => &[neon::ROWS_4],
        _ => &[],
    }
}

#[cfg(test)]
mod tests;
