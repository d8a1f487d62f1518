//! How codes of activations lie in words, and how the words of a window are found.
//!
//! Pixels are packed once, channels closest, the channels of each group starting a new word. Where
//! these fill their words, a window is made of whole words, and the kernels read it where it lies:
//! in an image with its padding around it, the words of every window lie at the same offsets from
//! its first. Otherwise windows are gathered, code after code, so that none is wasted.
//!
//! Codes lie as bytes or as bit planes: words of their lowest bits, then words of the next bits. So
//! it is with the channels of a group, and with a gathered window; the words of a plane lie like
//! those of the first, but further on.

use crate::Result;
use crate::geometry::Geometry;
use crate::memory::{product, reserve, take_aligned};
use crate::packed::bit_writer::BitWriter;
use crate::packed::format::CodeFormat;
pub(crate) use crate::tuning::PADDED_GROWTH as PADDED_SIZE;

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
    /// Whether windows are read where they lie.
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
        let few = !geometry.has_padding() || pixels / PADDED_SIZE <= geometry.pixels();
        let image_words = pixels.checked_mul(self.pixel_words)?;
        let fits = u32::try_from(image_words).is_ok();
        (whole_words && few && fits).then_some(WordLayout { grid, direct: true, ..*self })
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

    /// Where the words of a window lie from its first word on. So that there are `len`, the first
    /// is named again, for weights of zero.
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
        let [_, out_h, out_w] = geometry.output;
        let at = [position / (out_h * out_w), position / out_w % out_h, position % out_w];
        self.pixel(at, geometry.stride())
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
    fn pixel(&self, at: [usize; 3], scale: [usize; 3]) -> usize {
        let [_, height, width] = self.grid;
        let [d, h, w]: [usize; 3] = std::array::from_fn(|axis| at[axis] * scale[axis]);
        ((d * height + h) * width + w) * self.pixel_words
    }

    /// Writes the codes of the window of an output position into `row`, side by side, plane after
    /// plane. `image` is a group's part of an image.
    pub(crate) fn gather(
        &self,
        geometry: &Geometry,
        image: &[u32],
        pad: u8,
        position: usize,
        row: &mut [u32],
    ) {
        if row.is_empty() {
            return; // without channels a kernel may be longer than could ever be walked through
        }
        let planes = row.chunks_mut(self.row_words).enumerate();
        if self.lines {
            planes.for_each(|(plane, row)| self.gather_runs(geometry, image, position, plane, row));
        } else {
            planes.for_each(|(plane, row)| {
                // Nothing, where the image is nothing but padding.
                let image = image.get(plane * self.plane_words..).unwrap_or_default();
                self.gather_taps(geometry, image, position, self.pad_word(pad, plane), row);
            });
        }
    }

    /// A plane of the same, tap by tap.
    fn gather_taps(
        &self,
        geometry: &Geometry,
        plane: &[u32],
        position: usize,
        pad_word: u32,
        row: &mut [u32],
    ) {
        let mut window = BitWriter::new(row);
        geometry.for_each_tap(position, |_, pixel| match pixel {
            Some(pixel) => {
                let words = &plane[pixel * self.pixel_words..];
                window.push_pixel(self.channel_bits, |word| words[word]);
            }
            None => window.push_pixel(self.channel_bits, |_| pad_word),
        });
        window.finish();
    }

    /// A word of padded codes in a plane.
    pub(crate) fn pad_word(&self, code: u8, plane: usize) -> u32 {
        match self.code_bits {
            1 => u32::from(code >> plane & 1) * u32::MAX,
            _ => u32::from_ne_bytes([code; 4]),
        }
    }

    /// What windows are read from: the packed activations, or these copied into lines of bits, or into
    /// larger images with padding around them. `pad` is the code of a padded position.
    pub(crate) fn to_windows<'a>(
        &self,
        geometry: &Geometry,
        windows: &WordLayout,
        words: &'a [u32],
        pad: u8,
        buffer: &'a mut Vec<u32>,
    ) -> Result<&'a [u32]> {
        if windows.lines {
            self.write_lines(geometry, windows, words, pad, buffer)
        } else if windows.grid != geometry.input {
            windows.pad(geometry, words, pad, buffer)
        } else {
            Ok(words)
        }
    }

    /// Copies packed images into larger ones, with padding around them.
    fn pad<'a>(
        &self,
        geometry: &Geometry,
        words: &[u32],
        code: u8,
        padded: &'a mut Vec<u32>,
    ) -> Result<&'a [u32]> {
        let len = product(&[geometry.batch, self.image_words()], "packed activations")?;
        let padded = take_aligned(padded, len, "packed activations")?;
        if len == 0 {
            return Ok(padded);
        }
        match self.planes {
            1 => padded.fill(self.pad_word(code, 0)),
            planes => {
                for (i, plane) in padded.chunks_mut(self.plane_words).enumerate() {
                    plane.fill(self.pad_word(code, i % planes));
                }
            }
        }
        if words.is_empty() {
            return Ok(padded);
        }
        let [_, height, width] = geometry.input;
        let before = geometry.padding_before();
        let line = width * self.pixel_words;
        let images = words.chunks(geometry.pixels() * self.pixel_words);
        for (image, padded) in images.zip(padded.chunks_mut(self.image_words())) {
            for (i, words) in image.chunks(line).enumerate() {
                let at = [before[0] + i / height, before[1] + i % height, before[2]];
                let start = self.pixel(at, [1; 3]);
                padded[start..start + line].copy_from_slice(words);
            }
        }
        Ok(padded)
    }
}
