//! Depthwise convolutions: every filter sees one channel alone.
//!
//! There is nothing to share among filters, as panels do, so a vector runs over channels instead:
//! a window is a few vectors in an image with its padding around it, multiplied with as many of
//! weights, lane by lane. Lanes hold the numerators of values rather than codes, so that a sum is
//! the numerator of the dot product, padding included.

mod layout;
mod product;

pub(crate) use layout::{Arithmetic, Layout};
pub(crate) use product::{Long, Product, Short, Signs};

use crate::Result;
use crate::blocks::{Block, Cut, Divide, Shares};
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel};
use crate::panels::Panels;
use crate::parallel::blocks;
use crate::quantizer::Levels;
use crate::scratch::{product, take};
use crate::tile_sums::Sums;
use crate::word_tiles::Finish;
use ndarray::ArrayViewMut5;

/// Sums of a tile: they stay in the first cache.
const TILE_SUMS: usize = 4096;
const MAX_ROWS: usize = 64;

/// Products below which a second thread costs more than it saves.
const PRODUCTS_PER_BLOCK: usize = 1 << 19;

/// A depthwise forward whose input is packed. A vector has `N` lanes.
pub(crate) struct DepthTiles<'a, P: Product, const N: usize> {
    pub(crate) kernel: Kernel,
    pub(crate) geometry: &'a Geometry,
    pub(crate) layout: &'a Layout,
    /// Padded images, `[image][pixel][vector]`.
    pub(crate) input: &'a [[P::Lane; N]],
    /// `[vector][tap]`, each vector's taps after what its sums begin with.
    pub(crate) weights: &'a [[P::Lane; N]],
    /// Where the pixels of a window lie, in vectors from the first.
    pub(crate) offsets: &'a [usize],
}

/// Buffers of depthwise convolutions.
#[derive(Clone, Debug, Default)]
pub(crate) struct DepthBuffers {
    pub(crate) bytes: LaneBuffers<i8>,
    pub(crate) halves: LaneBuffers<i16>,
    pub(crate) tiles: TileBuffers,
}

/// Buffers of tiles.
#[derive(Clone, Debug, Default)]
pub(crate) struct TileBuffers {
    pub(crate) offsets: Vec<usize>,
    pub(crate) sums: Vec<i32>,
}

/// Activations and weights in lanes of one type.
#[derive(Clone, Debug, Default)]
pub(crate) struct LaneBuffers<L> {
    pub(crate) input: Vec<L>,
    pub(crate) weights: Vec<L>,
}

/// What one thread writes to while it computes a block.
struct Buffers<'a, O> {
    sums: Shares<'a, i32>,
    outs: Shares<'a, O>,
}

impl<O: Send> Divide for Buffers<'_, O> {
    fn divide(self, blocks: usize) -> (Self, Self) {
        let (sums, right_sums) = self.sums.split(blocks);
        let (outs, right_outs) = self.outs.split(blocks);
        (Buffers { sums, outs }, Buffers { sums: right_sums, outs: right_outs })
    }
}

/// The computation of a block.
struct Compute<'a, 'b, 'c, P: Product, F: Finish, const N: usize> {
    tiles: &'a DepthTiles<'a, P, N>,
    finish: &'a F,
    block: Block<'b, F::Out>,
    tile_rows: usize,
    buffers: Buffers<'c, F::Out>,
}

impl<P: Product, F: Finish, const N: usize> Code for Compute<'_, '_, '_, P, F, N> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.tiles.compute(self.finish, self.block, self.tile_rows, self.buffers);
    }
}

impl<P: Product, const N: usize> DepthTiles<'_, P, N> {
    pub(crate) fn run<F: Finish>(
        &self,
        finish: &F,
        sums: &mut Vec<i32>,
        outs: &mut Vec<F::Out>,
        out: ArrayViewMut5<'_, F::Out>,
    ) -> Result<()>
    where
        F::Out: Copy + Default,
    {
        let (geometry, pixel_lanes) = (self.geometry, self.layout.pixel_lanes());
        let work = out.len().saturating_mul(F::FILTERS).saturating_mul(geometry.taps());
        let blocks = blocks(work, PRODUCTS_PER_BLOCK);
        let tile_rows = (TILE_SUMS / pixel_lanes).clamp(1, MAX_ROWS);
        let outs_len = finish.buffer_len(tile_rows, geometry.filters);
        let what = "sums";
        let sums_len = product(&[tile_rows, pixel_lanes], what)?;
        let buffers = Buffers {
            sums: Shares::new(take(sums, product(&[blocks, sums_len], what)?, what)?, sums_len),
            outs: Shares::new(take(outs, product(&[blocks, outs_len], what)?, what)?, outs_len),
        };
        let cut = Cut {
            geometry,
            filters_per_element: F::FILTERS,
            filters_together: usize::MAX,
            positions_together: 0,
        };
        cut.for_each(Block::whole(out), blocks, buffers, &|block, buffers| {
            self.kernel.vectorize(Compute { tiles: self, finish, block, tile_rows, buffers });
        });
        Ok(())
    }

    /// Computes a block on this thread.
    #[inline(always)]
    fn compute<F: Finish>(
        &self,
        finish: &F,
        block: Block<'_, F::Out>,
        tile_rows: usize,
        buffers: Buffers<'_, F::Out>,
    ) {
        let Block { mut out, first_image, first_position, .. } = block;
        let (sums, outs) = (buffers.sums.take(), buffers.outs.take());
        let (_, _, depth, height, width) = out.dim();
        let positions = depth * height * width;
        let image_vectors = self.layout.image_vectors();
        for (image, mut out) in (first_image..).zip(out.outer_iter_mut()) {
            let vectors = &self.input[image * image_vectors..][..image_vectors];
            for start in (0..positions).step_by(tile_rows) {
                let rows = tile_rows.min(positions - start);
                let position = first_position + start;
                self.sum_rows(vectors, position, rows, sums);
                let tile = Sums {
                    sums,
                    wide: &[],
                    stride: self.layout.pixel_lanes(),
                    rows,
                    filters: 0..self.geometry.filters,
                    image,
                    group: 0,
                    position,
                };
                finish.finish(&tile, outs, &mut out, start);
            }
        }
    }

    /// Writes the sums of consecutive positions.
    #[inline(always)]
    fn sum_rows(&self, image: &[[P::Lane; N]], position: usize, rows: usize, sums: &mut [i32]) {
        let [_, out_h, out_w] = self.geometry.output;
        let pixel_vectors = self.layout.vectors;
        let sums = sums.as_chunks_mut::<N>().0;
        for (i, sums) in sums.chunks_exact_mut(pixel_vectors).take(rows).enumerate() {
            let at = position + i;
            let at = [at / (out_h * out_w), at / out_w % out_h, at % out_w];
            let window = &image[self.layout.pixel(at, self.geometry.stride())..];
            let weights = self.weights.chunks_exact(1 + self.offsets.len());
            for ((i, sums), weights) in sums.iter_mut().enumerate().zip(weights) {
                sum_window::<P, N>(&window[i..], self.offsets, weights, sums);
            }
        }
    }
}

/// Multiplies the vectors of a window with weights.
#[inline(always)]
fn sum_window<P: Product, const N: usize>(
    window: &[[P::Lane; N]],
    offsets: &[usize],
    weights: &[[P::Lane; N]],
    sums: &mut [i32; N],
) {
    let Some((start, weights)) = weights.split_first() else { return };
    let mut lanes = start.map(P::Sum::from);
    for (&offset, weights) in offsets.iter().zip(weights) {
        let activations = &window[offset];
        for i in 0..N {
            lanes[i] = P::add(lanes[i], activations[i], weights[i]);
        }
    }
    for (sum, lane) in sums.iter_mut().zip(lanes) {
        *sum = lane.into();
    }
}

/// Where the pixels of a window lie, in vectors from the first.
pub(crate) fn offsets(geometry: &Geometry, layout: &Layout, offsets: &mut Vec<usize>) {
    let [_, kernel_h, kernel_w] = geometry.kernel;
    offsets.clear();
    offsets.extend((0..geometry.taps()).map(|tap| {
        let at = [tap / (kernel_h * kernel_w), tap / kernel_w % kernel_h, tap % kernel_w];
        layout.pixel(at, geometry.dilation())
    }));
}

/// Lays out weights `[vector][1 + tap][lane]`.
pub(crate) fn lay_weights<'a, P: Product, const N: usize>(
    layout: &Layout,
    panels: &Panels,
    levels: Levels,
    geometry: &Geometry,
    weights: &'a mut Vec<P::Lane>,
) -> Result<&'a [[P::Lane; N]]> {
    let what = "packed weights";
    let taps = geometry.taps();
    let weights = take(weights, product(&[layout.vectors, 1 + taps, N], what)?, what)?;
    let numbers: [P::Lane; 256] =
        std::array::from_fn(|code| P::weight(levels.numerator(code as u32)));
    let vectors = weights.as_chunks_mut::<N>().0;
    for (vector, vectors) in vectors.chunks_exact_mut(1 + taps).enumerate() {
        for lane in 0..N.min(geometry.filters - vector * N) {
            let mut start = P::Lane::default();
            for (code, vector) in panels.codes(vector * N + lane).zip(&mut vectors[1..]) {
                vector[lane] = numbers[code as usize];
                start = P::start(start, vector[lane]);
            }
            vectors[0][lane] = start;
        }
    }
    Ok(weights.as_chunks().0)
}
