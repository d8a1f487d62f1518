//! The number types, and where test numbers come from.

use ndarray::ArrayD;
use ndarray_qnn::Element;

/// A number type whose bits can be compared.
pub(crate) trait Number: Element {
    const EPSILON: f64;
    fn bits(self) -> u64;
    fn of_f64(value: f64) -> Self;
    fn f64(self) -> f64;
}

macro_rules! number {
    ($($float:ident),*) => {$(
        impl Number for $float {
            const EPSILON: f64 = $float::EPSILON as f64;
            fn bits(self) -> u64 {
                self.to_bits().into()
            }
            fn of_f64(value: f64) -> Self {
                value as $float
            }
            fn f64(self) -> f64 {
                self.into()
            }
        }
    )*};
}
number!(f32, f64);

/// The bits of every element in logical order, after the shape.
pub(crate) fn bits<T: Number>(values: &ArrayD<T>) -> (Vec<usize>, Vec<u64>) {
    (values.shape().to_vec(), values.iter().map(|value| value.bits()).collect())
}

pub(crate) fn widen<T: Number>(values: &ArrayD<T>) -> ArrayD<f64> {
    values.mapv(T::f64)
}

/// A small generator (SplitMix64), so that a case is reproduced by its seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Zeros of both signs, numbers on a grid that holds thresholds and ties, and any others.
    pub(crate) fn number<T: Number>(&mut self) -> T {
        let r = self.next();
        let value = match r % 8 {
            0 if r & 8 == 0 => 0.0,
            0 => -0.0,
            1..=4 => ((r >> 8) % 65) as f64 / 16.0 - 2.0,
            _ => (r >> 11) as f64 / (1u64 << 53) as f64 * 3.0 - 1.5,
        };
        T::of_f64(value)
    }
}
