//! Sums to signs: which numerators reach their threshold, a bit each of 32 filters.
//!
//! For outputs in bits whose sums are already in memory.

#[cfg(target_arch = "x86_64")]
use super::Isa;
use super::Kernel;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

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
            Isa::Avx512 => unsafe { avx512(sums, product, addends, least) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX2, as `self` proves.
            Isa::Avx2 | Isa::AvxVnni => unsafe { avx2(sums, product, addends, least) },
            _ => {
                let bit = |i: usize| u32::from(product * sums[i] as f32 + addends[i] >= least);
                (0..BITS).fold(0, |bits, i| bits | bit(i) << i)
            }
        }
    }
}

/// Eight at a time, whose signs of comparisons are bits.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn avx2(sums: &[i32; BITS], product: f32, addends: &[f32; BITS], least: f32) -> u32 {
    let (product, least) = (_mm256_set1_ps(product), _mm256_set1_ps(least));
    let eights = sums.as_chunks::<8>().0.iter().zip(addends.as_chunks::<8>().0).enumerate();
    eights.fold(0, |bits, (i, (sums, addends))| {
        // SAFETY: both are as long as a vector.
        let (sums, addends) = unsafe {
            (_mm256_loadu_si256(sums.as_ptr().cast()), _mm256_loadu_ps(addends.as_ptr()))
        };
        let numerators = _mm256_add_ps(_mm256_mul_ps(product, _mm256_cvtepi32_ps(sums)), addends);
        let reached = _mm256_cmp_ps::<_CMP_GE_OQ>(numerators, least);
        bits | (_mm256_movemask_ps(reached) as u32) << (8 * i)
    })
}

/// Sixteen at a time, which are compared straight to bits.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
fn avx512(sums: &[i32; BITS], product: f32, addends: &[f32; BITS], least: f32) -> u32 {
    let (product, least) = (_mm512_set1_ps(product), _mm512_set1_ps(least));
    let halves = sums.as_chunks::<16>().0.iter().zip(addends.as_chunks::<16>().0).enumerate();
    halves.fold(0, |bits, (i, (sums, addends))| {
        // SAFETY: both are as long as a vector.
        let (sums, addends) = unsafe {
            (_mm512_loadu_si512(sums.as_ptr().cast()), _mm512_loadu_ps(addends.as_ptr()))
        };
        let numerators = _mm512_fmadd_ps(product, _mm512_cvtepi32_ps(sums), addends);
        let reached = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(numerators, least);
        bits | u32::from(reached) << (16 * i)
    })
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
