//! Every instruction set against plain popcounts, bit for bit.

use super::*;
use crate::kernel::Offsets;
use crate::kernel::testing::{Random, available};
use ndarray::{Array2, ArrayViewMut2, s};

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
            let panels = filters / PANEL;
            let planes = FilterPlanes { words: &self.panels, panels, planes: 1, step: 0 };
            let mut buffer = vec![-1; kernel.xnor_buffer(self.offsets.len(), 1, filters)];
            kernel.count_differing(self.rows(), planes, &mut buffer, &mut sums, stride);
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
    for len in [0, 1, 2, 3, 4, 5, 30, 31, 32, 61, 62, 63, 64, 65, 124, 125, 127, 128, 129, 131] {
        for count in [0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 19] {
            for panels in [0, 1, 2, 3] {
                Case::new(&mut random, len, count, panels, len % 4).check();
            }
        }
    }
}

/// Outputs of all filters but some of the last panel, of rows and filters in planes.
struct Finished {
    /// Rows of a plane, and panels of one.
    case: Case,
    planes: [usize; 2],
    /// The words of all panels in all planes.
    words: Vec<u32>,
    filters: usize,
    addends: Vec<f32>,
    stride: usize,
    factors: Vec<f32>,
    bias: Vec<f32>,
    kinds: Vec<u32>,
    sums: Vec<i64>,
    flips: Vec<u32>,
}

/// Words from a plane of the rows to the next.
const PLANE_STEP: usize = 5;

impl Finished {
    fn new(random: &mut Random, mut case: Case, planes: [usize; 2], left_out: usize) -> Self {
        let filters = case.panels.len() / case.offsets.len() - left_out;
        case.words.extend(random.words(PLANE_STEP * (planes[0] - 1)));
        // Something lies between the planes of the filters.
        let words = random.words(planes[1] * (case.panels.len() + 3));
        let mut small = |len: usize, divisor: f32| -> Vec<f32> {
            let words = random.words(len).into_iter();
            words.map(|word| ((word % 19) as f32 - 9.0) / divisor).collect()
        };
        let stride = filters + 2;
        let addends = small(3 * stride, 1.0);
        let (factors, bias) = (small(filters, 8.0), small(filters, 3.0));
        let kinds = random.words(case.count).into_iter().map(|word| word % 3).collect();
        let sums = random.words(case.count).into_iter().map(|word| i64::from(word % 9)).collect();
        let flips = random.words(filters.div_ceil(32));
        Finished {
            case,
            planes,
            words,
            filters,
            addends,
            stride,
            factors,
            bias,
            kinds,
            sums,
            flips,
        }
    }

    fn rows(&self) -> Rows<'_> {
        self.case.rows().in_planes(self.planes[0], PLANE_STEP)
    }

    fn panels(&self) -> FilterPlanes<'_> {
        let len = self.case.panels.len();
        let panels = len / (self.case.offsets.len() * PANEL);
        FilterPlanes { words: &self.words, panels, planes: self.planes[1], step: len + 3 }
    }

    /// With kinds of rows and sums of each, and without.
    fn addends(&self) -> [Addends<'_>; 2] {
        let Finished { addends, kinds, sums, filters, stride, .. } = self;
        let of = |kinds, sums| Addends {
            addends,
            filters: *filters,
            stride: *stride,
            kinds,
            sums,
            factor: -1.5,
        };
        [of(kinds, sums), of(&[], &[])]
    }

    /// Numerators of `[row][filter]`.
    fn numerators(&self, product: f32, addends: Addends<'_>) -> Array2<f32> {
        let len = self.case.offsets.len();
        Array2::from_shape_fn((self.case.count, self.filters), |(row, filter)| {
            let mut differing = 0;
            for j in 0..self.planes[1] {
                let panel = &self.words[j * (self.case.panels.len() + 3)..];
                let panel = &panel[filter / PANEL * len * PANEL..];
                for i in 0..self.planes[0] {
                    let at = self.case.shift + row * self.case.step + i * PLANE_STEP;
                    for (w, &offset) in self.case.offsets.iter().enumerate() {
                        let weights = panel[w * PANEL + filter % PANEL];
                        let bits = self.case.words[at + offset as usize] ^ weights;
                        differing += bits.count_ones() << (i + j);
                    }
                }
            }
            let kind = addends.kinds.get(row).map_or(0, |&kind| kind as usize);
            let of_row = addends.sums.get(row).map_or(0.0, |&sum| addends.factor * sum as f32);
            product * differing as f32 + self.addends[kind * self.stride + filter] + of_row
        })
    }

    fn check_floats(&self) {
        let (factors, bias) = (&self.factors[..], &self.bias[..]);
        let scales = [(&[][..], &[][..]), (factors, &[]), (&[], bias), (factors, bias)];
        for ((factors, bias), denominator) in scales.into_iter().zip([1.0, 9.0].into_iter().cycle())
        {
            for (addends, denominator) in self.addends().into_iter().zip([denominator, 3.0]) {
                let finish = ToFloats { product: -2.0, addends, denominator, factors, bias };
                let mut expected = self.numerators(-2.0, addends);
                expected.indexed_iter_mut().for_each(|((_, filter), y)| {
                    *y /= denominator;
                    *y = factors.get(filter).map_or(*y, |factor| *y * factor);
                    *y = bias.get(filter).map_or(*y, |bias| *y + bias);
                });
                self.check(0.5, &expected, f32::to_bits, |kernel, out| {
                    kernel.differing_to_floats(self.rows(), self.panels(), finish, out);
                });
            }
        }
    }

    fn check_signs(&self) {
        for product in [-2.0, 1.0] {
            for addends in self.addends() {
                let finish = ToSigns { product, addends, flips: &self.flips };
                let mut expected = Array2::zeros((self.case.count, self.flips.len()));
                for ((row, filter), y) in self.numerators(product, addends).indexed_iter() {
                    let flip = self.flips[filter / 32] >> (filter % 32) & 1;
                    let bit = u32::from(*y >= 0.0) ^ flip;
                    expected[[row, filter / 32]] |= bit << (filter % 32);
                }
                self.check(
                    7,
                    &expected,
                    |bits| bits,
                    |kernel, out| {
                        kernel.differing_to_signs(self.rows(), self.panels(), finish, out);
                    },
                );
            }
        }
    }

    /// Checks what `run` writes, and that what lies around it stays `before`.
    fn check<O: Copy + PartialEq>(
        &self,
        before: O,
        expected: &Array2<O>,
        bits: impl Fn(O) -> u32,
        run: impl Fn(Kernel, ArrayViewMut2<'_, O>),
    ) {
        let (rows, len) = expected.dim();
        for kernel in available().filter(|kernel| kernel.finishes_at_once()) {
            let mut whole = Array2::from_elem((2 * rows, len + 1), before);
            run(kernel, whole.slice_mut(s![..;-2, ..len]).reversed_axes());
            let found = whole.slice(s![..;-2, ..len]);
            assert_eq!(found.mapv(&bits), expected.mapv(&bits), "{kernel:?}");
            let mut around = whole.column(len).into_iter().chain(whole.slice(s![..;2, ..]));
            assert!(around.all(|&y| y == before), "{kernel:?}");
        }
    }
}

#[test]
fn outputs_are_made_of_differing_bits() {
    let mut random = Random::new(9);
    for len in [1, 2, 9] {
        for (count, panels) in [(1, 1), (2, 3), (3, 2), (4, 1), (5, 2), (9, 3)] {
            for left_out in [0, 1, 8, 15] {
                for planes in [[1, 1], [2, 1], [1, 3], [3, 2]] {
                    let case = Case::new(&mut random, len, count, panels, len % 4);
                    let finished = Finished::new(&mut random, case, planes, left_out);
                    finished.check_floats();
                    finished.check_signs();
                }
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
    for len in [1, 2, 63, 124, 127, 128, 256, 9001] {
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
