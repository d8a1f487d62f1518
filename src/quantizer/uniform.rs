//! Uniform weights: DoReFa's grid without its tanh, and therefore idempotent.

use crate::Element;
use crate::quantizer::{Rounding, max_code};

/// `round(n (clip(w, -1, 1) + 1) / 2)`, `n = 2^bits - 1`.
pub(super) fn uniform_code<T: Element>(w: T, bits: u32, rounding: Rounding) -> u32 {
    // In f64 also for f32 weights: above 23 bits `n` and the codes outgrow f32, and rounding
    // errors would move a quantized weight to its neighbour when it is quantized again.
    let unit = (w.as_f64().clamp(-1.0, 1.0) + 1.0) / 2.0;
    rounding.round(unit * max_code(bits) as f64).as_code()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantizer::Levels;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quantizing_twice_changes_nothing(w in -1.5f32..1.5, bits in 1u32..=31) {
            for rounding in [Rounding::HalfAwayFromZero, Rounding::HalfToEven] {
                let levels = Levels::symmetric(bits);
                let once: f32 = levels.value(uniform_code(w, bits, rounding));
                let twice: f32 = levels.value(uniform_code(once, bits, rounding));
                prop_assert_eq!(once.to_bits(), twice.to_bits());
                let once: f64 = levels.value(uniform_code(f64::from(w), bits, rounding));
                let twice: f64 = levels.value(uniform_code(once, bits, rounding));
                prop_assert_eq!(once.to_bits(), twice.to_bits());
            }
        }
    }
}
