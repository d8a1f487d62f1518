//! The 1-bit matrix product against floating-point ones, all from f32 to f32.
//!
//! ```text
//! RAYON_NUM_THREADS=1 taskset -c 1 cargo bench --bench gemm
//! ```
//!
//! `qnn` packs its activations in every call, and multiplies them with packed weights; `packing`
//! is that part of it. `ndarray` is the product of `ndarray` (matrixmultiply), `gemm` that of the
//! crate of this name. The throughput is 2 M N K per unit of time. `QNN_ISA` chooses the kernels.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gemm::{Parallelism, gemm};
use ndarray::{Array1, Array2};
use ndarray_qnn::{ActivationQuantizer, Isa, QFullyConnected, Scratch, WeightQuantizer};

/// Rows, filters and length of the products. The fourth is a 3x3 convolution of 64 channels at
/// 56x56, the last a dense layer on a single vector.
const SIZES: [(usize, usize, usize); 5] =
    [(256, 256, 256), (1024, 1024, 1024), (4096, 4096, 4096), (3136, 64, 576), (1, 4096, 4096)];

/// Numbers of both signs.
fn numbers(rows: usize, columns: usize, seed: u64) -> Array2<f32> {
    let mut state = seed | 1;
    Array2::from_shape_simple_fn((rows, columns), || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
}

fn products(c: &mut Criterion) {
    println!("kernels: {}", Isa::current().name());
    let fc = QFullyConnected::new(ActivationQuantizer::sign(), WeightQuantizer::sign());
    for (m, n, k) in SIZES {
        let mut group = c.benchmark_group(format!("{m}x{n}x{k}"));
        group.throughput(Throughput::Elements(2 * (m * n * k) as u64)).sample_size(20);
        let (x, w) = (numbers(m, k, 7), numbers(n, k, 8));
        let mut y = Array2::<f32>::zeros((m, n));

        let packed = fc.pack(w.view()).expect("packed weights");
        let mut scratch = Scratch::new();
        group.bench_function("qnn", |b| {
            b.iter(|| {
                fc.forward_packed_into(x.view(), &packed, None, &mut scratch, y.view_mut())
                    .expect("an output");
            });
        });
        group.bench_function("ndarray", |b| {
            b.iter(|| ndarray::linalg::general_mat_mul(1.0, &x, &w.t(), 0.0, &mut y));
        });
        group.bench_function("gemm", |b| b.iter(|| float_gemm(&x, &w, &mut y)));
        group.finish();
    }
}

/// `y = x wᵀ` by the gemm crate, on one thread.
#[allow(unsafe_code)]
fn float_gemm(x: &Array2<f32>, w: &Array2<f32>, y: &mut Array2<f32>) {
    let ((m, k), n) = (x.dim(), w.nrows());
    assert!(w.ncols() == k && y.dim() == (m, n));
    // SAFETY: all three are in standard layout, of the sizes that have just been checked.
    unsafe {
        gemm(
            m,
            n,
            k,
            y.as_mut_ptr(),
            1,
            n as isize,
            false,
            x.as_ptr(),
            1,
            k as isize,
            w.as_ptr(),
            k as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// A layer of a single filter does little but pack its input.
fn packing(c: &mut Criterion) {
    let fc = QFullyConnected::new(ActivationQuantizer::sign(), WeightQuantizer::sign());
    let mut group = c.benchmark_group("packing");
    for (m, k) in [(1024, 1024), (4096, 4096)] {
        let x = numbers(m, k, 9);
        let packed = fc.pack(Array2::<f32>::zeros((1, k)).view()).expect("packed weights");
        let (mut scratch, mut y) = (Scratch::new(), Array2::zeros((m, 1)));
        group.throughput(Throughput::Bytes((x.len() * size_of::<f32>()) as u64));
        group.bench_function(BenchmarkId::new("one filter", format!("{m}x{k}")), |b| {
            b.iter(|| {
                fc.forward_packed_into(x.view(), &packed, None, &mut scratch, y.view_mut())
                    .expect("an output");
            });
        });
        // What reading costs at all.
        let flat = Array1::from_iter(x.iter().copied());
        group.bench_function(BenchmarkId::new("maximum", format!("{m}x{k}")), |b| {
            let max = |values: &[f32]| values.iter().fold(0.0f32, |max, &x| max.max(x));
            b.iter(|| flat.as_slice().map(max));
        });
    }
    group.finish();
}

criterion_group!(benches, products, packing);
criterion_main!(benches);
