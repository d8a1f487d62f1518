//! What the tests of all kernels need.

use super::{Epilogue, Isa, Kernel, PANEL, Vector};

/// The kernels of each instruction set that this CPU has.
pub(super) fn available() -> impl Iterator<Item = Kernel> {
    Isa::ALL.iter().copied().filter_map(Kernel::new)
}

/// Words that are different at each call, the same in each run.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn words(&mut self, len: usize) -> Vec<u32> {
        let next = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 16) as u32
        };
        std::iter::repeat_with(next).take(len).collect()
    }
}

/// Sums in memory: that of a row and a filter is `sums[row * stride + filter]`.
#[derive(Debug)]
pub(super) struct Sums<'a> {
    pub(super) sums: &'a mut [i32],
    pub(super) stride: usize,
}

impl Epilogue for Sums<'_> {
    #[inline(always)]
    fn block<V: Vector, const M: usize, const P: usize>(
        &mut self,
        v: V,
        row: usize,
        panel: usize,
        sums: &[[V::Ints; P]; M],
    ) {
        for (m, sums) in sums.iter().enumerate() {
            let to = &mut self.sums[(row + m) * self.stride + panel * PANEL..][..P * PANEL];
            for (&sums, to) in sums.iter().zip(to.as_chunks_mut().0) {
                v.store_ints(sums, to);
            }
        }
    }
}

/// `QNN_EXPECT_ISAS` names, separated by commas, what a machine should have, so that none goes
/// untested unnoticed.
#[test]
fn expected_instruction_sets_are_there() {
    let expected = std::env::var("QNN_EXPECT_ISAS").unwrap_or_default();
    for name in expected.split(',').filter(|name| !name.is_empty()) {
        let found = available().any(|kernel| kernel.0.name() == name);
        assert!(found, "{name} is expected, but this CPU does not have it");
    }
}
