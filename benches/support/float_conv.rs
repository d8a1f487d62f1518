//! The convolution of f32 that the quantized ones are compared with: of tensors in NHWC memory,
//! by the matrix product of the gemm crate, on one thread, in buffers that are used again.

use super::floats::{add_float_gemm, float_gemm, matrix, matrix_mut};
use std::ops::Range;

/// A convolution of square images with a square kernel.
#[derive(Clone, Copy)]
pub(crate) struct ConvShape {
    pub(crate) channels: usize,
    /// Height and width of an image.
    pub(crate) size: usize,
    pub(crate) filters: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    /// 1, or `channels` for a depthwise convolution.
    pub(crate) groups: usize,
}

impl ConvShape {
    /// A 3x3 convolution with as large an output as its input.
    pub(crate) const fn same(channels: usize, size: usize, filters: usize) -> Self {
        ConvShape { channels, size, filters, kernel: 3, stride: 1, padding: 1, groups: 1 }
    }

    /// Height and width of an output.
    pub(crate) fn out_size(&self) -> usize {
        (self.size + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Weights of a filter.
    pub(crate) fn row_len(&self) -> usize {
        self.kernel * self.kernel * self.channels / self.groups
    }

    /// Multiply-accumulates of an image.
    pub(crate) fn macs(&self) -> usize {
        self.out_size().pow(2) * self.filters * self.row_len()
    }

    pub(crate) fn name(&self) -> String {
        let ConvShape { channels, size, filters, kernel, stride, groups, .. } = *self;
        let stride = if stride == 1 { String::new() } else { format!(" stride {stride}") };
        let depthwise = if groups == 1 { "" } else { " depthwise" };
        format!("{kernel}x{kernel}{stride}{depthwise} {channels},{size},{filters}")
    }

    /// Whether windows are the pixels themselves.
    fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }

    /// Calls `visit` with the place in the window of an output position and the place in the image
    /// of each run of numbers that they share. What else the window has is padding.
    #[inline(always)]
    fn for_each_run(&self, position: usize, mut visit: impl FnMut(Range<usize>, usize)) {
        let channels = self.channels;
        let at = [position / self.out_size(), position % self.out_size()];
        let [top, left] = at.map(|at| (at * self.stride) as isize - self.padding as isize);
        // Taps of a line that see the image.
        let inside = |first: isize| {
            let start = (-first).max(0) as usize;
            start..self.kernel.min((self.size as isize - first).max(0) as usize)
        };
        let columns = inside(left);
        if columns.is_empty() {
            return;
        }
        for row in inside(top) {
            let first = (top + row as isize) as usize * self.size;
            let pixel = first + (left + columns.start as isize) as usize;
            let taps = row * self.kernel + columns.start..row * self.kernel + columns.end;
            visit(taps.start * channels..taps.end * channels, pixel * channels);
        }
    }
}

/// Windows that are gathered at a time: few enough to stay in a cache, enough for an efficient
/// product.
const TILE: usize = 512;

/// A convolution without groups, and its buffers.
pub(crate) struct FloatConv {
    shape: ConvShape,
    /// `[filter][tap][channel]`.
    weights: Vec<f32>,
    windows: Vec<f32>,
    d_windows: Vec<f32>,
}

/// Gradients, in the layouts of what they belong to.
pub(crate) struct FloatGradients {
    pub(crate) x: Vec<f32>,
    pub(crate) weights: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

impl FloatConv {
    pub(crate) fn new(shape: ConvShape, weights: Vec<f32>) -> Self {
        assert!(shape.groups == 1 && weights.len() == shape.filters * shape.row_len());
        let windows = vec![0.0; TILE * shape.row_len()];
        FloatConv { shape, weights, d_windows: windows.clone(), windows }
    }

    /// Computes `y` (`[image][position][filter]`) from `x` (`[image][pixel][channel]`).
    pub(crate) fn forward(&mut self, x: &[f32], y: &mut [f32]) {
        let ConvShape { filters, .. } = self.shape;
        let row_len = self.shape.row_len();
        let weights = matrix(filters, row_len, &self.weights);
        if self.shape.is_pointwise() {
            let rows = y.len() / filters;
            float_gemm(matrix(rows, row_len, x), weights.t(), matrix_mut(rows, filters, y));
            return;
        }
        // Tiles may begin in one image and end in another: small images make large products too.
        for (i, y) in y.chunks_mut(TILE * filters).enumerate() {
            let rows = y.len() / filters;
            gather(&self.shape, x, i * TILE, &mut self.windows[..rows * row_len]);
            let windows = matrix(rows, row_len, &self.windows);
            float_gemm(windows, weights.t(), matrix_mut(rows, filters, y));
        }
    }

    /// Computes all gradients: `dW = dYᵀ X` and `dX = dY W`, of windows, and the sum of `dY`.
    pub(crate) fn backward(&mut self, dy: &[f32], x: &[f32], gradients: &mut FloatGradients) {
        let ConvShape { filters, .. } = self.shape;
        let row_len = self.shape.row_len();
        let weights = matrix(filters, row_len, &self.weights);
        gradients.x.fill(0.0);
        gradients.weights.fill(0.0);
        gradients.bias.fill(0.0);
        for (i, dy) in dy.chunks(TILE * filters).enumerate() {
            let rows = dy.len() / filters;
            for dy in dy.chunks_exact(filters) {
                gradients.bias.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
            }
            let dy = matrix(rows, filters, dy);
            gather(&self.shape, x, i * TILE, &mut self.windows[..rows * row_len]);
            let windows = matrix(rows, row_len, &self.windows);
            let d_weights = matrix_mut(filters, row_len, &mut gradients.weights);
            add_float_gemm(dy.t(), windows, d_weights);
            float_gemm(dy, weights, matrix_mut(rows, row_len, &mut self.d_windows));
            scatter(&self.shape, &self.d_windows[..rows * row_len], i * TILE, &mut gradients.x);
        }
    }
}

/// Writes the windows of consecutive output positions, counted over all images.
fn gather(shape: &ConvShape, x: &[f32], first: usize, windows: &mut [f32]) {
    let positions = shape.out_size().pow(2);
    let image_len = shape.size.pow(2) * shape.channels;
    for (window, at) in windows.chunks_exact_mut(shape.row_len()).zip(first..) {
        let image = &x[at / positions * image_len..][..image_len];
        let mut written = 0;
        shape.for_each_run(at % positions, |run, start| {
            window[written..run.start].fill(0.0);
            window[run.clone()].copy_from_slice(&image[start..][..run.len()]);
            written = run.end;
        });
        window[written..].fill(0.0);
    }
}

/// Adds windows to where they were gathered from.
fn scatter(shape: &ConvShape, windows: &[f32], first: usize, x: &mut [f32]) {
    let positions = shape.out_size().pow(2);
    let image_len = shape.size.pow(2) * shape.channels;
    for (window, at) in windows.chunks_exact(shape.row_len()).zip(first..) {
        let image = &mut x[at / positions * image_len..][..image_len];
        shape.for_each_run(at % positions, |run, start| {
            let sums = image[start..][..run.len()].iter_mut();
            sums.zip(&window[run]).for_each(|(sum, value)| *sum += value);
        });
    }
}

/// Channels whose sums stay in registers.
const LANES: usize = 64;

/// A depthwise convolution with weights `[tap][channel]`: over all taps, for some channels at a
/// time, with the widest vectors of the CPU.
#[allow(unsafe_code)]
pub(crate) fn float_depthwise(shape: &ConvShape, weights: &[f32], x: &[f32], y: &mut [f32]) {
    assert!(shape.groups == shape.channels && shape.filters == shape.channels);
    assert!(
        shape.channels.is_multiple_of(LANES) && weights.len() == shape.filters * shape.row_len()
    );
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the CPU has it.
        return unsafe { depthwise_avx512(shape, weights, x, y) };
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the CPU has both.
        return unsafe { depthwise_avx2(shape, weights, x, y) };
    }
    if cfg!(target_arch = "aarch64") {
        depthwise(shape, weights, x, y, f32::mul_add);
    } else {
        depthwise(shape, weights, x, y, |x, w, sum| x * w + sum);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn depthwise_avx512(shape: &ConvShape, weights: &[f32], x: &[f32], y: &mut [f32]) {
    depthwise(shape, weights, x, y, f32::mul_add);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn depthwise_avx2(shape: &ConvShape, weights: &[f32], x: &[f32], y: &mut [f32]) {
    depthwise(shape, weights, x, y, f32::mul_add);
}

#[inline(always)]
fn depthwise(
    shape: &ConvShape,
    weights: &[f32],
    x: &[f32],
    y: &mut [f32],
    multiply_add: impl Fn(f32, f32, f32) -> f32,
) {
    let channels = shape.channels;
    let positions = shape.out_size().pow(2);
    let image_len = shape.size.pow(2) * channels;
    for (at, y) in y.chunks_exact_mut(channels).enumerate() {
        let image = &x[at / positions * image_len..][..image_len];
        for (i, y) in y.chunks_exact_mut(LANES).enumerate() {
            let mut sums = [0.0; LANES];
            shape.for_each_run(at % positions, |run, start| {
                let pixels = image[start..][..run.len()].chunks_exact(channels);
                for (x, w) in pixels.zip(weights[run].chunks_exact(channels)) {
                    let x: &[f32; LANES] = x[i * LANES..].first_chunk().expect("enough channels");
                    let w: &[f32; LANES] = w[i * LANES..].first_chunk().expect("enough channels");
                    for lane in 0..LANES {
                        sums[lane] = multiply_add(x[lane], w[lane], sums[lane]);
                    }
                }
            });
            y.copy_from_slice(&sums);
        }
    }
}
