//! With ternary logic and a popcount of words: five instructions for two words of 16 filters.

use super::{Addends, FilterPlanes, PANEL, Rows, ToFloats, ToSigns};
use std::arch::x86_64::*;

/// Rows, and panels, that are computed at a time. Each broadcast word serves `PANELS` panels, each
/// loaded vector of weights `ROWS` rows, and all sums stay in registers.
const ROWS: usize = 4;
const PANELS: usize = 2;

/// How far ahead a panel is fetched for a single row, for which it comes in from farther away.
const AHEAD: usize = 16 * PANEL;

/// What becomes of the sums of a row with a panel, which come in a register.
trait Emit: Copy {
    /// What the sums of a row with all panels have in common.
    type Row: Copy;
    /// What the sums of all rows with a panel have in common.
    type Panel: Copy;

    /// # Safety
    /// There is such a row.
    unsafe fn row(self, row: usize) -> Self::Row;

    /// # Safety
    /// The CPU must have AVX-512; there is such a panel.
    unsafe fn panel(self, panel: usize) -> Self::Panel;

    /// # Safety
    /// The CPU must have AVX-512; there are such a row and such a panel, which number `panel` is.
    unsafe fn emit(self, row: Self::Row, panel: usize, common: Self::Panel, sums: __m512i);
}

/// Writes them.
#[derive(Clone, Copy)]
struct Sums {
    sums: *mut i32,
    stride: usize,
}

impl Emit for Sums {
    /// Where the first sum is written.
    type Row = *mut i32;
    type Panel = ();

    #[inline]
    unsafe fn row(self, row: usize) -> *mut i32 {
        // SAFETY: there is room for the sums of each row.
        unsafe { self.sums.add(row * self.stride) }
    }

    #[inline]
    unsafe fn panel(self, _: usize) {}

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn emit(self, row: *mut i32, panel: usize, (): (), sums: __m512i) {
        // SAFETY: there is room for the sums of each row with each panel.
        unsafe { _mm512_storeu_si512(row.add(panel * PANEL).cast(), sums) }
    }
}

/// Makes floats of them; `SCALED` ones have a denominator, factors and biases.
#[derive(Clone, Copy)]
struct Floats<'a, const SCALED: bool> {
    finish: ToFloats<'a>,
    inverse: f32,
    out: *mut f32,
    stride: isize,
}

impl<const SCALED: bool> Emit for Floats<'_, SCALED> {
    /// The addends, and where the first output is written.
    type Row = (RowAddends, *mut f32);
    /// The filters that there are, and the factor and bias of each.
    type Panel = (__mmask16, [__m512; 2]);

    #[inline]
    unsafe fn row(self, row: usize) -> Self::Row {
        // SAFETY: there is room for the outputs of each row.
        (self.finish.addends.of_row(row), unsafe { self.out.offset(row as isize * self.stride) })
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn panel(self, panel: usize) -> Self::Panel {
        let ToFloats { addends, factors, bias, .. } = self.finish;
        let mask = addends.present(panel);
        let of = |numbers: &[f32], default: f32| match numbers.is_empty() {
            true => _mm512_set1_ps(default),
            // SAFETY: the mask has no more lanes than there are numbers left.
            false => unsafe { _mm512_maskz_loadu_ps(mask, numbers.as_ptr().add(panel * PANEL)) },
        };
        // These leave every number as it is, a zero of either sign too.
        (mask, [of(factors, 1.0), of(bias, -0.0)])
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn emit(self, row: Self::Row, panel: usize, common: Self::Panel, sums: __m512i) {
        let ((addends, out), (mask, [factors, bias])) = (row, common);
        // SAFETY: the mask has no more lanes than there are filters, of which each has an addend
        // and room for an output.
        unsafe {
            let mut y = numerators(sums, self.finish.product, addends, panel, mask);
            if SCALED {
                // As the quotient of floats (see `float_output`).
                let denominator = _mm512_set1_ps(self.finish.denominator);
                let inverse = _mm512_set1_ps(self.inverse);
                let estimate = _mm512_mul_ps(y, inverse);
                let left_over = _mm512_fnmadd_ps(estimate, denominator, y);
                y = _mm512_fmadd_ps(left_over, inverse, estimate);
                y = _mm512_add_ps(_mm512_mul_ps(y, factors), bias);
            }
            _mm512_mask_storeu_ps(out.add(panel * PANEL), mask, y);
        }
    }
}

/// Makes signs of them.
#[derive(Clone, Copy)]
struct Signs<'a> {
    finish: ToSigns<'a>,
    out: *mut u32,
    stride: isize,
}

impl Emit for Signs<'_> {
    /// The addends, and where the first word is written.
    type Row = (RowAddends, *mut u32);
    /// The filters that there are, and those whose sign is turned over.
    type Panel = [__mmask16; 2];

    #[inline]
    unsafe fn row(self, row: usize) -> Self::Row {
        // SAFETY: there is room for the words of each row.
        (self.finish.addends.of_row(row), unsafe { self.out.offset(row as isize * self.stride) })
    }

    #[inline]
    unsafe fn panel(self, panel: usize) -> Self::Panel {
        let mask = self.finish.addends.present(panel);
        // SAFETY: there is a word of flips for every two panels.
        let flips = unsafe { *self.finish.flips.get_unchecked(panel / 2) };
        [mask, (flips >> (panel % 2 * PANEL)) as u16 & mask]
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn emit(self, row: Self::Row, panel: usize, common: Self::Panel, sums: __m512i) {
        let ((addends, out), [mask, flips]) = (row, common);
        // SAFETY: the mask has no more lanes than there are filters, of which each has an addend,
        // and every two panels have room for a word.
        unsafe {
            let y = numerators(sums, self.finish.product, addends, panel, mask);
            let zero = _mm512_setzero_ps();
            let bits = _mm512_mask_cmp_ps_mask::<_CMP_GE_OQ>(mask, y, zero) ^ flips;
            match panel % 2 {
                0 => *out.add(panel / 2) = bits.into(), // its other half may have no filters
                _ => *out.cast::<u16>().add(panel) = bits,
            }
        }
    }
}

/// What is added for a row.
#[derive(Clone, Copy)]
struct RowAddends {
    /// That of the first filter.
    of_filters: *const f32,
    of_row: f32,
}

impl Addends<'_> {
    #[inline]
    fn of_row(&self, row: usize) -> RowAddends {
        let kind = self.kinds.get(row).map_or(0, |&kind| kind as usize);
        let of_filters = self.addends.as_ptr().wrapping_add(kind * self.stride);
        // The sum is no more than can be: it fits.
        let sum = self.sums.get(row).map_or(0, |&sum| sum as i32);
        RowAddends { of_filters, of_row: self.factor * sum as f32 }
    }

    /// The filters of a panel that there are.
    #[inline]
    fn present(&self, panel: usize) -> __mmask16 {
        u16::MAX >> PANEL.saturating_sub(self.filters - panel * PANEL)
    }
}

/// What is made of the sums before they are scaled, or compared.
///
/// # Safety
/// The panel has as many addends as the mask has lanes.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn numerators(
    sums: __m512i,
    product: f32,
    addends: RowAddends,
    panel: usize,
    mask: __mmask16,
) -> __m512 {
    let RowAddends { of_filters, of_row } = addends;
    // SAFETY: as promised.
    let addends = unsafe { _mm512_maskz_loadu_ps(mask, of_filters.add(panel * PANEL)) };
    let addends = _mm512_add_ps(addends, _mm512_set1_ps(of_row));
    _mm512_fmadd_ps(_mm512_set1_ps(product), _mm512_cvtepi32_ps(sums), addends)
}

/// See [`Kernel::count_differing`](super::Kernel::count_differing).
///
/// # Safety
/// The lengths must be what the caller there checks.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
pub(super) unsafe fn count_differing(
    rows: Rows<'_>,
    panels: &[u32],
    sums: &mut [i32],
    stride: usize,
) {
    let filters = FilterPlanes { words: panels, len: panels.len(), planes: 1, step: 0 };
    // SAFETY: there is room for the sums of each row with each filter of the panels.
    unsafe { all_panels(rows, filters, Sums { sums: sums.as_mut_ptr(), stride }) }
}

/// See [`Kernel::differing_to_floats`](super::Kernel::differing_to_floats).
///
/// # Safety
/// `out` is where the first output lies, those of a row side by side, with the next row `stride`
/// further on, of as many rows and filters as there are; the last of these are in the last panel.
/// `finish` is for these rows and filters.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
pub(super) unsafe fn differing_to_floats(
    rows: Rows<'_>,
    filters: FilterPlanes<'_>,
    finish: ToFloats<'_>,
    out: *mut f32,
    stride: isize,
) {
    let inverse = finish.denominator.recip();
    let plain = inverse == 1.0 && finish.factors.is_empty() && finish.bias.is_empty();
    // SAFETY: there is room for the outputs of each row and filter.
    unsafe {
        match plain {
            true => all_panels(rows, filters, Floats::<false> { finish, inverse, out, stride }),
            false => all_panels(rows, filters, Floats::<true> { finish, inverse, out, stride }),
        }
    }
}

/// See [`Kernel::differing_to_signs`](super::Kernel::differing_to_signs).
///
/// # Safety
/// As above, of words with 32 filters each.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
pub(super) unsafe fn differing_to_signs(
    rows: Rows<'_>,
    filters: FilterPlanes<'_>,
    finish: ToSigns<'_>,
    out: *mut u32,
    stride: isize,
) {
    // SAFETY: there is room for the words of each row.
    unsafe { all_panels(rows, filters, Signs { finish, out, stride }) }
}

/// # Safety
/// The filters lie within their words, with as many words as the rows. There is room for what comes
/// of each row with each panel.
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
unsafe fn all_panels<E: Emit>(rows: Rows<'_>, filters: FilterPlanes<'_>, emit: E) {
    let panel_len = rows.offsets().len() * PANEL;
    if panel_len == 0 {
        return; // no filters
    }
    for panel in (0..filters.len / panel_len).step_by(PANELS) {
        let words = &filters.words[panel * panel_len..];
        let filters = FilterPlanes { words, len: filters.len - panel * panel_len, ..filters };
        // SAFETY: there are as many panels as is said, and room for what comes of them.
        unsafe {
            match filters.len / panel_len {
                1 => all_rows::<1, E>(rows, filters, panel, emit),
                _ => all_rows::<PANELS, E>(rows, filters, panel, emit),
            }
        }
    }
}

/// # Safety
/// `filters` begin with `P` panels, of which the first is number `panel`, and there is room for what
/// comes of each row with each of them.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
unsafe fn all_rows<const P: usize, E: Emit>(
    rows: Rows<'_>,
    filters: FilterPlanes<'_>,
    panel: usize,
    emit: E,
) {
    for first in (0..rows.count()).step_by(ROWS) {
        // SAFETY: so many rows are left from the first on.
        unsafe {
            match rows.count() - first {
                1 => block::<1, P, E>(rows, first, filters, panel, emit),
                2 => block::<2, P, E>(rows, first, filters, panel, emit),
                3 => block::<3, P, E>(rows, first, filters, panel, emit),
                _ => block::<ROWS, P, E>(rows, first, filters, panel, emit),
            }
        }
    }
}

/// # Safety
/// There are `M` rows from the first on; `filters` begin with `P` panels, of which the first is
/// number `panel`, and there is room for what comes of these rows and panels.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
unsafe fn block<const M: usize, const P: usize, E: Emit>(
    rows: Rows<'_>,
    first: usize,
    filters: FilterPlanes<'_>,
    panel: usize,
    emit: E,
) {
    let mut sums = [[_mm512_setzero_si512(); P]; M];
    for j in 0..filters.planes {
        for i in 0..rows.planes() {
            // SAFETY: there are such planes, of so many rows and panels.
            let counts = unsafe {
                let base = rows.from(first).add(i * rows.plane_step());
                count::<M, P>(rows, base, filters.words.as_ptr().add(j * filters.step))
            };
            let shift = _mm_cvtsi32_si128((i + j) as i32);
            for m in 0..M {
                for p in 0..P {
                    sums[m][p] =
                        _mm512_add_epi32(sums[m][p], _mm512_sll_epi32(counts[m][p], shift));
                }
            }
        }
    }
    for (m, sums) in sums.iter().enumerate() {
        // SAFETY: there is room for what comes of each row with each panel.
        unsafe {
            let row = emit.row(first + m);
            for (p, &sums) in sums.iter().enumerate() {
                emit.emit(row, panel + p, emit.panel(panel + p), sums);
            }
        }
    }
}

/// The differing bits of a plane of `M` rows, of which `base` is the first, with one of `P` panels.
///
/// # Safety
/// There are `M` such rows, and `P` panels from `weights` on.
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
unsafe fn count<const M: usize, const P: usize>(
    rows: Rows<'_>,
    base: *const u32,
    mut weights: *const u32,
) -> [[__m512i; P]; M] {
    let mut carries = [[_mm512_setzero_si512(); P]; M];
    let mut parity = [[_mm512_setzero_si512(); P]; M];
    let step = rows.step();
    let panel_len = rows.offsets().len() * PANEL;
    let (pairs, last) = rows.offsets().as_chunks::<2>();
    // SAFETY: `Rows` keeps every word of its rows within them. `weights` moves over `offsets.len()`
    // vectors of the first panel, and as many of the others.
    unsafe {
        let word =
            |offset: u32, m: usize| _mm512_set1_epi32(*base.add(offset as usize + m * step) as i32);
        for pair in pairs {
            let filters: [_; P] = std::array::from_fn(|p| {
                let at = weights.add(p * panel_len);
                if M == 1 {
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD + PANEL).cast());
                }
                [_mm512_loadu_si512(at.cast()), _mm512_loadu_si512(at.add(PANEL).cast())]
            });
            for m in 0..M {
                let (a0, a1) = (word(pair[0], m), word(pair[1], m));
                for p in 0..P {
                    let before = parity[m][p];
                    let between = xor3(before, a0, filters[p][0]);
                    let after = xor3(between, a1, filters[p][1]);
                    let carry = carry(before, between, after);
                    carries[m][p] = _mm512_add_epi32(carries[m][p], _mm512_popcnt_epi32(carry));
                    parity[m][p] = after;
                }
            }
            weights = weights.add(2 * PANEL);
        }
        if let [offset] = *last {
            for m in 0..M {
                for p in 0..P {
                    let filters = _mm512_loadu_si512(weights.add(p * panel_len).cast());
                    let after = xor3(parity[m][p], word(offset, m), filters);
                    let carry = carry(parity[m][p], after, after);
                    carries[m][p] = _mm512_add_epi32(carries[m][p], _mm512_popcnt_epi32(carry));
                    parity[m][p] = after;
                }
            }
        }
    }
    for m in 0..M {
        for p in 0..P {
            let twice = _mm512_slli_epi32::<1>(carries[m][p]);
            carries[m][p] = _mm512_add_epi32(twice, _mm512_popcnt_epi32(parity[m][p]));
        }
    }
    carries
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0b1001_0110>(a, b, c)
}

/// The carry of adding two words, from the parity before, between and after them: where both
/// steps change the parity both words are 1, where one does the parity before it counts.
#[inline]
#[target_feature(enable = "avx512f")]
fn carry(before: __m512i, between: __m512i, after: __m512i) -> __m512i {
    // Bit 4 before + 2 between + after: set for 010 and 101 (1 + 1), 100 and 110 (1 with parity 1).
    _mm512_ternarylogic_epi32::<0b0111_0100>(before, between, after)
}
