//! Formula, integer codes and straight-through gradient of each quantizer.
//!
//! | quantizer | formula | source |
//! | --- | --- | --- |
//! | sign | `x >= 0 -> +1`, else `-1` | BinaryNet, XNOR-Net |
//! | Heaviside | `x > 0 -> 1`, else `0` | Larq `ste_heaviside` |
//! | magnitude-aware sign | `sign(w) * mean|w|` of the filter | Bi-Real Net, Larq |
//! | BWN | `sign(w) * mean|w|` of the tensor | DoReFa-Net at 1 bit, tensorpack |
//! | ternary | `0` where `|w| < t`, else `sign(w)` | TWN, Larq `ste_tern` |
//! | absmean | `clip(round(w / g), -1, 1) * g`, `g = mean|w|` of the tensor | BitNet b1.58 |
//! | DoReFa weights | `2 round(n (tanh w / 2M + 1/2)) / n - 1`, `M = max|tanh w|` | DoReFa-Net |
//! | uniform weights | `2 round(n (clip(w, -1, 1) + 1) / 2) / n - 1` | idempotent answer to DoReFa |
//! | unit activations | `round(n clip(x, 0, 1)) / n` | DoReFa-Net |
//! | absmax activations | `round(x m / a) a / m`, `a = max|x|` of the sample | BitNet b1.58 |
//!
//! with `n = 2^k - 1` and `m = 2^(k-1) - 1` at `k` bits. [`Levels`] turns codes into values.

mod absmax;
mod activation;
mod dorefa;
mod full_precision;
mod sign;
mod ste;
mod ternary;
mod uniform;
mod weight;

pub use activation::ActivationQuantizer;
pub(crate) use activation::{FittedQuantizer, FittedQuantizer as ActivationCoder};
pub use dorefa::DorefaGradient;
pub use full_precision::FullPrecision;
pub(crate) use sign::{filter_magnitudes, finite_scale, tensor_magnitude};
pub use ste::Ste;
pub use ternary::TernaryThreshold;
pub(crate) use weight::FittedWeightQuantizer;
pub use weight::WeightQuantizer;

use crate::element::compiled_once;
use crate::quantizer::absmax::max_signed;
use crate::{Element, Error, Operand, Result};
use ndarray::{ArrayView, Dimension};

/// How a quantizer rounds a number that lies halfway between two codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rounding {
    /// Away from zero, as C's `round` does: BMXNet. The default.
    #[default]
    HalfAwayFromZero,
    /// To the even neighbour, as IEEE 754 does: Larq, tensorpack, TensorFlow, PyTorch, BitNet.
    HalfToEven,
}

impl Rounding {
    #[inline(always)]
    pub(crate) fn round<T: Element>(self, x: T) -> T {
        let away = x.round();
        match self {
            Rounding::HalfAwayFromZero => away,
            // A tie is a number whose distance to its rounding is exactly one half.
            Rounding::HalfToEven if (away - x).abs() == T::of(0.5) => {
                T::of(2.0) * (x / T::of(2.0)).round()
            }
            Rounding::HalfToEven => away,
        }
    }
}

/// The values of integer codes: `value = (step * code + offset) / denominator`.
///
/// All three are integers, so a dot product of values is an integer over a known denominator,
/// and the operators compute it exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Levels {
    bits: u32,
    step: i64,
    offset: i64,
    denominator: i64,
}

impl Levels {
    /// Codes 0 and 1 for -1 and +1.
    pub(crate) const SIGN: Levels = Levels { bits: 1, step: 2, offset: -1, denominator: 1 };
    /// Codes 0, 1, 2 for -1, 0, +1.
    pub(crate) const TERNARY: Levels = Levels { bits: 2, step: 1, offset: -1, denominator: 1 };

    /// Codes `0..=n` for `0, 1/n, ..., 1`, where `n = 2^bits - 1`.
    pub(crate) fn unit(bits: u32) -> Levels {
        Levels { bits, step: 1, offset: 0, denominator: max_code(bits) }
    }

    /// Codes `0..=n` for `-1, -1 + 2/n, ..., 1`, where `n = 2^bits - 1`.
    pub(crate) fn symmetric(bits: u32) -> Levels {
        let n = max_code(bits);
        Levels { bits, step: 2, offset: -n, denominator: n }
    }

    /// Codes `0..=2n` for `-1, -1 + 1/n, ..., 1`, where `n = 2^(bits - 1) - 1`.
    pub(crate) fn signed(bits: u32) -> Levels {
        let n = max_signed(bits);
        Levels { bits, step: 1, offset: -n, denominator: n }
    }

    /// Bits a code takes.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The factor of the code.
    pub fn step(&self) -> i64 {
        self.step
    }

    /// What is added to `step * code`.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// What `step * code + offset` is divided by.
    pub fn denominator(&self) -> i64 {
        self.denominator
    }

    /// `step * code + offset`.
    pub fn numerator(&self, code: u32) -> i64 {
        self.step * i64::from(code) + self.offset
    }

    /// Whether numerators are -1 and +1.
    pub(crate) fn is_sign(&self) -> bool {
        self.bits == 1 && [0, 1].map(|code| self.numerator(code)) == [-1, 1]
    }

    /// The largest magnitude of a numerator.
    pub(crate) fn largest_numerator(&self) -> i64 {
        self.numerator(0).abs().max(self.numerator(max_code(self.bits) as u32).abs())
    }

    /// The value that a code stands for.
    pub fn value<T: Element>(&self, code: u32) -> T {
        T::of_integer(self.numerator(code)) / T::of_integer(self.denominator)
    }

    /// What all the bits of a code make.
    pub(crate) fn largest_code(&self) -> i64 {
        max_code(self.bits)
    }

    /// Whether the codes take part in exact integer arithmetic (8 bits at most).
    pub(crate) fn fit_a_byte(&self) -> bool {
        self.bits <= 8
    }
}

/// `2^bits - 1`.
fn max_code(bits: u32) -> i64 {
    (1i64 << bits) - 1
}

/// Accepts 1 to 31 bits.
fn check_bits(operand: Operand, bits: u32) -> Result<()> {
    if (1..=31).contains(&bits) {
        Ok(())
    } else {
        Err(Error::BitWidth { operand, expected: "1 to 31", bits })
    }
}

/// Refuses a tensor that holds a NaN.
pub(crate) fn check_no_nan<T: Element, D: Dimension>(
    operand: Operand,
    values: &ArrayView<'_, T, D>,
) -> Result<()> {
    let nan = match values.as_slice_memory_order() {
        Some(slice) => has_nan(slice),
        None => values.iter().any(|x| x.is_nan()),
    };
    if nan { Err(Error::NaN { operand }) } else { Ok(()) }
}

compiled_once! {
    fn has_nan<'a; T>(values: &'a [T]) -> bool {
        // Folding without an early exit lets the compiler vectorize it.
        values.iter().fold(false, |nan, x| nan | x.is_nan())
    }
}

/// Refuses two tensors of different shapes.
pub(crate) fn check_same_shape(
    operand: Operand,
    expected: &[usize],
    found: &[usize],
) -> Result<()> {
    if expected == found {
        Ok(())
    } else {
        Err(Error::Shape { operand, expected: expected.to_vec(), found: found.to_vec() })
    }
}
