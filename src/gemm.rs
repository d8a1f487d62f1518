//! Matrix products of a tile of rows with the filters of a group.

use crate::Element;
use crate::epilogue::{Epilogue, Row};
use crate::geometry::Geometry;
use crate::im2row::gather;
use crate::kernel;
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut1, ArrayViewMut2};

/// Rows to be multiplied with the filters of a group.
pub(crate) struct Tile<'a, L> {
    /// `[row][row_lanes]`.
    pub(crate) rows: &'a [L],
    pub(crate) count: usize,
    pub(crate) row_lanes: usize,
    /// The first filter of the group.
    pub(crate) first: usize,
    /// How many filters the group has.
    pub(crate) filters: usize,
}

/// One kind of arithmetic: what activations are held in, and how they meet the weights.
pub(crate) trait Product<T: Element>: Sync {
    /// What quantized activations are held in: one each, or the bits of many.
    type Lane: Copy + Default + Send + Sync;
    /// What products are summed in.
    type Sum: Copy + Default + Send;

    /// Products below which a second thread costs more than it saves.
    const PRODUCTS_PER_BLOCK: usize = 1 << 18;

    /// Lanes of a pixel.
    fn pixel_lanes(&self, geometry: &Geometry) -> usize {
        geometry.channels
    }

    /// Lanes of a window.
    fn row_lanes(&self, geometry: &Geometry) -> usize {
        geometry.row_len()
    }

    /// Sums of a row with so many filters.
    fn sums_per_row(&self, filters: usize) -> usize {
        filters
    }

    /// Writes the window of an output position into `row`.
    fn gather(
        &self,
        geometry: &Geometry,
        image: &[Self::Lane],
        group: usize,
        position: usize,
        row: &mut [Self::Lane],
    );

    /// Sums products over each row of the tile and each filter of its group.
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

/// Exact products of codes of up to 8 bits.
pub(crate) struct Bytes<'a> {
    /// `[filter][tap][channel]`.
    pub(crate) weights: &'a [u8],
    /// The code of a padded position.
    pub(crate) pad: u8,
}

impl<T: Element> Product<T> for Bytes<'_> {
    type Lane = u8;
    type Sum = i64;

    #[inline(always)]
    fn gather(&self, g: &Geometry, image: &[u8], group: usize, position: usize, row: &mut [u8]) {
        gather(g, image, self.pad, group, position, row);
    }

    #[inline(always)]
    fn multiply(&self, tile: Tile<'_, u8>, sums: &mut [i64]) {
        let Tile { rows, count, row_lanes, first, filters } = tile;
        for i in 0..count {
            let row = &rows[i * row_lanes..][..row_lanes];
            for (f, sum) in sums[i * filters..][..filters].iter_mut().enumerate() {
                let filter = &self.weights[(first + f) * row_lanes..][..row_lanes];
                *sum = kernel::dot_bytes(row, filter) as i64;
            }
        }
    }

    fn code_sum(row: &[u8]) -> i64 {
        row.iter().map(|&code| i64::from(code)).sum()
    }

    #[inline(always)]
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
pub(crate) struct Floats<'a, T> {
    /// `[filter][tap][channel]`.
    pub(crate) weights: &'a [T],
    /// What a padded position holds.
    pub(crate) pad: T,
}

impl<T: Element> Product<T> for Floats<'_, T> {
    type Lane = T;
    type Sum = T;

    #[inline(always)]
    fn gather(&self, g: &Geometry, image: &[T], group: usize, position: usize, row: &mut [T]) {
        gather(g, image, self.pad, group, position, row);
    }

    #[inline(always)]
    fn multiply(&self, tile: Tile<'_, T>, sums: &mut [T]) {
        let Tile { rows, count, row_lanes, first, filters } = tile;
        let weights = matrix(filters, row_lanes, &self.weights[first * row_lanes..]);
        let mut sums = matrix_mut(count, filters, sums);
        let rows = matrix(count, row_lanes, rows);
        general_mat_mul(T::one(), &rows, &weights.reversed_axes(), T::zero(), &mut sums);
    }

    fn code_sum(_: &[T]) -> i64 {
        0
    }

    #[inline(always)]
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
