//! Nothing that is passed in changes: not a bit of any operand, nor of the memory around it.

use crate::case::{Case, Operands, cases};
use crate::number::Number;
use ndarray_qnn::{QActivation, Scratch};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

/// Calls all there is to call.
fn call_everything<T: Number>(
    case: &Case,
    operands: &Operands<T>,
    mut check: impl FnMut(&str) -> TestCaseResult,
) -> TestCaseResult {
    let layer = case.layer();
    let (x, w, dy) = (|| operands.x.view(), || operands.w.view(), || operands.dy.view());
    let bias = || operands.bias();
    let mut scratch = Scratch::new();
    let mut out = case.output::<T>();

    layer.forward(x(), w(), bias()).expect("a result");
    check("forward")?;
    layer.forward_into(x(), w(), bias(), &mut scratch, out.distinct_mut()).expect("a result");
    check("forward_into")?;
    let packed = layer.pack(w()).expect("packed weights");
    check("pack")?;
    let before = packed.clone();
    layer.forward_packed(x(), &packed, bias()).expect("a result");
    check("forward_packed")?;
    layer
        .forward_packed_into(x(), &packed, bias(), &mut scratch, out.distinct_mut())
        .expect("a result");
    check("forward_packed_into")?;
    prop_assert_eq!(&packed, &before);
    packed.to_quantized().expect("quantized weights");
    prop_assert_eq!(&packed, &before);
    layer.backward(dy(), x(), w()).expect("gradients");
    check("backward")?;

    let quantizer = case.quantizers.build_activation();
    for layer in [QActivation::new(quantizer), QActivation::new(quantizer).backward_only(true)] {
        layer.forward(dy()).expect("a result");
        layer.forward_into(dy(), out.distinct_mut()).expect("a result");
        layer.backward(dy(), dy()).expect("gradients");
        check("QActivation")?;
    }
    quantizer.quantize(x()).expect("numbers");
    quantizer.codes(x()).expect("codes");
    quantizer.backward(x(), x()).expect("gradients");
    check("ActivationQuantizer")?;
    let quantizer = case.quantizers.build_weight();
    quantizer.quantize(w()).expect("numbers");
    quantizer.codes(w()).expect("codes");
    quantizer.backward(w(), w()).expect("gradients");
    check("WeightQuantizer")
}

fn operands_stay_as_they_are<T: Number>(case: &Case) -> TestCaseResult {
    let operands = case.operands::<T>();
    let before = operands.buffer_bits();
    call_everything(case, &operands, |what| {
        prop_assert!(operands.buffer_bits() == before, "{what} wrote to an operand");
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn operands_stay_as_they_are_in_f32(case in cases()) {
        operands_stay_as_they_are::<f32>(&case)?;
    }

    #[test]
    fn operands_stay_as_they_are_in_f64(case in cases()) {
        operands_stay_as_they_are::<f64>(&case)?;
    }
}
