//! When to share work among threads.

use rayon::prelude::*;

/// Numbers below which waking a second thread costs more than quantizing them all on one.
const NUMBERS: usize = 1 << 16;

/// Into how many blocks to divide `work`, none much smaller than `least`. On one thread it is not
/// divided: handing even that to the pool takes time. Little work does not ask how many threads there
/// are, for that starts them.
pub(crate) fn blocks(work: usize, least: usize) -> usize {
    match work / least {
        0 | 1 => 1,
        most => match rayon::current_num_threads() {
            1 => 1,
            threads => most.min(2 * threads),
        },
    }
}

/// Calls `f` with each chunk of `len` elements, which hold so many numbers each, and its number, on
/// several threads if that pays. Returns whether any call returned true.
pub(crate) fn any_chunk<L: Send>(
    elements: &mut [L],
    len: usize,
    numbers: usize,
    f: impl Fn(usize, &mut [L]) -> bool + Sync,
) -> bool {
    let or = |a, b| a | b;
    let work = elements.len().saturating_mul(numbers);
    if elements.len() <= len || blocks(work, NUMBERS) == 1 {
        return elements.chunks_mut(len).enumerate().map(|(i, chunk)| f(i, chunk)).fold(false, or);
    }
    let chunks = elements.par_chunks_mut(len).enumerate();
    chunks.map(|(i, chunk)| f(i, chunk)).reduce(|| false, or)
}

/// The same where nothing is to be known of the calls.
pub(crate) fn each_chunk<L: Send>(
    elements: &mut [L],
    len: usize,
    numbers: usize,
    f: impl Fn(usize, &mut [L]) + Sync,
) {
    any_chunk(elements, len, numbers, |i, chunk| {
        f(i, chunk);
        false
    });
}
