//! What a kernel multiplies with the filters of a panel.

/// Where the words of a row lie, from its first word on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offsets<'a> {
    words: &'a [u32],
    /// The largest of them.
    reach: usize,
}

impl<'a> Offsets<'a> {
    pub(crate) fn new(words: &'a [u32]) -> Self {
        Offsets { words, reach: words.iter().max().map_or(0, |&offset| offset as usize) }
    }

    /// How many words a row has.
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    pub(crate) fn words(&self) -> &'a [u32] {
        self.words
    }
}

/// Rows of words: word `w` of row `i` is `words[i * step + offsets[w]]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    words: &'a [u32],
    count: usize,
    step: usize,
    offsets: Offsets<'a>,
}

impl<'a> Rows<'a> {
    /// # Panics
    /// If a word would lie outside of `words`.
    pub(crate) fn new(words: &'a [u32], count: usize, step: usize, offsets: Offsets<'a>) -> Self {
        if count > 0 && offsets.len() > 0 {
            let last = step.checked_mul(count - 1).and_then(|at| at.checked_add(offsets.reach));
            assert!(last.is_some_and(|last| last < words.len()), "rows reach beyond their words");
        }
        Rows { words, count, step, offsets }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn step(&self) -> usize {
        self.step
    }

    pub(crate) fn offsets(&self) -> &'a [u32] {
        self.offsets.words
    }

    /// The words of row `i`, in order.
    pub(crate) fn row(&self, i: usize) -> impl Iterator<Item = u32> + use<'a> {
        let Rows { words, step, offsets, .. } = *self;
        offsets.words.iter().map(move |&offset| words[i * step + offset as usize])
    }

    /// From the first word of row `i` on.
    pub(crate) fn from(&self, i: usize) -> *const u32 {
        self.words[i * self.step..].as_ptr()
    }
}
