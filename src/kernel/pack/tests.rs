//! Every instruction set against one comparison at a time.

use super::*;
use crate::kernel::testing::{Random, available};
use ndarray::{Array2, s};

fn check<T: Element>(special: &[f64]) {
    let mut random = Random::new(9);
    for len in [0, 1, 7, 31, 32, 33, 63, 64, 65, 255, 1000] {
        for t in [0.0, 0.5, -1.0] {
            let pick = || special[random.words(1)[0] as usize % special.len()];
            let numbers: Vec<T> = std::iter::repeat_with(pick).map(T::of).take(len + 1).collect();
            let numbers = &numbers[1..]; // off alignment
            for threshold in [T::of(t), T::of(t).next_up()] {
                for kernel in available() {
                    let mut words = vec![u32::MAX; len.div_ceil(32) + 1];
                    let nan = kernel.pack_rows(numbers, len.max(1), threshold, &mut words);
                    assert_eq!(nan, numbers.iter().any(|x| x.is_nan()), "{kernel:?}");
                    for (i, &x) in numbers.iter().enumerate() {
                        let code = words[i / 32] >> (i % 32) & 1;
                        assert_eq!(
                            code,
                            u32::from(x >= threshold),
                            "{kernel:?}: {x} at {i} of {len}"
                        );
                    }
                    if len % 32 > 0 {
                        assert_eq!(words[len / 32] >> (len % 32), 0, "{kernel:?}");
                    }
                    assert_eq!(words.last(), Some(&u32::MAX), "{kernel:?}");
                }
            }
        }
    }
}

const NUMBERS: [f64; 10] =
    [0.0, -0.0, 0.5, -1.0, 1.0, -0.25, f64::INFINITY, f64::NEG_INFINITY, 1e-45, -1e-45];

/// Rows that begin new words, and planes of which each gives a bit of every word.
fn check_rows_and_planes<T: Element>(special: &[f64]) {
    let mut random = Random::new(10);
    for (width, len) in [(1, 70), (3, 17), (8, 9), (16, 33), (31, 40), (32, 49), (33, 64), (70, 15)]
    {
        let pick = || special[random.words(1)[0] as usize % special.len()];
        let numbers: Vec<T> =
            std::iter::repeat_with(pick).map(T::of).take(width * len + 1).collect();
        let numbers = &numbers[1..]; // off alignment
        let nan = numbers.iter().any(|x| x.is_nan());
        for threshold in [T::zero(), T::zero().next_up(), T::of(0.5).next_up()] {
            for kernel in available() {
                let row_words = width.div_ceil(32);
                let mut words = vec![u32::MAX; len * row_words + 1];
                assert_eq!(kernel.pack_rows(numbers, width, threshold, &mut words), nan);
                assert_eq!(words.pop(), Some(u32::MAX));
                for (row, words) in numbers.chunks(width).zip(words.chunks(row_words)) {
                    let found = (0..32 * row_words).map(|i| words[i / 32] >> (i % 32) & 1);
                    let codes = row.iter().map(|&x| u32::from(x >= threshold));
                    assert!(found.eq(codes.chain([0; 32]).take(32 * row_words)), "{kernel:?}");
                }

                let planes = ArrayView2::from_shape((len, width), numbers).unwrap().reversed_axes();
                let planes = planes.as_standard_layout();
                let planes = planes.slice(s![..width.min(32), ..]);
                for (planes, step) in [(planes, 1), (planes, 3), (planes.slice(s![..;-1, ..]), 2)] {
                    let nan = planes.iter().any(|x| x.is_nan());
                    let mut words = vec![u32::MAX; len * step + 1];
                    assert_eq!(kernel.pack_planes(planes, threshold, &mut words, step), nan);
                    for (i, word) in words.into_iter().enumerate() {
                        let packed = i % step == 0 && i / step < len;
                        let code = |x: &T| u32::from(*x >= threshold);
                        let codes = planes.column(i / step * usize::from(packed)).map(code);
                        let bits = codes.iter().rev().fold(0u32, |word, code| word << 1 | code);
                        let expected = if packed { bits } else { u32::MAX };
                        assert_eq!(word, expected, "{kernel:?}: word {i}, step {step}");
                    }
                }
            }
        }
    }
}

#[test]
fn rows_and_planes_are_packed() {
    let with_nan = [&NUMBERS[..], &[f64::NAN]].concat();
    check_rows_and_planes::<f32>(&NUMBERS);
    check_rows_and_planes::<f64>(&NUMBERS);
    check_rows_and_planes::<f32>(&with_nan);
    check_rows_and_planes::<f64>(&with_nan);
}

#[test]
fn a_nan_is_found_in_any_plane() {
    for len in [1, 7, 8, 9, 16, 17, 31, 32, 33, 49] {
        for (plane, at) in (0..5).flat_map(|plane| (0..len).map(move |at| (plane, at))) {
            let mut planes = Array2::from_elem((5, len), 1.0f32);
            planes[[plane, at]] = f32::NAN;
            for kernel in available() {
                let nan = kernel.pack_planes(planes.view(), 0.0, &mut vec![0; len], 1);
                assert!(nan, "{kernel:?}: {at} of {len}");
            }
        }
    }
}

#[test]
fn signs_are_packed() {
    check::<f32>(&NUMBERS);
    check::<f64>(&NUMBERS);
}

#[test]
fn a_nan_is_found_anywhere() {
    let with_nan = [&NUMBERS[..], &[f64::NAN]].concat();
    check::<f32>(&with_nan);
    check::<f64>(&with_nan);
    for at in 0..70 {
        let mut numbers = vec![1.0f32; 70];
        numbers[at] = f32::NAN;
        for kernel in available() {
            assert!(kernel.pack_rows(&numbers, 70, 0.0, &mut [0; 3]), "{kernel:?}: {at}");
        }
    }
}
