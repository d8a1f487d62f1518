//! Weights in the order in which windows are multiplied with them.

use crate::forward::depthwise::arithmetic::Arithmetic;
use crate::forward::depthwise::cyclic::Cyclic;
use crate::kernel::{Code, Kernel, LANES, PANEL};
use crate::packed::panels::Panels;
use crate::quantizer::Levels;

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
