//! Rows of elements that begin again where they end, for vectors that run over consecutive positions.

use crate::Result;
use crate::memory::product;

/// Rows of an element for each filter, or for each word of filters. A row begins again where it
/// ends, so that `N` elements can be read from each of its elements on.
#[derive(Clone, Copy)]
pub(super) struct Cyclic<'a, V, const N: usize> {
    elements: &'a [V],
    row: usize,
}

impl<'a, V: Copy, const N: usize> Cyclic<'a, V, N> {
    /// Elements of rows that begin again after `row` of them.
    pub(super) fn len(rows: usize, row: usize) -> Result<usize> {
        product(&[rows, row.saturating_add(N)], "packed weights")
    }

    /// Makes the rows begin again.
    pub(super) fn new(elements: &'a mut [V], row: usize) -> Self {
        for elements in elements.chunks_exact_mut(row + N) {
            let mut len = row;
            while len < row + N {
                elements.copy_within(..len.min(row + N - len), len);
                len *= 2;
            }
        }
        Cyclic { elements, row }
    }

    /// Elements of a row.
    pub(super) fn row(&self) -> usize {
        self.row
    }

    /// All rows, as they lie.
    #[inline(always)]
    pub(super) fn elements(&self) -> &'a [V] {
        self.elements
    }

    /// Rows of `N` times the element of one filter. `buffer` has `2 * N` elements for each.
    #[inline(always)]
    pub(super) fn of_filter<'b>(&self, filter: usize, buffer: &'b mut [V]) -> Cyclic<'b, V, N> {
        let rows = self.elements.chunks_exact(self.row + N);
        // What would follow when they begin again is not read: `N` are, from the first one on.
        for (row, of_filter) in rows.zip(buffer.as_chunks_mut::<N>().0.iter_mut().step_by(2)) {
            *of_filter = [row[filter]; N];
        }
        Cyclic { elements: buffer, row: N }
    }

    /// Some rows.
    #[inline(always)]
    pub(super) fn rows(&self, first: usize, count: usize) -> Self {
        let stride = self.row + N;
        Cyclic { elements: &self.elements[first * stride..][..count * stride], row: self.row }
    }

    /// `M` elements, at most `N`, of each row from one on.
    #[inline(always)]
    pub(super) fn from<const M: usize>(&self, at: usize) -> impl Iterator<Item = &'a [V; M]> {
        let rows = self.elements.chunks_exact(self.row + N);
        rows.filter_map(move |row| row.get(at..)?.first_chunk())
    }
}
