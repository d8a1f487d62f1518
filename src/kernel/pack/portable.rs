//! In plain Rust.

use crate::Element;
use crate::quantizer::Threshold;

/// See [`Kernel::pack_row`](super::Kernel::pack_row).
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
