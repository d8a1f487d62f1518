//! Sums of bytes of windows, with signs of their own: nothing is shared among lanes.

#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "x86_64")]
use super::Isa;
use super::{Code, Kernel};

/// Lanes that are computed together: some more than there are may be read and written.
pub(crate) const LANES: usize = 128;

/// Windows that follow each other, and what they are multiplied with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignWindows<'a> {
    /// Lane `i` of a tap is `line[offset + i]`.
    line: &'a [i8],
    /// Where each tap begins.
    offsets: &'a [usize],
    /// What sums begin with, then the weights of each tap: `row` lanes, and the first `LANES` that
    /// follow when these begin again.
    weights: &'a [i8],
    row: usize,
    /// How many lanes there are, up to a multiple of `LANES`.
    len: usize,
}

impl<'a> SignWindows<'a> {
    /// # Panics
    /// If `line` ends before a tap does, or `weights` are not those of all taps.
    pub(crate) fn new(
        line: &'a [i8],
        offsets: &'a [usize],
        weights: &'a [i8],
        row: usize,
        len: usize,
    ) -> Self {
        let len = len.next_multiple_of(LANES);
        let reach = offsets.iter().max().map_or(0, |&offset| offset);
        assert!(
            reach.checked_add(len).is_some_and(|end| end <= line.len()),
            "windows end too late"
        );
        assert!(row > 0 && weights.len() == (1 + offsets.len()) * (row + LANES));
        SignWindows { line, offsets, weights, row, len }
    }
}

impl Kernel {
    /// Writes what lanes begin with, plus `a xor w` of each tap.
    ///
    /// # Panics
    /// If there are fewer sums than lanes, up to a multiple of [`LANES`].
    pub(crate) fn sum_signs(self, windows: SignWindows<'_>, sums: &mut [i8]) {
        let sums = &mut sums[..windows.len];
        match self.vectors() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX-512, as `self` proves; there are as many sums as lanes.
            Isa::Avx512 => unsafe { x86_64::avx512(windows, sums) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has AVX2, as `self` proves; there are as many sums as lanes.
            Isa::Avx2 | Isa::AvxVnni => unsafe { x86_64::avx2(windows, sums) },
            _ => self.vectorize(SumSigns { windows, sums }),
        }
    }
}

/// Calls `sum` with the first lane of every block of `LANES`, and the weights that belong to it.
#[inline(always)]
fn for_each_block(windows: SignWindows<'_>, mut sum: impl FnMut(usize, usize)) {
    let mut weight = 0;
    for lane in (0..windows.len).step_by(LANES) {
        sum(lane, weight);
        weight += LANES % windows.row;
        if weight >= windows.row {
            weight -= windows.row;
        }
    }
}

/// In plain Rust: tap by tap, as the compiler makes vectors of that.
struct SumSigns<'a> {
    windows: SignWindows<'a>,
    sums: &'a mut [i8],
}

impl Code for SumSigns<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let SumSigns { windows, sums } = self;
        let SignWindows { line, offsets, weights, row, .. } = windows;
        for_each_block(windows, |lane, weight| {
            let sums = &mut sums[lane..][..LANES];
            sums.copy_from_slice(&weights[weight..][..LANES]);
            for (&offset, weights) in offsets.iter().zip(weights.chunks(row + LANES).skip(1)) {
                let lanes = line[offset + lane..].iter().zip(&weights[weight..]);
                for (sum, (&a, &w)) in sums.iter_mut().zip(lanes) {
                    *sum = sum.wrapping_add(a ^ w);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests;
