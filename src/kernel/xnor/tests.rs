//! Every instruction set against plain popcounts, bit for bit.

use super::*;
use crate::kernel::Offsets;
use crate::kernel::testing::{Random, Sums, available};

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
            let mut epilogue = Sums { sums: &mut sums, stride };
            kernel.xnor(self.rows(), planes, &mut buffer, &mut epilogue);
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

/// Rows and filters in several bit planes.
struct Planes {
    /// Rows of a plane, and panels of one.
    case: Case,
    planes: [usize; 2],
    /// The words of all panels in all planes.
    words: Vec<u32>,
}

/// Words from a plane of the rows to the next.
const PLANE_STEP: usize = 5;

impl Planes {
    fn new(random: &mut Random, mut case: Case, planes: [usize; 2]) -> Self {
        case.words.extend(random.words(PLANE_STEP * (planes[0] - 1)));
        // Something lies between the planes of the filters.
        let words = random.words(planes[1] * (case.panels.len() + 3));
        Planes { case, planes, words }
    }

    fn expected(&self, row: usize, filter: usize) -> i32 {
        let len = self.case.offsets.len();
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
        differing as i32
    }

    fn check(&self) {
        let len = self.case.panels.len();
        let filters = len / self.case.offsets.len();
        let panels = filters / PANEL;
        let rows = self.case.rows().in_planes(self.planes[0], PLANE_STEP);
        let planes = self.planes[1];
        let filter_planes = FilterPlanes { words: &self.words, panels, planes, step: len + 3 };
        let pairs = self.planes[0] * planes;
        for kernel in available() {
            let mut sums = vec![-1; self.case.count * filters];
            let mut buffer = vec![-1; kernel.xnor_buffer(self.case.offsets.len(), pairs, filters)];
            let mut epilogue = Sums { sums: &mut sums, stride: filters };
            kernel.xnor(rows, filter_planes, &mut buffer, &mut epilogue);
            for (i, &sum) in sums.iter().enumerate() {
                let (row, filter) = (i / filters, i % filters);
                assert_eq!(sum, self.expected(row, filter), "{kernel:?}: {row}, {filter}");
            }
        }
    }
}

#[test]
fn bits_count_by_their_planes() {
    let mut random = Random::new(9);
    for len in [1, 2, 9, 130, 140] {
        for (count, panels) in [(1, 1), (2, 3), (3, 2), (4, 1), (5, 2), (9, 3), (17, 2)] {
            for planes in [[1, 1], [2, 1], [1, 3], [3, 2]] {
                let case = Case::new(&mut random, len, count, panels, len % 4);
                Planes::new(&mut random, case, planes).check();
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
