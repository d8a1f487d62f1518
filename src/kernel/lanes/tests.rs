//! Every instruction set against one lane at a time.

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
                let end = offsets.iter().max().unwrap_or(&0) + LANES * usize::div_ceil(len, LANES);
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
