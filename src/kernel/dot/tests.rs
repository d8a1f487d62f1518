//! Every instruction set against plain sums of products, bit for bit.

use super::tiles::sum_products as sum_on_tiles;
use super::*;
use crate::kernel::Offsets;
use crate::kernel::testing::{Random, Sums, available};
use crate::kernel::with_vectors;

mod model;
mod tiles;

use model::Model;

/// Codes of `0..=most`, and weights.
#[derive(Clone, Copy, Debug)]
struct Range {
    most: u8,
    weights: (i8, i8),
    width: Width,
}

const fn range(most: u8, weights: (i8, i8), width: Width) -> Range {
    Range { most, weights, width }
}

/// So that every way of adding up is taken, each at its very limit.
const RANGES: [Range; 16] = [
    range(255, (-128, 127), Width::Bits8),
    range(129, (-127, 127), Width::Bits8), // two products take 16 bits and one more
    range(129, (-127, 126), Width::Bits8),
    range(255, (-64, 63), Width::Bits8), // a word fits 16 bits
    range(128, (-64, 64), Width::Bits8),
    range(127, (-64, 64), Width::Bits8), // two words do
    range(128, (-32, 32), Width::Bits8), // four words just do not
    range(15, (-8, 7), Width::Bits8),
    range(3, (-3, 3), Width::Bits8),
    range(1, (-1, 1), Width::Bits8),
    range(255, (0, 15), Width::Bits4),
    range(15, (0, 15), Width::Bits4),
    range(128, (0, 4), Width::Bits4), // 64 words just do not fit unsigned 16 bits
    range(1, (0, 4), Width::Bits4),
    range(255, (0, 3), Width::Bits2),
    range(3, (0, 3), Width::Bits2),
];

impl Range {
    fn largest(self) -> u32 {
        let (low, high) = self.weights;
        u32::from(self.most) * u32::from(low.unsigned_abs().max(high.unsigned_abs()))
    }

    fn code(self, byte: u8) -> u8 {
        (u16::from(byte) % (u16::from(self.most) + 1)) as u8
    }

    fn weight(self, byte: u8) -> u8 {
        let (low, high) = (i16::from(self.weights.0), i16::from(self.weights.1));
        (low + i16::from(byte) % (high - low + 1)) as u8
    }
}

/// Rows and filters, the rows scattered and `shift` words off alignment.
struct Case {
    range: Range,
    words: Vec<u32>,
    /// Of `len` words, and some more where the weights of the last ones share a word.
    offsets: Vec<u32>,
    len: usize,
    count: usize,
    step: usize,
    shift: usize,
    /// `[filter][word]`, a byte a weight.
    filters: Vec<Vec<u32>>,
}

impl Case {
    fn new(random: &mut Random, range: Range, len: usize, count: usize, panels: usize) -> Self {
        // Neighbouring words lie together or one apart, in no order.
        let offsets = (0..len as u32).rev().map(|w| w + w / 3).collect();
        Case::with_offsets(random, range, offsets, count, panels)
    }

    fn with_offsets(
        random: &mut Random,
        range: Range,
        mut offsets: Vec<u32>,
        count: usize,
        panels: usize,
    ) -> Self {
        let len = offsets.len();
        let (step, shift) = (5, len % 4);
        let reach = offsets.iter().max().map_or(0, |&last| last as usize + 1);
        offsets.resize(range.width.padded_words(len), reach.saturating_sub(1) as u32);
        let mut words = random.words(shift + step * count + reach);
        let mut filters: Vec<_> = (0..panels * PANEL).map(|_| random.words(len)).collect();
        words.iter_mut().for_each(|word| *word = each_byte(*word, |byte| range.code(byte)));
        for word in filters.iter_mut().flatten() {
            *word = each_byte(*word, |byte| range.weight(byte));
        }
        // Some rows and filters of extremes only.
        let last = words.len().saturating_sub(reach);
        words[last..].fill(u32::from_ne_bytes([range.most; 4]));
        for (i, filter) in filters.iter_mut().enumerate() {
            match i % 8 {
                3 => filter.fill(u32::from_ne_bytes([range.weights.0 as u8; 4])),
                6 => filter.fill(u32::from_ne_bytes([range.weights.1 as u8; 4])),
                _ => {}
            }
        }
        Case { range, words, offsets, len, count, step, shift, filters }
    }

    fn rows(&self) -> Rows<'_> {
        let offsets = Offsets::new(&self.offsets);
        Rows::new(&self.words[self.shift..], self.count, self.step, offsets)
    }

    fn panels(&self) -> Vec<u32> {
        let width = self.range.width;
        let panel_len = width.panel_words(self.len) * PANEL;
        let mut panels = vec![0; self.filters.len() / PANEL * panel_len];
        for (i, filter) in self.filters.iter().enumerate() {
            for (w, &weights) in filter.iter().enumerate() {
                let panel = &mut panels[i / PANEL * panel_len..];
                width.insert(panel, w, i % PANEL, weights);
            }
        }
        panels
    }

    fn expected(&self, row: usize, filter: usize) -> i32 {
        let base = &self.words[self.shift + row * self.step..];
        let factors = self.offsets.iter().zip(&self.filters[filter]);
        let sums = factors.map(|(&offset, weights)| {
            let codes = base[offset as usize].to_le_bytes();
            let products = codes.into_iter().zip(weights.to_le_bytes());
            products.map(|(a, w)| i64::from(a) * i64::from(w as i8)).sum::<i64>()
        });
        i32::try_from(sums.sum::<i64>()).expect("the row is not too long")
    }

    fn check(&self) {
        let panels = self.panels();
        let Range { width, .. } = self.range;
        let weights = Weights { panels: &panels, width, largest: self.range.largest() };
        // Rows of no words leave no trace of how many filters there are.
        let filters = if self.len == 0 { 0 } else { self.filters.len() };
        let stride = filters + 3;
        let expected: Vec<i32> = (0..self.count * stride)
            .map(|i| if i % stride < filters { self.expected(i / stride, i % stride) } else { -1 })
            .collect();
        let check = |name: &str, sum: &dyn Fn(&mut [i32])| {
            let mut sums = vec![-1; self.count * stride];
            sum(&mut sums);
            for (i, (found, expected)) in sums.iter().zip(&expected).enumerate() {
                let (row, filter, words) = (i / stride, i % stride, self.len);
                assert_eq!(
                    found, expected,
                    "{name}, {:?}, {words} words: row {row}, filter {filter}",
                    self.range
                );
            }
        };
        let rows = self.rows();
        for kernel in available() {
            check(kernel.isa().name(), &|sums| {
                let mut buffer = vec![-1; kernel.dot_buffer(self.count, filters)];
                kernel.dot(rows, weights, &mut buffer, &mut Sums { sums, stride });
            });
        }
        #[cfg(target_arch = "x86_64")]
        if Kernel::new(Isa::Amx).is_some() {
            // However little there is to do. SAFETY: the CPU has tiles; the lengths are as above.
            check("tiles", &|sums| unsafe { amx::sum_products(rows, weights, sums, stride) });
        }
        check("model of tiles", &|sums| match width {
            // SAFETY: the lengths are those of a kernel; the model runs on any CPU.
            Width::Bits8 => unsafe { sum_on_tiles::<Model, 1, 1>(rows, weights, sums, stride) },
            // SAFETY: as above.
            Width::Bits4 => unsafe { sum_on_tiles::<Model, 2, 3>(rows, weights, sums, stride) },
            // SAFETY: as above.
            Width::Bits2 => unsafe { sum_on_tiles::<Model, 4, 3>(rows, weights, sums, stride) },
        });
    }
}

fn each_byte(word: u32, f: impl Fn(u8) -> u8) -> u32 {
    u32::from_ne_bytes(word.to_ne_bytes().map(f))
}

#[test]
fn products_are_summed() {
    let mut random = Random::new(11);
    for range in RANGES {
        // Around the ends of blocks of rows and panels, and of the words that share one.
        for len in [0, 1, 2, 3, 5, 6, 9] {
            for count in [0, 1, 2, 3, 4, 7, 9, 15, 25] {
                for panels in [0, 1, 2, 3, 4, 7] {
                    Case::new(&mut random, range, len, count, panels).check();
                }
            }
        }
    }
}

/// So that every block is taken.
#[test]
fn any_number_of_rows_is_summed() {
    let mut random = Random::new(16);
    for count in 1..=25 {
        for range in [RANGES[0], RANGES[10], RANGES[14]] {
            for panels in [1, 2, 4] {
                Case::new(&mut random, range, 4, count, panels).check();
            }
        }
    }
}

#[test]
fn long_rows_are_summed() {
    let mut random = Random::new(12);
    for range in RANGES {
        // Around the words whose products fit 16 bits.
        let words = (i16::MAX as usize / range.largest() as usize).min(1023);
        for len in [words / 2, words, 4 * words / 3, 1023] {
            for len in [len, len + 1, len + 2] {
                Case::new(&mut random, range, len, 3, 1).check();
            }
        }
    }
}

#[test]
fn the_longest_row_of_extremes_fits() {
    let (most, width) = (255, Width::Bits8);
    for weight in [-128, 127, -64, 1] {
        let range = Range { most, weights: (weight, weight), width };
        let case = Case::new(&mut Random::new(13), range, LONGEST, 0, 1);
        let words = vec![u32::MAX; case.offsets[0] as usize + 1];
        let case = Case { words, count: 1, shift: 0, ..case };
        assert_eq!(case.expected(0, 0), 4 * 255 * LONGEST as i32 * i32::from(weight));
        case.check();
    }
}

#[test]
#[should_panic = "LONGEST"]
fn a_longer_row_is_refused() {
    let range = range(1, (-1, 1), Width::Bits8);
    Case::new(&mut Random::new(14), range, LONGEST + 1, 1, 1).check();
}

#[test]
fn sums_in_memory_are_handed_over() {
    let sums: Vec<i32> = Random::new(17).words(7 * 48).iter().map(|&word| word as i32).collect();
    for kernel in available() {
        let mut found = vec![-1; 7 * 50];
        let epilogue = &mut Sums { sums: &mut found, stride: 50 };
        with_vectors!(kernel, |v| v.run(HandOver { v, sums: &sums, filters: 48, epilogue }));
        for (found, sums) in found.chunks(50).zip(sums.chunks(48)) {
            assert!(found[..48] == *sums && found[48..] == [-1; 2], "{kernel:?}");
        }
    }
}

#[test]
fn weights_come_out_as_they_went_in() {
    let mut random = Random::new(15);
    for &width in Width::ALL {
        let words = 7 * width.span() / 2;
        let mask = u32::from_ne_bytes([(0xff_u32 >> (8 - width.bits())) as u8; 4]);
        let weights: Vec<u32> = random.words(words).iter().map(|word| word & mask).collect();
        let mut panel = vec![0; width.panel_words(words) * PANEL];
        for (w, &weights) in weights.iter().enumerate() {
            width.insert(&mut panel, w, 7, weights);
        }
        assert_eq!(panel.len(), words.div_ceil(width.span()) * PANEL);
        assert_eq!(weights, (0..words).map(|w| width.extract(&panel, w, 7)).collect::<Vec<_>>());
    }
}
