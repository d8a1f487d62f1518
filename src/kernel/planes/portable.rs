//! Eight codes at a time in a word of 64 bits.

use super::CODES;

/// See [`Kernel::write_bits`](super::Kernel::write_bits).
pub(super) fn write_bits(codes: &[[u8; CODES]], bit: usize, words: &mut [u32]) {
    words.iter_mut().zip(codes).for_each(|(word, codes)| *word = bits(codes, bit));
}

fn bits(codes: &[u8; CODES], bit: usize) -> u32 {
    let eights = codes.as_chunks::<8>().0.iter().rev();
    eights.fold(0, |word, eight| {
        let ones = u64::from_le_bytes(*eight) >> bit & 0x0101_0101_0101_0101;
        // The factor moves bit 8 i to bit 56 + i, and no two others to the same place.
        word << 8 | (ones.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    })
}
