//! 1-bit convolutions against those of f32, from f32 to f32.
//!
//! ```text
//! RAYON_NUM_THREADS=1 taskset -c 1 cargo bench --bench conv
//! cargo bench --bench conv -- threads
//! ```
//!
//! `qnn` quantizes and packs its activations in every call, and multiplies them with packed
//! weights; it reads and writes tensors in NHWC or in NCHW memory, and pads -1 or exactly 0.
//! `float` convolves f32 in NHWC memory, where windows are gathered fastest: the product of
//! gathered windows by the gemm crate, or for a depthwise convolution a loop over channels. Both
//! use their buffers again. `QNN_ISA` chooses the kernels.
//!
//! After Criterion's benchmarks come tables, in which the contestants of a case take turns:
//!
//! - `convolutions`: each layer (channels, height and width, filters) at batch 1 and 8, with its
//!   share of the popcount roofline;
//! - `backward`: all gradients of a layer, at batch 1 and 8. `float` is given its buffers, `qnn`
//!   quantizes all operands anew and returns new arrays;
//! - `threads`: one thread against two, if the process may use two CPUs: not under `taskset -c 1`.
//!
//! `cargo bench --bench conv -- backward` measures one of them alone. All but `threads` run on one
//! thread, whatever `RAYON_NUM_THREADS` says.

mod support;

use criterion::{Criterion, Throughput, criterion_group};
use ndarray::{Array4, ArrayView4};
use ndarray_qnn::{
    ActivationQuantizer, Affine, BitTensor, Isa, PackedWeights, PadValue, QConvolution, Scratch,
    WeightQuantizer,
};
use support::{
    Contestant, ConvShape, FloatConv, FloatGradients, Table, Unit, float_depthwise, numbers, pool,
    roofline, thread_table, wanted,
};

/// The 3x3 layers of a ResNet, then a pointwise, a strided, a depthwise and a first one.
const LAYERS: [ConvShape; 8] = [
    ConvShape::same(64, 56, 64),
    ConvShape::same(128, 28, 128),
    ConvShape::same(256, 14, 256),
    ConvShape::same(512, 7, 512),
    ConvShape { kernel: 1, padding: 0, ..ConvShape::same(256, 14, 256) },
    ConvShape { stride: 2, ..ConvShape::same(128, 28, 128) },
    ConvShape { groups: 256, ..ConvShape::same(256, 28, 256) },
    ConvShape { kernel: 7, stride: 2, padding: 3, ..ConvShape::same(3, 224, 64) },
];

const BATCHES: [usize; 2] = [1, 8];

/// Which axis is last in memory.
#[derive(Clone, Copy)]
enum Memory {
    Nhwc,
    Nchw,
}

impl Memory {
    /// A tensor (N, C, H, W) that lies so in memory.
    fn hold(self, x: ArrayView4<f32>) -> Array4<f32> {
        match self {
            Memory::Nchw => x.as_standard_layout().into_owned(),
            Memory::Nhwc => {
                let nhwc = x.permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned();
                nhwc.permuted_axes([0, 3, 1, 2])
            }
        }
    }
}

/// A tensor in NHWC memory as it lies there.
fn lying(x: &Array4<f32>) -> Vec<f32> {
    x.view().permuted_axes([0, 2, 3, 1]).iter().copied().collect()
}

/// From an input to an output, both in NHWC memory.
type FloatForward<'a> = Box<dyn FnMut(&[f32], &mut [f32]) + Send + 'a>;

/// The inputs and weights of a layer.
struct Layer {
    shape: ConvShape,
    /// (N, C, H, W) in NHWC memory.
    x: Array4<f32>,
    /// (F, C / groups, KH, KW).
    w: Array4<f32>,
    packed: PackedWeights<f32>,
}

fn operator(
    shape: &ConvShape,
    activation: ActivationQuantizer,
    weight: WeightQuantizer,
    pad: PadValue,
) -> QConvolution<2> {
    QConvolution::new(activation, weight)
        .stride([shape.stride; 2])
        .padding([shape.padding; 2])
        .groups(shape.groups)
        .pad_value(pad)
}

fn sign_operator(shape: &ConvShape, pad: PadValue) -> QConvolution<2> {
    operator(shape, ActivationQuantizer::sign(), WeightQuantizer::sign(), pad)
}

impl Layer {
    fn new(shape: ConvShape, batch: usize) -> Self {
        let ConvShape { channels, size, filters, kernel, groups, .. } = shape;
        let x = Memory::Nhwc.hold(numbers((batch, channels, size, size), 7).view());
        let w = numbers((filters, channels / groups, kernel, kernel), 8);
        let packed = sign_operator(&shape, PadValue::Zero).pack(w.view()).expect("packed weights");
        Layer { shape, x, w, packed }
    }

    fn batch(&self) -> usize {
        self.x.dim().0
    }

    fn name(&self) -> String {
        format!("{} batch {}", self.shape.name(), self.batch())
    }

    fn macs(&self) -> f64 {
        (self.batch() * self.shape.macs()) as f64
    }

    fn out_dim(&self) -> [usize; 4] {
        let size = self.shape.out_size();
        [self.batch(), self.shape.filters, size, size]
    }

    fn qnn(&self, name: &'static str, memory: Memory, pad: PadValue) -> Contestant<'_> {
        let operator = sign_operator(&self.shape, pad);
        let x = memory.hold(self.x.view());
        let mut y = memory.hold(Array4::zeros(self.out_dim()).view());
        let mut scratch = Scratch::new();
        Contestant::new(name, self.macs(), move || {
            operator
                .forward_packed_into(x.view(), &self.packed, None, &mut scratch, y.view_mut())
                .expect("an output");
        })
    }

    /// From bits to bits, what lies behind the layer folded into thresholds.
    fn bits(&self) -> Contestant<'_> {
        let operator = sign_operator(&self.shape, PadValue::MinusOne);
        let sign = ActivationQuantizer::sign();
        let x = BitTensor::pack(&sign, self.x.view()).expect("signs");
        let affine = Affine::new(
            numbers([self.shape.filters], 10).to_vec(),
            numbers([self.shape.filters], 11).to_vec(),
        )
        .expect("finite numbers");
        let thresholds =
            operator.fold(&self.packed, None, Some(&affine), &sign).expect("thresholds");
        let (mut y, mut scratch) = (BitTensor::default(), Scratch::new());
        Contestant::new("qnn bits to bits", self.macs(), move || {
            operator
                .forward_signs_into(&x, &self.packed, &thresholds, &mut scratch, &mut y)
                .expect("signs");
        })
    }

    /// The convolution of f32.
    fn float_forward(&self) -> FloatForward<'_> {
        if self.shape.groups == 1 {
            let mut conv = FloatConv::new(self.shape, lying(&self.w));
            return Box::new(move |x, y| conv.forward(x, y));
        }
        // [tap][channel]
        let w: Vec<f32> = self.w.view().permuted_axes([2, 3, 0, 1]).iter().copied().collect();
        Box::new(move |x, y| float_depthwise(&self.shape, &w, x, y))
    }

    fn float(&self) -> Contestant<'_> {
        let (mut forward, x) = (self.float_forward(), lying(&self.x));
        let mut y = vec![0.0; self.out_dim().iter().product()];
        Contestant::new("float", self.macs(), move || forward(&x, &mut y))
    }

    fn contestants(&self) -> Vec<Contestant<'_>> {
        vec![
            self.qnn("qnn NHWC pads -1", Memory::Nhwc, PadValue::MinusOne),
            self.qnn("qnn NHWC pads 0", Memory::Nhwc, PadValue::Zero),
            self.qnn("qnn NCHW pads -1", Memory::Nchw, PadValue::MinusOne),
            self.qnn("qnn NCHW pads 0", Memory::Nchw, PadValue::Zero),
            self.bits(),
            self.float(),
        ]
    }

    fn qnn_backward(&self, name: &'static str, memory: Memory) -> Contestant<'_> {
        let operator = sign_operator(&self.shape, PadValue::MinusOne);
        let x = memory.hold(self.x.view());
        let dy = memory.hold(numbers(self.out_dim(), 9).view());
        // Twice the products of the forward.
        Contestant::new(name, 2.0 * self.macs(), move || {
            operator.backward(dy.view(), x.view(), self.w.view()).expect("gradients");
        })
    }

    fn zero_gradients(&self) -> FloatGradients {
        FloatGradients {
            x: vec![0.0; self.x.len()],
            weights: vec![0.0; self.w.len()],
            bias: vec![0.0; self.shape.filters],
        }
    }

    fn float_backward(&self) -> Contestant<'_> {
        let mut conv = FloatConv::new(self.shape, lying(&self.w));
        let (x, dy) = (lying(&self.x), lying(&numbers(self.out_dim(), 9)));
        let mut gradients = self.zero_gradients();
        Contestant::new("float", 2.0 * self.macs(), move || conv.backward(&dy, &x, &mut gradients))
    }

    /// Checks that what is measured as `float` is the convolution and its gradients.
    fn check_floats(&self) {
        let (activation, weight) = (ActivationQuantizer::identity(), WeightQuantizer::identity());
        let operator = operator(&self.shape, activation, weight, PadValue::Zero);
        let (x, dy) = (lying(&self.x), numbers(self.out_dim(), 9));
        let y = operator.forward(self.x.view(), self.w.view(), None).expect("an output");
        let mut float = vec![0.0; y.len()];
        self.float_forward()(&x, &mut float);
        assert_close(&float, &lying(&y));
        if self.shape.groups == 1 {
            let mut conv = FloatConv::new(self.shape, lying(&self.w));
            let mut float = self.zero_gradients();
            conv.backward(&lying(&dy), &x, &mut float);
            let gradients = operator.backward(dy.view(), self.x.view(), self.w.view());
            let gradients = gradients.expect("gradients");
            assert_close(&float.x, &lying(&gradients.input));
            assert_close(&float.weights, &lying(&gradients.weight));
            assert_close(&float.bias, gradients.bias.as_slice().expect("standard layout"));
        }
    }
}

fn assert_close(a: &[f32], b: &[f32]) {
    let largest = b.iter().fold(0.0f32, |max, b| max.max(b.abs()));
    assert!(a.len() == b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-4 * largest));
}

fn convolutions(c: &mut Criterion) {
    for shape in LAYERS {
        let layer = Layer::new(shape, 1);
        layer.check_floats();
        let mut group = c.benchmark_group(layer.name());
        group.throughput(Throughput::Elements(2 * layer.macs() as u64)).sample_size(20);
        for mut contestant in layer.contestants() {
            group.bench_function(contestant.name, |b| b.iter(&mut contestant.run));
        }
        group.finish();
    }
}

fn convolution_table(isa: &str) {
    let mut table = Table::new(Unit::Mac, &["float"], Some(roofline::POPCOUNT));
    for shape in LAYERS {
        for batch in BATCHES {
            let layer = Layer::new(shape, batch);
            let mut contestants = layer.contestants();
            contestants.push(roofline::popcount(isa));
            table.case(&layer.name(), contestants);
        }
    }
    println!("\n{table}");
}

fn backward_table() {
    let mut table = Table::new(Unit::Mac, &["float"], None);
    for shape in &LAYERS[..3] {
        for batch in BATCHES {
            let layer = Layer::new(*shape, batch);
            layer.check_floats();
            let contestants = vec![
                layer.qnn_backward("qnn NHWC", Memory::Nhwc),
                layer.qnn_backward("qnn NCHW", Memory::Nchw),
                layer.float_backward(),
            ];
            table.case(&layer.name(), contestants);
        }
    }
    println!("\n{table}");
}

fn threads() {
    let layers = [LAYERS[0], LAYERS[2]].map(|shape| BATCHES.map(|batch| Layer::new(shape, batch)));
    thread_table(layers.as_flattened().iter().map(|layer| {
        let qnn = || layer.qnn("qnn", Memory::Nhwc, PadValue::MinusOne);
        (layer.name(), [qnn(), qnn()])
    }));
}

criterion_group!(benches, convolutions);

fn main() {
    let isa = Isa::current().name();
    println!("kernels: {isa}");
    pool(1).install(|| {
        benches();
        Criterion::default().configure_from_args().final_summary();
        if wanted("convolutions") {
            convolution_table(isa);
        }
        if wanted("backward") {
            backward_table();
        }
    });
    if wanted("threads") {
        threads();
    }
}
