//! The sums of products of codes of a byte with weights of 8, 4 or 2 bits.
//!
//! Narrow weights stay narrow in memory ([`Width`]): they are widened in registers, for several
//! rows at once, so that panels out of the cache come in at the speed of their own width.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
#[cfg(target_arch = "aarch64")]
mod dotprod;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(any(target_arch = "x86_64", test))]
mod tiles;
mod width;

use super::{Isa, Kernel, PANEL, Rows};
pub(crate) use width::Width;

/// Words of the longest row whose sum cannot overflow 32 bits: four products of 255 and -128 each.
pub(crate) const LONGEST: usize = i32::MAX as usize / (4 * 255 * 128);

/// Filters, and how their weights are held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weights<'a> {
    /// Whole panels, one after the other, of filters with [`Width::panel_words`] words.
    pub(crate) panels: &'a [u32],
    pub(crate) width: Width,
    /// No product of a weight with a code of a row is larger, of either sign.
    pub(crate) largest: u32,
}

impl Kernel {
    /// Whether it multiplies bytes on tiles, which take many rows at a time.
    pub(crate) fn has_tiles(self) -> bool {
        self.0 == Isa::Amx
    }

    /// Writes to `sums[row * stride + filter]` the sum of the products of a row's codes, which are
    /// unsigned bytes, with a filter's weights.
    ///
    /// # Panics
    /// If `weights` or `sums` have other lengths than that takes, or the rows are longer than
    /// [`LONGEST`].
    pub(crate) fn sum_products(
        self,
        rows: Rows<'_>,
        weights: Weights<'_>,
        sums: &mut [i32],
        stride: usize,
    ) {
        let len = weights.width.panel_words(rows.offsets().len());
        let filters = weights.panels.len() / len.max(1);
        assert!(weights.panels.len() == filters * len && filters.is_multiple_of(PANEL));
        assert!(rows.offsets().len().is_multiple_of(weights.width.span()));
        assert!(rows.offsets().len() <= LONGEST);
        let Some(others) = rows.count().checked_sub(1) else { return };
        let end = others.checked_mul(stride).and_then(|start| start.checked_add(filters));
        assert!(stride >= filters && end.is_some_and(|end| end <= sums.len()));
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AMX, and it is permitted, as `self` proves; the lengths have just
            // been checked.
            Isa::Amx => unsafe { amx::sum_products(rows, weights, sums, stride) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX-512, as `self` proves; the lengths have just been checked.
            Isa::Avx512 => unsafe { avx512::sum_products(rows, weights, sums, stride) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX-VNNI, as `self` proves; the lengths have just been checked.
            Isa::AvxVnni => unsafe { avxvnni::sum_products(rows, weights, sums, stride) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX2, as `self` proves; the lengths have just been checked.
            Isa::Avx2 => unsafe { avx2::sum_products(rows, weights, sums, stride) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: the CPU has both, as `self` proves; the lengths have just been checked.
            Isa::Dotprod => unsafe { dotprod::sum_products(rows, weights, sums, stride) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: the CPU has NEON, as `self` proves; the lengths have just been checked.
            Isa::Neon => unsafe { neon::sum_products(rows, weights, sums, stride) },
            _ => portable::sum_products(rows, weights, sums, stride),
        }
    }
}

/// Computes the sums of so many rows, from the first on, with so many panels. Its last arguments
/// are the sums of the first of both, and their stride.
type Run = unsafe fn(Rows<'_>, usize, Weights<'_>, &mut [i32], usize);

/// A kernel for a piece of the output whose sums stay in registers.
struct Block {
    rows: usize,
    panels: usize,
    run: Run,
}

/// Runs over all rows and panels with blocks of as many panels as the first that fits. Those of a
/// number of panels stand together, larger before smaller, with one of a single row.
///
/// # Safety
/// The CPU must have what the blocks take, and the lengths be what [`Kernel::sum_products`] checks.
unsafe fn run_over(
    blocks: &[Block],
    rows: Rows<'_>,
    weights: Weights<'_>,
    sums: &mut [i32],
    stride: usize,
) {
    let panel_len = weights.width.panel_words(rows.offsets().len()) * PANEL;
    let mut others = weights.panels;
    let mut filter = 0;
    loop {
        let most = others.len() / panel_len.max(1);
        let fits = |block: &&Block| block.rows <= rows.count() && block.panels <= most;
        let Some(&Block { panels: count, .. }) = blocks.iter().find(fits) else { return };
        let mut blocks = blocks.split(|block| block.panels != count);
        let blocks = blocks.find(|blocks| !blocks.is_empty()).unwrap_or_default();
        let (panels, rest) = others.split_at(count * panel_len);
        let mut row = 0;
        while let Some(block) = next(blocks, rows.count() - row) {
            let sums = &mut sums[row * stride + filter..];
            // SAFETY: so many rows are left, and these are as many panels; for the rest the caller
            // vouches.
            unsafe { (block.run)(rows, row, Weights { panels, ..weights }, sums, stride) };
            row += block.rows;
        }
        others = rest;
        filter += count * PANEL;
    }
}

/// Of blocks of some number of panels the one for the first of so many rows. Where two are enough,
/// they are about the same: the sums of a small block wait for each other.
fn next(blocks: &[Block], rows: usize) -> Option<&Block> {
    let most = blocks.first()?.rows;
    let share = match rows {
        _ if rows >= 2 * most => most,
        _ if rows > most => rows.div_ceil(2),
        _ => rows,
    };
    let fits = |block: &&Block| block.rows <= rows;
    let is_enough = |block: &&Block| block.rows >= share;
    blocks
        .iter()
        .rev()
        .find(|block| fits(block) && is_enough(block))
        .or_else(|| blocks.iter().find(fits))
}

#[cfg(test)]
mod tests;
