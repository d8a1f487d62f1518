//! The same bits at any number of threads, on work that is large enough to be divided.

use crate::layer::Layer;
use crate::number::{Random, bits};
use ndarray::{Array1, ArrayD};
use ndarray_qnn::{
    ActivationQuantizer, FullPrecision, InputScaling, PadValue, QConvolution, QFullyConnected,
    Scaling, WeightQuantizer,
};
use rayon::ThreadPoolBuilder;

const THREADS: [usize; 4] = [1, 2, 3, 5];

/// A forward is divided among threads by blocks of so many products.
const PRODUCTS_PER_BLOCK: usize = 1 << 18;
/// The same where both operands are bit planes, for each pair of planes.
const BIT_PRODUCTS_PER_BLOCK: usize = 1 << 22;

fn random(shape: &[usize], random_numbers: &mut Random) -> ArrayD<f32> {
    ArrayD::from_shape_simple_fn(shape, || random_numbers.number())
}

/// Outputs and gradients, as bits.
fn results(layer: &Layer, x: &ArrayD<f32>, w: &ArrayD<f32>) -> Vec<(Vec<usize>, Vec<u64>)> {
    let bias = Array1::from_shape_fn(w.shape()[0], |f| f as f32 / 3.0);
    let y = layer.forward(x.view(), w.view(), Some(bias.view())).expect("a result");
    let gradients = layer.backward(y.view(), x.view(), w.view()).expect("gradients");
    [&y, &gradients.input, &gradients.weight, &gradients.bias].map(bits).into()
}

/// Outputs alone, as bits.
fn outputs(layer: &Layer, x: &ArrayD<f32>, w: &ArrayD<f32>) -> Vec<(Vec<usize>, Vec<u64>)> {
    vec![bits(&layer.forward(x.view(), w.view(), None).expect("a result"))]
}

fn same_at_any_number_of_threads(layer: &Layer, x: &[usize], w: &[usize]) {
    same_with_blocks(PRODUCTS_PER_BLOCK, results, layer, x, w);
}

fn same_with_blocks(
    products_per_block: usize,
    compute: impl Fn(&Layer, &ArrayD<f32>, &ArrayD<f32>) -> Vec<(Vec<usize>, Vec<u64>)> + Sync,
    layer: &Layer,
    x: &[usize],
    w: &[usize],
) {
    let random_numbers = &mut Random(7);
    let (x, w) = (random(x, random_numbers), random(w, random_numbers));
    let outputs = layer.forward(x.view(), w.view(), None).expect("a result").len();
    let products = outputs * w.len() / w.shape()[0];
    assert!(products >= 4 * products_per_block, "{products} products are too few to divide");
    let at = |threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| {
            assert_eq!(rayon::current_num_threads(), threads);
            compute(layer, &x, &w)
        })
    };
    let alone = at(1);
    for threads in THREADS {
        assert!(at(threads) == alone, "{threads} threads give other bits: {layer:?}");
    }
}

/// Up to 8x8 bits: exact integers.
fn quantizers() -> Vec<(ActivationQuantizer, WeightQuantizer)> {
    let unit = |bits| ActivationQuantizer::dorefa(bits).expect("a width");
    let dorefa = |bits| WeightQuantizer::dorefa(bits).expect("a width");
    vec![
        (ActivationQuantizer::sign(), WeightQuantizer::sign()),
        (unit(2), WeightQuantizer::bwn()),
        (ActivationQuantizer::sign(), dorefa(4)),
        (unit(8), dorefa(8)),
        (ActivationQuantizer::absmax(8).expect("a width"), WeightQuantizer::absmean()),
    ]
}

fn with_all_scales<const S: usize>(conv: QConvolution<S>) -> QConvolution<S>
where
    ndarray_qnn::Rank<S>: ndarray_qnn::SpatialRank,
{
    conv.scaling(Scaling::PerFilter).input_scaling(InputScaling::KMap)
}

#[test]
fn dense_layers() {
    for (activation, weight) in quantizers() {
        let layer = Layer::Dense(QFullyConnected::new(activation, weight));
        same_at_any_number_of_threads(&layer, &[67, 300], &[61, 300]);
        // Too few rows for all threads.
        same_at_any_number_of_threads(&layer, &[1, 1100], &[1000, 1100]);
    }
}

#[test]
fn convolutions_divided_by_image_and_by_line() {
    for (activation, weight) in quantizers() {
        let conv = QConvolution::new(activation, weight).padding([1, 1]);
        let layer = Layer::Conv2(with_all_scales(conv.pad_value(PadValue::MinusOne).groups(2)));
        same_at_any_number_of_threads(&layer, &[11, 4, 17, 19], &[18, 2, 3, 3]);
        same_at_any_number_of_threads(&layer, &[1, 4, 61, 54], &[18, 2, 3, 3]);
        let line = QConvolution::new(activation, weight).stride([2]);
        same_at_any_number_of_threads(&Layer::Conv1(line), &[1, 9, 4003], &[20, 9, 3]);
        let volume = QConvolution::new(activation, weight).dilation([2, 1, 1]);
        same_at_any_number_of_threads(
            &Layer::Conv3(volume),
            &[3, 3, 12, 13, 14],
            &[11, 3, 2, 2, 3],
        );
    }
}

/// A few bits by a few bits are divided in larger blocks.
#[test]
fn planes() {
    let unit = ActivationQuantizer::dorefa(2).expect("a width");
    let uniform = WeightQuantizer::uniform(2).expect("a width");
    let sign = (ActivationQuantizer::sign(), WeightQuantizer::sign());
    for (activation, weight) in [sign, (sign.0, uniform), (unit, sign.1)] {
        let conv = QConvolution::new(activation, weight).padding([1, 1]).groups(2);
        let same = |layer: Layer, x: &[usize], w: &[usize]| {
            same_with_blocks(BIT_PRODUCTS_PER_BLOCK, outputs, &layer, x, w);
        };
        same(Layer::Dense(QFullyConnected::new(activation, weight)), &[259, 700], &[100, 700]);
        same(Layer::Conv2(with_all_scales(conv.clone())), &[7, 64, 17, 19], &[30, 32, 3, 3]);
        same(Layer::Conv2(with_all_scales(conv)), &[1, 64, 53, 47], &[30, 32, 3, 3]);
    }
}

/// Wider codes are summed in floats, but in an order that threads have no part in.
#[test]
fn wide_codes() {
    let activation = ActivationQuantizer::dorefa(12).expect("a width");
    let weight = WeightQuantizer::dorefa(16).expect("a width");
    let dense = Layer::Dense(QFullyConnected::new(activation, weight));
    same_at_any_number_of_threads(&dense, &[131, 300], &[61, 300]);
    let conv = QConvolution::new(activation, weight).padding([1, 1]);
    same_at_any_number_of_threads(&Layer::Conv2(conv), &[11, 4, 17, 19], &[10, 4, 3, 3]);
}

/// Weights that are multiplied as they are packed: few rows are divided by filters.
#[test]
fn narrow_weights() {
    let activation = ActivationQuantizer::full_precision(FullPrecision::Identity);
    for bits in [1, 2, 4, 8] {
        let weight = WeightQuantizer::uniform(bits).expect("a width");
        let dense = Layer::Dense(QFullyConnected::new(activation, weight));
        same_at_any_number_of_threads(&dense, &[1, 1100], &[1001, 1100]);
        same_at_any_number_of_threads(&dense, &[7, 700], &[300, 700]);
        let conv = QConvolution::new(activation, weight);
        same_at_any_number_of_threads(
            &Layer::Conv2(conv.clone()),
            &[2, 64, 4, 4],
            &[250, 64, 3, 3],
        );
        same_at_any_number_of_threads(
            &Layer::Conv2(conv.groups(2)),
            &[3, 80, 4, 4],
            &[300, 40, 3, 3],
        );
    }
}
