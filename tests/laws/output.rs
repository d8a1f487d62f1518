//! `_into` writes every element of the output and nothing else, and no call knows of the last.

use crate::case::{Case, Operands, cases};
use crate::layer::Layer;
use crate::layout::Stored;
use crate::number::{Number, bits};
use ndarray_qnn::{Error, Operand, PackedWeights, QActivation, Scratch};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

/// What a call leaves in a poisoned output: the result, and whether the poison around it is whole.
fn result_of<T: Number>(mut out: Stored<T>) -> Result<(Vec<usize>, Vec<u64>), TestCaseError> {
    let result = bits(&out.logical());
    out.distinct_mut().fill(T::nan());
    let poison = T::nan().bits();
    prop_assert!(
        out.buffer.iter().all(|value| value.bits() == poison),
        "wrote outside of the view"
    );
    Ok(result)
}

fn into<T: Number>(
    case: &Case,
    layer: &Layer,
    operands: &Operands<T>,
    packed: Option<&PackedWeights<T>>,
    scratch: &mut Scratch,
) -> Result<(Vec<usize>, Vec<u64>), TestCaseError> {
    let mut out = case.output::<T>();
    let (x, bias, view) = (operands.x.view(), operands.bias(), out.distinct_mut());
    let done = match packed {
        Some(packed) => layer.forward_packed_into(x, packed, bias, scratch, view),
        None => layer.forward_into(x, operands.w.view(), bias, scratch, view),
    };
    done.expect("a result");
    result_of(out)
}

fn every_way_gives_the_same_bits<T: Number>(case: &Case, scratch: &mut Scratch) -> TestCaseResult {
    let operands = case.operands::<T>();
    let layer = case.layer();
    let packed = layer.pack(operands.w.view()).expect("packed weights");
    let forward = || layer.forward(operands.x.view(), operands.w.view(), operands.bias());
    let y = bits(&forward().expect("a result"));
    prop_assert_eq!(&y, &bits(&forward().expect("a result")));
    let forward_packed = || layer.forward_packed(operands.x.view(), &packed, operands.bias());
    prop_assert_eq!(&y, &bits(&forward_packed().expect("a result")));
    for _ in 0..2 {
        prop_assert_eq!(&y, &into(case, &layer, &operands, None, scratch)?);
        prop_assert_eq!(&y, &into(case, &layer, &operands, Some(&packed), scratch)?);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// One scratch goes through layers of all kinds, sizes and number types.
    #[test]
    fn calls_leave_no_trace_in_a_scratch(cases in prop::collection::vec(cases(), 2..=4)) {
        let mut scratch = Scratch::new();
        for case in &cases {
            every_way_gives_the_same_bits::<f32>(case, &mut scratch)?;
            every_way_gives_the_same_bits::<f64>(case, &mut scratch)?;
        }
    }

    #[test]
    fn activations_overwrite_their_output_alone(case in cases(), backward_only: bool) {
        let Operands { dy: x, .. } = case.operands::<f32>();
        let layer = QActivation::new(case.quantizers.build_activation())
            .backward_only(backward_only);
        let mut out = case.output::<f32>();
        layer.forward_into(x.view(), out.distinct_mut()).expect("a result");
        let y = layer.forward(x.view()).expect("a result");
        prop_assert_eq!(result_of(out)?, bits(&y));
    }

    /// A call that is refused writes nothing.
    #[test]
    fn errors_leave_the_output_alone(case in cases(), at: prop::sample::Index) {
        let Operands { mut x, w, .. } = case.operands::<f32>();
        let mut distinct = x.distinct_mut();
        let at = at.index(distinct.len());
        *distinct.iter_mut().nth(at).expect("an element") = f32::NAN;
        let mut out = case.output::<f32>();
        let mut scratch = Scratch::new();
        let result =
            case.layer().forward_into(x.view(), w.view(), None, &mut scratch, out.distinct_mut());
        prop_assert_eq!(result, Err(Error::NaN { operand: Operand::Input }));
        prop_assert!(out.buffer.iter().all(|value| value.is_nan()));
    }
}
