//! The 1-bit matrix product against floating-point ones, all from f32 to f32.
//!
//! ```text
//! RAYON_NUM_THREADS=1 taskset -c 1 cargo bench --bench gemm
//! cargo bench --bench gemm -- threads
//! ```
//!
//! `qnn packed` multiplies a `BitTensor` with packed weights, `qnn` packs its activations in every
//! call; `packing` makes a `BitTensor` of them, new in every call. `ndarray` is the product of `ndarray` (matrixmultiply), `gemm` that of the
//! crate of this name. The throughput is 2 M N K per unit of time. `QNN_ISA` chooses the kernels.
//!
//! After Criterion's benchmarks come tables, in which the contestants of a case take turns and are
//! compared with the most that this core does in the same seconds:
//!
//! - `rooflines`: arithmetic on registers alone, and reading from each cache;
//! - `products`: each case, with its share of the popcount roofline;
//! - `bandwidth`: a product with a single vector as a reader of its packed weights, packing as a
//!   reader of f32, whose signs lie side by side (rows) or in different planes (NCHW images);
//! - `threads`: one thread against two, if the process may use two CPUs: not under `taskset -c 1`.
//!
//! `cargo bench --bench gemm -- products` measures one of them alone. All but `threads` run on one
//! thread, whatever `RAYON_NUM_THREADS` says.

mod support;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use ndarray::{Array2, ArrayView, Dimension};
use ndarray_qnn::{
    ActivationQuantizer, BitTensor, Isa, PackedWeights, QFullyConnected, Scratch, WeightQuantizer,
};
use std::hint::black_box;
use support::{
    Contestant, READ, Table, Unit, float_gemm, numbers, pool, read, roofline, thread_table, wanted,
};

/// Rows, filters and length of the products. The fourth is a 3x3 convolution of 64 channels at
/// 56x56, the last a dense layer on a single vector.
const SIZES: [(usize, usize, usize); 5] =
    [(256, 256, 256), (1024, 1024, 1024), (4096, 4096, 4096), (3136, 64, 576), (1, 4096, 4096)];

/// Rows and length of the inputs to pack.
const PACKED: [(usize, usize); 2] = [(1024, 1024), (4096, 4096)];

/// Images, channels, height and width of inputs to pack: 6 MB, and about as much as the larger of
/// the others in long and in short planes.
const IMAGES: [(usize, usize, usize); 3] = [(8, 64, 56), (80, 64, 56), (320, 256, 14)];

/// Inputs and weights of a product.
struct Product {
    layer: QFullyConnected,
    x: Array2<f32>,
    w: Array2<f32>,
    packed: PackedWeights<f32>,
}

impl Product {
    fn new((m, n, k): (usize, usize, usize)) -> Self {
        let layer = QFullyConnected::new(ActivationQuantizer::sign(), WeightQuantizer::sign());
        let (x, w) = (numbers((m, k), 7), numbers((n, k), 8));
        let packed = layer.pack(w.view()).expect("packed weights");
        Product { layer, x, w, packed }
    }

    fn macs(&self) -> f64 {
        (self.x.len() * self.w.nrows()) as f64
    }

    /// Code that computes the product into an output of its own.
    fn contestant<'a>(
        &'a self,
        name: &'static str,
        mut run: impl FnMut(&'a Self, &mut Array2<f32>) + Send + 'a,
    ) -> Contestant<'a> {
        let mut y = Array2::zeros((self.x.nrows(), self.w.nrows()));
        Contestant::new(name, self.macs(), move || run(self, &mut y))
    }

    fn qnn(&self) -> Contestant<'_> {
        let mut scratch = Scratch::new();
        self.contestant("qnn", move |Product { layer, x, packed, .. }, y| {
            layer
                .forward_packed_into(x.view(), packed, None, &mut scratch, y.view_mut())
                .expect("an output");
        })
    }

    /// From activations that are packed already.
    fn qnn_packed(&self) -> Contestant<'_> {
        let mut scratch = Scratch::new();
        let x = BitTensor::pack(self.layer.activation(), self.x.view()).expect("signs");
        self.contestant("qnn packed", move |Product { layer, packed, .. }, y| {
            layer
                .forward_packed_into(&x, packed, None, &mut scratch, y.view_mut())
                .expect("an output");
        })
    }

    fn contestants(&self) -> Vec<Contestant<'_>> {
        vec![
            self.qnn_packed(),
            self.qnn(),
            self.contestant("ndarray", |Product { x, w, .. }, y| {
                ndarray::linalg::general_mat_mul(1.0, x, &w.t(), 0.0, y);
            }),
            self.contestant("gemm", |Product { x, w, .. }, y| {
                float_gemm(x.view(), w.t(), y.view_mut());
            }),
        ]
    }
}

fn name((m, n, k): (usize, usize, usize)) -> String {
    format!("{m}x{n}x{k}")
}

fn products(c: &mut Criterion) {
    for size in SIZES {
        let product = Product::new(size);
        let mut group = c.benchmark_group(name(size));
        group.throughput(Throughput::Elements(2 * product.macs() as u64)).sample_size(20);
        for mut contestant in product.contestants() {
            group.bench_function(contestant.name, |b| b.iter(&mut contestant.run));
        }
        group.finish();
    }
}

/// Packs the signs of `x`.
fn packer<'a, D: Dimension + 'a>(x: ArrayView<'a, f32, D>) -> Contestant<'a> {
    let bytes = (x.len() * size_of::<f32>()) as f64;
    Contestant::new("BitTensor::pack", bytes, move || {
        black_box(BitTensor::pack(&ActivationQuantizer::sign(), x.view()).expect("signs"));
    })
}

fn packing(c: &mut Criterion) {
    let mut group = c.benchmark_group("packing");
    for (m, k) in PACKED {
        let x = numbers((m, k), 7);
        group.throughput(Throughput::Bytes((x.len() * size_of::<f32>()) as u64));
        group.bench_function(BenchmarkId::new("BitTensor::pack", format!("{m}x{k}")), |b| {
            b.iter(packer(x.view()).run);
        });
    }
    group.finish();
}

/// What the core does at most.
fn rooflines(isa: &str) {
    let mut table = Table::new(Unit::Mac, &[], None);
    let mut loops = vec![roofline::popcount(isa)];
    loops.extend(roofline::byte_dots(isa));
    loops.extend(roofline::byte_dot_avx_vnni());
    table.case(isa, loops);
    println!("\n{table}");

    let mut table = Table::new(Unit::Byte, &[], None);
    for (name, bytes) in [("256 KiB", 256 << 10), ("4 MiB", 4 << 20), ("256 MiB", 256 << 20)] {
        table.case(name, vec![read(isa, bytes)]);
    }
    println!("\n{table}");
}

fn product_table(isa: &str) {
    let mut table = Table::new(Unit::Mac, &["gemm", "ndarray"], Some(roofline::POPCOUNT));
    for size in SIZES {
        let product = Product::new(size);
        let mut contestants = product.contestants();
        contestants.push(roofline::popcount(isa));
        table.case(&name(size), contestants);
    }
    println!("\n{table}");
}

/// Packed weights of a product with a vector, and f32 to pack, each beside a mere reader of as many
/// bytes.
fn bandwidth(isa: &str) {
    let mut table = Table::new(Unit::Byte, &[], Some(READ));
    let size = (1, 4096, 4096);
    let product = Product::new(size);
    let bytes = product.w.len() / 8;
    let reader = Contestant { work: bytes as f64, ..product.qnn() };
    table.case(&format!("{}, packed weights", name(size)), vec![reader, read(isa, bytes)]);
    for (m, k) in PACKED {
        let x = numbers((m, k), 7);
        let read = read(isa, x.len() * size_of::<f32>());
        table.case(&format!("{m}x{k}, packing rows"), vec![packer(x.view()), read]);
    }
    for (n, c, size) in IMAGES {
        let x = numbers((n, c, size, size), 7);
        let read = read(isa, x.len() * size_of::<f32>());
        let case = format!("{n}x{c}x{size}x{size}, packing planes");
        table.case(&case, vec![packer(x.view()), read]);
    }
    println!("\n{table}");
}

fn threads() {
    let size = (1024, 1024, 1024);
    let product = Product::new(size);
    thread_table([(name(size), [product.qnn(), product.qnn()])]);
}

criterion_group!(benches, products, packing);

fn main() {
    let isa = Isa::current().name();
    println!("kernels: {isa}");
    pool(1).install(|| {
        benches();
        Criterion::default().configure_from_args().final_summary();
        if wanted("rooflines") {
            rooflines(isa);
        }
        if wanted("products") {
            product_table(isa);
        }
        if wanted("bandwidth") {
            bandwidth(isa);
        }
    });
    if wanted("threads") {
        threads();
    }
}
