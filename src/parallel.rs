//! When to share work among threads.

use rayon::prelude::*;

/// Elements below which waking a second thread costs more than quantizing them all on one.
const ELEMENTS: usize = 1 << 16;

/// Calls `f` with each chunk of `len` elements and its number, on several threads if that pays.
/// Returns whether any call returned true.
pub(crate) fn any_chunk<L: Send>(
    elements: &mut [L],
    len: usize,
    f: impl Fn(usize, &mut [L]) -> bool + Sync,
) -> bool {
    let or = |a, b| a | b;
    if elements.len() <= len || elements.len() < ELEMENTS {
        return elements.chunks_mut(len).enumerate().map(|(i, chunk)| f(i, chunk)).fold(false, or);
    }
    let chunks = elements.par_chunks_mut(len).enumerate();
    chunks.map(|(i, chunk)| f(i, chunk)).reduce(|| false, or)
}

/// Calls `f` with each chunk of `len` elements and its number, on several threads if that pays.
pub(crate) fn each_chunk<L: Send>(
    elements: &mut [L],
    len: usize,
    f: impl Fn(usize, &mut [L]) + Sync,
) {
    any_chunk(elements, len, |i, chunk| {
        f(i, chunk);
        false
    });
}
