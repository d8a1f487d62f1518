//! Rows to columns: outputs computed side by side, to where each filter's lie apart.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
mod neon;

use super::{Code, Isa, Kernel};
use crate::Element;
use ndarray::{ArrayViewMut2, Axis};

/// Sides of the squares that are transposed at a time.
const SIDE: usize = 8;

impl Kernel {
    /// Writes the rows that follow each other in `rows` to the columns of `to`, whose rows are
    /// slices.
    ///
    /// # Panics
    /// If the numbers of a row of `to` do not lie side by side, or there are not as many in `rows`.
    pub(crate) fn transpose<T: Element>(self, rows: &[T], to: ArrayViewMut2<'_, T>) {
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

impl<T: Element> Code for Transpose<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let (columns, count) = self.to.dim();
        let (whole_columns, whole_rows) = (columns / SIDE * SIDE, count / SIDE * SIDE);
        let stride = self.to.strides()[0];
        let squares = size_of::<T>() == size_of::<u32>() && !matches!(self.isa, Isa::Portable);
        if squares {
            for column in (0..whole_columns).step_by(SIDE) {
                for row in (0..whole_rows).step_by(SIDE) {
                    // SAFETY: both squares lie within their matrices, of numbers of 32 bits.
                    unsafe {
                        let from = self.rows.as_ptr().add(row * columns + column);
                        let to = self.to.as_mut_ptr().offset(column as isize * stride).add(row);
                        transpose_square(self.isa, from.cast(), columns, to.cast(), stride);
                    }
                }
            }
        }
        let rest = if squares { whole_rows } else { 0 };
        for (column, mut to) in self.to.axis_iter_mut(Axis(0)).enumerate() {
            let first = if column < whole_columns { rest } else { 0 };
            let Some(to) = to.as_slice_mut() else { continue };
            let values = self.rows[first * columns..].iter().skip(column).step_by(columns);
            to[first..].iter_mut().zip(values).for_each(|(to, &value)| *to = value);
        }
    }
}

/// Transposes a square of `SIDE` by `SIDE` numbers of 32 bits.
///
/// # Safety
/// The CPU has the instruction set. There are `SIDE` numbers at each of `from + i * from_stride`
/// and `to + i * to_stride`, for `i` below `SIDE`.
#[inline(always)]
unsafe fn transpose_square(
    isa: Isa,
    from: *const f32,
    from_stride: usize,
    to: *mut f32,
    to_stride: isize,
) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as here.
        Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => unsafe {
            avx2::transpose_square(from, from_stride, to, to_stride);
        },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as here.
        Isa::Neon | Isa::Dotprod => unsafe {
            neon::transpose_square(from, from_stride, to, to_stride);
        },
        _ => unreachable!("squares are transposed by vector instructions alone"),
    }
}

#[cfg(test)]
mod tests;
