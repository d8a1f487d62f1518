//! Packed weights as what windows are multiplied with.

use crate::forward::depthwise::arithmetic::Arithmetic;
use crate::forward::depthwise::cyclic::Cyclic;
use crate::kernel::{Kernel, LANES, PANEL, vectorized};
use crate::packed::panels::Panels;
use crate::quantizer::Levels;
use std::marker::PhantomData;

/// Lays out weights `[1 + tap][filter]`: first what the sums of each filter begin with.
pub(super) fn lay_weights<'a, A: Arithmetic>(
    kernel: Kernel,
    panels: &Panels,
    levels: Levels,
    filters: usize,
    weights: &'a mut [A::Int],
) -> Cyclic<'a, A::Int, LANES> {
    lay_rows(kernel, PhantomData::<A>, panels, levels, filters, weights);
    Cyclic::new(weights, filters)
}

vectorized! {
    fn lay_rows[A: Arithmetic](
        _arithmetic: PhantomData<A>,
        panels: &Panels,
        levels: Levels,
        filters: usize,
        weights: &mut [A::Int],
    ) {
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
