//! Every instruction set against plain popcounts, bit for bit.

use super::*;
use crate::Element;
use crate::kernel::Offsets;
use crate::kernel::testing::{Random, available};
use ndarray::{Array2, s};

/// Rows and panels of random words, the rows scattered and `shift` words off alignment.
struct Case {
    words: Vec<u32>,
    offsets: Vec<u32>,
    count: usize,
    step: usize,
    shift: usize,
    panels: Vec<u32>,
}

impl Case {
    fn new(random: &mut Random, len: usize, count: usize, panels: usize, shift: usize) -> Self {
        // Neighbouring words lie together or one apart, in no order.
        let mut offsets: Vec<u32> = (0..len as u32).map(|w| w + w / 3).collect();
        offsets.reverse();
        let step = 5;
        let reach = offsets.first().map_or(0, |&last| last as usize + 1);
        Case {
            words: random.words(shift + step * count + reach),
            offsets,
            count,
            step,
            shift,
            panels: random.words(len * PANEL * panels),
        }
    }

    fn rows(&self) -> Rows<'_> {
        let offsets = Offsets::new(&self.offsets);
        Rows::new(&self.words[self.shift..], self.count, self.step, offsets)
    }

    fn expected(&self, row: usize, filter: usize) -> i32 {
        let (panel, filter) = (filter / PANEL, filter % PANEL);
        let panel = &self.panels[panel * PANEL * self.offsets.len()..];
        let base = &self.words[self.shift + row * self.step..];
        let differing = self.offsets.iter().enumerate().map(|(w, &offset)| {
            (base[offset as usize] ^ panel[w * PANEL + filter]).count_ones() as i32
        });
        differing.sum()
    }

    fn check(&self) {
        let filters = self.panels.len() / self.offsets.len().max(1);
        let stride = filters + 3;
        for kernel in available() {
            let mut sums = vec![-1; self.count * stride];
            kernel.count_differing(self.rows(), &self.panels, &mut sums, stride);
            for row in 0..self.count {
                for filter in 0..stride {
                    let expected = if filter < filters { self.expected(row, filter) } else { -1 };
                    let found = sums[row * stride + filter];
                    assert_eq!(found, expected, "{kernel:?}: row {row}, filter {filter}");
                }
            }
        }
    }
}

#[test]
fn differing_bits_are_counted() {
    let mut random = Random::new(7);
    // Around the ends of blocks of rows and panels, and of the words between two emptyings.
    for len in [0, 1, 2, 3, 4, 5, 30, 31, 32, 61, 62, 63, 64, 65, 124, 125] {
        for count in [0, 1, 2, 3, 4, 5, 7, 8, 9] {
            for panels in [0, 1, 2, 3] {
                Case::new(&mut random, len, count, panels, len % 4).check();
            }
        }
    }
}

/// Outputs of some of the filters of the last panel, those of a row side by side or not.
fn check_outputs<T: Element>(random: &mut Random, case: &Case, left_out: usize) {
    let filters = case.panels.len() / case.offsets.len() - left_out;
    let mut small = || random.words(filters).into_iter().map(|word| f64::from(word % 19) - 9.0);
    let addends: Vec<f32> = small().map(|addend| addend as f32).collect();
    let factors: Vec<T> = small().map(|factor| T::of(factor / 8.0)).collect();
    let bias: Vec<T> = small().map(|bias| T::of(bias / 3.0)).collect();
    for (factors, bias) in
        [(&[][..], &[][..]), (&factors, &[]), (&[], &bias), (&factors[..], &bias[..])]
    {
        let finish = ToFloats { product: -2.0, addends: &addends, factors, bias };
        let expected = Array2::from_shape_fn((filters, case.count), |(filter, row)| {
            let y = T::of_f32(-2.0 * case.expected(row, filter) as f32 + addends[filter]);
            let y = factors.get(filter).map_or(y, |&factor| y * factor);
            bias.get(filter).map_or(y, |&bias| y + bias)
        });
        for kernel in available() {
            let mut whole = Array2::from_elem((case.count, filters + 1), T::of(0.5));
            let out = whole.slice_mut(s![.., ..filters]).reversed_axes();
            let finished = kernel.finish_differing(case.rows(), &case.panels, &finish, out);
            let is_f32 = size_of::<T>() == size_of::<f32>();
            assert_eq!(finished, kernel.finishes_at_once() && is_f32, "{kernel:?}");
            if finished {
                assert_eq!(whole.slice(s![.., ..filters]), expected.t(), "{kernel:?}");
                assert!(whole.column(filters).iter().all(|&y| y == T::of(0.5)), "{kernel:?}");
            }
            // As those of a filter lie, nothing is written.
            let mut apart = Array2::from_elem((filters, case.count), T::of(0.5));
            let out = apart.view_mut();
            let lie_apart = filters > 1 && case.count > 1;
            if kernel.finish_differing(case.rows(), &case.panels, &finish, out) {
                assert!(!lie_apart, "{kernel:?}");
                assert_eq!(apart, expected, "{kernel:?}");
            } else {
                assert!(apart.iter().all(|&y| y == T::of(0.5)), "{kernel:?}");
            }
        }
    }
}

#[test]
fn outputs_are_made_of_differing_bits() {
    let mut random = Random::new(9);
    for len in [1, 2, 9] {
        for (count, panels) in [(1, 1), (2, 3), (3, 2), (4, 1), (5, 2), (9, 3)] {
            for left_out in [0, 1, 8, 15] {
                let case = Case::new(&mut random, len, count, panels, len % 4);
                check_outputs::<f32>(&mut random, &case, left_out);
                check_outputs::<f64>(&mut random, &case, left_out);
            }
        }
    }
}

#[test]
fn long_rows_are_counted() {
    let mut random = Random::new(8);
    for len in [1023, 1024, 9000] {
        Case::new(&mut random, len, 5, 3, 1).check();
    }
}

#[test]
fn all_bits_may_differ_or_none() {
    for len in [1, 2, 63, 124, 9001] {
        for (a, b) in [(0, u32::MAX), (u32::MAX, u32::MAX), (u32::MAX, 0), (0x5555_5555, 0)] {
            let offsets: Vec<u32> = (0..len).collect();
            let panels = vec![b; len as usize * PANEL];
            let words = vec![a; len as usize];
            let case = Case { words, offsets, count: 1, step: 0, shift: 0, panels };
            assert_eq!(case.expected(0, 0), (len * (a ^ b).count_ones()) as i32);
            case.check();
        }
    }
}
