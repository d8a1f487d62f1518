//! Every instruction set against ndarray's transposition.

use crate::Element;
use crate::kernel::testing::{Random, available};
use ndarray::{Array2, ArrayView2, s};

fn check<T: Element>() {
    let of = |word: u32| T::of(word.into());
    let mut random = Random::new(11);
    for rows in [0, 1, 2, 7, 8, 9, 16, 23] {
        for columns in [0, 1, 3, 8, 9, 15, 16, 24, 31] {
            let numbers: Vec<T> = random.words(rows * columns).into_iter().map(of).collect();
            let expected = ArrayView2::from_shape((rows, columns), &numbers).unwrap();
            for kernel in available() {
                // What lies around must be left as it is.
                let mut whole = Array2::from_elem((columns + 2, rows + 3), of(7));
                kernel.transpose(&numbers, whole.slice_mut(s![1..=columns, 2..rows + 2]));
                for ((column, row), &found) in whole.indexed_iter() {
                    let row = row.checked_sub(2).zip(column.checked_sub(1));
                    let expected = row.and_then(|at| expected.get(at)).copied();
                    assert_eq!(found, expected.unwrap_or(of(7)), "{kernel:?}: {rows} x {columns}");
                }
                let mut reversed = Array2::from_elem((columns, rows), of(7));
                kernel.transpose(&numbers, reversed.slice_mut(s![..;-1, ..]));
                assert_eq!(reversed.slice(s![..;-1, ..]), expected.t(), "{kernel:?}");
            }
        }
    }
}

#[test]
fn rows_become_columns() {
    check::<f32>();
    check::<f64>();
}
