//! Products and convolutions of 1 to 8 bits against those of f32 and of bytes.
//!
//! ```text
//! RAYON_NUM_THREADS=1 taskset -c 1 cargo bench --bench int
//! cargo bench --bench int -- products
//! ```
//!
//! A contestant of `qnn` is named by the bits of its activations and of its weights; `8x ternary`
//! is BitNet b1.58's layer, which measures the largest magnitude of every row first. From f32 to
//! f32, it quantizes its activations in every call, and multiplies them with packed weights.
//! `gemm` is the f32 product of the crate of this name, `float` the convolution made of it. `rten
//! int8` is the product of rten-gemm: of bytes that are there already, with packed weights and
//! without zero points, to sums that nothing scales. On CPUs without VNNI its sums may saturate,
//! which those of `qnn` never do. `QNN_ISA` chooses the kernels of `qnn`.
//!
//! After Criterion's benchmarks come tables, in which the contestants of a case take turns:
//!
//! - `products`: rows, filters and length, with shares of the roofline of bytes;
//! - `bandwidth`: products with a single vector as readers of their packed weights;
//! - `convolutions`: a layer (channels, height and width, filters) in NHWC memory.
//!
//! `cargo bench --bench int -- bandwidth` measures one of them alone. All run on one thread,
//! whatever `RAYON_NUM_THREADS` says.

mod support;

use criterion::{Criterion, Throughput, criterion_group};
use ndarray::{Array2, Array4};
use ndarray_qnn::{
    ActivationQuantizer, Isa, PackedWeights, QConvolution, QFullyConnected, Scratch,
    WeightQuantizer,
};
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB};
use rten_tensor::{NdTensor, prelude::*};
use support::{
    Contestant, ConvShape, FloatConv, READ, Table, Unit, float_gemm, numbers, pool, read, roofline,
    wanted,
};

/// Rows, filters and length of the products. The last two are dense layers on a single vector,
/// with weights that fit into a cache and with weights that do not.
const SIZES: [(usize, usize, usize); 5] =
    [(256, 256, 256), (1024, 1024, 1024), (4096, 4096, 4096), (1, 4096, 4096), (1, 8192, 16384)];

/// Those that Criterion measures too, which takes its time.
const SHORT: [(usize, usize, usize); 3] = [SIZES[0], SIZES[1], SIZES[3]];

/// The contestant that others are compared with.
const BYTES: &str = "8x8";

/// Bits of activations and weights, by name.
fn layers() -> [(&'static str, QFullyConnected); 5] {
    let layer = |activation, weight| {
        let activation = ActivationQuantizer::dorefa(activation).expect("a width");
        QFullyConnected::new(activation, WeightQuantizer::dorefa(weight).expect("a width"))
    };
    [
        ("1x2", layer(1, 2)),
        ("2x2", layer(2, 2)),
        ("4x4", layer(4, 4)),
        (BYTES, layer(8, 8)),
        ("8x ternary", QFullyConnected::bitnet_b158()),
    ]
}

/// Inputs and weights of a product.
struct Product {
    x: Array2<f32>,
    w: Array2<f32>,
    /// Layers, each with its packed weights.
    layers: Vec<(&'static str, QFullyConnected, PackedWeights<f32>)>,
}

fn name((m, n, k): (usize, usize, usize)) -> String {
    format!("{m}x{n}x{k}")
}

impl Product {
    fn new((m, n, k): (usize, usize, usize)) -> Self {
        let (x, w) = (numbers((m, k), 7), numbers((n, k), 8));
        let layers = layers().map(|(name, layer)| {
            let packed = layer.pack(w.view()).expect("packed weights");
            (name, layer, packed)
        });
        Product { x, w, layers: layers.into() }
    }

    fn macs(&self) -> f64 {
        (self.x.len() * self.w.nrows()) as f64
    }

    fn zeros(&self) -> Array2<f32> {
        Array2::zeros((self.x.nrows(), self.w.nrows()))
    }

    /// The contestants of this crate, each with the size of its weights in bytes.
    fn qnn(&self) -> impl Iterator<Item = (Contestant<'_>, usize)> {
        self.layers.iter().map(move |(name, layer, packed)| {
            let (mut y, mut scratch) = (self.zeros(), Scratch::new());
            let contestant = Contestant::new(name, self.macs(), move || {
                layer
                    .forward_packed_into(self.x.view(), packed, None, &mut scratch, y.view_mut())
                    .expect("an output");
            });
            (contestant, packed.size_in_bytes())
        })
    }

    fn gemm(&self) -> Contestant<'_> {
        let mut y = self.zeros();
        Contestant::new("gemm", self.macs(), move || {
            float_gemm(self.x.view(), self.w.t(), y.view_mut());
        })
    }

    fn rten(&self) -> Contestant<'_> {
        let ((m, k), n) = (self.x.dim(), self.w.nrows());
        let x: Vec<u8> = self.x.iter().map(|x| (x * 255.0) as u8).collect();
        let x = NdTensor::from_data([m, k], x);
        let w: Vec<i8> = self.w.t().iter().map(|w| (w * 127.0) as i8).collect();
        let w = NdTensor::from_data([k, n], w);
        let executor = GemmExecutor::<u8, i8, i32>::new;
        // It multiplies a single vector with weights that are not packed only.
        let packed = (m > 1).then(|| executor().prepack_b(w.view()));
        let mut y = vec![0; m * n];
        Contestant::new("rten int8", self.macs(), move || {
            let x: GemmInputA<u8> = GemmInputA::Unpacked(x.view());
            let w = packed.as_ref().map_or(GemmInputB::Unpacked(w.view()), GemmInputB::Packed);
            // One that is kept could not be sent to the thread that measures.
            executor().gemm(&mut y, x, w, Default::default()).expect("a product");
        })
    }

    fn contestants(&self) -> Vec<Contestant<'_>> {
        let own = self.qnn().map(|(contestant, _)| contestant);
        own.chain([self.gemm(), self.rten()]).collect()
    }
}

fn products(c: &mut Criterion) {
    for size in SHORT {
        let product = Product::new(size);
        let mut group = c.benchmark_group(name(size));
        group.throughput(Throughput::Elements(2 * product.macs() as u64)).sample_size(20);
        for mut contestant in product.contestants() {
            group.bench_function(contestant.name, |b| b.iter(&mut contestant.run));
        }
        group.finish();
    }
}

fn product_table(isa: &str) {
    let references = &[BYTES, "gemm", "rten int8"];
    let mut table = Table::new(Unit::Mac, references, Some(roofline::BYTE_DOT));
    for size in SIZES {
        let product = Product::new(size);
        let mut contestants = product.contestants();
        contestants.extend(roofline::byte_dots(isa));
        table.case(&name(size), contestants);
    }
    println!("\n{table}");
}

/// Packed weights of products with a vector, each beside a mere reader of as many bytes.
fn bandwidth(isa: &str) {
    let mut table = Table::new(Unit::Byte, &[], Some(READ));
    for size in SIZES.into_iter().filter(|&(m, ..)| m == 1) {
        let product = Product::new(size);
        for (contestant, bytes) in product.qnn() {
            let reader = Contestant { work: bytes as f64, ..contestant };
            table.case(&name(size), vec![reader, read(isa, bytes)]);
        }
    }
    println!("\n{table}");
}

fn convolutions(isa: &str) {
    let mut table = Table::new(Unit::Mac, &[BYTES, "float"], Some(roofline::BYTE_DOT));
    let shape = ConvShape::same(128, 28, 128);
    let w: Array4<f32> = numbers((shape.filters, shape.channels, 3, 3), 8);
    for batch in [1, 8] {
        let x: Array4<f32> = numbers((batch, shape.size, shape.size, shape.channels), 7);
        let macs = (batch * shape.macs()) as f64;
        let mut contestants: Vec<Contestant> = [("4x4", 4), (BYTES, 8)]
            .map(|(name, bits)| {
                let conv = QConvolution::new(
                    ActivationQuantizer::dorefa(bits).expect("a width"),
                    WeightQuantizer::dorefa(bits).expect("a width"),
                );
                let conv = conv.padding([shape.padding; 2]);
                let packed = conv.pack(w.view()).expect("packed weights");
                let x = x.view().permuted_axes([0, 3, 1, 2]);
                let mut y = Array4::zeros([batch, shape.size, shape.size, shape.filters]);
                let mut scratch = Scratch::new();
                Contestant::new(name, macs, move || {
                    let y = y.view_mut().permuted_axes([0, 3, 1, 2]);
                    conv.forward_packed_into(x, &packed, None, &mut scratch, y).expect("an output");
                })
            })
            .into();
        let weights = w.view().permuted_axes([0, 2, 3, 1]);
        let mut float = FloatConv::new(shape, weights.iter().copied().collect());
        let (x, mut y) = (&x, vec![0.0; batch * shape.size.pow(2) * shape.filters]);
        contestants.push(Contestant::new("float", macs, move || {
            float.forward(x.as_slice().expect("standard layout"), &mut y);
        }));
        contestants.extend(roofline::byte_dots(isa));
        table.case(&format!("{} batch {batch}", shape.name()), contestants);
    }
    println!("\n{table}");
}

criterion_group!(benches, products);

fn main() {
    let isa = Isa::current().name();
    println!("kernels: {isa}");
    pool(1).install(|| {
        benches();
        Criterion::default().configure_from_args().final_summary();
        if wanted("products") {
            product_table(isa);
        }
        if wanted("bandwidth") {
            bandwidth(isa);
        }
        if wanted("convolutions") {
            convolutions(isa);
        }
    });
}
