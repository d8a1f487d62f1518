//! Two vectors of sums at a time.

use super::{LANES, SignWindows, for_each_block};
use std::arch::x86_64::*;

const VECTOR: usize = 64;
const VECTORS: usize = LANES / VECTOR;

/// See [`Kernel::sum_signs`](super::Kernel::sum_signs).
///
/// # Safety
/// There are as many sums as lanes.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn sum_signs(windows: SignWindows<'_>, sums: &mut [i8]) {
    let SignWindows { line, offsets, weights, row, .. } = windows;
    let load = |from: *const i8| -> [__m512i; VECTORS] {
        // SAFETY: `LANES` lanes, as below.
        std::array::from_fn(|i| unsafe { _mm512_loadu_si512(from.add(VECTOR * i).cast()) })
    };
    for_each_block(windows, |lane, weight| {
        // SAFETY: `weight` is less than `row`, of which each has `LANES` more, and so does each
        // tap from each block on, as `windows` proves.
        unsafe {
            let line = line.as_ptr().add(lane);
            let mut weights = weights.as_ptr().add(weight);
            let mut totals = load(weights);
            for &offset in offsets {
                weights = weights.add(row + LANES);
                let (activations, weights) = (load(line.add(offset)), load(weights));
                for i in 0..VECTORS {
                    let signed = _mm512_xor_si512(activations[i], weights[i]);
                    totals[i] = _mm512_add_epi8(totals[i], signed);
                }
            }
            let sums = sums.as_mut_ptr().add(lane);
            for (i, total) in totals.into_iter().enumerate() {
                _mm512_storeu_si512(sums.add(VECTOR * i).cast(), total);
            }
        }
    });
}
