//! In plain Rust.

use crate::Element;
use crate::kernel::Code;
use crate::quantizer::Threshold;
use ndarray::ArrayView2;

/// See [`Kernel::pack_rows`](super::Kernel::pack_rows).
pub(super) fn pack_rows<T: Element>(
    rows: &[T],
    width: usize,
    threshold: Threshold<T>,
    words: &mut [u32],
) -> bool {
    let rows = rows.chunks_exact(width).zip(words.chunks_exact_mut(width.div_ceil(32)));
    rows.fold(false, |nan, (row, words)| nan | pack_row(row, threshold, words))
}

pub(super) fn pack_row<T: Element>(row: &[T], threshold: Threshold<T>, words: &mut [u32]) -> bool {
    let mut nan = false;
    for (numbers, word) in row.chunks(32).zip(words) {
        *word = 0;
        for (i, &x) in numbers.iter().enumerate() {
            *word |= threshold.code(x) << i;
            nan |= x.is_nan();
        }
    }
    nan
}

/// See [`Kernel::pack_planes`](super::Kernel::pack_planes).
pub(super) struct PackPlanes<'a, T> {
    pub(super) planes: ArrayView2<'a, T>,
    pub(super) threshold: Threshold<T>,
    pub(super) words: &'a mut [u32],
    pub(super) step: usize,
}

impl<T: Element> Code for PackPlanes<'_, T> {
    /// Whether there is a NaN.
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        /// Numbers of a plane at a time, so that their words stay in the first cache.
        const BLOCK: usize = 256;
        let len = self.planes.dim().1;
        let mut nans = [false; BLOCK];
        for start in (0..len).step_by(BLOCK) {
            let len = BLOCK.min(len - start);
            let mut words = [0; BLOCK];
            for (i, plane) in self.planes.outer_iter().enumerate() {
                let plane = &plane.to_slice().unwrap_or_default()[start..start + len];
                for ((word, nan), &x) in words.iter_mut().zip(&mut nans).zip(plane) {
                    *word |= self.threshold.code(x) << i;
                    *nan |= x.is_nan();
                }
            }
            let to = self.words[start * self.step..].iter_mut().step_by(self.step);
            to.zip(&words[..len]).for_each(|(to, &word)| *to = word);
        }
        nans.contains(&true)
    }
}
