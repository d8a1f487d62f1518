//! Matrix products of a tile of rows with the filters of a group.

use crate::Element;
use crate::epilogue::{Epilogue, Row};
use crate::kernel;
use crate::pack::pack_bits;
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut1, ArrayViewMut2};

/// Rows to be multiplied with the filters of a group.
pub(crate) struct Tile<'a, L> {
    /// `[row][row_len]`.
    pub(crate) rows: &'a [L],
    pub(crate) count: usize,
    pub(crate) row_len: usize,
    /// The first filter of the group.
    pub(crate) first: usize,
    /// How many filters the group has.
    pub(crate) filters: usize,
    /// Room for one row in bits.
    pub(crate) words: &'a mut [u64],
}

/// One kind of arithmetic: what rows are made of, and how they meet the weights.
pub(crate) trait Product<T: Element>: Sync {
    /// A quantized activation.
    type Lane: Copy + Default + Send + Sync;
    /// What products are summed in.
    type Sum: Copy + Default + Send;

    /// `sums[row][filter]`, over the rows of the tile and the filters of its group.
    fn multiply(&self, tile: Tile<'_, Self::Lane>, sums: &mut [Self::Sum]);

    /// The sum of the codes of a row.
    fn code_sum(row: &[Self::Lane]) -> i64;

    /// Writes the outputs of a row of sums, which are used up.
    fn finish(
        epilogue: &Epilogue<'_, T>,
        row: &Row<'_, T>,
        sums: &mut [Self::Sum],
        out: ArrayViewMut1<'_, T>,
    );
}

/// Exact arithmetic on codes of up to 8 bits.
pub(crate) enum Integers<'a> {
    /// 1-bit activations and weights: XNOR and popcount.
    Bits(&'a [u64]),
    /// Products of bytes.
    Bytes(&'a [u8]),
}

impl<T: Element> Product<T> for Integers<'_> {
    type Lane = u8;
    type Sum = i64;

    fn multiply(&self, tile: Tile<'_, u8>, sums: &mut [i64]) {
        let Tile { rows, count, row_len, first, filters, words } = tile;
        let row_words = row_len.div_ceil(64);
        for i in 0..count {
            let row = &rows[i * row_len..][..row_len];
            let sums = &mut sums[i * filters..][..filters];
            match self {
                Integers::Bits(weights) => {
                    let row_bits = &mut words[..row_words];
                    pack_bits(row, row_bits);
                    for (f, sum) in sums.iter_mut().enumerate() {
                        let filter = &weights[(first + f) * row_words..][..row_words];
                        *sum = kernel::xor_popcount(row_bits, filter) as i64;
                    }
                }
                Integers::Bytes(weights) => {
                    for (f, sum) in sums.iter_mut().enumerate() {
                        let filter = &weights[(first + f) * row_len..][..row_len];
                        *sum = kernel::dot_bytes(row, filter) as i64;
                    }
                }
            }
        }
    }

    fn code_sum(row: &[u8]) -> i64 {
        row.iter().map(|&code| i64::from(code)).sum()
    }

    fn finish(
        epilogue: &Epilogue<'_, T>,
        row: &Row<'_, T>,
        sums: &mut [i64],
        out: ArrayViewMut1<'_, T>,
    ) {
        epilogue.finish_integers(row, sums, out);
    }
}

/// Anything wider: floats, by the matrix product of `ndarray`.
pub(crate) struct Floats<'a, T>(pub(crate) &'a [T]);

impl<T: Element> Product<T> for Floats<'_, T> {
    type Lane = T;
    type Sum = T;

    fn multiply(&self, tile: Tile<'_, T>, sums: &mut [T]) {
        let Tile { rows, count, row_len, first, filters, .. } = tile;
        let weights = matrix(filters, row_len, &self.0[first * row_len..]);
        let mut sums = matrix_mut(count, filters, sums);
        let rows = matrix(count, row_len, rows);
        general_mat_mul(T::one(), &rows, &weights.reversed_axes(), T::zero(), &mut sums);
    }

    fn code_sum(_: &[T]) -> i64 {
        0
    }

    fn finish(
        epilogue: &Epilogue<'_, T>,
        row: &Row<'_, T>,
        sums: &mut [T],
        out: ArrayViewMut1<'_, T>,
    ) {
        epilogue.finish_floats(row, sums, out);
    }
}

/// The first `rows * columns` elements as a matrix.
pub(crate) fn matrix<T>(rows: usize, columns: usize, values: &[T]) -> ArrayView2<'_, T> {
    ArrayView2::from_shape((rows, columns), &values[..rows * columns]).expect("sizes agree")
}

/// The same, to write to.
pub(crate) fn matrix_mut<T>(rows: usize, columns: usize, values: &mut [T]) -> ArrayViewMut2<'_, T> {
    ArrayViewMut2::from_shape((rows, columns), &mut values[..rows * columns]).expect("sizes agree")
}
