//! Every choice of path.
use crate::kernel::{Isa, starts_two_byte_products};
use crate::packed::format::CodeFormat;

/// Products of bits that are made in the time of other work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CostModel {
    /// Of a product of bytes.
    byte: usize,
    /// Of making a number from a code that is held in planes.
    expansion: usize,
}

impl CostModel {
    /// Of the kernels of an instruction set. What is said to be measured is so on a core of a
    /// Zen 3, with 512 rows, filters and inputs; the rest is reckoned from instructions.
    pub(crate) fn of(isa: Isa) -> Self {
        let (byte, expansion) = match isa {
            // Measured 33 where the compiler has SSE2 for bits; about 10 without vectors.
            Isa::Portable => (16, 10),
            // Measured 3.6 for narrow codes; 1x3 and 3x1 bits take as long in either form.
            Isa::Avx2 => (3, 40),
            // As many products of bits a cycle as with AVX2, about 100, for 64 of bytes.
            Isa::AvxVnni => (1, 40),
            // Measured 3.2 on an Emerald Rapids: 390 products of bits a cycle for 115 of bytes.
            Isa::Avx512 if starts_two_byte_products() => (3, 150),
            // Half as many of bytes, less what it takes to pack several planes.
            Isa::Avx512 => (5, 150),
            // Measured 1.2 on the same for dense layers; convolutions by 1x2 and 2x1 bits are up to
            // 1.4 times faster in planes, so that these stay.
            Isa::Amx => (2, 100),
            // An instruction makes 43 products of bits, or 8 of bytes, and these must be unpacked.
            Isa::Neon => (4, 40),
            // 43 for 16 of bytes, or 11 with what it takes to unpack them.
            Isa::Dotprod => (3, 40),
        };
        CostModel { byte, expansion }
    }

    /// How to hold the codes of weights. One bit always is a plane.
    pub(crate) fn weight_form(self, activation_bits: u32, weight_bits: u32) -> CodeFormat {
        match weight_bits == 1 || (activation_bits * weight_bits) as usize <= self.byte {
            true => CodeFormat::Planes,
            false => CodeFormat::Bytes,
        }
    }

    /// How to multiply `rows` of activations with weights that are held in planes: as bytes only if
    /// that makes up for expanding the weights.
    pub(crate) fn product_form(
        self,
        activation_bits: u32,
        weight_bits: u32,
        rows: usize,
    ) -> CodeFormat {
        let lost = ((activation_bits * weight_bits) as usize).saturating_sub(self.byte);
        match rows.saturating_mul(lost) <= self.expansion {
            true => CodeFormat::Planes,
            false => CodeFormat::Bytes,
        }
    }
}
