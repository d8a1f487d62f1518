//! Products of matrices of floats, by the gemm crate: for operands that are not both codes of a byte,
//! and for gradients.

use crate::Element;
use gemm::{Parallelism, gemm};
use ndarray::{ArrayView2, ArrayViewMut2};

/// Computes `out = a b` or, to `add`, `out += a b`, on this thread. What `out` held before is not
/// read unless it is added to.
///
/// Each number is summed in an order that depends on sizes, on strides and on the CPU.
///
/// # Panics
/// If the sizes do not fit each other.
pub(crate) fn multiply<T: Element>(
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    mut out: ArrayViewMut2<'_, T>,
    add: bool,
) {
    let ((rows, inner), columns) = (a.dim(), b.ncols());
    assert!(b.nrows() == inner && out.dim() == (rows, columns), "matrices do not fit");
    let [&[a_row, a_column], &[b_row, b_column], &[out_row, out_column]] =
        [a.strides(), b.strides(), out.strides()]
    else {
        unreachable!("matrices have two strides");
    };
    let conjugate = false;
    // SAFETY: each view holds what its strides reach within its sizes, which fit each other. `out`
    // is borrowed alone, so that no two of its numbers share memory, nor one with an operand.
    unsafe {
        gemm(
            rows,
            columns,
            inner,
            out.as_mut_ptr(),
            out_column,
            out_row,
            add,
            a.as_ptr(),
            a_column,
            a_row,
            b.as_ptr(),
            b_column,
            b_row,
            T::one(),
            T::one(),
            conjugate,
            conjugate,
            conjugate,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::Random;
    use ndarray::{Array2, ShapeBuilder, s};

    /// Rows, columns and inner sizes: none, vectors, thin ones, one block, and several.
    const SIZES: [[usize; 3]; 14] = [
        [0, 3, 4],
        [3, 0, 4],
        [3, 4, 0],
        [1, 1, 1],
        [1, 40, 7],
        [40, 1, 7],
        [7, 5, 1],
        [7, 5, 2],
        [5, 6, 33],
        [17, 19, 3],
        [65, 66, 20],
        [97, 33, 17],
        [20, 130, 20],
        [3, 4, 1300],
    ];

    /// Matrices of some sizes, each of which lies differently, in part of its array.
    fn layouts<T: Element>(sizes: [usize; 2], random: &mut Random) -> Vec<Array2<T>> {
        let mut small = |shape: [usize; 2], by_columns: bool| {
            // Small integers: sums are exact in any order.
            let mut words = random.words(shape.iter().product()).into_iter();
            let number = || T::of_integer(i64::from(words.next().unwrap_or(0) % 9) - 4);
            Array2::from_shape_simple_fn(shape.set_f(by_columns), number)
        };
        let [rows, columns] = sizes;
        vec![
            small(sizes, false),
            small(sizes, true),
            small([2 * rows, columns + 3], false).slice_move(s![..;2, 1..=columns]),
            small([rows + 1, 3 * columns], false).slice_move(s![1.., ..;3]),
            small(sizes, false).slice_move(s![..;-1, ..]),
            small(sizes, false).slice_move(s![.., ..;-1]),
            small(sizes, true).slice_move(s![..;-1, ..;-1]),
        ]
    }

    fn products_are_those_of_three_loops<T: Element>() {
        let random = &mut Random::new(19);
        for [rows, columns, inner] in SIZES {
            let a = layouts::<T>([rows, inner], random);
            let b = layouts::<T>([inner, columns], random);
            let before = layouts::<T>([rows, columns], random);
            let constant = Array2::from_elem([1, 1], T::of(3.0));
            let [one_a, one_b] = [[rows, inner], [inner, columns]]
                .map(|sizes| constant.broadcast(sizes).expect("of one number"));
            let of_a = || a.iter().map(|a| a.view()).chain([one_a]);
            let of_b = || b.iter().map(|b| b.view()).chain([one_b]);
            let pairs = of_a().flat_map(|a| of_b().map(move |b| (a, b)));
            for ((a, b), before) in pairs.zip(before.iter().cycle()) {
                check(a, b, before);
            }
        }
    }

    fn check<T: Element>(a: ArrayView2<'_, T>, b: ArrayView2<'_, T>, before: &Array2<T>) {
        let mut sum = before.clone();
        let mut product = before.mapv(|_| T::nan());
        assert_eq!(sum.strides(), before.strides());
        multiply(a, b, sum.view_mut(), true);
        multiply(a, b, product.view_mut(), false);
        for ((row, column), &before) in before.indexed_iter() {
            let mut expected = T::zero();
            for inner in 0..a.ncols() {
                expected += a[[row, inner]] * b[[inner, column]];
            }
            let at = [row, column];
            let case = || format!("{at:?} of {:?} {:?}", (a.dim(), a.strides()), b.strides());
            assert!(product[at] == expected, "{}", case());
            assert!(sum[at] == before + expected, "added to {}", case());
        }
    }

    #[test]
    fn products_of_f32_are_those_of_three_loops() {
        products_are_those_of_three_loops::<f32>();
    }

    #[test]
    fn products_of_f64_are_those_of_three_loops() {
        products_are_those_of_three_loops::<f64>();
    }

    #[test]
    #[should_panic(expected = "matrices do not fit")]
    fn sizes_fit() {
        let (a, b) = (Array2::<f32>::zeros((2, 3)), Array2::zeros((4, 5)));
        multiply(a.view(), b.view(), Array2::zeros((2, 5)).view_mut(), false);
    }
}
