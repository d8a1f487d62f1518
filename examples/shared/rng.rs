//! Random numbers that are the same on every machine: SplitMix64.

use ndarray::{Array, Dimension};

/// A generator with its state, at first the seed.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An array of numbers that are uniform in [-bound, bound).
    pub(crate) fn uniform<D: Dimension>(&mut self, shape: D, bound: f32) -> Array<f32, D> {
        // The upper 24 bits: as many as an f32 holds.
        let mut unit = || (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0;
        Array::from_shape_simple_fn(shape, || bound * unit())
    }

    /// Puts items in random order (Fisher-Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.next() % (last as u64 + 1);
            items.swap(last, other as usize);
        }
    }
}
