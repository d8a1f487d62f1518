//! Bit planes of codes of a byte.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
use super::Isa;
use super::Kernel;

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
            Isa::Avx512 => unsafe { avx512::write_bits(codes, bit, words) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX2, as `self` proves.
            Isa::Avx2 | Isa::AvxVnni => unsafe { avx2::write_bits(codes, bit, words) },
            _ => portable::write_bits(codes, bit, words),
        }
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
