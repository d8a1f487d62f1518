//! Weights as windows are multiplied with them.

use crate::Result;
use crate::forward::depthwise::product::Product;
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel, PANEL};
use crate::memory::{product, take_aligned};
use crate::packed::panels::Panels;
use crate::quantizer::Levels;

/// Elements for each filter, or word of filters, of `count` rows. They begin again where a row
/// ends, so that `N` elements can be read from each of its elements on.
#[derive(Clone, Copy)]
pub(crate) struct Cyclic<'a, L, const N: usize> {
    elements: &'a [L],
    row: usize,
}

impl<'a, L, const N: usize> Cyclic<'a, L, N> {
    /// Elements of rows that begin again after `row` of them.
    pub(crate) fn len(count: usize, row: usize) -> Result<usize> {
        let stride = row.saturating_add(N);
        product(&[count, stride], "packed weights")
    }

    /// Makes the rows begin again.
    pub(crate) fn new(elements: &'a mut [L], row: usize) -> Self
    where
        L: Copy,
    {
        for row_elements in elements.chunks_exact_mut(row + N) {
            for i in row..row + N {
                row_elements[i] = row_elements[i - row];
            }
        }
        Cyclic { elements, row }
    }

    /// Elements of a row.
    pub(crate) fn row(&self) -> usize {
        self.row
    }

    /// All rows, as they lie.
    #[inline(always)]
    pub(crate) fn elements(&self) -> &'a [L] {
        self.elements
    }

    /// The element of a filter in each row as a row of `N` of its own, in a buffer for these. What
    /// would follow when they begin again is not there: they are read from the first one on.
    #[inline(always)]
    pub(crate) fn of_row<'b>(&self, filter: usize, buffer: &'b mut [L]) -> Cyclic<'b, L, N>
    where
        L: Copy,
    {
        let rows = self.elements.chunks_exact(self.row + N);
        for (row, lanes) in rows.zip(buffer.as_chunks_mut().0.iter_mut().step_by(2)) {
            *lanes = [row[filter]; N];
        }
        Cyclic { elements: buffer, row: N }
    }

    /// Some rows.
    #[inline(always)]
    pub(crate) fn rows(&self, first: usize, count: usize) -> Self {
        let stride = self.row + N;
        Cyclic { elements: &self.elements[first * stride..][..count * stride], row: self.row }
    }

    /// `N` elements of each row from one on.
    #[inline(always)]
    pub(crate) fn from(&self, at: usize) -> impl Iterator<Item = &'a [L; N]> {
        let rows = self.elements.chunks_exact(self.row + N);
        rows.filter_map(move |row| row.get(at..)?.first_chunk())
    }
}

/// Lays out weights `[1 + tap][filter]`: first what the sums of each filter begin with.
pub(crate) fn lay_weights<'a, P: Product, const N: usize>(
    kernel: Kernel,
    panels: &Panels,
    levels: Levels,
    geometry: &Geometry,
    weights: &'a mut Vec<P::Lane>,
) -> Result<Cyclic<'a, P::Lane, N>> {
    let (filters, rows) = (geometry.filters, 1 + geometry.taps());
    let weights =
        take_aligned(weights, Cyclic::<P::Lane, N>::len(rows, filters)?, "packed weights")?;
    kernel.vectorize(LayWeights::<P> { panels, levels, filters, stride: filters + N, weights });
    Ok(Cyclic::new(weights, filters))
}

struct LayWeights<'a, P: Product> {
    panels: &'a Panels,
    levels: Levels,
    filters: usize,
    /// Lanes of a tap.
    stride: usize,
    weights: &'a mut [P::Lane],
}

impl<P: Product> Code for LayWeights<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let LayWeights { panels, levels, filters, stride, weights } = self;
        let (starts, taps) = weights.split_at_mut(stride);
        for first in (0..filters).step_by(PANEL) {
            let count = PANEL.min(filters - first);
            let mut start = [P::Lane::default(); PANEL];
            for (tap, weights) in taps.chunks_exact_mut(stride).enumerate() {
                let codes = panels.column(first / PANEL, tap);
                let lanes = codes.map(|code| P::weight(levels.numerator(code)));
                for (start, lane) in start.iter_mut().zip(lanes) {
                    *start = P::start(*start, lane);
                }
                weights[first..first + count].copy_from_slice(&lanes[..count]);
            }
            starts[first..first + count].copy_from_slice(&start[..count]);
        }
    }
}
