//! Sums to signs: which numerators reach their threshold, a bit each.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(target_arch = "x86_64")]
use super::Isa;
use super::Kernel;

/// Filters whose bits share a word.
const BITS: usize = u32::BITS as usize;

impl Kernel {
    /// Bit `i` is set where `product * sums[i] + addends[i]` is `least` or more. None of the three
    /// must need rounding, nor the product and the sum of it.
    #[inline(always)]
    pub(crate) fn at_least(
        self,
        sums: &[i32; BITS],
        product: f32,
        addends: &[f32; BITS],
        least: f32,
    ) -> u32 {
        match self.vectors() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX-512, as `self` proves.
            Isa::Avx512 => unsafe { avx512::at_least(sums, product, addends, least) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX2, as `self` proves.
            Isa::Avx2 | Isa::AvxVnni => unsafe { avx2::at_least(sums, product, addends, least) },
            _ => {
                let bit = |i: usize| u32::from(product * sums[i] as f32 + addends[i] >= least);
                (0..BITS).fold(0, |bits, i| bits | bit(i) << i)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Random, available};

    #[test]
    fn numerators_are_compared() {
        let mut random = Random::new(12);
        let mut small = |range: u32| {
            let words: [u32; 32] = random.words(32).try_into().unwrap();
            words.map(|word| (word % range) as i32 - range as i32 / 2)
        };
        for product in [-1, 2, -3] {
            for least in -4..4 {
                let (sums, addends) = (small(9), small(5));
                let expected = (0..32).filter(|&i| product * sums[i] + addends[i] >= least);
                let expected = expected.fold(0u32, |bits, i| bits | 1 << i);
                for kernel in available() {
                    let addends = addends.map(|addend| addend as f32);
                    let found = kernel.at_least(&sums, product as f32, &addends, least as f32);
                    assert_eq!(found, expected, "{kernel:?}");
                }
            }
        }
    }
}
