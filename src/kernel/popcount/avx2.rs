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
//! The pairs of some rows are made once for all panels, those of a panel once for these rows.

use super::{PANEL, Rows};
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

/// Rows of which the pairs are held.
const HELD_ROWS: usize = 16;

/// Rows that are computed at a time with half a panel: as many as the registers hold.
const ROWS: usize = 4;

/// Filters in a vector.
const LANES: usize = 8;

/// Words of which the pairs are held: about as many as byte counters take.
const WORDS: usize = 128;
const PAIRS: usize = WORDS / 2;

/// What four words add to a byte counter is 8 at most.
const FOURS: usize = u8::MAX as usize / 8;

/// Some words of rows, in pairs: the first of each, then the parity of both.
type HeldRows = MaybeUninit<[[u32; WORDS]; HELD_ROWS]>;

/// The parities of the pairs of a panel.
type Parities = MaybeUninit<[[u32; PANEL]; PAIRS]>;

/// See [`Kernel::count_differing`](super::Kernel::count_differing).
///
/// # Safety
/// The lengths must be what the caller there checks.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn count_differing(
    rows: Rows<'_>,
    panels: &[u32],
    sums: &mut [i32],
    stride: usize,
) {
    let row_words = rows.offsets().len();
    if row_words == 0 || panels.is_empty() {
        return; // no filters
    }
    let (mut held, mut parities) = (HeldRows::uninit(), Parities::uninit());
    // Parts of about the same length, of whole fours.
    let part = row_words.div_ceil(row_words.div_ceil(WORDS)).next_multiple_of(4);
    for first in (0..rows.count()).step_by(HELD_ROWS) {
        let count = HELD_ROWS.min(rows.count() - first);
        for (i, offsets) in rows.offsets().chunks(part).enumerate() {
            // SAFETY: so many rows are left from the first on, and no more offsets than words.
            unsafe { hold(rows, first..first + count, offsets, &mut held) };
            // Fewer rows than are computed at a time would use what is made for them but once.
            let made = count >= ROWS || !offsets.len().is_multiple_of(2);
            for (panel_number, panel) in panels.chunks_exact(row_words * PANEL).enumerate() {
                let panel = &panel[i * part * PANEL..][..offsets.len() * PANEL];
                let parities = if made { pair_up(panel, &mut parities) } else { &[] };
                for row in (0..count).step_by(ROWS) {
                    let sums = &mut sums[(first + row) * stride + panel_number * PANEL..];
                    // SAFETY: so many rows are held from this one on, and as many sums are there.
                    unsafe {
                        let rows = held.as_ptr().cast::<u32>().add(row * WORDS);
                        let pairs = Pairs { rows, panel, parities };
                        match (count - row, made) {
                            (1, true) => block::<1, true>(pairs, i > 0, sums, stride),
                            (2, true) => block::<2, true>(pairs, i > 0, sums, stride),
                            (3, true) => block::<3, true>(pairs, i > 0, sums, stride),
                            (1, false) => block::<1, false>(pairs, i > 0, sums, stride),
                            (2, false) => block::<2, false>(pairs, i > 0, sums, stride),
                            (3, false) => block::<3, false>(pairs, i > 0, sums, stride),
                            _ => block::<ROWS, true>(pairs, i > 0, sums, stride),
                        }
                    }
                }
            }
        }
    }
}

/// Holds the words of some rows at the given offsets, a last one that is left over as a pair with 0.
///
/// # Safety
/// There must be these rows, no more than [`HELD_ROWS`]; the offsets must be of them, no more than
/// [`WORDS`].
#[target_feature(enable = "avx2")]
unsafe fn hold(
    rows: Rows<'_>,
    numbers: std::ops::Range<usize>,
    offsets: &[u32],
    held: &mut HeldRows,
) {
    let (pairs, last) = offsets.as_chunks::<2>();
    for (i, number) in numbers.enumerate() {
        let row = rows.from(number);
        // SAFETY: `Rows` keeps every word of its rows within them. There is room for as many.
        unsafe {
            let mut to = held.as_mut_ptr().cast::<u32>().add(i * WORDS);
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

/// Some rows and a panel in pairs.
#[derive(Clone, Copy)]
struct Pairs<'a> {
    /// From the first word of the first row on; those of the next follow after [`WORDS`].
    rows: *const u32,
    panel: &'a [u32],
    /// Those of the pairs of the panel, if they are made already.
    parities: &'a [[u32; PANEL]],
}

/// Writes the sums of `M` rows, or adds to them.
///
/// # Safety
/// There are `M` rows of as many words as the panel, whose parities are `MADE` or whose words are
/// even in number; `sums` has `(M - 1) * stride + PANEL` elements.
#[target_feature(enable = "avx2")]
unsafe fn block<const M: usize, const MADE: bool>(
    pairs: Pairs<'_>,
    add: bool,
    sums: &mut [i32],
    stride: usize,
) {
    let zero = _mm256_setzero_si256();
    let count = (pairs.panel.len() / PANEL).div_ceil(2);
    let fours = (count / 2).min(FOURS);
    for lane in [0, LANES] {
        let mut ones = [zero; M];
        let mut twos = [zero; M];
        let mut counters = [zero; M];
        // SAFETY: there are so many pairs.
        let differing = |pair: usize, row: usize| unsafe {
            let words = pairs.rows.add(row * WORDS + 2 * pair);
            let filters = pairs.panel.as_ptr().add(2 * pair * PANEL + lane);
            let first = _mm256_loadu_si256(filters.cast());
            let parity = match MADE {
                true => {
                    let parities = pairs.parities.as_ptr().add(pair).cast::<u32>();
                    _mm256_loadu_si256(parities.add(lane).cast())
                }
                false => _mm256_xor_si256(first, _mm256_loadu_si256(filters.add(PANEL).cast())),
            };
            [(words, first), (words.add(1), parity)]
                .map(|(word, filters)| _mm256_xor_si256(_mm256_set1_epi32(*word as i32), filters))
        };
        for four in 0..fours {
            for m in 0..M {
                let (first, parity) = add_pair(ones[m], differing(2 * four, m));
                let (second, parity) = add_pair(parity, differing(2 * four + 1, m));
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
                let (carry, parity) = add_pair(ones[m], differing(pair, m));
                ones[m] = parity;
                pair_counters = _mm256_add_epi8(pair_counters, popcounts(carry));
            }
            // 4 counters + 2 pair_counters + ones
            let few = _mm256_add_epi8(pair_counters, pair_counters);
            let few = _mm256_add_epi8(few, popcounts(ones[m]));
            let few = _mm256_maddubs_epi16(few, _mm256_set1_epi8(1));
            let fours = _mm256_maddubs_epi16(counters[m], _mm256_set1_epi8(4));
            let sum = _mm256_madd_epi16(_mm256_add_epi16(few, fours), _mm256_set1_epi16(1));
            // SAFETY: the caller promises so many sums.
            unsafe {
                let to = sums.as_mut_ptr().add(m * stride + lane).cast();
                let before = if add { _mm256_loadu_si256(to) } else { zero };
                _mm256_storeu_si256(to, _mm256_add_epi32(before, sum));
            }
        }
    }
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
