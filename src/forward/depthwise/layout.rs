//! How the numbers of a depthwise convolution lie in lanes.

use crate::forward::depthwise::grid::Grid;
use crate::geometry::Geometry;
use crate::options::PadValue;
use crate::quantizer::Levels;

/// The lanes that sums fit into.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Arithmetic {
    Signs,
    Short,
    Long,
}

/// A lane for every filter of a pixel: filters of one channel each have a copy of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) arithmetic: Arithmetic,
    pub(crate) grid: Grid,
    /// The number in the padding.
    pub(crate) pad: i64,
}

impl Layout {
    /// The layout, where lanes are the way to compute a convolution.
    pub(crate) fn new(
        geometry: &Geometry,
        activation: Levels,
        weight: Levels,
        pad: PadValue,
    ) -> Option<Self> {
        let depthwise = geometry.group_channels() == 1 && geometry.groups() > 1;
        if !depthwise || geometry.activations() == 0 || geometry.filters == 0 {
            return None;
        }
        let pad = pad.as_integer() * activation.denominator();
        let largest = activation.largest_numerator().max(pad.abs());
        let sum = largest * weight.largest_numerator() * geometry.row_len() as i64;
        let arithmetic = if weight.is_sign() && sum <= i8::MAX.into() {
            Arithmetic::Signs
        } else if sum <= i16::MAX.into() {
            Arithmetic::Short
        } else if sum <= i32::MAX.into() {
            Arithmetic::Long
        } else {
            return None;
        };
        Some(Layout { arithmetic, grid: Grid::new(geometry, geometry.filters)?, pad })
    }
}
