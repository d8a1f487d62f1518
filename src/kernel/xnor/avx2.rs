//! Without a popcount instruction: table look-ups of half bytes, counted in bytes.
//!
//! These cost more than full adders, so that a second layer of them pays here: four words take one
//! popcount. Of each pair of words the second is replaced by the parity of both, on both sides.
//! With `s` the parity before, `x` the xor of the first words and `p` that of the parities,
//!
//! ```text
//! n = s ^ p,     c = if p { s } else { x }
//! ```
//!
//! are the next parity and the carry of a pair, in two instructions fewer than a full adder takes.
//! The pairs of some rows are made once for all panels, those of a panel once for these rows. Sums of
//! several planes, and of rows longer than can be paired so, are put down in between.

use super::FilterPlanes;
use crate::kernel::arch::Avx2;
use crate::kernel::{Code, Epilogue, PANEL, Rows, Vector};
use crate::tuning::PAIRED_ROWS;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Rows that are computed at a time with half a panel: as many as the registers hold.
const ROWS: usize = 4;

/// Filters in a register.
const LANES: usize = 8;

/// Words of a row that are paired at a time: about as many as byte counters take.
const WORDS: usize = 128;
const PAIRS: usize = WORDS / 2;

/// What four words add to a byte counter is 8 at most.
const FOURS: usize = u8::MAX as usize / 8;

/// Some words of rows, in pairs: the first of each, then the parity of both.
type PairedRows = MaybeUninit<[[u32; WORDS]; PAIRED_ROWS]>;

/// The parities of the pairs of a panel.
type Parities = MaybeUninit<[[u32; PANEL]; PAIRS]>;

/// See [`Kernel::xnor_buffer`](super::Kernel::xnor_buffer).
pub(super) fn buffer_len(row_words: usize, planes: usize, filters: usize) -> usize {
    if row_words.div_ceil(WORDS) * planes > 1 { PAIRED_ROWS * filters } else { 0 }
}

/// See [`Kernel::xnor`](super::Kernel::xnor).
///
/// # Safety
/// The filters must lie within their words.
pub(super) unsafe fn xnor<E: Epilogue>(
    v: Avx2,
    rows: Rows<'_>,
    filters: FilterPlanes<'_>,
    buffer: &mut [i32],
    epilogue: &mut E,
) {
    let (row_words, filter_count) = (rows.offsets().len(), filters.panels * PANEL);
    let planes = rows.planes() * filters.planes;
    let kept_rows = buffer_len(row_words, planes, filter_count) / PAIRED_ROWS;
    assert!(buffer.len() >= PAIRED_ROWS.min(rows.count()) * kept_rows);
    // Parts of about the same length, of whole fours.
    let part = row_words.div_ceil(row_words.div_ceil(WORDS).max(1)).next_multiple_of(4).max(4);
    let mut paired = PairedRows::uninit();
    for first in (0..rows.count()).step_by(PAIRED_ROWS) {
        let count = PAIRED_ROWS.min(rows.count() - first);
        for start in (0..row_words.max(1)).step_by(part) {
            let words = start..row_words.min(start + part);
            for plane in 0..rows.planes() {
                let begun = start + plane > 0;
                let done = words.end == row_words && plane + 1 == rows.planes();
                let part =
                    Part { words: words.clone(), row_words, first, count, plane, begun, done };
                // SAFETY: so many rows are left from the first on, and no more words than are paired.
                unsafe { pair(rows, &part, &mut paired) };
                v.run(CountBits { v, part, paired: &paired, filters, buffer, epilogue });
            }
        }
    }
}

/// Some words of a plane of the rows that are paired.
struct Part {
    words: Range<usize>,
    row_words: usize,
    first: usize,
    count: usize,
    plane: usize,
    /// Whether sums have been put down before, and whether these are the last.
    begun: bool,
    done: bool,
}

/// The words of a part in a panel of a plane.
struct PanelPart<'a> {
    panel: usize,
    plane: usize,
    words: &'a [u32],
    /// The parities of pairs of words, if they are made already.
    parities: Option<&'a [[u32; PANEL]]>,
}

/// Counts the differing bits of a part, which is paired, and all filters.
struct CountBits<'a, E> {
    v: Avx2,
    part: Part,
    paired: &'a PairedRows,
    filters: FilterPlanes<'a>,
    buffer: &'a mut [i32],
    epilogue: &'a mut E,
}

impl<E: Epilogue> Code for CountBits<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let CountBits { filters, part: Part { ref words, row_words, count, .. }, .. } = self;
        let words = words.clone();
        let mut parities = Parities::uninit();
        // Fewer rows than are computed at a time would use what is made for them but once.
        let make = count >= ROWS || !words.len().is_multiple_of(2);
        for panel in 0..filters.panels {
            for plane in 0..filters.planes {
                let at = plane * filters.step + (panel * row_words + words.start) * PANEL;
                let words = &filters.words[at..][..words.len() * PANEL];
                // SAFETY: the CPU has AVX2, as `v` proves.
                let parities = make.then(|| unsafe { pair_up(words, &mut parities) });
                let part = PanelPart { panel, plane, words, parities };
                for row in (0..count).step_by(ROWS) {
                    match count - row {
                        1 => self.block::<1>(row, &part),
                        2 => self.block::<2>(row, &part),
                        3 => self.block::<3>(row, &part),
                        _ => self.block::<ROWS>(row, &part),
                    }
                }
            }
        }
    }
}

impl<E: Epilogue> CountBits<'_, E> {
    /// Counts those of `M` of the rows that are paired, from `row` on.
    #[inline(always)]
    fn block<const M: usize>(&mut self, row: usize, panel: &PanelPart<'_>) {
        let CountBits { v, ref part, paired, filters, .. } = *self;
        assert!(row + M <= part.count);
        // SAFETY: so many rows are paired from this one on, of the words of the panel. There are
        // parities, or an even number of words.
        let mut sums = unsafe {
            let rows = paired.as_ptr().cast::<u32>().add(row * WORDS);
            match panel.parities {
                Some(parities) => differing::<M, true>(rows, panel.words, parities),
                None => differing::<M, false>(rows, panel.words, &[]),
            }
        };
        let begun = part.begun || panel.plane > 0;
        let done = part.done && panel.plane + 1 == filters.planes;
        if begun || !done {
            let stride = filters.panels * PANEL;
            let kept = self.buffer[row * stride + panel.panel * PANEL..].chunks_mut(stride);
            for (sums, kept) in sums.as_flattened_mut().iter_mut().zip(kept) {
                let Some(kept) = kept.first_chunk_mut() else { return };
                *sums = v.shift_left(*sums, (part.plane + panel.plane) as u32);
                if begun {
                    *sums = v.add_ints(*sums, v.load_ints(kept));
                }
                v.store_ints(*sums, kept);
            }
        }
        if done {
            self.epilogue.block(v, part.first + row, panel.panel, &sums);
        }
    }
}

/// Holds the words of a part, a last one that is left over as a pair with 0.
///
/// # Safety
/// The rows must have these words. There are no more than [`PAIRED_ROWS`] rows, of [`WORDS`] words.
#[target_feature(enable = "avx2")]
unsafe fn pair(rows: Rows<'_>, part: &Part, paired: &mut PairedRows) {
    let offsets = &rows.offsets()[part.words.clone()];
    let (pairs, last) = offsets.as_chunks::<2>();
    for i in 0..part.count {
        // SAFETY: `Rows` keeps every word of its rows within them. There is room for as many.
        unsafe {
            let row = rows.from(part.first + i).add(part.plane * rows.plane_step());
            let mut to = paired.as_mut_ptr().cast::<u32>().add(i * WORDS);
            for pair in pairs {
                let [x, y] = pair.map(|offset| *row.add(offset as usize));
                to.write(x);
                to.add(1).write(x ^ y);
                to = to.add(2);
            }
            if let [offset] = *last {
                let x = *row.add(offset as usize);
                to.write(x);
                to.add(1).write(x);
            }
        }
    }
}

/// Writes the parities of the pairs of a panel of at most [`WORDS`].
#[target_feature(enable = "avx2")]
fn pair_up<'a>(panel: &[u32], parities: &'a mut Parities) -> &'a [[u32; PANEL]] {
    let (words, _) = panel.as_chunks::<PANEL>();
    let (pairs, last) = words.as_chunks::<2>();
    assert!(pairs.len() + last.len() <= PAIRS);
    let to = parities.as_mut_ptr().cast::<[u32; PANEL]>();
    for (i, [x, y]) in pairs.iter().enumerate() {
        // SAFETY: there is room for so many.
        unsafe { to.add(i).write(std::array::from_fn(|filter| x[filter] ^ y[filter])) };
    }
    if let [word] = *last {
        // SAFETY: as above.
        unsafe { to.add(pairs.len()).write(word) };
    }
    // SAFETY: these have just been written.
    unsafe { std::slice::from_raw_parts(to, pairs.len() + last.len()) }
}

/// The bits of `M` rows that differ from a panel.
///
/// # Safety
/// From `rows` on there are the words of `M` rows in pairs, those of a row [`WORDS`] behind those of
/// the row before, as many as the panel has. Its parities are `MADE`, or its words are even in number.
#[target_feature(enable = "avx2")]
unsafe fn differing<const M: usize, const MADE: bool>(
    rows: *const u32,
    panel: &[u32],
    parities: &[[u32; PANEL]],
) -> [[[__m256i; 2]; 1]; M] {
    let zero = _mm256_setzero_si256();
    let mut sums = [[[zero; 2]; 1]; M];
    let count = (panel.len() / PANEL).div_ceil(2);
    let fours = (count / 2).min(FOURS);
    for half in [0, 1] {
        let lane = half * LANES;
        let mut ones = [zero; M];
        let mut twos = [zero; M];
        let mut counters = [zero; M];
        // SAFETY: there are so many pairs.
        let xor_pair = |pair: usize, row: usize| unsafe {
            let words = rows.add(row * WORDS + 2 * pair);
            let filters = panel.as_ptr().add(2 * pair * PANEL + lane);
            let first = _mm256_loadu_si256(filters.cast());
            let parity = match MADE {
                true => {
                    let parities = parities.as_ptr().add(pair).cast::<u32>();
                    _mm256_loadu_si256(parities.add(lane).cast())
                }
                false => _mm256_xor_si256(first, _mm256_loadu_si256(filters.add(PANEL).cast())),
            };
            [(words, first), (words.add(1), parity)]
                .map(|(word, filters)| _mm256_xor_si256(_mm256_set1_epi32(*word as i32), filters))
        };
        for four in 0..fours {
            for m in 0..M {
                let (first, parity) = add_pair(ones[m], xor_pair(2 * four, m));
                let (second, parity) = add_pair(parity, xor_pair(2 * four + 1, m));
                ones[m] = parity;
                let differ = _mm256_xor_si256(twos[m], first);
                let both = _mm256_and_si256(twos[m], first);
                let carry = _mm256_or_si256(both, _mm256_and_si256(differ, second));
                twos[m] = _mm256_xor_si256(differ, second);
                counters[m] = _mm256_add_epi8(counters[m], popcounts(carry));
            }
        }
        for m in 0..M {
            let mut pair_counters = popcounts(twos[m]);
            for pair in 2 * fours..count {
                let (carry, parity) = add_pair(ones[m], xor_pair(pair, m));
                ones[m] = parity;
                pair_counters = _mm256_add_epi8(pair_counters, popcounts(carry));
            }
            // 4 counters + 2 pair_counters + ones
            let few = _mm256_add_epi8(pair_counters, pair_counters);
            let few = _mm256_add_epi8(few, popcounts(ones[m]));
            let few = _mm256_maddubs_epi16(few, _mm256_set1_epi8(1));
            let fours = _mm256_maddubs_epi16(counters[m], _mm256_set1_epi8(4));
            let sum = _mm256_add_epi16(few, fours);
            sums[m][0][half] = _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
        }
    }
    sums
}

/// Carry and parity after a pair of which the first words differ in `x`, the parities in `p`.
#[inline]
#[target_feature(enable = "avx2")]
fn add_pair(parity: __m256i, [x, p]: [__m256i; 2]) -> (__m256i, __m256i) {
    let carry = _mm256_or_si256(_mm256_and_si256(p, parity), _mm256_andnot_si256(p, x));
    (carry, _mm256_xor_si256(parity, p))
}

/// The number of bits set in each byte: two table look-ups, of its low and its high half.
#[inline]
#[target_feature(enable = "avx2")]
fn popcounts(bits: __m256i) -> __m256i {
    let table = _mm256_setr_epi8(
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, //
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
    );
    let low_half = _mm256_set1_epi8(0x0f);
    let low = _mm256_and_si256(bits, low_half);
    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bits), low_half);
    _mm256_add_epi8(_mm256_shuffle_epi8(table, low), _mm256_shuffle_epi8(table, high))
}
