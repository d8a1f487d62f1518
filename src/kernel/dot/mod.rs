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

use super::arch::Vectors;
use super::blocks::{BlockKernel, blocks, run_over};
use super::prefetch::prefetch;
use super::{Code, Epilogue, Isa, Kernel, PANEL, Rows, Vector};
use crate::tuning::BYTE_PANEL_BYTES_AHEAD;
pub(crate) use width::Width;

/// Words of the longest row whose sum cannot overflow 32 bits: four products of 255 and -128 each.
pub(crate) const LONGEST: usize = i32::MAX as usize / (4 * 255 * 128);

/// Filters, and the width of their weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weights<'a> {
    /// Whole panels, one after the other, of filters with [`Width::panel_words`] words.
    pub(crate) panels: &'a [u32],
    pub(crate) width: Width,
    /// No product of a weight with a code of a row is larger, of either sign.
    pub(crate) largest: u32,
}

/// Instructions that multiply bytes, with panels of which a word holds the weights of `SPAN` words.
trait Dot<const SPAN: usize>: Copy {
    /// Rows that are addressed from one of them.
    const ADDRESSED: usize = 4;

    type Vector: Vector;
    /// A word of each filter of a panel.
    type Weights: Copy;
    /// A word of a row, for all of these.
    type Codes: Copy;
    /// The sums of a row with a panel while they grow.
    type Sums: Copy;

    fn vector(self) -> Self::Vector;

    /// See [`Vector::run`].
    #[inline(always)]
    fn run_block<C: Code>(self, code: C) -> C::Output {
        self.vector().run(code)
    }

    fn load(self, panel: &[u32; PANEL]) -> Self::Weights;
    /// The weights of the `w`th of the words that share one of the panel.
    fn unpack(self, packed: Self::Weights, w: usize) -> Self::Weights;
    fn codes(self, word: u32) -> Self::Codes;

    /// Words of a row, in `SPAN`s, after which sums are [widened](Self::widen). No product is larger
    /// than `largest`.
    #[inline(always)]
    fn words(self, _largest: u32) -> usize {
        usize::MAX
    }
    /// Before the first word, if sums are widened so many times.
    fn begin(self, times: usize) -> Self::Sums;
    fn multiply(self, sums: Self::Sums, codes: Self::Codes, weights: Self::Weights) -> Self::Sums;
    /// Empties what overflows after some words.
    #[inline(always)]
    fn widen(self, sums: Self::Sums) -> Self::Sums {
        sums
    }
    fn finish(self, sums: Self::Sums) -> <Self::Vector as Vector>::Ints;
}

/// Sums of a block of rows and panels.
type BlockSums<V, const M: usize, const P: usize> = [[<V as Vector>::Ints; P]; M];

/// Sums products block by block.
struct SumProducts<'a, D, E, const SPAN: usize> {
    d: D,
    rows: Rows<'a>,
    weights: Weights<'a>,
    epilogue: &'a mut E,
}

impl<D: Dot<SPAN>, E: Epilogue, const SPAN: usize> BlockKernel for SumProducts<'_, D, E, SPAN> {
    type Vector = D::Vector;

    fn vector(&self) -> D::Vector {
        self.d.vector()
    }

    #[inline(always)]
    unsafe fn block<const M: usize, const P: usize>(&mut self, row: usize, panel: usize) {
        let SumProducts { d, rows, weights, .. } = *self;
        // SAFETY: the caller vouches for these.
        let sums = unsafe { sums::<D, SPAN, M, P>(d, rows, weights, row, panel) };
        self.epilogue.block(d.vector(), row, panel, &sums);
    }
}

/// The sums of `M` rows from `row` on with `P` panels from `panel` on. Compiled once for all
/// epilogues: there are many blocks, of many registers, and these take long to fill.
///
/// # Safety
/// There must be so many.
#[inline(never)]
unsafe fn sums<D: Dot<SPAN>, const SPAN: usize, const M: usize, const P: usize>(
    d: D,
    rows: Rows<'_>,
    weights: Weights<'_>,
    row: usize,
    panel: usize,
) -> BlockSums<D::Vector, M, P> {
    d.run_block(BlockOf::<D, SPAN, M, P> { d, rows, weights, row, panel })
}

/// What there are so many rows and panels of.
struct BlockOf<'a, D, const SPAN: usize, const M: usize, const P: usize> {
    d: D,
    rows: Rows<'a>,
    weights: Weights<'a>,
    row: usize,
    panel: usize,
}

impl<D: Dot<SPAN>, const SPAN: usize, const M: usize, const P: usize> Code
    for BlockOf<'_, D, SPAN, M, P>
{
    type Output = BlockSums<D::Vector, M, P>;

    #[inline(always)]
    fn run(self) -> BlockSums<D::Vector, M, P> {
        let BlockOf { d, rows, weights, row, panel } = self;
        let parts = rows.offsets().chunks(d.words(weights.largest));
        let mut sums = [[d.begin(parts.len()); P]; M];
        let (base, step) = (rows.from(row), rows.step());
        let panel_words = weights.width.panel_words(rows.offsets().len());
        // SAFETY: `Rows` keeps every word of its rows within them; `panel` moves over as many words of
        // the first panel as it has, and as many of the others.
        unsafe {
            let mut panel = weights.panels.as_ptr().cast::<[u32; PANEL]>().add(panel * panel_words);
            for offsets in parts {
                for offsets in offsets.as_chunks::<SPAN>().0 {
                    let packed: [_; P] =
                        std::array::from_fn(|p| d.load(&*panel.add(p * panel_words)));
                    if M == 1 {
                        (0..P).for_each(|p| {
                            prefetch(panel.wrapping_add(p * panel_words), 1, BYTE_PANEL_BYTES_AHEAD)
                        });
                    }
                    for (w, &offset) in offsets.iter().enumerate() {
                        let filters = packed.map(|packed| d.unpack(packed, w));
                        let mut row = base.add(offset as usize);
                        for (m, sums) in sums.iter_mut().enumerate() {
                            if m > 0 && m % D::ADDRESSED == 0 {
                                row = hidden(row.wrapping_add(D::ADDRESSED * step));
                            }
                            let codes = d.codes(*row.add(m % D::ADDRESSED * step));
                            for (sums, filters) in sums.iter_mut().zip(filters) {
                                *sums = d.multiply(*sums, codes, filters);
                            }
                        }
                    }
                    panel = panel.add(1);
                }
                for sums in sums.as_flattened_mut() {
                    *sums = d.widen(*sums);
                }
            }
        }
        let mut finished = [[d.vector().ints(0); P]; M];
        for (finished, sums) in finished.iter_mut().zip(sums) {
            for (finished, sums) in finished.iter_mut().zip(sums) {
                *finished = d.finish(sums);
            }
        }
        finished
    }
}

/// A pointer of which the compiler does not know where it comes from. It would address all rows from
/// the first, with more registers than there are.
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block)] // it only passes through a register
fn hidden(row: *const u32) -> *const u32 {
    #[cfg(target_arch = "x86_64")]
    let row = {
        let mut row = row;
        // SAFETY: no instruction at all.
        unsafe {
            std::arch::asm!("/* {} */", inout(reg) row, options(pure, nomem, nostack, preserves_flags));
        }
        row
    };
    row
}

impl Kernel {
    /// Whether it multiplies bytes on tiles, which take many rows at a time.
    pub(crate) fn has_tiles(self) -> bool {
        self.0 == Isa::Amx
    }

    /// Numbers that the buffer of [`dot`](Self::dot) takes for so many rows, and filters in whole
    /// panels.
    pub(crate) fn dot_buffer(self, rows: usize, filters: usize) -> usize {
        if self.has_tiles() { rows * filters } else { 0 }
    }

    /// Hands over the sums of the products of the codes of all rows, which are unsigned bytes, with
    /// the weights of all filters. `buffer` has [`dot_buffer`](Self::dot_buffer) numbers, of any
    /// values.
    ///
    /// # Panics
    /// If `weights` are not whole panels for such rows, these are longer than [`LONGEST`], or the
    /// buffer is shorter.
    pub(crate) fn dot<E: Epilogue>(
        self,
        rows: Rows<'_>,
        weights: Weights<'_>,
        buffer: &mut [i32],
        epilogue: &mut E,
    ) {
        #[cfg(not(target_arch = "x86_64"))]
        let _ = buffer; // all their sums stay in registers
        let panels = check(rows, weights);
        macro_rules! run {
            ($d:expr, $span:literal: $($blocks:tt)*) => {{
                let mut kernel = SumProducts { d: $d, rows, weights, epilogue };
                let blocks = blocks!(SumProducts<_, E, $span>: $($blocks)*);
                // SAFETY: there are so many rows and panels.
                unsafe { run_over(&mut kernel, &blocks, rows.count(), panels) }
            }};
            ($d:expr, all: $($blocks:tt)*) => {
                match weights.width {
                    Width::Bits8 => run!($d, 1: $($blocks)*),
                    Width::Bits4 => run!($d, 2: $($blocks)*),
                    Width::Bits2 => run!($d, 4: $($blocks)*),
                }
            };
        }
        match (self.0, self.vector()) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Amx, Vectors::Avx512(v)) if amx::pays(rows, weights) => {
                let filters = panels * PANEL;
                let sums = &mut buffer[..rows.count() * filters];
                // SAFETY: the CPU has AMX, and it is permitted, as `self` proves; there are as many
                // sums as rows and filters.
                unsafe { amx::sum_products(rows, weights, sums, filters) };
                v.run(HandOver { v, sums, filters, epilogue });
            }
            // Panels from far away come in faster the fewer are read at once, but narrow weights take
            // longer to unpack than to come in.
            #[cfg(target_arch = "x86_64")]
            (_, Vectors::Avx512(v)) if rows.count() == 1 => match weights.width {
                Width::Bits8 => run!(v, 1: 1 x 2, 1 x 1),
                Width::Bits4 => run!(v, 2: 1 x 2, 1 x 1),
                Width::Bits2 => run!(v, 4: 1 x 4, 1 x 2, 1 x 1),
            },
            // Two panels of a thousand codes stay in the first cache while all rows are multiplied
            // with them, and come in for the first rows at less than the second cache can bring: four
            // panels, which take fewer loads, do neither. Narrow weights need many rows to pay for
            // unpacking them.
            #[cfg(target_arch = "x86_64")]
            (_, Vectors::Avx512(v)) => run!(v, all:
                12 x 2, 11 x 2, 10 x 2, 9 x 2, 8 x 2, 7 x 2, 6 x 2, 5 x 2, 4 x 2, 3 x 2, 2 x 2, 1 x 2,
                12 x 1, 8 x 1, 6 x 1, 4 x 1, 2 x 1, 1 x 1
            ),
            // As many rows as the registers hold, to hide the latency of the dot product.
            #[cfg(target_arch = "x86_64")]
            (Isa::AvxVnni, Vectors::Avx2(v)) => {
                // SAFETY: the CPU has AVX-VNNI, as `self` proves.
                let v = unsafe { avxvnni::AvxVnni::new(v) };
                run!(v, all: 6 x 1, 4 x 1, 2 x 1, 1 x 1)
            }
            #[cfg(target_arch = "x86_64")]
            (_, Vectors::Avx2(v)) => {
                match (weights.width, avx2::words_of(weights.largest, i16::MAX as u32)) {
                    (Width::Bits8, 0) => run!(avx2::Wide(v), 1: 2 x 1, 1 x 1),
                    (Width::Bits8, 1..4) => run!(avx2::Pairs::<false>(v), 1: 4 x 1, 2 x 1, 1 x 1),
                    _ => run!(avx2::Pairs::<true>(v), all: 4 x 1, 2 x 1, 1 x 1),
                }
            }
            #[cfg(target_arch = "aarch64")]
            (Isa::Dotprod, Vectors::Neon(v)) => {
                // SAFETY: the CPU has the dot product, as `self` proves.
                let v = unsafe { dotprod::Dotprod::new(v) };
                run!(v, all: 4 x 1, 2 x 1, 1 x 1)
            }
            #[cfg(target_arch = "aarch64")]
            (_, Vectors::Neon(v)) => run!(v, all: 2 x 1, 1 x 1),
            (_, Vectors::Portable(v)) => run!(v, all: 1 x 1),
        }
    }
}

/// How many panels there are.
fn check(rows: Rows<'_>, weights: Weights<'_>) -> usize {
    let panel_len = weights.width.panel_words(rows.offsets().len()) * PANEL;
    let panels = weights.panels.len() / panel_len.max(1);
    assert!(weights.panels.len() == panels * panel_len);
    assert!(rows.offsets().len().is_multiple_of(weights.width.span()));
    assert!(rows.offsets().len() <= LONGEST);
    panels
}

/// Hands over sums in memory, `[row][filter]`, of so many filters in whole panels.
#[cfg(any(target_arch = "x86_64", test))]
struct HandOver<'a, V, E> {
    v: V,
    sums: &'a [i32],
    filters: usize,
    epilogue: &'a mut E,
}

#[cfg(any(target_arch = "x86_64", test))]
impl<V: Vector, E: Epilogue> Code for HandOver<'_, V, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let HandOver { v, sums, filters, epilogue } = self;
        for (row, sums) in sums.chunks_exact(filters.max(1)).enumerate() {
            for (panel, sums) in sums.as_chunks().0.iter().enumerate() {
                epilogue.block(v, row, panel, &[[v.load_ints(sums)]]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
