//! Which rows and panels a kernel computes together: those whose sums stay in registers.

use super::{Code, Vector};
use std::ops::Range;

/// A kernel of which each block of rows and panels is computed on its own.
pub(super) trait BlockKernel {
    type Vector: Vector;

    /// Whose instructions it is compiled with.
    fn vector(&self) -> Self::Vector;

    /// Computes `M` rows from `row` on with `P` panels from `panel` on.
    ///
    /// # Safety
    /// There must be so many. It should be `#[inline(always)]`.
    unsafe fn block<const M: usize, const P: usize>(&mut self, row: usize, panel: usize);
}

/// Computes blocks below each other.
struct Run<'k, K, const M: usize, const P: usize> {
    kernel: &'k mut K,
    rows: Range<usize>,
    panel: usize,
}

impl<K: BlockKernel, const M: usize, const P: usize> Code for Run<'_, K, M, P> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for row in self.rows.step_by(M) {
            // SAFETY: what makes one vouches for the rows and panels.
            unsafe { self.kernel.block::<M, P>(row, self.panel) }
        }
    }
}

/// Computes some rows, a multiple of `M`, with `P` panels from `panel` on.
///
/// # Safety
/// There must be so many.
pub(super) unsafe fn run_blocks<K: BlockKernel, const M: usize, const P: usize>(
    kernel: &mut K,
    rows: Range<usize>,
    panel: usize,
) {
    kernel.vector().run(Run::<K, M, P> { kernel, rows, panel });
}

/// Blocks of a size, and what computes some of them below each other, from a panel on.
pub(super) struct Block<K> {
    pub(super) rows: usize,
    pub(super) panels: usize,
    pub(super) run: unsafe fn(&mut K, Range<usize>, usize),
}

/// The blocks of a kernel, in the order that [`run_over`] takes.
macro_rules! blocks {
    ($kernel:ty: $($rows:literal x $panels:literal),* $(,)?) => {
        [$($crate::kernel::blocks::Block {
            rows: $rows,
            panels: $panels,
            run: $crate::kernel::blocks::run_blocks::<$kernel, $rows, $panels>,
        }),*]
    };
}
pub(super) use blocks;

/// Runs over all rows and panels with blocks of as many panels as the first that fits. Those of a
/// number of panels stand together, larger before smaller, with one of a single row.
///
/// # Safety
/// The kernel must have so many rows and panels.
pub(super) unsafe fn run_over<K>(kernel: &mut K, blocks: &[Block<K>], rows: usize, panels: usize) {
    let mut panel = 0;
    loop {
        let fits = |block: &&Block<K>| block.rows <= rows && block.panels <= panels - panel;
        let Some(&Block { panels: count, .. }) = blocks.iter().find(fits) else { return };
        let mut blocks = blocks.split(|block| block.panels != count);
        let blocks = blocks.find(|blocks| !blocks.is_empty()).unwrap_or_default();
        let mut row = 0;
        while let Some((block, count)) = next(blocks, rows - row) {
            let end = row + count * block.rows;
            // SAFETY: so many rows and panels are left.
            unsafe { (block.run)(kernel, row..end, panel) };
            row = end;
        }
        panel += count;
    }
}

/// Of blocks of some number of panels those for the first of so many rows, and how many of them: the
/// largest, until they would leave less than one. The last two are about the same, as the sums of a
/// small block wait for each other.
fn next<K>(blocks: &[Block<K>], rows: usize) -> Option<(&Block<K>, usize)> {
    let largest = blocks.first()?;
    if rows >= 2 * largest.rows {
        return Some((largest, rows / largest.rows - 1));
    }
    let share = if rows > largest.rows { rows.div_ceil(2) } else { rows };
    let fits = |block: &&Block<K>| block.rows <= rows;
    let is_enough = |block: &&Block<K>| block.rows >= share;
    let block = blocks
        .iter()
        .rev()
        .find(|block| fits(block) && is_enough(block))
        .or_else(|| blocks.iter().find(fits))?;
    Some((block, 1))
}
