//! What is left of the old driver.

use crate::geometry::Geometry;
use ndarray::{ArrayViewMut5, Axis};

/// A part of an output (images, filters, depth, height, width), of which its positions are
/// consecutive.
pub(crate) struct Block<'a, O> {
    pub(crate) out: ArrayViewMut5<'a, O>,
    pub(crate) first_image: usize,
    pub(crate) first_filter: usize,
    pub(crate) first_position: usize,
}

impl<'a, O> Block<'a, O> {
    pub(crate) fn whole(out: ArrayViewMut5<'a, O>) -> Self {
        Block { out, first_image: 0, first_filter: 0, first_position: 0 }
    }
}

/// What blocks are cut into.
#[derive(Clone, Copy)]
pub(crate) struct Cut<'a> {
    pub(crate) geometry: &'a Geometry,
    /// Filters that an element of the output holds.
    pub(crate) filters_per_element: usize,
    /// Filters that are computed together.
    pub(crate) filters_together: usize,
    /// Positions that are computed together: where there are fewer, filters are divided. 0 where
    /// they must not be.
    pub(crate) positions_together: usize,
}

/// Memory to compute blocks in: equal shares of a buffer.
pub(crate) struct Shares<'a, V> {
    elements: &'a mut [V],
    len: usize,
}

impl<'a, V> Shares<'a, V> {
    /// Shares of `len` elements each.
    pub(crate) fn new(elements: &'a mut [V], len: usize) -> Self {
        Shares { elements, len }
    }

    /// The first shares, and the others.
    pub(crate) fn split(self, shares: usize) -> (Self, Self) {
        let (left, right) = self.elements.split_at_mut(shares * self.len);
        (Shares::new(left, self.len), Shares::new(right, self.len))
    }

    /// The first share.
    pub(crate) fn take(self) -> &'a mut [V] {
        &mut self.elements[..self.len]
    }
}

/// Memory that is divided along with the blocks.
pub(crate) trait Divide: Send + Sized {
    /// What is needed for the first blocks, and for the others.
    fn divide(self, blocks: usize) -> (Self, Self);
}

impl Cut<'_> {
    /// Halves a block until there are as many as asked for, or nothing is left to halve, and
    /// calls `compute` with each on the threads of the current pool.
    pub(crate) fn for_each<O: Send, W: Divide>(
        &self,
        block: Block<'_, O>,
        blocks: usize,
        workspace: W,
        compute: &(impl Fn(Block<'_, O>, W) + Sync),
    ) {
        let Some(axis) = self.axis(&block.out).filter(|_| blocks > 1) else {
            return compute(block, workspace);
        };
        let (left, right) = (blocks / 2, blocks - blocks / 2);
        let (workspace, right_workspace) = workspace.divide(left);
        let (block, right_block) = self.halve(block, axis);
        rayon::join(
            || self.for_each(block, left, workspace, compute),
            || self.for_each(right_block, right, right_workspace, compute),
        );
    }

    /// Where to halve a block: by images, else along the first spatial axis of some length; by
    /// filters where positions are so few that dividing them would not make them faster.
    fn axis<O>(&self, out: &ArrayViewMut5<'_, O>) -> Option<Axis> {
        let positions = out.len() / out.len_of(Axis(1)).max(1);
        let filters = out.len_of(Axis(1)) * self.filters_per_element;
        let few = positions < 2 * self.positions_together;
        if few && filters >= 2 * self.filters_together {
            return Some(Axis(1));
        }
        [0, 2, 3, 4].map(Axis).into_iter().find(|&axis| out.len_of(axis) > 1)
    }

    fn halve<'a, O>(&self, block: Block<'a, O>, axis: Axis) -> (Block<'a, O>, Block<'a, O>) {
        let Block { out, first_image, first_filter, first_position } = block;
        let (mut image, mut filter, mut position) = (first_image, first_filter, first_position);
        let mut middle = out.len_of(axis) / 2;
        match axis {
            Axis(0) => image += middle,
            Axis(1) => {
                let together = self.filters_together;
                let filters = (middle * self.filters_per_element).div_ceil(together) * together;
                middle = filters / self.filters_per_element;
                filter += filters;
            }
            Axis(axis) => {
                position += middle * self.geometry.output[axis - 1..].iter().product::<usize>();
            }
        }
        let (out, right_out) = out.split_at(axis, middle);
        let right = Block {
            out: right_out,
            first_image: image,
            first_filter: filter,
            first_position: position,
        };
        (Block { out, first_image, first_filter, first_position }, right)
    }
}
