//! The format of codes in words, bit planes or bytes, and the size of a panel of weights in it.

use crate::kernel::{PANEL, Width};

/// The format of the codes of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CodeFormat {
    /// Bit planes, words of the lowest bits, then words of the next: for XNOR and popcount.
    Planes,
    /// Bytes, or narrower ones if they are weights: for dot products.
    Bytes,
}

/// The format of codes of weights in panels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Storage {
    /// In so many bit planes, for XNOR and popcount.
    Planes(usize),
    /// In fields of 2, 4 or 8 bits, for products with activations of a byte.
    Codes {
        width: Width,
        /// What is subtracted from a code: half of all, where signed bytes would not hold it.
        center: u32,
        /// The largest magnitude of what is left.
        largest: u32,
    },
}

impl Storage {
    /// For codes of so many bits.
    pub(crate) fn new(format: CodeFormat, bits: u32) -> Self {
        let codes = |width| Storage::Codes { width, center: 0, largest: (1 << bits) - 1 };
        match (format, bits) {
            (CodeFormat::Planes, _) => Storage::Planes(bits as usize),
            (CodeFormat::Bytes, 1 | 2) => codes(Width::Bits2),
            (CodeFormat::Bytes, 3 | 4) => codes(Width::Bits4),
            (CodeFormat::Bytes, 5..=7) => codes(Width::Bits8),
            (CodeFormat::Bytes, _) => {
                Storage::Codes { width: Width::Bits8, center: 128, largest: 128 }
            }
        }
    }

    /// Bit planes; 1 where codes are in fields.
    pub(crate) fn planes(self) -> usize {
        match self {
            Storage::Planes(planes) => planes,
            Storage::Codes { .. } => 1,
        }
    }

    /// Sets the codes of a filter in the planes of its panel, in the place of zeros.
    pub(crate) fn set(self, planes: &mut [&mut [u32]], filter: usize, codes: &[u8]) {
        match self {
            Storage::Planes(_) => {
                for (i, codes) in codes.chunks(32).enumerate() {
                    for (bit, plane) in planes.iter_mut().enumerate() {
                        let bits = codes.iter().map(|&code| u32::from(code >> bit & 1));
                        let word = bits.rev().fold(0, |word, bit| word << 1 | bit);
                        plane[i * PANEL + filter] = word;
                    }
                }
            }
            Storage::Codes { width, center, .. } => {
                for (i, codes) in codes.chunks(4).enumerate() {
                    let mut bytes = [0; 4];
                    let centered = codes.iter().map(|code| code.wrapping_sub(center as u8));
                    bytes.iter_mut().zip(centered).for_each(|(byte, code)| *byte = code);
                    width.insert(planes[0], i, filter, u32::from_le_bytes(bytes));
                }
            }
        }
    }

    /// Words of a window that is multiplied with a filter of so many codes.
    pub(crate) fn row_words(self, row_len: usize) -> usize {
        match self {
            Storage::Planes(_) => row_len.div_ceil(32),
            Storage::Codes { .. } => row_len.div_ceil(4),
        }
    }

    /// Words of a filter of so many codes, in a plane.
    pub(crate) fn panel_words(self, row_len: usize) -> usize {
        match self {
            Storage::Planes(_) => row_len.div_ceil(32),
            Storage::Codes { width, .. } => width.panel_words(row_len.div_ceil(4)),
        }
    }
}
