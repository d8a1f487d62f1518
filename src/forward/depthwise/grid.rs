//! Images with their padding around them: where their pixels lie, and the windows of outputs.

use crate::geometry::Geometry;
use crate::memory::product;
use crate::tuning::{PADDED_GROWTH, PLANE_COPIES};
use std::ops::Range;

/// A padded image, `[depth][height][slot][element]`. What a tap sees from the output positions of a
/// line lies side by side.
///
/// Channels that lie side by side are a pixel. With a stride of `s`, a line begins with every `s`-th
/// pixel, goes on with those that are one further, and so on.
///
/// Planes of a channel are copied for each kernel column, and lines moved to where it sees them from
/// the output positions. So they need no padding on their sides, and lie without gaps like those of
/// the plane: it is copied, summed up and written as if it were one line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid<'a> {
    geometry: &'a Geometry,
    /// Elements of a pixel.
    pub(super) pixel: usize,
    /// Lines of each depth.
    height: usize,
    /// Lines of the image.
    pub(super) lines: usize,
    /// Pixels of a line, and what fills up its parts.
    pub(super) slots: usize,
    /// Pixels of a part of a line, which lie `stride` apart.
    part: usize,
    /// Whether it is copied for each kernel column.
    copied: bool,
}

impl<'a> Grid<'a> {
    /// For pixels of so many elements, unless there would be too much padding.
    pub(super) fn new(geometry: &'a Geometry, pixel: usize) -> Option<Self> {
        let [depth, height, width] = geometry.padded_input();
        let pixels = product(&[depth, height, width], "padded input").ok()?;
        if pixels / PADDED_GROWTH > geometry.pixels() {
            return None;
        }
        let stride = geometry.stride()[2];
        let part = width.div_ceil(stride);
        let slots = part * stride.min(width);
        product(&[depth, height, slots, pixel], "padded input").ok()?;
        Some(Grid { geometry, pixel, height, lines: depth * height, slots, part, copied: false })
    }

    /// The same of planes, where lines of outputs are not longer than those of the input, nor columns
    /// left out, unless there would be too many copies.
    pub(super) fn of_planes(self) -> Option<Self> {
        let (columns, width) = (self.geometry.kernel[2], self.geometry.input[2]);
        product(&[columns, self.lines, width], "padded input").ok()?;
        let moved = self.geometry.stride()[2] == 1 && self.geometry.output[2] <= width;
        let few = columns <= PLANE_COPIES;
        (moved && few).then_some(Grid { pixel: 1, slots: width, copied: true, ..self })
    }

    /// The same for pixels of fewer elements.
    pub(super) fn with_pixel(self, pixel: usize) -> Self {
        Grid { pixel, ..self }
    }

    /// Elements of a line.
    pub(super) fn line_len(&self) -> usize {
        self.slots * self.pixel
    }

    /// Elements of an image, or of a copy of it.
    fn len(&self) -> usize {
        self.lines * self.line_len()
    }

    /// Elements of all copies of a plane.
    pub(super) fn copies_len(&self) -> usize {
        self.geometry.kernel[2] * self.len()
    }

    /// The first element of a pixel of a line, its padding counted.
    fn column(&self, at: usize) -> usize {
        let stride = self.geometry.stride()[2];
        (at % stride * self.part + at / stride) * self.pixel
    }

    /// The first line of the window of an output position.
    #[inline(always)]
    fn first_line(&self, position: usize) -> usize {
        let [_, height, width] = self.geometry.output;
        let [depth_stride, height_stride, _] = self.geometry.stride();
        let (d, h) = (position / (height * width), position / width % height);
        d * depth_stride * self.height + h * height_stride
    }

    /// The first element of the window of an output position. That of the next position of a line
    /// follows a pixel later.
    #[inline(always)]
    pub(super) fn window(&self, position: usize) -> usize {
        let column = position % self.geometry.output[2];
        self.first_line(position) * self.line_len() + column * self.pixel
    }

    /// How many lines behind its first one a tap sees, at its place in depth and height.
    fn tap_line(&self, d: usize, h: usize) -> usize {
        let [depth_dilation, height_dilation, _] = self.geometry.dilation();
        d * depth_dilation * self.height + h * height_dilation
    }

    /// The lines that are read for consecutive output positions.
    #[inline(always)]
    pub(super) fn lines_of(&self, positions: Range<usize>) -> Range<usize> {
        let [depth, height, _] = self.geometry.kernel;
        let last = self.first_line(positions.end - 1) + self.tap_line(depth - 1, height - 1);
        self.first_line(positions.start)..last + 1
    }

    /// Writes where the pixels of a window lie, tap by tap, from its first element on.
    pub(super) fn write_offsets<'o>(&self, offsets: &'o mut [usize]) -> &'o [usize] {
        let ([_, height, width], dilation) = (self.geometry.kernel, self.geometry.dilation()[2]);
        for (tap, offset) in offsets.iter_mut().enumerate() {
            let line = self.tap_line(tap / (height * width), tap / width % height);
            let column = match self.copied {
                true => tap % width * self.len(),
                false => self.column(tap % width * dilation),
            };
            *offset = line * self.line_len() + column;
        }
        offsets
    }

    /// How many lines of an image are to be in memory where so many consecutive output positions are
    /// computed together: all, if they have no more than `elements`.
    pub(super) fn strip_lines(&self, rows: usize, elements: usize) -> usize {
        let few = elements / self.line_len();
        if self.lines <= few {
            return self.lines;
        }
        // Of the positions of a line, the last one begins those that end in the most others.
        let (positions, width) = (self.geometry.positions(), self.geometry.output[2]);
        let starts = (width - 1..positions).step_by(width);
        let lines = starts.map(|at| self.lines_of(at..positions.min(at + rows)).len());
        // Twice as many, so that most stay where they are.
        self.lines.min(few.max(2 * lines.max().unwrap_or(0)))
    }

    /// Writes some lines of an image, one after the other: `write` those that are not padding, given
    /// the number of the line in the input, and where to write its pixels.
    pub(super) fn write_lines<V: Copy>(
        &self,
        lines: Range<usize>,
        elements: &mut [V],
        pad: V,
        write: impl Fn(usize, Pixels<'_, V>),
    ) {
        let ([depth, height, width], before) =
            (self.geometry.input, self.geometry.padding_before());
        let (first, stride) = (before[2] * self.pixel, self.geometry.stride()[2]);
        for (i, line) in lines.zip(elements.chunks_exact_mut(self.line_len())) {
            let d = (i / self.height).checked_sub(before[0]).filter(|&d| d < depth);
            let h = (i % self.height).checked_sub(before[1]).filter(|&h| h < height);
            let Some((d, h)) = d.zip(h) else {
                line.fill(pad);
                continue;
            };
            if stride == 1 {
                line[..first].fill(pad);
                line[first + width * self.pixel..].fill(pad);
            } else {
                line.fill(pad);
            }
            let (elements, len, before) = (line, self.pixel, before[2]);
            let pixels = Pixels { elements, len, before, stride, part: self.part };
            write(d * height + h, pixels);
        }
    }

    /// Copies a plane to where `copies` hold nothing but padding, or another plane.
    #[inline(always)]
    pub(super) fn write_copies<V: Copy>(&self, plane: &[V], pad: V, copies: &mut [V]) {
        let before = self.geometry.padding_before();
        let len = self.geometry.input[1] * self.slots;
        for (column, copy) in copies.chunks_exact_mut(self.len()).enumerate() {
            let at = column * self.geometry.dilation()[2];
            let (back, on) = (at.saturating_sub(before[2]), before[2].saturating_sub(at));
            for (depth, plane) in plane.chunks_exact(len).enumerate() {
                let line = (before[0] + depth) * self.height + before[1];
                move_lines(
                    plane,
                    self.slots,
                    [back, on],
                    pad,
                    &mut copy[line * self.slots..][..len],
                );
            }
        }
    }
}

/// Copies lines of a plane, each moved so many elements back or on. What comes from the lines next to
/// it becomes padding.
#[inline(always)]
fn move_lines<V: Copy>(plane: &[V], width: usize, [back, on]: [usize; 2], pad: V, copy: &mut [V]) {
    if back.max(on) >= width {
        return; // there is nothing but padding
    }
    let len = plane.len() - back - on;
    copy[on..][..len].copy_from_slice(&plane[back..][..len]);
    for column in (0..on).chain(width - back..width) {
        copy.iter_mut().skip(column).step_by(width).for_each(|element| *element = pad);
    }
}

/// Where the pixels of a line are written.
pub(super) struct Pixels<'a, V> {
    elements: &'a mut [V],
    /// Elements of a pixel.
    pub(super) len: usize,
    /// Pixels of padding before the first.
    before: usize,
    stride: usize,
    part: usize,
}

impl<'a, V> Pixels<'a, V> {
    /// A single pixel.
    pub(super) fn one(elements: &'a mut [V]) -> Self {
        let len = elements.len();
        Pixels { elements, len, before: 0, stride: 1, part: 1 }
    }

    #[inline(always)]
    pub(super) fn pixel(&mut self, i: usize) -> &mut [V] {
        let at = self.before + i;
        let first = at % self.stride * self.part + at / self.stride;
        &mut self.elements[first * self.len..][..self.len]
    }

    /// The first pixels as one slice, if they lie side by side.
    #[inline(always)]
    pub(super) fn side_by_side(&mut self, pixels: usize) -> Option<&mut [V]> {
        let elements = &mut self.elements[self.before * self.len..];
        (self.stride == 1).then(|| &mut elements[..pixels * self.len])
    }
}

/// The lines of an image that are in memory for a few: they follow the windows down the image.
pub(super) struct Strip<'a, V> {
    grid: Grid<'a>,
    elements: &'a mut [V],
    /// How many lines there may be.
    room: usize,
    /// Which lines there are.
    lines: Range<usize>,
}

impl<'a, V: Copy> Strip<'a, V> {
    /// Memory for `room` lines, and what may be read behind them.
    pub(super) fn new(grid: Grid<'a>, room: usize, elements: &'a mut [V]) -> Self {
        Strip { grid, elements, room, lines: 0..0 }
    }

    /// Goes to the first line of another image.
    pub(super) fn clear(&mut self) {
        self.lines = 0..0;
    }

    /// Has those `write`n of some lines that are not there. What comes before them may be given up.
    #[inline(always)]
    pub(super) fn follow(
        &mut self,
        lines: Range<usize>,
        write: impl FnOnce(Range<usize>, &mut [V]),
    ) {
        let len = self.grid.line_len();
        if lines.end > self.lines.start + self.room {
            let kept = lines.start.min(self.lines.end)..self.lines.end;
            let kept = kept.start - self.lines.start..kept.end - self.lines.start;
            self.elements.copy_within(kept.start * len..kept.end * len, 0);
            self.lines = lines.start..lines.start + kept.len();
        }
        let missing = lines.start.max(self.lines.end)..lines.end.max(self.lines.end);
        self.lines.end = missing.end;
        let first = (missing.start - self.lines.start) * len;
        write(missing.clone(), &mut self.elements[first..][..missing.len() * len]);
    }

    /// What is read for output positions of a line, from one on.
    #[inline(always)]
    pub(super) fn window(&self, position: usize) -> &[V] {
        &self.elements[self.grid.window(position) - self.lines.start * self.grid.line_len()..]
    }
}

#[cfg(test)]
mod tests;
