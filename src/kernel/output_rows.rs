//! Rows of outputs, a slice each, that lie at a constant distance anywhere in an array. How they lie is
//! checked once, so that a kernel finds a row with a multiplication.

use ndarray::ArrayViewMut2;

/// The columns of an array (output, row), each of which lies in consecutive memory.
#[derive(Debug)]
pub(crate) struct OutputRows<'a, O> {
    array: ArrayViewMut2<'a, O>,
    /// Outputs from a row to the next.
    stride: isize,
}

impl<'a, O> OutputRows<'a, O> {
    /// # Panics
    /// If the outputs of a row do not lie side by side.
    pub(crate) fn new(array: ArrayViewMut2<'a, O>) -> Self {
        let &[between, stride] = array.strides() else { unreachable!("two axes have two strides") };
        assert!(array.nrows() <= 1 || between == 1, "outputs of a row lie apart");
        OutputRows { array, stride }
    }

    /// A row.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline(always)]
    pub(crate) fn row(&mut self, i: usize) -> &mut [O] {
        let (len, count) = self.array.dim();
        assert!(i < count);
        // SAFETY: the array is borrowed alone, and holds `len` outputs side by side in each column.
        unsafe {
            let first = self.array.as_mut_ptr().offset(i as isize * self.stride);
            std::slice::from_raw_parts_mut(first, len)
        }
    }

    /// How many rows there are.
    pub(crate) fn count(&self) -> usize {
        self.array.ncols()
    }

    /// The array.
    pub(crate) fn into_array(self) -> ArrayViewMut2<'a, O> {
        self.array
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, s};

    #[test]
    fn rows_are_columns_of_the_array() {
        let numbers = Array2::from_shape_fn((6, 7), |(row, i)| 10 * row + i);
        for (step, range) in [(1, 0..7), (2, 1..4), (-1, 3..4), (-2, 5..5)] {
            let mut whole = numbers.clone();
            let part = whole.slice_mut(s![..;step, range.clone()]);
            let expected = part.to_owned();
            let mut rows = OutputRows::new(part.reversed_axes());
            assert_eq!(rows.count(), expected.nrows());
            for (i, expected) in expected.outer_iter().enumerate() {
                assert_eq!(rows.row(i), expected.to_vec());
                rows.row(i).fill(i);
            }
            assert!(
                whole
                    .slice(s![..;step, range])
                    .outer_iter()
                    .enumerate()
                    .all(|(i, row)| row.iter().all(|&x| x == i))
            );
        }
    }

    #[test]
    #[should_panic(expected = "lie apart")]
    fn outputs_of_a_row_lie_side_by_side() {
        let mut numbers = Array2::from_elem((3, 4), 0);
        OutputRows::new(numbers.view_mut());
    }
}
