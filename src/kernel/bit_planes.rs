//! Bit planes of codes of a byte: a bit of each of 32 codes is a word, the first code lowest.
//!
//! For activations of 2 to 8 bits, which are multiplied plane by plane.

#[cfg(target_arch = "x86_64")]
use super::Isa;
use super::Kernel;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Codes of which a bit each fills a word.
pub(crate) const CODES: usize = 32;

impl Kernel {
    /// Writes a bit (0 to 7) of all codes, the first code lowest.
    ///
    /// # Panics
    /// If there are not as many words as they fill.
    #[inline]
    pub(crate) fn write_bits(self, codes: &[[u8; CODES]], bit: usize, words: &mut [u32]) {
        assert!(bit < 8 && words.len() == codes.len());
        match self.vectors() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX-512, as `self` proves.
            Isa::Avx512 => unsafe { avx512(codes, bit, words) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX2, as `self` proves.
            Isa::Avx2 | Isa::AvxVnni => unsafe { avx2(codes, bit, words) },
            _ => words.iter_mut().zip(codes).for_each(|(word, codes)| *word = bits(codes, bit)),
        }
    }
}

/// In plain Rust: eight codes at a time in a word of 64 bits.
fn bits(codes: &[u8; CODES], bit: usize) -> u32 {
    let eights = codes.as_chunks::<8>().0.iter().rev();
    eights.fold(0, |word, eight| {
        let ones = u64::from_le_bytes(*eight) >> bit & 0x0101_0101_0101_0101;
        // The factor moves bit 8 i to bit 56 + i, and no two others to the same place.
        word << 8 | (ones.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    })
}

/// With the mask of the highest bits of bytes.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn avx2(codes: &[[u8; CODES]], bit: usize, words: &mut [u32]) {
    // What is shifted into a byte from its neighbour stays below its highest bit.
    let shift = _mm_cvtsi32_si128(7 - bit as i32);
    for (word, codes) in words.iter_mut().zip(codes) {
        // SAFETY: these are 32 bytes.
        let codes = unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) };
        *word = _mm256_movemask_epi8(_mm256_sll_epi16(codes, shift)) as u32;
    }
}

/// With the mask of bytes that have a bit.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn avx512(codes: &[[u8; CODES]], bit: usize, words: &mut [u32]) {
    let bit = _mm256_set1_epi8((1u8 << bit) as i8);
    for (word, codes) in words.iter_mut().zip(codes) {
        // SAFETY: these are 32 bytes.
        let codes = unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) };
        *word = _mm256_test_epi8_mask(codes, bit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::{Random, available};

    #[test]
    fn bits_of_all_codes_are_written() {
        let mut random = Random::new(17);
        for len in [0, 1, 2, 5] {
            let codes = random.words(len * CODES);
            let codes: Vec<u8> = codes.into_iter().map(|word| word as u8).collect();
            let codes = codes.as_chunks::<CODES>().0;
            for bit in 0..8 {
                let word = |codes: &[u8; CODES]| {
                    let bits = codes.iter().map(|&code| u32::from(code >> bit & 1)).enumerate();
                    bits.fold(0, |word, (i, bit)| word | bit << i)
                };
                let expected: Vec<u32> = codes.iter().map(word).collect();
                for kernel in available() {
                    let mut words = vec![u32::MAX; len];
                    kernel.write_bits(codes, bit, &mut words);
                    assert_eq!(words, expected, "{kernel:?}, bit {bit}");
                }
            }
        }
    }
}
