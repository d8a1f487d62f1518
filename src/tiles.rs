//! Cuts the output into blocks for the threads, and each block into tiles for the cache.

use crate::Element;
use crate::Result;
use crate::epilogue::{Epilogue, Row};
use crate::gemm::{Product, Tile};
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel};
use crate::scratch::{product, take};
use ndarray::{ArrayViewMut4, ArrayViewMut5, Axis, s};

/// A forward whose operands are quantized: only products and the epilogue are left to do.
pub(crate) struct Tiles<'a, T: Element, P: Product<T>> {
    pub(crate) kernel: Kernel,
    pub(crate) geometry: &'a Geometry,
    pub(crate) product: &'a P,
    /// Quantized activations, `[image][pixel][lane]`.
    pub(crate) lanes: &'a [P::Lane],
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
    sums: &'a mut [P::Sum],
    outs: &'a mut [T],
}

/// The computation of a block.
struct Compute<'a, T: Element, P: Product<T>> {
    tiles: &'a Tiles<'a, T, P>,
    block: Block<'a, T>,
    sizes: BufferSizes,
    buffers: Buffers<'a, P, T>,
}

impl<T: Element, P: Product<T>> Code for Compute<'_, T, P> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.tiles.compute(self.block, self.sizes, self.buffers);
    }
}

/// Lengths of the buffers of one thread.
#[derive(Clone, Copy)]
struct BufferSizes {
    tile_rows: usize,
    rows: usize,
    sums: usize,
    outs: usize,
}

/// Windows are gathered in tiles of at most this many lanes, unless one window is larger.
const TILE_LANES: usize = 1 << 18;

impl<T: Element, P: Product<T>> Tiles<'_, T, P> {
    pub(crate) fn run(
        &self,
        rows: &mut Vec<P::Lane>,
        sums: &mut Vec<P::Sum>,
        outs: &mut Vec<T>,
        out: ArrayViewMut5<'_, T>,
    ) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let row_len = self.geometry.row_len();
        let work = out.len().saturating_mul(row_len.max(1));
        let blocks = (work / P::PRODUCTS_PER_BLOCK).clamp(1, 2 * rayon::current_num_threads());

        // The size of a tile is that of the problem alone: floats are summed in the same order
        // at any number of threads.
        let tile_rows = (TILE_LANES / row_len.max(1)).clamp(1, 64);
        let group_filters = self.geometry.group_filters();
        let gathered = if self.geometry.is_pointwise() { 0 } else { tile_rows };
        let sizes = BufferSizes {
            tile_rows,
            rows: product(&[gathered, self.product.row_lanes(self.geometry)], "windows")?,
            sums: product(&[tile_rows, self.product.sums_per_row(group_filters)], "products")?,
            outs: product(&[tile_rows, group_filters], "products")?,
        };
        let in_all = |len| product(&[blocks, len], "windows");
        let buffers = Buffers {
            rows: take(rows, in_all(sizes.rows)?, "windows")?,
            sums: take(sums, in_all(sizes.sums)?, "products")?,
            outs: take(outs, in_all(sizes.outs)?, "products")?,
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
            let block = Block { out, first_image, first_position };
            return self.kernel.vectorize(Compute { tiles: self, block, sizes, buffers });
        };
        let (left, right) = (blocks / 2, blocks - blocks / 2);
        let middle = (out.len_of(axis) / 2).max(1);
        let (left_out, right_out) = out.split_at(axis, middle);
        let (rows, right_rows) = buffers.rows.split_at_mut(left * sizes.rows);
        let (sums, right_sums) = buffers.sums.split_at_mut(left * sizes.sums);
        let (outs, right_outs) = buffers.outs.split_at_mut(left * sizes.outs);
        let left_buffers = Buffers { rows, sums, outs };
        let right_buffers = Buffers { rows: right_rows, sums: right_sums, outs: right_outs };
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
    #[inline(always)]
    fn compute(&self, block: Block<'_, T>, sizes: BufferSizes, buffers: Buffers<'_, P, T>) {
        let Block { mut out, first_image, first_position } = block;
        let Buffers { rows, sums, outs } = buffers;
        let row_lanes = self.product.row_lanes(self.geometry);
        let filters = self.geometry.group_filters();
        let (images, _, depth, height, width) = out.dim();
        let positions = depth * height * width;
        for (image, mut out) in (first_image..first_image + images).zip(out.outer_iter_mut()) {
            for group in 0..self.geometry.groups() {
                let first = group * filters;
                let mut out = out.slice_mut(s![first..first + filters, .., .., ..]);
                for start in (0..positions).step_by(sizes.tile_rows) {
                    let count = sizes.tile_rows.min(positions - start);
                    let rows = self.gather(image, group, first_position + start, count, rows);
                    let tile = Tile { rows, count, row_lanes, first, filters };
                    self.product.multiply(tile, sums);
                    let row = |i: usize| Row {
                        geometry: self.geometry,
                        position: first_position + start + i,
                        first,
                        code_sum: self
                            .epilogue
                            .row_sum(|| P::code_sum(&rows[i * row_lanes..][..row_lanes])),
                        k: self.k(image, group, first_position + start + i),
                    };
                    self.finish(row, start, count, sums, outs, &mut out);
                }
            }
        }
    }

    /// Finishes the rows of a tile, whose outputs begin at position `start` of `out`
    /// (filters, depth, height, width).
    #[inline(always)]
    fn finish<'r>(
        &self,
        row: impl Fn(usize) -> Row<'r, T>,
        start: usize,
        count: usize,
        sums: &mut [P::Sum],
        outs: &mut [T],
        out: &mut ArrayViewMut4<'_, T>,
    ) {
        let (filters, _, height, width) = out.dim();
        let rows = sums.chunks_mut(self.product.sums_per_row(filters).max(1)).take(count);
        let planes = out.strides()[0] != 1
            && out.axis_iter(Axis(0)).next().is_some_and(|plane| plane.as_slice().is_some());
        if !planes {
            for (i, sums) in rows.enumerate() {
                let at = start + i;
                let at = s![.., at / (height * width), at / width % height, at % width];
                P::finish(&self.epilogue, &row(i), sums, out.slice_mut(at));
            }
            return;
        }
        // Filters lie apart: the tile is finished in a buffer, then written plane by plane.
        for (i, sums) in rows.enumerate() {
            let out = &mut outs[i * filters..][..filters];
            P::finish(&self.epilogue, &row(i), sums, out.into());
        }
        for (filter, plane) in out.outer_iter_mut().enumerate() {
            let plane = plane.into_slice().unwrap_or_default();
            for (i, y) in plane[start..start + count].iter_mut().enumerate() {
                *y = outs[i * filters + filter];
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
        let geometry = self.geometry;
        let image_len = geometry.pixels() * self.product.pixel_lanes(geometry);
        let image = &self.lanes[image * image_len..][..image_len];
        let row_lanes = self.product.row_lanes(geometry);
        if geometry.is_pointwise() {
            return &image[first * row_lanes..][..count * row_lanes];
        }
        let rows = &mut rows[..count * row_lanes];
        for (row, position) in rows.chunks_mut(row_lanes.max(1)).zip(first..) {
            self.product.gather(geometry, image, group, position, row);
        }
        rows
    }

    fn k(&self, image: usize, group: usize, position: usize) -> T {
        let at = (image * self.geometry.positions() + position) * self.geometry.groups() + group;
        self.k_map.get(at).copied().unwrap_or(T::one())
    }
}
