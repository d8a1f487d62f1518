//! Every instruction set against one comparison at a time.

use super::*;
use crate::kernel::testing::{Random, available};

fn check<T: Element>(special: &[f64]) {
    let mut random = Random::new(9);
    for len in [0, 1, 7, 31, 32, 33, 63, 64, 65, 255, 1000] {
        for t in [0.0, 0.5, -1.0] {
            let pick = || special[random.words(1)[0] as usize % special.len()];
            let numbers: Vec<T> = std::iter::repeat_with(pick).map(T::of).take(len + 1).collect();
            let numbers = &numbers[1..]; // off alignment
            for threshold in [Threshold::AtLeast(T::of(t)), Threshold::Above(T::of(t))] {
                for kernel in available() {
                    let mut words = vec![u32::MAX; len.div_ceil(32) + 1];
                    let nan = kernel.pack_row(numbers, threshold, &mut words);
                    assert_eq!(nan, numbers.iter().any(|x| x.is_nan()), "{kernel:?}");
                    for (i, &x) in numbers.iter().enumerate() {
                        let code = words[i / 32] >> (i % 32) & 1;
                        assert_eq!(code, threshold.code(x), "{kernel:?}: {x} at {i} of {len}");
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
            assert!(kernel.pack_row(&numbers, Threshold::sign(), &mut [0; 3]), "{kernel:?}: {at}");
        }
    }
}
