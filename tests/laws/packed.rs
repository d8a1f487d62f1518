//! Packed weights: as small as promised, comparable, and the same numbers as the quantizer's.

use crate::case::{Case, cases};
use crate::number::{Number, bits};
use crate::reference::Weight;
use ndarray::Array2;
use ndarray_qnn::{PackedWeights, QFullyConnected};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

const fn shared_between_threads<T: Send + Sync>() {}
const _: () = shared_between_threads::<PackedWeights<f32>>();
const _: () = shared_between_threads::<PackedWeights<f64>>();

fn packed_weights_are_the_quantized_ones<T: Number>(case: &Case) -> TestCaseResult {
    let w = case.operands::<T>().w;
    let layer = case.layer();
    let quantizer = case.quantizers.build_weight();
    let packed = layer.pack(w.view()).expect("packed weights");
    prop_assert_eq!(packed.quantizer(), &quantizer);
    prop_assert_eq!(packed.scaling(), &case.scaling());
    prop_assert_eq!(packed.shape(), case.sizes.w_shape());
    let quantized = quantizer.quantize(w.view()).expect("quantized weights");
    prop_assert_eq!(bits(&packed.to_quantized().expect("quantized weights")), bits(&quantized));
    prop_assert_eq!(&packed, &layer.pack(w.logical().view()).expect("packed weights"));
    prop_assert_eq!(&packed, &packed.clone());

    let with_first = |first: f64| {
        let mut w = w.logical();
        *w.first_mut().expect("a weight") = T::of_f64(first);
        layer.pack(w.view()).expect("packed weights")
    };
    prop_assert_ne!(with_first(4.0), with_first(-4.0));
    Ok(())
}

/// The codes alone; sums and scales take a few numbers a filter.
fn size_is_that_of_the_codes<T: Number>(case: &Case) -> TestCaseResult {
    let w = case.operands::<T>().w;
    let packed = case.layer().pack(w.view()).expect("packed weights");
    let (filters, row_len) = (case.sizes.filters(), case.sizes.row_len());
    let number = size_of::<T>();
    // Codes are held in words of 32 bits, in panels of 16 filters.
    let held = |codes_a_word| filters.next_multiple_of(16) * row_len.div_ceil(codes_a_word) * 4;
    let bits = packed.quantizer().bits() as usize;
    let planes = bits * held(32);
    // As planes or as numbers, whichever are multiplied faster; one bit always is a plane.
    let [codes, other] = match bits {
        1 => [planes; 2],
        2 => [planes, held(16)],
        3..=4 => [planes, held(8)],
        5..=8 => [planes, held(4)],
        _ => [filters * row_len * number; 2],
    };
    let besides = filters * (size_of::<i64>() + 3 * number);
    let size = packed.size_in_bytes();
    let fits = |codes: usize| (codes..=codes + besides).contains(&size);
    prop_assert!(fits(codes) || fits(other), "{size} bytes for {codes} or {other}");
    Ok(())
}

/// Bit `i` of a filter is the sign of its weight `i`, kernel positions first, channels within.
fn words_are_the_signs<T: Number>(case: &Case) -> TestCaseResult {
    let w = case.operands::<T>().w;
    let packed = case.layer().pack(w.view()).expect("packed weights");
    if packed.quantizer().bits() != 1 {
        prop_assert_eq!(packed.words(0), None);
        return Ok(());
    }
    let codes = packed.quantizer().codes(w.view()).expect("codes");
    prop_assert_eq!(packed.words(codes.shape()[0]), None);
    for (f, filter) in codes.outer_iter().enumerate() {
        let words = packed.words(f).expect("bits");
        let mut found =
            words.iter().flat_map(|word| (0..64).map(move |bit| (word >> bit & 1) as u32));
        let axes: Vec<_> = (1..filter.ndim()).chain([0]).collect();
        let channels_last = filter.permuted_axes(axes);
        for &code in &channels_last {
            prop_assert_eq!(found.next(), Some(code));
        }
        prop_assert!(found.all(|bit| bit == 0));
    }
    Ok(())
}

proptest! {
    #[test]
    fn packed_weights_are_the_quantized_ones_in_another_place(case in cases()) {
        packed_weights_are_the_quantized_ones::<f32>(&case)?;
        packed_weights_are_the_quantized_ones::<f64>(&case)?;
    }

    #[test]
    fn packed_weights_take_no_more_than_their_codes(mut case in cases(), binary: bool) {
        if binary {
            case.quantizers.weight = Weight::MagnitudeAwareSign;
        }
        size_is_that_of_the_codes::<f32>(&case)?;
        size_is_that_of_the_codes::<f64>(&case)?;
        words_are_the_signs::<f32>(&case)?;
    }
}

#[test]
fn large_binary_weights_take_a_bit_each() {
    let w = Array2::<f32>::ones((64, 4096));
    let layer = QFullyConnected::bmxnet_v1(1, 1).expect("widths");
    let packed = layer.pack(w.view()).expect("packed weights");
    assert_eq!(packed.size_in_bytes(), w.len() / 8 + 64 * size_of::<i64>());
}
