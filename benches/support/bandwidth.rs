//! How fast memory can be read at all.

use super::Contestant;
use std::hint::black_box;

/// The name of [`read`] among the contestants.
pub(crate) const READ: &str = "read";

/// Words that are read at a time: 8 of the widest vectors, each with a sum of its own.
const LANES: usize = 64;

/// Reads as many bytes in order, with vectors of an instruction set. The size decides which cache
/// they come from.
#[allow(unsafe_code)]
pub(crate) fn read(isa: &str, bytes: usize) -> Contestant<'static> {
    // Ones: pages of zeros might all be the same one.
    let buffer = vec![1u64; bytes.div_ceil(8).next_multiple_of(LANES)];
    let bytes = (8 * buffer.len()) as f64;
    match isa {
        #[cfg(target_arch = "x86_64")]
        "avx512" | "amx" if is_x86_feature_detected!("avx512f") => {
            // SAFETY: the CPU has it.
            Contestant::new(READ, bytes, move || unsafe { xor_avx512(&buffer) })
        }
        #[cfg(target_arch = "x86_64")]
        "avx512" | "amx" | "avxvnni" | "avx2" if is_x86_feature_detected!("avx2") => {
            // SAFETY: the CPU has it.
            Contestant::new(READ, bytes, move || unsafe { xor_avx2(&buffer) })
        }
        _ => Contestant::new(READ, bytes, move || xor(&buffer)),
    }
}

#[inline(always)]
fn xor(buffer: &[u64]) {
    let mut sums = [0; LANES];
    for words in black_box(buffer).chunks_exact(LANES) {
        for (sum, &word) in sums.iter_mut().zip(words) {
            *sum ^= word;
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn xor_avx2(buffer: &[u64]) {
    xor(buffer);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn xor_avx512(buffer: &[u64]) {
    xor(buffer);
}
