//! Depthwise convolutions from signs to signs: bits that differ are counted where they are.
//!
//! A word holds 32 channels of a pixel. The bits of a tap that differ from its weights are added to
//! counters of which each bit is a word, those of 32 channels side by side, and so are what they
//! are compared with: a few operations on words count 32 channels.

use crate::Result;
use crate::epilogue::padding::Padding;
use crate::forward::depthwise::call_memory;
use crate::forward::depthwise::cyclic::Cyclic;
use crate::forward::depthwise::grid::{Grid, Strip};
use crate::forward::partition::{Block, Engine};
use crate::geometry::Geometry;
use crate::kernel::PANEL;
use crate::memory::{Workspace, WorkspaceSize, product};
use crate::packed::panels::Panels;
use crate::tuning::STRIP_BYTES;
use std::ops::Range;

/// Words that are computed at a time.
const WORDS: usize = 16;

/// The most taps: one more than there are is a number of six bits.
const MOST_TAPS: usize = 62;

/// Whether the bits of a depthwise convolution from signs to signs can be counted.
pub(super) fn are_countable(geometry: &Geometry) -> bool {
    geometry.group_filters() == 1 && geometry.taps() <= MOST_TAPS
}

/// What bits are counted of, and compared with.
pub(super) struct BitOperands<'a> {
    pub(super) geometry: &'a Geometry,
    /// Of words.
    pub(super) grid: Grid<'a>,
    /// Activations, `[image][pixel][word]`.
    pub(super) words: &'a [u32],
    /// The word of a padded pixel.
    pub(super) pad: u32,
    pub(super) panels: &'a Panels,
    /// What is added to `sum_factor` times a count, for a bit where that is not negative.
    pub(super) padding: &'a Padding,
    /// Negative.
    pub(super) sum_factor: i64,
    /// Bits of outputs that are turned over.
    pub(super) flips: &'a [u32],
}

/// See the module.
pub(super) struct CountBits<'a> {
    operands: BitOperands<'a>,
    /// Of each tap.
    weights: Cyclic<'a, u32, WORDS>,
    /// Bits that are turned over; then, for each border class, the bits of what counts are to be less
    /// than, lowest first.
    limits: Cyclic<'a, u32, WORDS>,
    offsets: &'a [usize],
    /// Lines of an image that are in memory, and their words: room for a vector more.
    lines: usize,
    lines_len: usize,
}

impl<'a> CountBits<'a> {
    /// Lays out operands.
    pub(super) fn new(operands: BitOperands<'a>, memory: &'a mut Vec<u64>) -> Result<Self> {
        let BitOperands { geometry, grid, padding, .. } = operands;
        let (row, taps) = (grid.pixel, geometry.taps());
        let classes = padding.i64().len() / geometry.filters;
        let weights_len = Cyclic::<u32, WORDS>::len(taps, row)?;
        let limits_len = Cyclic::<u32, WORDS>::len(1 + classes * limit_bits(taps), row)?;
        let size = WorkspaceSize::default()
            .and::<u32>(&[weights_len], "packed weights")?
            .and::<u32>(&[limits_len], "thresholds")?
            .and::<usize>(&[taps], "offsets")?;
        let mut memory = call_memory(memory, size)?;
        let weights = operands.lay_weights(memory.take(weights_len));
        let limits = operands.lay_limits(memory.take(limits_len));
        let offsets = grid.write_offsets(memory.take(taps));
        let lines = grid.strip_lines(geometry.output[2], STRIP_BYTES / size_of::<u32>());
        let lines_len = product(&[lines, grid.line_len()], "packed activations")? + WORDS;
        Ok(CountBits { operands, weights, limits, offsets, lines, lines_len })
    }
}

impl<'a> BitOperands<'a> {
    fn lay_weights(&self, weights: &'a mut [u32]) -> Cyclic<'a, u32, WORDS> {
        let row = self.grid.pixel;
        for (tap, weights) in weights.chunks_exact_mut(row + WORDS).enumerate() {
            weights[..row].fill(0);
            for panel in 0..self.geometry.filters.div_ceil(PANEL) {
                let codes = self.panels.column(panel, tap).into_iter().rev();
                let bits = codes.fold(0, |bits, code| bits << 1 | code);
                weights[panel * PANEL / 32] |= bits << (panel * PANEL % 32);
            }
        }
        Cyclic::new(weights, row)
    }

    fn lay_limits(&self, limits: &'a mut [u32]) -> Cyclic<'a, u32, WORDS> {
        let (row, taps) = (self.grid.pixel, self.geometry.taps());
        limits.fill(0); // no count is less where there is no filter
        let (flips, classes) = limits.split_at_mut(row + WORDS);
        flips[..row].copy_from_slice(self.flips);
        let classes = classes.chunks_exact_mut(limit_bits(taps) * (row + WORDS));
        for (limits, addends) in classes.zip(self.padding.i64().chunks_exact(self.geometry.filters))
        {
            for (filter, &addend) in addends.iter().enumerate() {
                // sum_factor * count + addend >= 0
                let most = if addend < 0 { 0 } else { 1 + addend / -self.sum_factor };
                let limit = most.min(1 + taps as i64) as u32;
                for (bit, limits) in limits.chunks_exact_mut(row + WORDS).enumerate() {
                    limits[filter / 32] |= (limit >> bit & 1) << (filter % 32);
                }
            }
        }
        Cyclic::new(limits, row)
    }

    /// Writes some lines of an image, one after the other, and the padding around them.
    fn write_lines(&self, image: usize, lines: Range<usize>, elements: &mut [u32]) {
        let [depth, height, width] = self.geometry.input;
        let len = width * self.grid.pixel;
        self.grid.write_lines(lines, elements, self.pad, |line, mut to| {
            let words = &self.words[(image * depth * height + line) * len..][..len];
            match to.side_by_side(width) {
                Some(to) => to.copy_from_slice(words),
                None => {
                    let pixels = words.chunks_exact(to.len).enumerate();
                    pixels.for_each(|(i, words)| to.pixel(i).copy_from_slice(words));
                }
            }
        });
    }
}

/// Bits of limits and counts.
fn limit_bits(taps: usize) -> usize {
    if taps < 15 { 4 } else { 6 }
}

impl Engine for CountBits<'_> {
    type Out = u32;
    const FILTERS: usize = 32;

    fn workspace(&self) -> Result<WorkspaceSize> {
        WorkspaceSize::default().and::<u32>(&[self.lines_len], "packed activations")
    }

    #[inline(always)]
    fn compute(&self, block: Block<'_, u32>, mut workspace: Workspace<'_>) {
        let Block { mut out, first_image, first_position, .. } = block;
        let BitOperands { geometry, grid, .. } = self.operands;
        let mut strip = Strip::new(grid, self.lines, workspace.take(self.lines_len));
        let width = out.dim().4;
        for (image, out) in (first_image..).zip(out.outer_iter_mut()) {
            strip.clear();
            // The words of signs lie without gaps.
            let out = out.permuted_axes([1, 2, 3, 0]).into_slice().unwrap_or_default();
            let lines = out.chunks_exact_mut(width * grid.pixel);
            for (position, out) in (first_position..).step_by(width).zip(lines) {
                let lines = grid.lines_of(position..position + width);
                strip.follow(lines, |lines, to| self.operands.write_lines(image, lines, to));
                match limit_bits(geometry.taps()) {
                    4 => self.write_line::<4>(strip.window(position), position, out),
                    _ => self.write_line::<6>(strip.window(position), position, out),
                }
            }
        }
    }
}

impl CountBits<'_> {
    /// Writes the signs of a line of outputs from a position on.
    #[inline(always)]
    fn write_line<const BITS: usize>(
        &self,
        mut line: &[u32],
        mut position: usize,
        mut out: &mut [u32],
    ) {
        let BitOperands { grid, padding, .. } = self.operands;
        while !out.is_empty() {
            // Positions of the same class.
            let class = padding.class(position);
            let all = out.len() / grid.pixel;
            let same = (1..all).take_while(|i| padding.class(position + i) == class).count();
            let len = (1 + same).min(all) * grid.pixel;
            let limits = self.limits.rows(1 + class * BITS, BITS);
            let (run, rest) = out.split_at_mut(len);
            let mut word = 0;
            for (i, out) in run.chunks_mut(WORDS).enumerate() {
                let signs = self.signs::<BITS>(&line[i * WORDS..], word, limits);
                match out.first_chunk_mut() {
                    Some(out) => *out = signs,
                    None => out.copy_from_slice(&signs[..out.len()]),
                }
                word = (word + WORDS) % grid.pixel;
            }
            (line, out) = (&line[len..], rest);
            position += 1 + same;
        }
    }

    /// The signs of `WORDS` words from one of a pixel on.
    #[inline(always)]
    fn signs<const BITS: usize>(
        &self,
        line: &[u32],
        word: usize,
        limits: Cyclic<'_, u32, WORDS>,
    ) -> [u32; WORDS] {
        let mut counts = [[0; WORDS]; BITS];
        for (&offset, weights) in self.offsets.iter().zip(self.weights.from::<WORDS>(word)) {
            let Some(activations) = line[offset..].first_chunk::<WORDS>() else { continue };
            let mut carry = [0; WORDS];
            for i in 0..WORDS {
                carry[i] = activations[i] ^ weights[i];
            }
            for count in &mut counts {
                for i in 0..WORDS {
                    (count[i], carry[i]) = (count[i] ^ carry[i], count[i] & carry[i]);
                }
            }
        }
        let mut less = [0; WORDS];
        for (count, limit) in counts.iter().zip(limits.from::<WORDS>(word)) {
            for i in 0..WORDS {
                let equal = !(count[i] ^ limit[i]);
                less[i] = !count[i] & limit[i] | equal & less[i];
            }
        }
        for flips in self.limits.rows(0, 1).from::<WORDS>(word) {
            for i in 0..WORDS {
                less[i] ^= flips[i];
            }
        }
        less
    }
}
