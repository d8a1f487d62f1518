//! Kernels in portable Rust: the reference that every other instruction set is tested against.

/// The number of positions at which two bit rows differ.
pub(crate) fn xor_popcount(a: &[u64], b: &[u64]) -> u64 {
    a.iter().zip(b).map(|(a, b)| u64::from((a ^ b).count_ones())).sum()
}

/// The dot product of two rows of codes.
pub(crate) fn dot_bytes(a: &[u8], b: &[u8]) -> u64 {
    // 2^16 products of two bytes stay below 2^32, so each block sums in 32 bits.
    const BLOCK: usize = 1 << 16;
    a.chunks(BLOCK)
        .zip(b.chunks(BLOCK))
        .map(|(a, b)| {
            let sum: u32 = a.iter().zip(b).map(|(&a, &b)| u32::from(a) * u32::from(b)).sum();
            u64::from(sum)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_do_not_overflow() {
        for len in [0, 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 200_000] {
            assert_eq!(dot_bytes(&vec![255; len], &vec![255; len]), 65_025 * len as u64);
        }
    }
}
