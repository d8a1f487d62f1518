//! Planes and bytes give the same bits, whichever is the faster on this machine.

use super::*;
use crate::epilogue::exact::differing_bits_fit;
use crate::geometry::Geometry;
use crate::geometry::Window;
use crate::kernel::Isa;
use crate::options::{InputScaling, OutputForm, PadValue, Scaling};
use crate::quantizer::Levels;
use crate::{ActivationQuantizer, WeightQuantizer};
use ndarray::{Array5, ArrayView5};

/// Numbers of both signs, a little beyond the unit interval.
fn numbers(shape: [usize; 5], closest: bool, seed: u64) -> Array5<f32> {
    let mut state = seed | 1;
    let mut array = match closest {
        true => {
            let [n, c, d, h, w] = shape;
            Array5::zeros((n, d, h, w, c)).permuted_axes([0, 4, 1, 2, 3])
        }
        false => Array5::zeros(shape),
    };
    array.map_inplace(|x| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *x = ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * 1.25;
    });
    array
}

fn weights(
    quantizer: &WeightQuantizer,
    form: CodeFormat,
    w: ArrayView5<'_, f32>,
) -> PackedWeights<f32> {
    let mut packed = PackedWeights::default();
    packed.assign(quantizer, &Scaling::None, 2, form, w).unwrap();
    packed
}

/// The output of a forward that multiplies in a given form, as bits.
fn output(
    kernel: Kernel,
    problem: Problem<'_>,
    x: ArrayView5<'_, f32>,
    weights: &PackedWeights<f32>,
    format: CodeFormat,
) -> Vec<u32> {
    let mut y = Array5::from_elem(problem.geometry.output_shape(), f32::NAN);
    let target = FloatTarget { bias: None, residual: None, out: y.view_mut() };
    let target = Target::Floats(target);
    let geometry = &problem.geometry;
    let exact = Exact::new(&problem, weights).unwrap();
    let plan = GemmPlan::in_format(kernel, geometry, exact, format, &target);
    let call = Call { kernel, problem, x: Input::Floats(x), weights };
    call.gemm(&plan, Scratch::new().buffers(), target).unwrap();
    y.iter().map(|y| y.to_bits()).collect()
}

/// Windows that are read where they lie, with padding laid around the image or without, and
/// windows that are gathered; filters of one panel and of several, rows of several tiles.
fn geometries() -> Vec<Geometry> {
    let dense = Window::POINTWISE;
    let padded = Window { padding: [[0; 2], [1, 1], [2, 0]], ..dense };
    let groups = Window { groups: 2, stride: [1, 2, 1], dilation: [1, 1, 2], ..padded };
    let sizes = [
        (dense, [1, 37, 1, 1, 5], [3, 37, 1, 1, 1]),
        (dense, [1, 64, 1, 1, 70], [35, 64, 1, 1, 1]),
        (padded, [2, 32, 1, 5, 4], [17, 32, 1, 3, 3]),
        (padded, [1, 8, 1, 5, 4], [65, 8, 1, 3, 3]),
        (padded, [1, 3, 1, 6, 7], [5, 3, 1, 3, 3]),
        (groups, [2, 64, 1, 5, 6], [6, 32, 1, 3, 2]),
        (groups, [1, 14, 1, 5, 6], [4, 7, 1, 3, 2]),
    ];
    sizes.map(|(window, x, w)| Geometry::new(window, x, w).unwrap()).into()
}

fn activations() -> Vec<ActivationQuantizer> {
    let unit = (1..=8).map(|bits| ActivationQuantizer::dorefa(bits).unwrap());
    let absmax = [2, 3, 8].map(|bits| ActivationQuantizer::absmax(bits).unwrap());
    [ActivationQuantizer::sign()].into_iter().chain(unit).chain(absmax).collect()
}

fn same_in_all_forms(kernel: Kernel, geometry: Geometry, pad: PadValue) {
    let x_shape = [&[geometry.batch, geometry.channels], &geometry.input[..]].concat();
    let w_shape = [&[geometry.filters, geometry.group_channels()], &geometry.kernel[..]].concat();
    let w = numbers(w_shape.try_into().unwrap(), false, 3);
    let x_shape: [usize; 5] = x_shape.try_into().unwrap();
    let inputs = [numbers(x_shape, false, 2), numbers(x_shape, true, 2)];
    let quantizers = (1..=8).map(|bits| WeightQuantizer::uniform(bits).unwrap());
    for quantizer in quantizers.chain([WeightQuantizer::absmean()]) {
        let planes = &weights(&quantizer, CodeFormat::Planes, w.view());
        let bytes = &weights(&quantizer, CodeFormat::Bytes, w.view());
        for (activation, x) in activations().iter().flat_map(|a| inputs.each_ref().map(|x| (a, x)))
        {
            let problem = Problem {
                geometry,
                activation,
                form: OutputForm::Dot,
                input_scaling: InputScaling::None,
                pad,
                dense: geometry.is_pointwise(),
            };
            let [as_planes, expanded, as_bytes] = [
                (planes, CodeFormat::Planes),
                (planes, CodeFormat::Bytes),
                (bytes, CodeFormat::Bytes),
            ]
            .map(|(weights, form)| output(kernel, problem, x.view(), weights, form));
            let what = format!("{kernel:?} {geometry:?} {pad:?} {activation:?} {quantizer:?}");
            assert!(as_planes == as_bytes, "planes: {what}");
            assert!(expanded == as_bytes, "expanded: {what}");
        }
    }
}

#[test]
fn planes_give_the_bits_of_bytes() {
    for kernel in Isa::ALL.iter().copied().filter_map(Kernel::new) {
        for geometry in geometries() {
            same_in_all_forms(kernel, geometry, PadValue::Zero);
            if geometry.has_padding() {
                same_in_all_forms(kernel, geometry, PadValue::PlusOne);
            }
        }
    }
}

#[test]
fn weights_are_equal_in_both_forms() {
    let w = numbers([5, 9, 1, 3, 3], false, 1);
    for quantizer in (1..=8).map(|bits| WeightQuantizer::uniform(bits).unwrap()) {
        let [planes, bytes] =
            [CodeFormat::Planes, CodeFormat::Bytes].map(|form| weights(&quantizer, form, w.view()));
        assert_eq!(planes, bytes);
        assert_eq!(planes.to_quantized().unwrap(), bytes.to_quantized().unwrap());
        // Other codes of the same sums.
        let with = |first, last| {
            let mut w = w.clone();
            w[[4, 0, 0, 0, 0]] = first;
            w[[4, 8, 0, 2, 2]] = last;
            move |form| weights(&quantizer, form, w.view())
        };
        let (rising, falling) = (with(-1.0, 1.0), with(1.0, -1.0));
        assert_eq!(rising(CodeFormat::Planes), rising(CodeFormat::Bytes));
        assert_ne!(rising(CodeFormat::Planes), falling(CodeFormat::Bytes));
        assert_ne!(rising(CodeFormat::Bytes), falling(CodeFormat::Planes));
    }
}

#[test]
fn planes_are_multiplied_if_their_sums_fit_into_32_bits() {
    let (unit, symmetric) = (Levels::unit, Levels::symmetric);
    let longest = i32::MAX as usize / (255 * 255);
    assert!(differing_bits_fit(unit(8), symmetric(8), longest));
    assert!(!differing_bits_fit(unit(8), symmetric(8), longest + 1));
    assert!(differing_bits_fit(unit(1), symmetric(1), i32::MAX as usize));
    assert!(!differing_bits_fit(unit(1), symmetric(1), i32::MAX as usize + 1));
}
