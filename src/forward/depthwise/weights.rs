//! Weights in the order in which windows are multiplied with them.

use crate::Result;
use crate::forward::depthwise::arithmetic::Arithmetic;
use crate::kernel::{Code, Kernel, LANES, PANEL};
use crate::memory::product;
use crate::packed::panels::Panels;
use crate::quantizer::Levels;

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

/// Lays out weights `[1 + tap][filter]`: first what the sums of each filter begin with.
pub(super) fn lay_weights<'a, A: Arithmetic>(
    kernel: Kernel,
    (panels, levels): (&Panels, Levels),
    filters: usize,
    weights: &'a mut [A::Int],
) -> Cyclic<'a, A::Int, LANES> {
    kernel.vectorize(LayRows::<A> { panels, levels, filters, weights });
    Cyclic::new(weights, filters)
}

struct LayRows<'a, A: Arithmetic> {
    panels: &'a Panels,
    levels: Levels,
    filters: usize,
    weights: &'a mut [A::Int],
}

impl<A: Arithmetic> Code for LayRows<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let LayRows { panels, levels, filters, weights } = self;
        let (starts, taps) = weights.split_at_mut(filters + LANES);
        for first in (0..filters).step_by(PANEL) {
            let count = PANEL.min(filters - first);
            let mut start = [A::Int::default(); PANEL];
            for (tap, weights) in taps.chunks_exact_mut(filters + LANES).enumerate() {
                let codes = panels.column(first / PANEL, tap);
                let of_tap = codes.map(|code| A::weight(levels.numerator(code)));
                start.iter_mut().zip(of_tap).for_each(|(s, weight)| *s = A::start(*s, weight));
                weights[first..first + count].copy_from_slice(&of_tap[..count]);
            }
            starts[first..first + count].copy_from_slice(&start[..count]);
        }
    }
}
