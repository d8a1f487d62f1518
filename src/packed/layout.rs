//! The layout of packed activations, and where it has the words of a window.
//!
//! Activations are `[image][pixel][group][plane][word]`: each group's channels begin a new word, and
//! codes in bytes have one plane. Where channels fill their words, kernels read a window in place: in an
//! image with its padding around it, the words of every window have the same offsets from its first.
//! Else windows are gathered (see `windows`) as `[plane][word]` without gaps, so that no bit of a
//! product is wasted.

use crate::Result;
use crate::geometry::Geometry;
use crate::memory::{product, reserve};
use crate::packed::format::CodeFormat;
use crate::tuning::PADDED_GROWTH;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WordLayout {
    /// Bits of a code in a word: 1 or 8.
    pub(crate) code_bits: usize,
    /// Bits of the channels of a group in a plane of a pixel.
    pub(crate) channel_bits: usize,
    /// Bit planes; bytes are one plane.
    pub(crate) planes: usize,
    /// Words of the channels of a group in a plane of a pixel.
    pub(crate) plane_words: usize,
    /// Words of the channels of a group in a pixel.
    pub(crate) group_words: usize,
    /// Words of a pixel.
    pub(crate) pixel_words: usize,
    /// Words of a window in a plane.
    pub(crate) row_words: usize,
    /// Lengths of the image that windows are read from.
    pub(crate) grid: [usize; 3],
    /// Whether windows are read in place.
    pub(crate) direct: bool,
    /// Whether windows are gathered from lines of bits (see `windows`).
    pub(crate) lines: bool,
}

impl WordLayout {
    /// For codes of so many bits.
    pub(crate) fn new(geometry: &Geometry, format: CodeFormat, bits: usize) -> Self {
        let (code_bits, planes) = match format {
            CodeFormat::Planes => (1, bits),
            CodeFormat::Bytes => (8, 1),
        };
        let channel_bits = geometry.group_channels() * code_bits;
        let plane_words = channel_bits.div_ceil(32);
        let group_words = planes * plane_words;
        let pixel_words = geometry.groups() * group_words;
        WordLayout {
            code_bits,
            channel_bits,
            planes,
            plane_words,
            group_words,
            pixel_words,
            row_words: (geometry.row_len() * code_bits).div_ceil(32),
            grid: geometry.input,
            direct: false,
            lines: false,
        }
    }

    /// The layout of images with their padding around them, in which windows are read in place: where
    /// pixels fill their words, unless there would be too much padding.
    pub(crate) fn in_place(&self, geometry: &Geometry) -> Option<Self> {
        let whole_words =
            self.channel_bits.is_multiple_of(32) || geometry.taps() == 1 && !geometry.has_padding();
        let grid = geometry.padded_input();
        let pixels = product(&grid, "padded input").ok()?;
        let few = !geometry.has_padding() || pixels / PADDED_GROWTH <= geometry.pixels();
        let image_words = pixels.checked_mul(self.pixel_words)?;
        let fits = u32::try_from(image_words).is_ok();
        (whole_words && few && fits).then_some(WordLayout { grid, direct: true, ..*self })
    }

    /// The layout of lines of bits, if windows are better gathered from these: what is the pixel of
    /// another layout is a line then, `[image][line][group][plane][word]`.
    pub(crate) fn lines_of_bits(&self, geometry: &Geometry) -> Option<Self> {
        let runs = geometry.kernel[2] > 1 && geometry.dilation()[2] == 1;
        if !runs || geometry.activations() == 0 {
            return None;
        }
        let [depth, height, width] = geometry.padded_input();
        let line_bits = product(&[width, self.channel_bits], "padded input").ok()?;
        let pixels = product(&[depth, height, width], "padded input").ok()?;
        if pixels / PADDED_GROWTH > geometry.pixels() {
            return None;
        }
        let plane_words = line_bits.div_ceil(32) + 1;
        let group_words = product(&[self.planes, plane_words], "packed activations").ok()?;
        let pixel_words = product(&[geometry.groups(), group_words], "packed activations").ok()?;
        product(&[depth, height, pixel_words], "packed activations").ok()?;
        let grid = [depth, height, 1];
        Some(WordLayout { plane_words, group_words, pixel_words, grid, lines: true, ..*self })
    }

    /// Pixels of an image that windows are read from.
    fn pixels(&self) -> usize {
        self.grid.iter().product()
    }

    /// Words of an image that windows are read from.
    pub(crate) fn image_words(&self) -> usize {
        self.pixels() * self.pixel_words
    }

    /// Words that the input takes without padding.
    pub(crate) fn input_len(&self, geometry: &Geometry) -> Result<usize> {
        product(&[geometry.batch, geometry.pixels(), self.pixel_words], "packed activations")
    }

    /// The offsets of a window's words from its first one. So that there are `len`, the first is named
    /// again, for weights of zero.
    pub(crate) fn offsets(
        &self,
        geometry: &Geometry,
        len: usize,
        offsets: &mut Vec<u32>,
    ) -> Result<()> {
        offsets.clear();
        reserve(offsets, len, "window offsets")?;
        // Without channels a kernel may be longer than could be walked through.
        match self.direct {
            true if self.group_words > 0 => self.direct_offsets(geometry, offsets),
            true => {}
            false => offsets.extend(0..self.row_words as u32),
        }
        offsets.resize(len, 0);
        Ok(())
    }

    fn direct_offsets(&self, geometry: &Geometry, offsets: &mut Vec<u32>) {
        let [kernel_d, kernel_h, kernel_w] = geometry.kernel;
        let dilation = geometry.dilation();
        for d in 0..kernel_d {
            for h in 0..kernel_h {
                for w in 0..kernel_w {
                    let pixel = self.pixel([d, h, w], dilation);
                    offsets.extend((0..self.plane_words).map(|i| (pixel + i) as u32));
                }
            }
        }
    }

    /// The first word of the window of an output position, from the beginning of an image.
    pub(crate) fn window(&self, geometry: &Geometry, position: usize) -> usize {
        self.pixel(geometry.at(position), geometry.stride())
    }

    /// Words from one window of a line to the next.
    pub(crate) fn step(&self, geometry: &Geometry) -> usize {
        geometry.stride()[2] * self.pixel_words
    }

    /// Words of a gathered window.
    pub(crate) fn gathered_words(&self) -> usize {
        self.planes * self.row_words
    }

    /// Words from one plane of a window to the next.
    pub(crate) fn plane_step(&self) -> usize {
        if self.direct { self.plane_words } else { self.row_words }
    }

    /// The first word of the pixel at `at * scale`.
    pub(super) fn pixel(&self, at: [usize; 3], scale: [usize; 3]) -> usize {
        let [_, height, width] = self.grid;
        let [d, h, w]: [usize; 3] = std::array::from_fn(|axis| at[axis] * scale[axis]);
        ((d * height + h) * width + w) * self.pixel_words
    }

    /// A word of padded codes in a plane.
    pub(super) fn pad_word(&self, code: u8, plane: usize) -> u32 {
        match self.code_bits {
            1 => u32::from(code >> plane & 1) * u32::MAX,
            _ => u32::from_ne_bytes([code; 4]),
        }
    }
}
