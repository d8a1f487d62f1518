//! With AMX: products of tiles.

use super::tiles::{self, PanelTiles, RowTiles, Run, SIDE, SumTiles, Tiles, Words};
use super::{Rows, Weights, Width, avx512};
use crate::tuning::{AMX_ROWS, AMX_UNPACKED_STEPS, AMX_WORK};
use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::{MaybeUninit, offset_of};

/// Whether there is enough to do.
pub(super) fn pays(rows: Rows<'_>, weights: Weights<'_>) -> bool {
    let work = rows.count() * weights.panels.len() * weights.width.span();
    rows.count() >= AMX_ROWS && work >= AMX_WORK
}

/// Writes to `sums[row * stride + filter]` what [`Kernel::dot`](super::Kernel::dot) hands over.
///
/// # Safety
/// The CPU must have AMX, and its use be permitted. The lengths must be what the callers there check.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) unsafe fn sum_products(
    rows: Rows<'_>,
    weights: Weights<'_>,
    sums: &mut [i32],
    stride: usize,
) {
    // SAFETY: as here; nothing else uses tiles.
    unsafe {
        match weights.width {
            Width::Bits8 => tiles::sum_products::<Amx, 1, 1>(rows, weights, sums, stride),
            Width::Bits4 => {
                tiles::sum_products::<Amx, 2, AMX_UNPACKED_STEPS>(rows, weights, sums, stride)
            }
            Width::Bits2 => {
                tiles::sum_products::<Amx, 4, AMX_UNPACKED_STEPS>(rows, weights, sums, stride)
            }
        }
    }
}

/// The tile registers: four of sums, two of rows, two of panels.
struct Amx;

/// What `ldtilecfg` loads.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// For tiles of each number of rows.
static SHAPES: [Shapes; SIDE + 1] = {
    const NONE: Shapes = Shapes {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [0; 16],
    };
    let mut shapes = [NONE; SIDE + 1];
    let mut rows = 1;
    while rows <= SIDE {
        let (n, all) = (rows as u8, SIDE as u8);
        shapes[rows].rows = [n, n, n, n, n, n, all, all, 0, 0, 0, 0, 0, 0, 0, 0];
        rows += 1;
    }
    shapes
};

impl Tiles for Amx {
    #[inline(always)]
    unsafe fn new(rows: usize) -> Self {
        let shapes = &SHAPES[rows];
        // SAFETY: the caller vouches for the CPU.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) shapes, options(nostack, readonly, preserves_flags));
        }
        Amx
    }

    #[inline(always)]
    unsafe fn multiply<const M: usize, const P: usize>(
        &self,
        rows: &[RowTiles],
        panels: &[PanelTiles],
        sums: SumTiles,
    ) {
        // SAFETY: as here.
        unsafe {
            match (M, P) {
                (2, 2) => multiply_2x2(rows, panels, sums),
                (2, _) => multiply_2x1(rows, panels, sums),
                (_, 2) => multiply_1x2(rows, panels, sums),
                _ => multiply_1x1(rows, panels, sums),
            }
        }
    }

    #[inline(always)]
    unsafe fn gather(row: *const u32, runs: &[Run], to: &mut MaybeUninit<Words>) {
        // SAFETY: the words are there, and lanes that are masked out are not read.
        unsafe {
            let mut words = _mm512_setzero_si512();
            for &(mask, first) in runs {
                words = _mm512_mask_loadu_epi32(words, mask, row.wrapping_offset(first).cast());
            }
            _mm512_storeu_si512(to.as_mut_ptr().cast(), words);
        }
    }

    #[inline(always)]
    unsafe fn unpack<const SPAN: usize>(packed: &Words, to: &mut [MaybeUninit<Words>; SPAN]) {
        // SAFETY: the CPU has AVX-512, and both are as long as vectors.
        unsafe {
            let packed = _mm512_loadu_si512(packed.as_ptr().cast());
            for (w, to) in to.iter_mut().enumerate() {
                let weights = avx512::unpack::<SPAN>(packed, w);
                _mm512_storeu_si512(to.as_mut_ptr().cast(), weights);
            }
        }
    }
}

impl Drop for Amx {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the CPU has tiles, or there would be no value.
        unsafe {
            asm!(
                "tilerelease",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, nomem, preserves_flags)
            );
        }
    }
}

/// A function for some number of tiles of rows and panels: what begins sums, loads them, is done in
/// a step, and stores them. Sums live in registers only within: nothing can come in between.
macro_rules! multiply {
    ($name:ident: [$($zero:literal)*] [$($load:literal)*] [$($step:literal)*] [$($store:literal)*]) => {
        /// See [`Tiles::multiply`].
        ///
        /// # Safety
        /// As there.
        #[inline(never)]
        unsafe fn $name(rows: &[RowTiles], panels: &[PanelTiles], sums: SumTiles) {
            if rows.is_empty() {
                return;
            }
            // SAFETY: it reads as many steps as there are, and the caller vouches for all that they
            // and the sums point to.
            unsafe {
                asm!(
                    "test {begun}, {begun}",
                    "jnz 2f",
                    $($zero,)*
                    "jmp 3f",
                    "2:",
                    $($load,)*
                    "3:",
                    "mov {stride}, [{rows} + {stride_at}]",
                    $($step,)*
                    "add {rows}, {row_tiles}",
                    "add {panels}, {panel_tiles}",
                    "dec {count}",
                    "jnz 3b",
                    $($store,)*
                    "/* {first} {second} {sums_stride} */",
                    begun = in(reg) usize::from(sums.are_begun),
                    rows = inout(reg) rows.as_ptr() => _,
                    panels = inout(reg) panels.as_ptr() => _,
                    count = inout(reg) rows.len() => _,
                    first = in(reg) sums.tiles[0],
                    second = in(reg) sums.tiles[1],
                    sums_stride = in(reg) sums.stride,
                    stride_at = const offset_of!(RowTiles, stride),
                    row_tiles = const size_of::<RowTiles>(),
                    panel_tiles = const size_of::<PanelTiles>(),
                    line = in(reg) 64_usize,
                    stride = out(reg) _,
                    at = out(reg) _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack)
                );
            }
        }
    };
}

multiply! {
    multiply_2x2:
    ["tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3"]
    [
        "tileloadd tmm0, [{first} + {sums_stride}]"
        "tileloadd tmm1, [{first} + {sums_stride} + 64]"
        "tileloadd tmm2, [{second} + {sums_stride}]"
        "tileloadd tmm3, [{second} + {sums_stride} + 64]"
    ]
    [
        "mov {at}, [{panels}]"
        "tileloadd tmm6, [{at} + {line}]"
        "mov {at}, [{rows}]"
        "tileloadd tmm4, [{at} + {stride}]"
        "tdpbusd tmm0, tmm4, tmm6"
        "mov {at}, [{panels} + 8]"
        "tileloadd tmm7, [{at} + {line}]"
        "tdpbusd tmm1, tmm4, tmm7"
        "mov {at}, [{rows} + 8]"
        "tileloadd tmm5, [{at} + {stride}]"
        "tdpbusd tmm2, tmm5, tmm6"
        "tdpbusd tmm3, tmm5, tmm7"
    ]
    [
        "tilestored [{first} + {sums_stride}], tmm0"
        "tilestored [{first} + {sums_stride} + 64], tmm1"
        "tilestored [{second} + {sums_stride}], tmm2"
        "tilestored [{second} + {sums_stride} + 64], tmm3"
    ]
}

multiply! {
    multiply_2x1:
    ["tilezero tmm0" "tilezero tmm2"]
    [
        "tileloadd tmm0, [{first} + {sums_stride}]"
        "tileloadd tmm2, [{second} + {sums_stride}]"
    ]
    [
        "mov {at}, [{panels}]"
        "tileloadd tmm6, [{at} + {line}]"
        "mov {at}, [{rows}]"
        "tileloadd tmm4, [{at} + {stride}]"
        "tdpbusd tmm0, tmm4, tmm6"
        "mov {at}, [{rows} + 8]"
        "tileloadd tmm5, [{at} + {stride}]"
        "tdpbusd tmm2, tmm5, tmm6"
    ]
    [
        "tilestored [{first} + {sums_stride}], tmm0"
        "tilestored [{second} + {sums_stride}], tmm2"
    ]
}

multiply! {
    multiply_1x2:
    ["tilezero tmm0" "tilezero tmm1"]
    [
        "tileloadd tmm0, [{first} + {sums_stride}]"
        "tileloadd tmm1, [{first} + {sums_stride} + 64]"
    ]
    [
        "mov {at}, [{rows}]"
        "tileloadd tmm4, [{at} + {stride}]"
        "mov {at}, [{panels}]"
        "tileloadd tmm6, [{at} + {line}]"
        "tdpbusd tmm0, tmm4, tmm6"
        "mov {at}, [{panels} + 8]"
        "tileloadd tmm7, [{at} + {line}]"
        "tdpbusd tmm1, tmm4, tmm7"
    ]
    [
        "tilestored [{first} + {sums_stride}], tmm0"
        "tilestored [{first} + {sums_stride} + 64], tmm1"
    ]
}

multiply! {
    multiply_1x1:
    ["tilezero tmm0"]
    ["tileloadd tmm0, [{first} + {sums_stride}]"]
    [
        "mov {at}, [{rows}]"
        "tileloadd tmm4, [{at} + {stride}]"
        "mov {at}, [{panels}]"
        "tileloadd tmm6, [{at} + {line}]"
        "tdpbusd tmm0, tmm4, tmm6"
    ]
    ["tilestored [{first} + {sums_stride}], tmm0"]
}

/// What tests do to tiles.
#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// Leaves words in all tiles, of no shape that a kernel sets up.
    ///
    /// # Safety
    /// The CPU must have tiles, and their use be permitted.
    pub(in super::super) unsafe fn fill() {
        let words = [0xa5_u8; 1024];
        // SAFETY: the CPU has tiles; each reads no more than there is.
        unsafe {
            let tiles = Amx::new(3);
            asm!(
                "tileloadd tmm0, [{words} + {line}]", "tileloadd tmm1, [{words} + {line}]",
                "tileloadd tmm2, [{words} + {line}]", "tileloadd tmm3, [{words} + {line}]",
                "tileloadd tmm4, [{words} + {line}]", "tileloadd tmm5, [{words} + {line}]",
                "tileloadd tmm6, [{words} + {line}]", "tileloadd tmm7, [{words} + {line}]",
                words = in(reg) &words,
                line = in(reg) 64_usize,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            );
            std::mem::forget(tiles);
        }
    }

    /// Whether no tile is set up.
    ///
    /// # Safety
    /// The CPU must have tiles, and their use be permitted.
    pub(in super::super) unsafe fn are_released() -> bool {
        let mut shapes = [u8::MAX; 64];
        // SAFETY: the CPU has tiles, and their shapes take so many bytes.
        unsafe { asm!("sttilecfg [{}]", in(reg) &mut shapes, options(nostack)) };
        shapes == [0; 64]
    }
}
