//! Every instruction set against plain popcounts, bit for bit.

use super::*;

/// Words that are different at each call, the same in each run.
struct Words(u64);

impl Words {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as u32
    }
}

fn available() -> impl Iterator<Item = Kernel> {
    Isa::ALL.iter().copied().filter_map(Kernel::new)
}

#[test]
fn chains_come_undone() {
    let mut words = Words(7);
    for len in [0, 2, 4, 10] {
        let plain: Vec<u32> = (0..len).map(|_| words.next()).collect();
        let mut chained = plain.clone();
        chain(&mut chained);
        let again: Vec<u32> = (0..len).map(|i| unchained(i, |i| chained[i])).collect();
        assert_eq!(again, plain);
    }
}

#[test]
fn differing_bits_are_counted() {
    let mut random = Words(0x9e37_79b9_7f4a_7c15);
    // Around the ends of blocks of pairs, and extremes of all bits equal and all different.
    for words in [2usize, 4, 60, 62, 64, 122, 124, 126, 1000] {
        for count in [0usize, 1, 2, 3, 5] {
            for fill in [None, Some(0), Some(u32::MAX)] {
                let row = |random: &mut Words| -> Vec<u32> {
                    (0..words).map(|_| random.next()).collect()
                };
                let filled = |_: &mut Words| vec![fill.unwrap_or(0); words];
                let rows: Vec<Vec<u32>> = (0..count).map(|_| row(&mut random)).collect();
                let filters: Vec<Vec<u32>> = (0..PANEL)
                    .map(|f| match fill {
                        Some(mask) if count > 0 => {
                            rows[f % count].iter().map(|w| w ^ mask).collect()
                        }
                        Some(_) => filled(&mut random),
                        None => row(&mut random),
                    })
                    .collect();
                let stride = PANEL + 3;
                let expected = |i: usize, f: usize| -> i32 {
                    let differ = rows[i].iter().zip(&filters[f]).map(|(a, b)| (a ^ b).count_ones());
                    differ.sum::<u32>() as i32
                };

                let mut chained_rows = rows.concat();
                chained_rows.chunks_mut(words).for_each(chain);
                let mut panel = vec![0; words * PANEL];
                for (f, filter) in filters.iter().enumerate() {
                    let mut filter = filter.clone();
                    chain(&mut filter);
                    for (i, word) in filter.into_iter().enumerate() {
                        panel[i * PANEL + f] = word;
                    }
                }
                for kernel in available() {
                    let mut sums = vec![-1; count * stride];
                    kernel.count_differing(&chained_rows, &panel, &mut sums, stride);
                    for i in 0..count {
                        for f in 0..stride {
                            let expected = if f < PANEL { expected(i, f) } else { -1 };
                            assert_eq!(sums[i * stride + f], expected, "{kernel:?} {i} {f}");
                        }
                    }
                }
            }
        }
    }
}
