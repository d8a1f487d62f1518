//! Memory that is asked for before it is needed: a hint, which costs next to nothing.

/// Asks for the cache lines of `len` elements that lie so many bytes behind an address, wherever
/// that is.
#[inline(always)]
pub(super) fn prefetch<T>(address: *const T, len: usize, bytes: isize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..len * size_of::<T>()).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address = address.wrapping_byte_offset(bytes).wrapping_byte_add(line);
        // SAFETY: a hint, which may name any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (address, len, bytes);
}

/// Asks for so many elements, which are to be written soon: a store that misses the caches holds up
/// all that come after it.
#[inline(always)]
pub(crate) fn prefetch_elements<T>(first: *const T, len: usize) {
    prefetch(first, len, 0);
}
