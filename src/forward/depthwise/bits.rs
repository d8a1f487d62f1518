//! From signs to signs: bits that differ are counted where they are.
//!
//! A word holds 32 channels of a pixel. The bits of a tap that differ from its weights are added to
//! counters of which each bit is a word, those of 32 channels side by side, and so are what they
//! are compared with: a few operations on words count 32 channels.

use crate::Result;
use crate::epilogue::padding::Padding;
use crate::forward::depthwise::grid::Grid;
use crate::forward::depthwise::weights::Cyclic;
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel, PANEL};
use crate::memory::parallel::each_chunk;
use crate::memory::{product, take_aligned};
use crate::packed::panels::Panels;

/// Words that are computed at a time.
const WORDS: usize = 16;

/// The most taps: one more than there are is a number of six bits.
pub(crate) const MOST_TAPS: usize = 62;

/// See the module.
pub(crate) struct BitTiles<'a> {
    kernel: Kernel,
    geometry: &'a Geometry,
    grid: Grid,
    /// Padded images, and `WORDS` words more.
    input: &'a [u32],
    /// Of each tap.
    weights: Cyclic<'a, u32, WORDS>,
    /// Bits that are turned over; then, for each kind of position, the bits of what counts are to be
    /// less than, lowest first.
    limits: Cyclic<'a, u32, WORDS>,
    padding: &'a Padding,
    offsets: &'a [usize],
}

/// Buffers of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct BitBuffers {
    input: Vec<u32>,
    weights: Vec<u32>,
    limits: Vec<u32>,
}

/// The operands of [`BitTiles`].
pub(crate) struct BitOperands<'a> {
    /// Of words.
    pub(crate) grid: Grid,
    /// `[image][pixel][word]`.
    pub(crate) words: &'a [u32],
    /// The word of a padded pixel.
    pub(crate) pad: u32,
    pub(crate) panels: &'a Panels,
    /// What is added to `factor` times a count, for a bit where that is not negative.
    pub(crate) padding: &'a Padding,
    /// Negative.
    pub(crate) factor: i64,
    pub(crate) flips: &'a [u32],
}

impl<'a> BitTiles<'a> {
    /// Lays out operands of 1 to [`MOST_TAPS`] taps.
    pub(crate) fn new(
        kernel: Kernel,
        geometry: &'a Geometry,
        operands: BitOperands<'a>,
        buffers: &'a mut BitBuffers,
        offsets: &'a mut Vec<usize>,
    ) -> Result<Self> {
        let BitOperands { grid, words, pad, panels, padding, factor, flips } = operands;
        let (what, row, taps) = ("packed activations", grid.pixel, geometry.taps());
        let len = product(&[geometry.batch, grid.image_len()], what)?;
        let input = take_aligned(&mut buffers.input, len.saturating_add(WORDS), what)?;
        let [depth, height, width] = geometry.input;
        for (image, input) in input[..len].chunks_exact_mut(grid.image_len()).enumerate() {
            grid.write_lines(geometry, grid.all_lines(), input, pad, |[d, h], mut pixels| {
                let first = ((image * depth + d) * height + h) * width;
                let line = &words[first * row..][..width * row];
                match pixels.side_by_side(width) {
                    Some(pixels) => pixels.copy_from_slice(line),
                    None => {
                        let line = line.chunks_exact(row).enumerate();
                        line.for_each(|(i, words)| pixels.pixel(i).copy_from_slice(words));
                    }
                }
            });
        }
        grid.offsets(geometry, offsets);

        let len = Cyclic::<u32, WORDS>::len(taps, row)?;
        let weights = take_aligned(&mut buffers.weights, len, "packed weights")?;
        for (tap, weights) in weights.chunks_exact_mut(row + WORDS).enumerate() {
            weights[..row].fill(0);
            for panel in 0..geometry.filters.div_ceil(PANEL) {
                let bits = panels.column(panel, tap).into_iter().rev();
                let bits = bits.fold(0, |bits, code| bits << 1 | code);
                weights[panel * PANEL / 32] |= bits << (panel * PANEL % 32);
            }
        }

        let (addends, bits) = (padding.i64().chunks_exact(geometry.filters), limit_bits(taps));
        let len = Cyclic::<u32, WORDS>::len(1 + addends.len() * bits, row)?;
        let limits = take_aligned(&mut buffers.limits, len, "thresholds")?;
        limits.fill(0); // no count is less where there is no filter
        let stride = row + WORDS;
        limits[..row].copy_from_slice(flips);
        let kinds = limits[stride..].chunks_exact_mut(bits * stride);
        for (limits, addends) in kinds.zip(addends) {
            for (filter, &addend) in addends.iter().enumerate() {
                // factor * count + addend >= 0
                let most = if addend < 0 { 0 } else { 1 + addend / -factor };
                let limit = most.min(1 + taps as i64) as u32;
                for (bit, limits) in limits.chunks_exact_mut(stride).enumerate() {
                    limits[filter / 32] |= (limit >> bit & 1) << (filter % 32);
                }
            }
        }
        let (weights, limits) = (Cyclic::new(weights, row), Cyclic::new(limits, row));
        Ok(BitTiles { kernel, geometry, grid, input, weights, limits, padding, offsets })
    }

    /// Writes the signs, `[image][position][word]`.
    pub(crate) fn run(&self, out: &mut [u32]) {
        let [depth, height, width] = self.geometry.output;
        each_chunk(out, width * self.grid.pixel, 32, |i, out| {
            let image = i / (depth * height);
            let position = i % (depth * height) * width;
            let image = &self.input[image * self.grid.image_len()..];
            let line = &image[self.grid.window(self.geometry, position)..];
            match limit_bits(self.geometry.taps()) {
                4 => self.kernel.vectorize(Line::<4> { tiles: self, line, position, out }),
                _ => self.kernel.vectorize(Line::<6> { tiles: self, line, position, out }),
            }
        });
    }
}

/// Bits of limits and counts.
fn limit_bits(taps: usize) -> usize {
    if taps < 15 { 4 } else { 6 }
}

/// A line of output positions.
struct Line<'a, const BITS: usize> {
    tiles: &'a BitTiles<'a>,
    line: &'a [u32],
    position: usize,
    out: &'a mut [u32],
}

impl<const BITS: usize> Code for Line<'_, BITS> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Line { tiles, mut line, mut position, mut out } = self;
        let row = tiles.grid.pixel;
        while !out.is_empty() {
            // Positions of the same kind.
            let kind = tiles.padding.class(position);
            let all = out.len() / row;
            let same = (1..all).take_while(|i| tiles.padding.class(position + i) == kind).count();
            let len = (1 + same).min(all) * row;
            let limits = tiles.limits.rows(1 + kind * BITS, BITS);
            let (run, rest) = std::mem::take(&mut out).split_at_mut(len);
            let mut word = 0;
            for (i, out) in run.chunks_mut(WORDS).enumerate() {
                let signs = tiles.signs::<BITS>(&line[i * WORDS..], word, limits);
                match out.first_chunk_mut() {
                    Some(out) => *out = signs,
                    None => out.copy_from_slice(&signs[..out.len()]),
                }
                word = (word + WORDS) % row;
            }
            (line, out) = (&line[len..], rest);
            position += 1 + same;
        }
    }
}

impl BitTiles<'_> {
    /// The signs of `WORDS` words from one of a pixel on.
    #[inline(always)]
    fn signs<const BITS: usize>(
        &self,
        line: &[u32],
        word: usize,
        limits: Cyclic<'_, u32, WORDS>,
    ) -> [u32; WORDS] {
        let mut counts = [[0; WORDS]; BITS];
        for (&offset, weights) in self.offsets.iter().zip(self.weights.from(word)) {
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
        for (count, limit) in counts.iter().zip(limits.from(word)) {
            for i in 0..WORDS {
                let equal = !(count[i] ^ limit[i]);
                less[i] = !count[i] & limit[i] | equal & less[i];
            }
        }
        for flips in self.limits.rows(0, 1).from(word) {
            for i in 0..WORDS {
                less[i] ^= flips[i];
            }
        }
        less
    }
}
