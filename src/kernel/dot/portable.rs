//! In plain Rust: the reference that every instruction set is tested against.

use super::Dot;
use crate::kernel::PANEL;
use crate::kernel::arch::Portable;

impl<const SPAN: usize> Dot<SPAN> for Portable {
    type Vector = Portable;
    type Weights = [u32; PANEL];
    type Codes = [u8; 4];
    type Sums = [i32; PANEL];

    #[inline(always)]
    fn vector(self) -> Portable {
        self
    }
    #[inline(always)]
    fn load(self, panel: &[u32; PANEL]) -> [u32; PANEL] {
        *panel
    }
    #[inline(always)]
    fn unpack(self, packed: [u32; PANEL], w: usize) -> [u32; PANEL] {
        let bits = 8 / SPAN;
        let mask = u32::from_ne_bytes([(0xff_u32 >> (8 - bits)) as u8; 4]);
        packed.map(|word| word >> (w * bits) & mask)
    }
    #[inline(always)]
    fn codes(self, word: u32) -> [u8; 4] {
        word.to_le_bytes()
    }
    #[inline(always)]
    fn begin(self, _: usize) -> [i32; PANEL] {
        [0; PANEL]
    }
    #[inline(always)]
    fn multiply(
        self,
        mut sums: [i32; PANEL],
        codes: [u8; 4],
        weights: [u32; PANEL],
    ) -> [i32; PANEL] {
        for (sum, weights) in sums.iter_mut().zip(weights) {
            let products = codes.into_iter().zip(weights.to_le_bytes());
            *sum += products.map(|(a, w)| i32::from(a) * i32::from(w as i8)).sum::<i32>();
        }
        sums
    }
    #[inline(always)]
    fn finish(self, sums: [i32; PANEL]) -> [i32; PANEL] {
        sums
    }
}
