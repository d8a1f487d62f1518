//! Memory that is asked for before it is needed.

/// Asks for the `N` cache lines that lie so many bytes behind an address, wherever that is.
#[inline(always)]
pub(super) fn prefetch<const N: usize, T>(address: *const T, bytes: isize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..N {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address = address.wrapping_byte_offset(bytes).wrapping_byte_add(64 * line);
        // SAFETY: a hint, which may name any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (address, bytes);
}

/// Asks for so many elements, which are to be written soon: a store that misses the caches holds up
/// all that come after it.
#[inline(always)]
pub(crate) fn prefetch_elements<T>(first: *const T, len: usize) {
    for bytes in (0..len * size_of::<T>()).step_by(64) {
        prefetch::<1, T>(first, bytes as isize);
    }
}
