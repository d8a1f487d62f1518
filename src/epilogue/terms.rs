//! What sums become numerators with, whatever is made of these.

use crate::epilogue::exact::{Carrier, Numerator};
use crate::epilogue::padding::Padding;
use crate::forward::gemm::Bits;
use crate::geometry::Geometry;
use crate::kernel::{Addends, Kernel};

/// From the sums of all tiles to numerators.
#[derive(Clone, Copy)]
pub(crate) struct Finishing<'a> {
    pub(crate) kernel: Kernel,
    pub(crate) geometry: &'a Geometry,
    pub(crate) numerator: Numerator,
    /// What is added for the filters, less what signs are compared with.
    pub(crate) padding: &'a Padding,
    /// `Σ c_a` of each row, `[image][position][group]`, or nothing where it is not wanted.
    pub(crate) code_sums: &'a [i64],
}

impl<'a> Finishing<'a> {
    /// The number of a row: its index into `[image][position][group]`.
    #[inline(always)]
    pub(crate) fn row(&self, image: usize, position: usize, group: usize) -> usize {
        (image * self.geometry.positions() + position) * self.geometry.groups() + group
    }

    /// What is added for some rows and filters, where there are no groups and numerators are
    /// computed in `f32`.
    #[inline(always)]
    pub(crate) fn addends(&self, bits: &Bits<'_>) -> Addends<'a> {
        let Bits { tile, first_row, ref rows, ref filters, .. } = *bits;
        let position = tile.position + first_row;
        let first = self.row(tile.image, position, 0);
        Addends {
            addends: &f32::addends(self.padding)[filters.start..],
            filters: filters.len(),
            stride: self.geometry.filters,
            kinds: self.padding.kinds(position..position + rows.count()),
            sums: self.code_sums.get(first..first + rows.count()).unwrap_or_default(),
            factor: f32::of_twice(self.numerator.row),
        }
    }
}
