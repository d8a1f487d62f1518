//! The sums of a block stay in vectors.

use super::{LANES, SignWindows, for_each_block};
use std::arch::x86_64::*;

/// A kernel of the instructions that load, combine, add up and store vectors of bytes.
macro_rules! sum_signs {
    ($name:ident, $features:literal, $vector:ty, $load:ident, $xor:ident, $add:ident, $store:ident) => {
        /// See [`Kernel::sum_signs`](super::Kernel::sum_signs).
        ///
        /// # Safety
        /// There are as many sums as lanes.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name(windows: SignWindows<'_>, sums: &mut [i8]) {
            const VECTOR: usize = size_of::<$vector>();
            const VECTORS: usize = LANES / VECTOR;
            let SignWindows { line, offsets, weights, row, .. } = windows;
            let load = |from: *const i8| -> [$vector; VECTORS] {
                // SAFETY: `LANES` lanes, as below.
                std::array::from_fn(|i| unsafe { $load(from.add(VECTOR * i).cast()) })
            };
            for_each_block(windows, |lane, weight| {
                // SAFETY: `weight` is less than `row`, of which each has `LANES` more, and so does
                // each tap from each block on, as `windows` proves.
                unsafe {
                    let line = line.as_ptr().add(lane);
                    let mut weights = weights.as_ptr().add(weight);
                    let mut totals = load(weights);
                    for &offset in offsets {
                        weights = weights.add(row + LANES);
                        let (activations, weights) = (load(line.add(offset)), load(weights));
                        for i in 0..VECTORS {
                            totals[i] = $add(totals[i], $xor(activations[i], weights[i]));
                        }
                    }
                    let sums = sums.as_mut_ptr().add(lane);
                    for (i, total) in totals.into_iter().enumerate() {
                        $store(sums.add(VECTOR * i).cast(), total);
                    }
                }
            });
        }
    };
}

sum_signs!(
    avx2,
    "avx2",
    __m256i,
    _mm256_loadu_si256,
    _mm256_xor_si256,
    _mm256_add_epi8,
    _mm256_storeu_si256
);
sum_signs!(
    avx512,
    "avx512f,avx512bw",
    __m512i,
    _mm512_loadu_si512,
    _mm512_xor_si512,
    _mm512_add_epi8,
    _mm512_storeu_si512
);
