//! When to share work among threads.

use crate::tuning::VALUES_PER_THREAD;
use rayon::prelude::*;

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

/// How many threads there are for `work`: one, without asking, if it has not `least` for each of two.
pub(crate) fn threads(work: usize, least: usize) -> usize {
    if blocks(work, least) == 1 { 1 } else { rayon::current_num_threads() }
}

/// Calls both, on two of so many threads.
pub(crate) fn join(threads: usize, a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
    if threads > 1 {
        rayon::join(a, b);
    } else {
        a();
        b();
    }
}

/// Calls `f` with the index of each chunk of `len` elements and the chunk, on several threads if that
/// pays. Each element holds so many values. Returns whether any call returned true.
pub(crate) fn any_chunk<L: Send>(
    elements: &mut [L],
    len: usize,
    values: usize,
    f: impl Fn(usize, &mut [L]) -> bool + Sync,
) -> bool {
    let or = |a, b| a | b;
    let work = elements.len().saturating_mul(values);
    if elements.len() <= len || blocks(work, VALUES_PER_THREAD) == 1 {
        return elements.chunks_mut(len).enumerate().map(|(i, chunk)| f(i, chunk)).fold(false, or);
    }
    let chunks = elements.par_chunks_mut(len).enumerate();
    chunks.map(|(i, chunk)| f(i, chunk)).reduce(|| false, or)
}

/// The same where nothing is to be known of the calls.
pub(crate) fn each_chunk<L: Send>(
    elements: &mut [L],
    len: usize,
    values: usize,
    f: impl Fn(usize, &mut [L]) + Sync,
) {
    any_chunk(elements, len, values, |i, chunk| {
        f(i, chunk);
        false
    });
}
