//! Sums of signs of depthwise convolutions: `a xor w` of bytes, each lane with a weight of its own.
//!
//! A lane is a channel of a pixel, or a pixel of a channel; nothing is shared among lanes. Blocks of
//! 128 stay in registers over all taps of a window. That takes no instructions to be named: where
//! lengths are constants, the compiler makes vectors of any instruction set.

use super::{Code, Kernel};

/// Lanes that are computed together: some more than there are may be read and written.
pub(crate) const LANES: usize = 128;

/// Windows that follow each other, and what they are multiplied with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignWindows<'a> {
    /// Lane `i` of a tap is `line[offset + i]`.
    line: &'a [i8],
    /// Where each tap begins.
    offsets: &'a [usize],
    /// What sums begin with, then the weights of each tap: `row` lanes, and the first `LANES` that
    /// follow when these begin again.
    weights: &'a [i8],
    row: usize,
    /// How many lanes there are, up to a multiple of `LANES`.
    len: usize,
}

impl<'a> SignWindows<'a> {
    /// # Panics
    /// If `line` ends before a tap does, or `weights` are not those of all taps.
    pub(crate) fn new(
        line: &'a [i8],
        offsets: &'a [usize],
        weights: &'a [i8],
        row: usize,
        len: usize,
    ) -> Self {
        let len = len.next_multiple_of(LANES);
        let reach = offsets.iter().max().map_or(0, |&offset| offset);
        assert!(
            reach.checked_add(len).is_some_and(|end| end <= line.len()),
            "windows end too late"
        );
        assert!(row > 0 && weights.len() == (1 + offsets.len()) * (row + LANES));
        SignWindows { line, offsets, weights, row, len }
    }
}

impl Kernel {
    /// Writes what lanes begin with, plus `a xor w` of each tap.
    ///
    /// # Panics
    /// If there are fewer sums than lanes, up to a multiple of [`LANES`].
    pub(crate) fn sum_signs(self, windows: SignWindows<'_>, sums: &mut [i8]) {
        let sums = &mut sums[..windows.len];
        self.vectorize(SumSigns { windows, sums });
    }
}

struct SumSigns<'a> {
    windows: SignWindows<'a>,
    sums: &'a mut [i8],
}

impl Code for SumSigns<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let SignWindows { line, offsets, weights, row, .. } = self.windows;
        let mut weight = 0;
        for (block, sums) in self.sums.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            // SAFETY: `weight` is less than `row`, of which each has `LANES` more, and so does
            // each tap from each block on, as `windows` proves.
            unsafe {
                let line = line.as_ptr().add(block * LANES);
                let mut weights = weights.as_ptr().add(weight);
                let mut totals = *weights.cast::<[i8; LANES]>();
                for &offset in offsets {
                    weights = weights.add(row + LANES);
                    let activations = &*line.add(offset).cast::<[i8; LANES]>();
                    let weights = &*weights.cast::<[i8; LANES]>();
                    for (total, (a, w)) in totals.iter_mut().zip(activations.iter().zip(weights)) {
                        *total = total.wrapping_add(a ^ w);
                    }
                }
                *sums = totals;
            }
            weight += LANES % row;
            if weight >= row {
                weight -= row;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::{Random, available};

    #[test]
    fn lanes_are_summed_up() {
        let mut random = Random::new(12);
        let mut bytes = |len: usize| -> Vec<i8> {
            random
                .words(len.div_ceil(4))
                .iter()
                .flat_map(|w| w.to_ne_bytes().map(|b| b as i8))
                .collect()
        };
        for row in [1, 2, 3, 31, 64, 127, 128, 129, 200, 300] {
            for len in [0, 1, 127, 128, 129, 500] {
                for offsets in [&[][..], &[0], &[3, 0, 250, 64]] {
                    let end =
                        offsets.iter().max().unwrap_or(&0) + LANES * usize::div_ceil(len, LANES);
                    let line = bytes(end);
                    let line = &line[line.len() - end..];
                    let stride = row + LANES;
                    let mut weights = bytes((1 + offsets.len()) * stride);
                    weights.truncate((1 + offsets.len()) * stride);
                    for weights in weights.chunks_mut(stride) {
                        (row..stride).for_each(|i| weights[i] = weights[i - row]);
                    }
                    let windows = SignWindows::new(line, offsets, &weights, row, len);
                    for kernel in available() {
                        let mut sums = vec![7; LANES * usize::div_ceil(len, LANES) + 1];
                        kernel.sum_signs(windows, &mut sums);
                        assert_eq!(sums.pop(), Some(7), "{kernel:?}");
                        for (i, &found) in sums.iter().enumerate() {
                            let expected =
                                (1..).zip(offsets).fold(weights[i % row], |sum, (tap, at)| {
                                    sum.wrapping_add(line[at + i] ^ weights[tap * stride + i % row])
                                });
                            assert_eq!(found, expected, "{kernel:?}: lane {i} of {len}, row {row}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "windows end too late")]
    fn windows_end_within_their_line() {
        SignWindows::new(&[0; LANES], &[1], &[0; 2 * (1 + LANES)], 1, 1);
    }
}
