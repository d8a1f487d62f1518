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

/// Rows of words: word `w` of row `i` is `words[i * step + offsets[w]]`, and those of its further
/// bit planes, if there are some, `plane_step` each after that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    words: &'a [u32],
    count: usize,
    step: usize,
    offsets: Offsets<'a>,
    planes: usize,
    plane_step: usize,
}

impl<'a> Rows<'a> {
    /// # Panics
    /// If a word would lie outside of `words`.
    pub(crate) fn new(words: &'a [u32], count: usize, step: usize, offsets: Offsets<'a>) -> Self {
        let rows = Rows { words, count, step, offsets, planes: 1, plane_step: 0 };
        rows.assert_within_words();
        rows
    }

    /// The same rows, of which these are the lowest of so many planes.
    ///
    /// # Panics
    /// If a word would lie outside of `words`.
    pub(crate) fn in_planes(self, planes: usize, plane_step: usize) -> Self {
        let rows = Rows { planes, plane_step, ..self };
        rows.assert_within_words();
        rows
    }

    fn assert_within_words(&self) {
        let Rows { words, count, step, offsets, planes, plane_step } = *self;
        if count > 0 && offsets.len() > 0 && planes > 0 {
            let last = step.checked_mul(count - 1).and_then(|at| at.checked_add(offsets.reach));
            let plane = plane_step.checked_mul(planes - 1);
            let last = last.zip(plane).and_then(|(last, plane)| last.checked_add(plane));
            assert!(last.is_some_and(|last| last < words.len()), "rows reach beyond their words");
        }
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

    pub(crate) fn planes(&self) -> usize {
        self.planes
    }

    pub(crate) fn plane_step(&self) -> usize {
        self.plane_step
    }

    /// From the first word of row `i` on.
    pub(crate) fn from(&self, i: usize) -> *const u32 {
        self.words[i * self.step..].as_ptr()
    }
}
