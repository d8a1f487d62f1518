//! Memory that begins with a line of the cache.

use crate::Result;
use crate::memory::{LINE, line_start, take};
use std::ops::{Deref, DerefMut};

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
    /// Becomes as many zeros.
    pub(crate) fn zeros(&mut self, len: usize, what: &'static str) -> Result<()> {
        self.buffer.clear();
        (self.start, self.len) = (0, 0); // until there is memory
        take(&mut self.buffer, len.saturating_add(LINE / size_of::<V>()), what)?;
        (self.start, self.len) = (line_start(&self.buffer, len), len);
        Ok(())
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
        let mut clone = Aligned { start: line_start(&buffer, self.len), len: self.len, buffer };
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
            aligned.zeros(len, "words").unwrap();
            assert!(is_aligned(&aligned) && *aligned == vec![0; len]);
            aligned.iter_mut().zip(0..).for_each(|(word, i)| *word = i);
            let clone = aligned.clone();
            assert!(is_aligned(&clone) && *clone == *aligned && aligned.len() == len);
        }
    }
}
