//! Where the pixels of images lie that have their padding around them.

use crate::geometry::Geometry;
use crate::memory::product;
use crate::packed::layout::PADDED_SIZE;
use std::ops::Range;

/// Images with their padding around them, `[image][depth][height][slot][element]`.
///
/// With a stride of `s`, a line begins with every `s`-th pixel, goes on with those that are one
/// further, and so on: what a tap sees from the output positions of a line lies side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    /// Elements of a pixel.
    pub(crate) pixel: usize,
    depth: usize,
    height: usize,
    /// Pixels of a line, and what fills up its parts.
    slots: usize,
    /// Pixels of a part of a line, which lie `stride` apart.
    part: usize,
    stride: usize,
}

impl Grid {
    /// For pixels of so many elements, unless there would be too much padding.
    pub(crate) fn new(geometry: &Geometry, pixel: usize) -> Option<Self> {
        let [depth, height, width] = geometry.padded_input();
        let pixels = product(&[depth, height, width], "padded input").ok()?;
        if pixels / PADDED_SIZE > geometry.pixels() {
            return None;
        }
        let stride = geometry.stride()[2];
        let part = width.div_ceil(stride);
        let slots = part * stride.min(width);
        product(&[depth, height, slots, pixel], "padded input").ok()?;
        Some(Grid { pixel, depth, height, slots, part, stride })
    }

    /// The same for pixels of so many elements.
    pub(crate) fn with_pixel(self, pixel: usize) -> Self {
        Grid { pixel, ..self }
    }

    /// Lines of an image.
    pub(crate) fn all_lines(&self) -> Range<usize> {
        0..self.depth * self.height
    }

    /// Elements of an image.
    pub(crate) fn image_len(&self) -> usize {
        self.depth * self.height * self.slots * self.pixel
    }

    /// The first element of a pixel of a line, its padding counted.
    fn column(&self, at: usize) -> usize {
        (at % self.stride * self.part + at / self.stride) * self.pixel
    }

    /// The first element of a line of an image.
    fn line(&self, depth: usize, height: usize) -> usize {
        (depth * self.height + height) * self.slots * self.pixel
    }

    /// The first element of the window of an output position, in its image. That of the next
    /// position of a line follows a pixel later.
    pub(crate) fn window(&self, geometry: &Geometry, position: usize) -> usize {
        let [_, height, width] = geometry.output;
        let [depth_stride, height_stride, _] = geometry.stride();
        let (d, h) = (position / (height * width), position / width % height);
        self.line(d * depth_stride, h * height_stride) + position % width * self.pixel
    }

    /// Where the pixels of a window lie, from its first element on.
    pub(crate) fn offsets(&self, geometry: &Geometry, offsets: &mut Vec<usize>) {
        let dilation = geometry.dilation()[2];
        window_offsets(geometry, offsets, |depth, height, column| {
            self.line(depth, height) + self.column(column * dilation)
        });
    }

    /// The lines that are read for consecutive output positions, whose windows reach so far.
    #[inline(always)]
    pub(crate) fn lines(
        &self,
        geometry: &Geometry,
        positions: Range<usize>,
        reach: usize,
    ) -> Range<usize> {
        let line_len = self.slots * self.pixel;
        let last = self.window(geometry, positions.end - 1) + reach;
        self.window(geometry, positions.start) / line_len..last / line_len + 1
    }

    /// Writes some lines of an image: `write` those that are not padding, given the line in the
    /// input, and where to write its pixels.
    pub(crate) fn write_lines<L: Copy>(
        &self,
        geometry: &Geometry,
        lines: Range<usize>,
        image: &mut [L],
        pad: L,
        write: impl Fn([usize; 2], Pixels<'_, L>),
    ) {
        let (input, before) = (geometry.input, geometry.padding_before());
        let inside =
            |axis: usize, at: usize| at.checked_sub(before[axis]).filter(|&at| at < input[axis]);
        let line_len = self.slots * self.pixel;
        let elements = &mut image[lines.start * line_len..lines.end * line_len];
        for (i, line) in lines.zip(elements.chunks_exact_mut(line_len)) {
            let at = inside(0, i / self.height).zip(inside(1, i % self.height));
            if at.is_none() || self.slots != input[2] {
                line.fill(pad);
            }
            if let Some((d, h)) = at {
                write([d, h], Pixels { grid: self, before: before[2], line });
            }
        }
    }
}

/// Where the pixels of a line are written.
pub(crate) struct Pixels<'a, L> {
    grid: &'a Grid,
    /// Pixels of padding.
    before: usize,
    line: &'a mut [L],
}

impl<L> Pixels<'_, L> {
    /// A pixel.
    #[inline(always)]
    pub(crate) fn pixel(&mut self, i: usize) -> &mut [L] {
        &mut self.line[self.grid.column(self.before + i)..][..self.grid.pixel]
    }

    /// The first pixels in a row, if they lie so.
    #[inline(always)]
    pub(crate) fn side_by_side(&mut self, pixels: usize) -> Option<&mut [L]> {
        let Grid { pixel, stride, .. } = *self.grid;
        (stride == 1).then(|| &mut self.line[self.before * pixel..][..pixels * pixel])
    }
}

/// Writes where the pixels of a window lie: what `at` says of how many pixels deep and high each
/// tap lies, and of its column in the kernel.
pub(crate) fn window_offsets(
    geometry: &Geometry,
    offsets: &mut Vec<usize>,
    at: impl Fn(usize, usize, usize) -> usize,
) {
    let [_, height, width] = geometry.kernel;
    let dilation = geometry.dilation();
    offsets.clear();
    offsets.extend((0..geometry.taps()).map(|tap| {
        let (d, h) = (tap / (height * width), tap / width % height);
        at(d * dilation[0], h * dilation[1], tap % width)
    }));
}
