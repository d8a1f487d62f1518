//! Cuts the output into blocks for the threads, and each block into tiles for the cache.

use crate::Element;
use crate::Result;
use crate::epilogue::{Epilogue, Row};
use crate::gemm::{Product, Tile};
use crate::geometry::Geometry;
use crate::im2row::gather;
use crate::scratch::{product, take};
use ndarray::{ArrayViewMut5, Axis, s};

/// A forward whose operands are quantized: only products and the epilogue are left to do.
pub(crate) struct Tiles<'a, T: Element, P: Product<T>> {
    pub(crate) geometry: &'a Geometry,
    pub(crate) product: &'a P,
    /// Quantized activations, `[image][pixel][channel]`.
    pub(crate) lanes: &'a [P::Lane],
    /// What a padded position holds.
    pub(crate) pad: P::Lane,
    pub(crate) epilogue: Epilogue<'a, T>,
    /// XNOR-Net's K, `[image][position][group]`, or nothing.
    pub(crate) k_map: &'a [T],
}

/// A part of the output: some images, and of each the positions from `first_position` on.
struct Block<'a, T> {
    out: ArrayViewMut5<'a, T>,
    first_image: usize,
    first_position: usize,
}

/// What one thread writes to while it computes a block.
struct Buffers<'a, P: Product<T>, T: Element> {
    rows: &'a mut [P::Lane],
    words: &'a mut [u64],
    sums: &'a mut [P::Sum],
}

/// Lengths of the buffers of one thread.
#[derive(Clone, Copy)]
struct BufferSizes {
    tile_rows: usize,
    rows: usize,
    words: usize,
    sums: usize,
}

/// Products below which a second thread costs more than it saves.
const PRODUCTS_PER_BLOCK: usize = 1 << 18;

/// Windows are gathered in tiles of at most this many lanes, unless one window is larger.
const TILE_LANES: usize = 1 << 18;

impl<T: Element, P: Product<T>> Tiles<'_, T, P> {
    pub(crate) fn run(
        &self,
        rows: &mut Vec<P::Lane>,
        words: &mut Vec<u64>,
        sums: &mut Vec<P::Sum>,
        out: ArrayViewMut5<'_, T>,
    ) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let row_len = self.geometry.row_len();
        let work = out.len().saturating_mul(row_len.max(1));
        let blocks = (work / PRODUCTS_PER_BLOCK).clamp(1, 2 * rayon::current_num_threads());

        // The size of a tile is that of the problem alone: floats are summed in the same order
        // at any number of threads.
        let tile_rows = (TILE_LANES / row_len.max(1)).clamp(1, 64);
        let group_filters = self.geometry.group_filters();
        let gathered = if self.geometry.is_pointwise() { 0 } else { tile_rows };
        let sizes = BufferSizes {
            tile_rows,
            rows: product(&[gathered, row_len], "windows")?,
            words: row_len.div_ceil(64),
            sums: product(&[tile_rows, group_filters], "products")?,
        };
        let in_all = |len| product(&[blocks, len], "windows");
        let buffers = Buffers {
            rows: take(rows, in_all(sizes.rows)?, "windows")?,
            words: take(words, in_all(sizes.words)?, "windows in bits")?,
            sums: take(sums, in_all(sizes.sums)?, "products")?,
        };
        let block = Block { out, first_image: 0, first_position: 0 };
        self.split(block, blocks, sizes, buffers);
        Ok(())
    }

    /// Halves a block until there is one a thread: by images, else along the first spatial axis
    /// of some length, so that a block's positions stay consecutive.
    fn split(
        &self,
        block: Block<'_, T>,
        blocks: usize,
        sizes: BufferSizes,
        buffers: Buffers<'_, P, T>,
    ) {
        let Block { out, first_image, first_position } = block;
        let axis = [0, 2, 3, 4].map(Axis).into_iter().find(|&axis| out.len_of(axis) > 1);
        let Some(axis) = axis.filter(|_| blocks > 1) else {
            return self.compute(Block { out, first_image, first_position }, sizes, buffers);
        };
        let (left, right) = (blocks / 2, blocks - blocks / 2);
        let middle = (out.len_of(axis) / 2).max(1);
        let (left_out, right_out) = out.split_at(axis, middle);
        let (rows, right_rows) = buffers.rows.split_at_mut(left * sizes.rows);
        let (words, right_words) = buffers.words.split_at_mut(left * sizes.words);
        let (sums, right_sums) = buffers.sums.split_at_mut(left * sizes.sums);
        let left_buffers = Buffers { rows, words, sums };
        let right_buffers = Buffers { rows: right_rows, words: right_words, sums: right_sums };
        let (image, position) = match axis {
            Axis(0) => (first_image + middle, first_position),
            Axis(axis) => {
                let inner: usize = self.geometry.output[axis - 1..].iter().product();
                (first_image, first_position + middle * inner)
            }
        };
        let left_block = Block { out: left_out, first_image, first_position };
        let right_block = Block { out: right_out, first_image: image, first_position: position };
        rayon::join(
            || self.split(left_block, left, sizes, left_buffers),
            || self.split(right_block, right, sizes, right_buffers),
        );
    }

    /// Computes a block on this thread.
    fn compute(&self, block: Block<'_, T>, sizes: BufferSizes, buffers: Buffers<'_, P, T>) {
        let Block { mut out, first_image, first_position } = block;
        let Buffers { rows, words, sums } = buffers;
        let row_len = self.geometry.row_len();
        let filters = self.geometry.group_filters();
        let (images, _, depth, height, width) = out.dim();
        let positions = depth * height * width;
        for local_image in 0..images {
            let image = first_image + local_image;
            for start in (0..positions).step_by(sizes.tile_rows) {
                let count = sizes.tile_rows.min(positions - start);
                for group in 0..self.geometry.groups() {
                    let first = group * filters;
                    let rows = self.gather(image, group, first_position + start, count, rows);
                    let tile = Tile { rows, count, row_len, first, filters, words };
                    self.product.multiply(tile, sums);
                    for (i, sums) in sums.chunks_mut(filters.max(1)).take(count).enumerate() {
                        let local = start + i;
                        let position = first_position + local;
                        let codes = &rows[i * row_len..][..row_len];
                        let row = Row {
                            geometry: self.geometry,
                            position,
                            first,
                            code_sum: self.epilogue.row_sum(|| P::code_sum(codes)),
                            k: self.k(image, group, position),
                        };
                        let (d, h) = (local / (height * width), local / width % height);
                        let at = s![local_image, first..first + filters, d, h, local % width];
                        P::finish(&self.epilogue, &row, sums, out.slice_mut(at));
                    }
                }
            }
        }
    }

    /// The windows of some consecutive positions of an image.
    fn gather<'a>(
        &'a self,
        image: usize,
        group: usize,
        first: usize,
        count: usize,
        rows: &'a mut [P::Lane],
    ) -> &'a [P::Lane] {
        let image_len = self.geometry.pixels() * self.geometry.channels;
        let image = &self.lanes[image * image_len..][..image_len];
        let row_len = self.geometry.row_len();
        if self.geometry.is_pointwise() {
            return &image[first * row_len..][..count * row_len];
        }
        for i in 0..count {
            let row = &mut rows[i * row_len..][..row_len];
            gather(self.geometry, image, self.pad, group, first + i, row);
        }
        rows
    }

    fn k(&self, image: usize, group: usize, position: usize) -> T {
        let at = (image * self.geometry.positions() + position) * self.geometry.groups() + group;
        self.k_map.get(at).copied().unwrap_or(T::one())
    }
}
