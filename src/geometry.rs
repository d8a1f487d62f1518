//! The shape of a computation: every operator is a grouped convolution over three spatial axes.
//!
//! A convolution of one or two spatial dimensions has length 1 along the axes it lacks; a dense
//! layer is a pointwise convolution over one image whose pixels are the rows of the batch.

use crate::memory::product;
use crate::{Error, Operand, Result};
use std::ops::Range;

/// Longest row whose sums of products of bytes fit into `i64` with their factors. Only operands
/// without elements have longer ones.
pub(crate) const LONGEST_ROW: u64 = 1 << 43;

/// What a convolution is configured with, along three spatial axes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) stride: [usize; 3],
    pub(crate) dilation: [usize; 3],
    /// Padding before and after each axis.
    pub(crate) padding: [[usize; 2]; 3],
    pub(crate) groups: usize,
    /// The first axis that the user sees: errors count from there.
    pub(crate) first_axis: usize,
}

impl Window {
    /// A window that sees one pixel at a time.
    pub(crate) const POINTWISE: Window =
        Window { stride: [1; 3], dilation: [1; 3], padding: [[0; 2]; 3], groups: 1, first_axis: 0 };
}

/// Validated sizes of one call. Below this nothing can be out of range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    window: Window,
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) filters: usize,
    pub(crate) input: [usize; 3],
    pub(crate) kernel: [usize; 3],
    pub(crate) output: [usize; 3],
}

impl Geometry {
    /// Sizes of `x` (N, C, D, H, W) under `w` (F, C / groups, KD, KH, KW).
    pub(crate) fn new(window: Window, x: [usize; 5], w: [usize; 5]) -> Result<Self> {
        let [batch, channels, input @ ..] = x;
        let [filters, group_channels, kernel @ ..] = w;
        let groups = window.groups;
        if groups == 0 || channels % groups != 0 || filters % groups != 0 {
            return Err(Error::Groups { groups, channels, filters });
        }
        if group_channels != channels / groups {
            return Err(Error::AxisLength {
                operand: Operand::Weight,
                axis: 1,
                expected: channels / groups,
                found: group_channels,
            });
        }
        let mut output = [0; 3];
        for axis in 0..3 {
            output[axis] = output_len(&window, axis, input[axis], kernel[axis])?;
        }
        let geometry = Geometry { window, batch, channels, filters, input, kernel, output };
        // Every later product of sizes is one of these, or a part of one.
        let pixels = product(&input, "input pixels")?;
        product(&[batch, channels, pixels], "input")?;
        let taps = product(&kernel, "kernel")?;
        let row = product(&[taps, group_channels], "kernel")?;
        if row as u64 > LONGEST_ROW {
            return Err(Error::TooLarge { what: "kernel", elements: row });
        }
        product(&[filters, row], "weight")?;
        let positions = product(&output, "output positions")?;
        product(&[batch, filters, positions], "output")?;
        product(&[batch, groups, positions], "output")?;
        Ok(geometry)
    }

    /// The convolution, from outputs to inputs, whose windows hold the outputs that saw an input, the
    /// last tap first; `None` if strides leave some out, or padding none to see.
    pub(crate) fn transposed(&self) -> Option<Self> {
        let mut window = self.window;
        if window.stride != [1; 3] {
            return None;
        }
        for axis in 0..3 {
            let reach = (self.kernel[axis] - 1) * window.dilation[axis];
            for padding in &mut window.padding[axis] {
                *padding = reach.checked_sub(*padding)?;
            }
        }
        let Geometry { batch, channels, filters, input, kernel, output, .. } = *self;
        Some(Geometry {
            window,
            batch,
            channels: filters,
            filters: channels,
            input: output,
            kernel,
            output: input,
        })
    }

    pub(crate) fn groups(&self) -> usize {
        self.window.groups
    }

    pub(crate) fn group_channels(&self) -> usize {
        self.channels / self.window.groups
    }

    pub(crate) fn group_filters(&self) -> usize {
        self.filters / self.window.groups
    }

    /// Pixels of an input image.
    pub(crate) fn pixels(&self) -> usize {
        self.input.iter().product()
    }

    /// Activations in all.
    pub(crate) fn activations(&self) -> usize {
        self.batch * self.pixels() * self.channels
    }

    /// Output positions of an image.
    pub(crate) fn positions(&self) -> usize {
        self.output.iter().product()
    }

    /// The output indices of a position.
    #[inline(always)]
    pub(crate) fn at(&self, position: usize) -> [usize; 3] {
        let [_, height, width] = self.output;
        [position / (height * width), position / width % height, position % width]
    }

    /// Kernel positions.
    pub(crate) fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Length of a window: the number of products in a dot product.
    pub(crate) fn row_len(&self) -> usize {
        self.taps() * self.group_channels()
    }

    /// Shape of the output, (N, F, OD, OH, OW).
    pub(crate) fn output_shape(&self) -> [usize; 5] {
        let [d, h, w] = self.output;
        [self.batch, self.filters, d, h, w]
    }

    pub(crate) fn has_padding(&self) -> bool {
        self.window.padding.iter().flatten().any(|&pad| pad > 0)
    }

    /// Whether the windows of an image are its pixels, one after the other.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.taps() == 1
            && self.groups() == 1
            && self.window.stride == [1; 3]
            && !self.has_padding()
    }

    /// Lengths of the input with its padding.
    pub(crate) fn padded_input(&self) -> [usize; 3] {
        std::array::from_fn(|axis| {
            let [before, after] = self.window.padding[axis];
            self.input[axis] + before + after
        })
    }

    /// Padding before each axis.
    pub(crate) fn padding_before(&self) -> [usize; 3] {
        self.window.padding.map(|[before, _]| before)
    }

    pub(crate) fn stride(&self) -> [usize; 3] {
        self.window.stride
    }

    pub(crate) fn dilation(&self) -> [usize; 3] {
        self.window.dilation
    }

    /// Calls `visit` with each tap and the pixel it sees from an output position, `None` in the
    /// padding. Taps run in order, the last axis fastest.
    pub(crate) fn for_each_tap(
        &self,
        position: usize,
        mut visit: impl FnMut(usize, Option<usize>),
    ) {
        self.for_each_run(position, |taps, first| {
            let start = taps.start;
            taps.for_each(|tap| visit(tap, first.map(|pixel| pixel + tap - start)));
        });
    }

    /// The same for runs of taps at once that see consecutive pixels, or only padding: `visit`
    /// gets the first of these pixels. A run may be empty.
    pub(crate) fn for_each_run(
        &self,
        position: usize,
        mut visit: impl FnMut(Range<usize>, Option<usize>),
    ) {
        let at = self.at(position);
        let [kernel_d, kernel_h, kernel_w] = self.kernel;
        let [_, input_h, input_w] = self.input;
        let dilation = self.window.dilation[2];
        let (left, begin) = (self.window.padding[2][0], at[2] * self.window.stride[2]);
        let inside = self.taps_inside(2, at[2]);
        let run_len = if dilation == 1 { inside.len().max(1) } else { 1 };
        let mut line = 0;
        for kd in 0..kernel_d {
            let d = self.source(0, at[0], kd);
            for kh in 0..kernel_h {
                let h = self.source(1, at[1], kh);
                match d.zip(h) {
                    None => visit(line..line + kernel_w, None),
                    Some((d, h)) => {
                        let pixels = (d * input_h + h) * input_w;
                        visit(line..line + inside.start, None);
                        for kw in inside.clone().step_by(run_len) {
                            let pixel = pixels + begin + kw * dilation - left;
                            visit(line + kw..line + kw + run_len, Some(pixel));
                        }
                        visit(line + inside.end..line + kernel_w, None);
                    }
                }
                line += kernel_w;
            }
        }
    }

    /// The taps along an axis that see the input, not its padding, from an output index.
    pub(crate) fn taps_inside(&self, axis: usize, at: usize) -> Range<usize> {
        let (stride, dilation) = (self.window.stride[axis], self.window.dilation[axis]);
        let start = self.window.padding[axis][0];
        // Taps that see this side of a padded index.
        let before =
            |end: usize| end.saturating_sub(at * stride).div_ceil(dilation).min(self.kernel[axis]);
        before(start)..before(start + self.input[axis])
    }

    /// The input index along an axis that a tap sees, if it is not padding.
    pub(crate) fn source(&self, axis: usize, at: usize, tap: usize) -> Option<usize> {
        (at * self.window.stride[axis] + tap * self.window.dilation[axis])
            .checked_sub(self.window.padding[axis][0])
            .filter(|&index| index < self.input[axis])
    }
}

fn output_len(window: &Window, axis: usize, input: usize, kernel: usize) -> Result<usize> {
    let seen = axis.saturating_sub(window.first_axis);
    let [stride, dilation] = [window.stride[axis], window.dilation[axis]];
    for (parameter, value) in [("stride", stride), ("dilation", dilation), ("kernel", kernel)] {
        if value == 0 {
            return Err(Error::Zero { parameter, axis: seen });
        }
    }
    let too_large = |what| Error::TooLarge { what, elements: usize::MAX };
    let fits = |len: &usize| isize::try_from(*len).is_ok();
    let [before, after] = window.padding[axis];
    let padded_input = input
        .checked_add(before)
        .and_then(|len| len.checked_add(after))
        .filter(fits)
        .ok_or(too_large("padded input"))?;
    let extent = (kernel - 1)
        .checked_mul(dilation)
        .and_then(|len| len.checked_add(1))
        .filter(fits)
        .ok_or(too_large("dilated kernel"))?;
    if padded_input == 0 && extent == 1 {
        return Ok(0); // as many windows as pixels: the empty batch of a dense layer
    }
    if extent > padded_input {
        return Err(Error::KernelTooLarge { axis: seen, kernel: extent, padded_input });
    }
    Ok((padded_input - extent) / stride + 1)
}
