//! Memory that begins with a line of the cache.

use crate::Result;
use crate::scratch;
use std::ops::{Deref, DerefMut};

/// Bytes of a line, or a multiple of what is one.
const LINE: usize = 64;

/// Elements of which the first begins a line of the cache. Vectors as long as a line, read one
/// after the other, would else straddle two lines each, which takes twice as many reads: it made
/// 1-bit products with AVX-512 1.2 times slower.
#[derive(Debug)]
pub(crate) struct Aligned<V> {
    buffer: Vec<V>,
    start: usize,
    len: usize,
}

impl<V: Copy + Default> Aligned<V> {
    /// As many elements, which hold whatever was left there.
    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<&mut [V]> {
        let spare = LINE / size_of::<V>();
        let buffer = scratch::take(&mut self.buffer, len.saturating_add(spare), what)?;
        // An implementation may fail to align; then it is only slower.
        self.start = buffer.as_ptr().align_offset(LINE).min(spare);
        self.len = len;
        Ok(self)
    }

    /// As many zeros.
    pub(crate) fn zeros(&mut self, len: usize, what: &'static str) -> Result<&mut [V]> {
        self.buffer.clear();
        self.take(len, what)
    }
}

impl<V> Default for Aligned<V> {
    fn default() -> Self {
        Aligned { buffer: Vec::new(), start: 0, len: 0 }
    }
}

impl<V: Copy + Default> Clone for Aligned<V> {
    fn clone(&self) -> Self {
        let buffer = vec![V::default(); self.buffer.len()];
        let start = buffer.as_ptr().align_offset(LINE).min(buffer.len() - self.len);
        let mut clone = Aligned { buffer, start, len: self.len };
        clone.copy_from_slice(self);
        clone
    }
}

impl<V> Deref for Aligned<V> {
    type Target = [V];

    fn deref(&self) -> &[V] {
        &self.buffer[self.start..self.start + self.len]
    }
}

impl<V> DerefMut for Aligned<V> {
    fn deref_mut(&mut self) -> &mut [V] {
        &mut self.buffer[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_begin_a_line_however_they_came_there() {
        let is_aligned = |words: &[u32]| (words.as_ptr() as usize).is_multiple_of(LINE);
        let mut aligned = Aligned::<u32>::default();
        assert!(aligned.is_empty() && aligned.clone().is_empty());
        for len in [1, 0, 16, 1000, 17] {
            let words = aligned.zeros(len, "words").unwrap();
            assert!(is_aligned(words) && words == vec![0; len]);
            words.iter_mut().zip(0..).for_each(|(word, i)| *word = i);
            let clone = aligned.clone();
            assert!(is_aligned(&clone) && *clone == *aligned && aligned.len() == len);
        }
    }
}
