//! What tiles must get right besides: their ends, what is gathered, and what is left in registers.

use super::*;

/// A width at its limits, each.
const WIDTHS: [Range; 3] = [RANGES[0], RANGES[10], RANGES[14]];

/// Offsets of runs of words that follow each other.
fn runs(len: usize, run: usize) -> Vec<u32> {
    (0..len as u32).map(|w| w + w / run as u32 * 7).collect()
}

#[test]
fn tiles_end_with_any_row() {
    let mut random = Random::new(21);
    for range in WIDTHS {
        for count in [1, 4, 5, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 65, 97, 130] {
            for panels in [1, 2, 3] {
                Case::with_offsets(&mut random, range, runs(20, 20), count, panels).check();
            }
        }
    }
}

#[test]
fn steps_end_with_any_word() {
    let mut random = Random::new(22);
    for range in WIDTHS {
        for len in (1..=4).chain(12..=20).chain([31, 32, 33, 47, 48, 49]) {
            for count in [7, 17, 33] {
                Case::with_offsets(&mut random, range, runs(len, len), count, 3).check();
            }
        }
    }
}

/// Some steps are read where they lie and others gathered, until there is no more room for these;
/// or sums are put down because a table is full.
#[test]
fn steps_are_gathered_where_words_lie_apart() {
    let mut random = Random::new(23);
    let short = [1, 3, 8, 16, 24, 40, 2000].into_iter().flat_map(|run| [(run, 40), (run, 131)]);
    for (run, len) in short.chain([(3, 300), (3, 1100), (24, 1100)]) {
        for range in WIDTHS {
            Case::with_offsets(&mut random, range, runs(len, run), 35, 3).check();
        }
    }
}

#[test]
fn threads_have_their_own_tiles() {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                let mut random = Random::new(24 + thread);
                for count in 1..40 {
                    let range = WIDTHS[count % 3];
                    let offsets = runs(40, 16 + thread as usize);
                    Case::with_offsets(&mut random, range, offsets, count, 2).check();
                }
            });
        }
    });
}

/// Whatever they held, and with another shape; and they are given back.
#[cfg(target_arch = "x86_64")]
#[test]
fn what_tiles_held_does_not_matter() {
    use super::super::amx;
    if Kernel::new(Isa::Amx).is_none() {
        return;
    }
    let mut random = Random::new(28);
    for (range, count) in WIDTHS.into_iter().zip([6, 16, 39]) {
        let case = Case::with_offsets(&mut random, range, runs(37, 21), count, 3);
        let panels = case.panels();
        let Range { width, .. } = range;
        let weights = Weights { panels: &panels, width, largest: range.largest() };
        let stride = case.filters.len();
        let mut sums = vec![-1; count * stride];
        // SAFETY: the CPU has tiles.
        unsafe { amx::testing::fill() };
        // SAFETY: the lengths are those of a kernel.
        unsafe { amx::sum_products(case.rows(), weights, &mut sums, stride) };
        // SAFETY: the CPU has tiles.
        assert!(unsafe { amx::testing::are_released() });
        let expected = |i| case.expected(i / stride, i % stride);
        assert!(sums.iter().enumerate().all(|(i, &sum)| sum == expected(i)));
    }
}
