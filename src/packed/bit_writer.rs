//! Words filled with fields of bits without gaps: lines of bits, and windows that are gathered.

/// Words that are filled with bits.
pub(crate) struct BitWriter<'a> {
    words: std::slice::IterMut<'a, u32>,
    /// Bits that do not fill a word yet.
    rest: u64,
    rest_len: usize,
}

impl<'a> BitWriter<'a> {
    pub(crate) fn new(words: &'a mut [u32]) -> Self {
        BitWriter { words: words.iter_mut(), rest: 0, rest_len: 0 }
    }

    /// Appends the first `len` bits of a word, 1 to 32.
    #[inline(always)]
    pub(crate) fn push(&mut self, bits: u32, len: usize) {
        self.rest |= u64::from(bits & u32::MAX >> (32 - len)) << self.rest_len;
        self.rest_len += len;
        if self.rest_len >= 32 {
            self.words.next().into_iter().for_each(|word| *word = self.rest as u32);
            self.rest >>= 32;
            self.rest_len -= 32;
        }
    }

    /// Appends words, behind others that are full.
    pub(crate) fn copy(&mut self, words: &[u32]) {
        words.iter().zip(self.words.by_ref()).for_each(|(&from, to)| *to = from);
    }

    /// Appends the channels of a pixel, of which `word` gives each word.
    #[inline(always)]
    pub(crate) fn push_pixel(&mut self, bits: usize, word: impl Fn(usize) -> u32) {
        for (i, start) in (0..bits).step_by(32).enumerate() {
            self.push(word(i), (bits - start).min(32));
        }
    }

    /// Writes the last word, and zeros where there are more.
    pub(crate) fn finish(mut self) {
        self.words.next().into_iter().for_each(|word| *word = self.rest as u32);
        self.words.for_each(|word| *word = 0);
    }
}
