//! Memory that grows and is used again, and sizes that are checked before it is asked for.

use crate::{Error, Result};

/// Bytes of a cache line, or a multiple of what is one.
pub(crate) const LINE: usize = 64;

/// The first `len` elements of a buffer, which grows if it is shorter. They hold whatever the
/// last call left there.
pub(crate) fn take<'a, T: Copy + Default>(
    buffer: &'a mut Vec<T>,
    len: usize,
    what: &'static str,
) -> Result<&'a mut [T]> {
    if buffer.len() < len {
        reserve(buffer, len, what)?;
        buffer.resize(len, T::default());
    }
    Ok(&mut buffer[..len])
}

/// The same, beginning with a cache line.
pub(crate) fn take_aligned<'a, T: Copy + Default>(
    buffer: &'a mut Vec<T>,
    len: usize,
    what: &'static str,
) -> Result<&'a mut [T]> {
    let spare = if len == 0 { 0 } else { LINE / size_of::<T>() };
    let buffer = take(buffer, len.saturating_add(spare), what)?;
    let start = line_start(buffer, len);
    Ok(&mut buffer[start..][..len])
}

/// Where in a buffer of a line more than `len` elements the first line begins.
pub(crate) fn line_start<T>(buffer: &[T], len: usize) -> usize {
    // An implementation may fail to align; then it is only slower.
    buffer.as_ptr().align_offset(LINE).min(buffer.len() - len)
}

/// Makes room for `len` elements in all, or says that there is none.
pub(crate) fn reserve<T>(buffer: &mut Vec<T>, len: usize, what: &'static str) -> Result<()> {
    let missing = len.saturating_sub(buffer.len());
    buffer.try_reserve_exact(missing).map_err(|_| Error::TooLarge { what, elements: len })
}

/// `len` zeros.
pub(crate) fn zeros<T: Copy + Default>(len: usize, what: &'static str) -> Result<Vec<T>> {
    let mut buffer = Vec::new();
    take(&mut buffer, len, what)?;
    Ok(buffer)
}

/// The product of sizes. As for a shape of `ndarray`, the product of those that are not zero must
/// fit into `isize`.
pub(crate) fn product(sizes: &[usize], what: &'static str) -> Result<usize> {
    let nonzero = sizes
        .iter()
        .filter(|&&size| size > 0)
        .try_fold(1usize, |len, &size| len.checked_mul(size))
        .filter(|&len| isize::try_from(len).is_ok())
        .ok_or(Error::TooLarge { what, elements: usize::MAX })?;
    Ok(if sizes.contains(&0) { 0 } else { nonzero })
}
