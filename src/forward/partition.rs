//! The driver of every forward: cuts an output into blocks for the threads, gives each a workspace,
//! and has an engine compute them.

use crate::Result;
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel};
use crate::memory::{Workspace, WorkspaceSize, take_aligned};
use ndarray::{ArrayViewMut5, Axis};

/// What computes the blocks of an output, on any thread.
pub(crate) trait Engine: Sync {
    /// An element of the output.
    type Out: Send;
    /// Filters that an element of the output holds: 1, or the 32 signs of a word.
    const FILTERS: usize;

    /// Slices that a block is computed in.
    fn workspace(&self) -> Result<WorkspaceSize>;

    /// Computes a block on this thread. Compiled for the instruction set of the kernel, so that it
    /// should be `#[inline(always)]`.
    fn compute(&self, block: Block<'_, Self::Out>, workspace: Workspace<'_>);
}

/// A part of an output (images, filters, depth, height, width), of which its positions are
/// consecutive.
pub(crate) struct Block<'a, O> {
    pub(crate) out: ArrayViewMut5<'a, O>,
    pub(crate) first_image: usize,
    pub(crate) first_filter: usize,
    pub(crate) first_position: usize,
}

/// Into what an output is cut: chosen by the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Partition {
    /// At most so many blocks.
    pub(crate) blocks: usize,
    /// Filters that are computed together.
    pub(crate) filters_together: usize,
    /// Positions that are computed together: where there are fewer, filters are divided. 0 where
    /// they must not be.
    pub(crate) positions_together: usize,
}

impl Partition {
    /// Has an engine compute an output, in workspaces of `memory`.
    pub(crate) fn run<E: Engine>(
        self,
        kernel: Kernel,
        geometry: &Geometry,
        engine: &E,
        memory: &mut Vec<u64>,
        out: ArrayViewMut5<'_, E::Out>,
    ) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let size = engine.workspace()?;
        let memory = take_aligned(memory, size.units(self.blocks)?, "workspaces")?;
        let block = Block { out, first_image: 0, first_filter: 0, first_position: 0 };
        let driver = Driver { partition: self, kernel, geometry, engine, size };
        driver.divide(block, self.blocks, Workspace::new(memory));
        Ok(())
    }
}

/// A partition of the output of an engine.
struct Driver<'a, E> {
    partition: Partition,
    kernel: Kernel,
    geometry: &'a Geometry,
    engine: &'a E,
    size: WorkspaceSize,
}

impl<E: Engine> Driver<'_, E> {
    /// Halves a block until there are as many as asked for, or nothing is left to halve, and has
    /// each computed on the threads of the current pool.
    fn divide(&self, block: Block<'_, E::Out>, blocks: usize, workspaces: Workspace<'_>) {
        let Some(axis) = self.axis(&block.out).filter(|_| blocks > 1) else {
            return self.kernel.vectorize(Compute {
                engine: self.engine,
                block,
                workspace: workspaces,
            });
        };
        let (left, right) = (blocks / 2, blocks - blocks / 2);
        let (workspaces, right_workspaces) = workspaces.split(self.size, left);
        let (block, right_block) = self.halve(block, axis);
        rayon::join(
            || self.divide(block, left, workspaces),
            || self.divide(right_block, right, right_workspaces),
        );
    }

    /// Where to halve a block: by images, else along the first spatial axis of some length; by
    /// filters where positions are so few that dividing them would not make them faster.
    fn axis(&self, out: &ArrayViewMut5<'_, E::Out>) -> Option<Axis> {
        let Partition { filters_together, positions_together, .. } = self.partition;
        let positions = out.len() / out.len_of(Axis(1)).max(1);
        let filters = out.len_of(Axis(1)) * E::FILTERS;
        let few = positions < 2 * positions_together;
        if few && filters >= 2 * filters_together {
            return Some(Axis(1));
        }
        [0, 2, 3, 4].map(Axis).into_iter().find(|&axis| out.len_of(axis) > 1)
    }

    fn halve<'b>(
        &self,
        block: Block<'b, E::Out>,
        axis: Axis,
    ) -> (Block<'b, E::Out>, Block<'b, E::Out>) {
        let Block { out, first_image, first_filter, first_position } = block;
        let (mut image, mut filter, mut position) = (first_image, first_filter, first_position);
        let mut middle = out.len_of(axis) / 2;
        match axis {
            Axis(0) => image += middle,
            Axis(1) => {
                let together = self.partition.filters_together;
                let filters = (middle * E::FILTERS).div_ceil(together) * together;
                middle = filters / E::FILTERS;
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

/// The computation of a block.
struct Compute<'a, 'b, 'w, E: Engine> {
    engine: &'a E,
    block: Block<'b, E::Out>,
    workspace: Workspace<'w>,
}

impl<E: Engine> Code for Compute<'_, '_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.engine.compute(self.block, self.workspace);
    }
}
