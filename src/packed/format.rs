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
pub(crate) struct Storage {
    /// Of a code.
    bits: u32,
    /// Of the fields of codes, for products with activations of a byte; `None` for bit planes.
    pub(crate) width: Option<Width>,
    /// What is subtracted from a code: half of all, where a signed byte would not hold it.
    pub(crate) center: u32,
}

impl Storage {
    /// For codes of so many bits.
    pub(crate) fn new(format: CodeFormat, bits: u32) -> Self {
        let width = match (format, bits) {
            (CodeFormat::Planes, _) => None,
            (CodeFormat::Bytes, 1 | 2) => Some(Width::Bits2),
            (CodeFormat::Bytes, 3 | 4) => Some(Width::Bits4),
            (CodeFormat::Bytes, _) => Some(Width::Bits8),
        };
        Storage { bits, width, center: if width.is_some() && bits == 8 { 128 } else { 0 } }
    }

    pub(crate) fn format(self) -> CodeFormat {
        if self.width.is_none() { CodeFormat::Planes } else { CodeFormat::Bytes }
    }

    /// The same codes in another format.
    pub(crate) fn in_format(self, format: CodeFormat) -> Self {
        Storage::new(format, self.bits)
    }

    /// Bit planes; fields are one.
    pub(crate) fn planes(self) -> usize {
        if self.width.is_none() { self.bits as usize } else { 1 }
    }

    /// Words of rows of activations that share a word of a filter.
    pub(crate) fn span(self) -> usize {
        self.width.map_or(1, Width::span)
    }

    /// The largest magnitude of a field.
    pub(crate) fn largest(self) -> u32 {
        self.center.max((1 << self.bits) - 1 - self.center)
    }

    /// Words of a filter of so many codes, in a plane.
    pub(crate) fn panel_words(self, row_len: usize) -> usize {
        self.row_words(row_len) / self.span()
    }

    /// Words of a row of activations that is multiplied with such a filter, with those that fill it up.
    pub(crate) fn row_words(self, row_len: usize) -> usize {
        match self.width {
            None => row_len.div_ceil(32),
            Some(width) => width.padded_words(row_len.div_ceil(4)),
        }
    }

    /// Sets the codes of a filter in the planes of its panel, in the place of zeros.
    pub(crate) fn set(self, planes: &mut [&mut [u32]], filter: usize, codes: &[u8]) {
        let Some(width) = self.width else {
            for (i, codes) in codes.chunks(32).enumerate() {
                for (bit, plane) in planes.iter_mut().enumerate() {
                    let bits = codes.iter().map(|&code| u32::from(code >> bit & 1));
                    plane[i * PANEL + filter] = bits.rev().fold(0, |word, bit| word << 1 | bit);
                }
            }
            return;
        };
        for (i, codes) in codes.chunks(4).enumerate() {
            let mut bytes = [0; 4];
            let centered = codes.iter().map(|code| code.wrapping_sub(self.center as u8));
            bytes.iter_mut().zip(centered).for_each(|(byte, code)| *byte = code);
            width.insert(planes[0], i, filter, u32::from_le_bytes(bytes));
        }
    }
}
