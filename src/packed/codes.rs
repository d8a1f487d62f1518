//! Activations of up to 8 bits, packed for products: as bytes, four in a word, `[image][pixel][group]
//! [word]`, or as bit planes, `[image][pixel][group][plane][word]`; the first channel lowest.

use crate::Element;
use crate::geometry::Geometry;
use crate::kernel::{CODES, Code, Kernel};
use crate::memory::parallel::any_chunk;
use crate::packed::layout::WordLayout;
use crate::packed::nhwc::channels_are_closest;
use crate::quantizer::FittedQuantizer;
pub(crate) use crate::tuning::CODED_VALUES as RUN;
use ndarray::{ArrayView1, ArrayView2, ArrayView4, ArrayView5, Axis, s};

/// Packs the codes of `x` (N, C, D, H, W), whatever its strides, by the quantizer of each image.
/// Returns whether it holds a NaN, with which codes mean nothing.
pub(crate) fn pack_codes<T: Element>(
    kernel: Kernel,
    geometry: &Geometry,
    layout: &WordLayout,
    x: &ArrayView5<'_, T>,
    words: &mut [u32],
    quantizer: impl Fn(usize) -> FittedQuantizer<T> + Sync,
) -> bool {
    if words.is_empty() {
        return false;
    }
    let image_words = words.len() / x.len_of(Axis(0));
    any_chunk(words, image_words, 4, |i, words| {
        let image = x.index_axis(Axis(0), i);
        let quantizer = quantizer(i);
        kernel.vectorize(PackImage { kernel, geometry, layout, image, words, quantizer })
    })
}

struct PackImage<'a, T> {
    kernel: Kernel,
    geometry: &'a Geometry,
    layout: &'a WordLayout,
    /// (C, D, H, W).
    image: ArrayView4<'a, T>,
    words: &'a mut [u32],
    quantizer: FittedQuantizer<T>,
}

impl<T: Element> Code for PackImage<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn run(mut self) -> bool {
        let words = std::mem::take(&mut self.words);
        match channels_are_closest(&self.image) {
            true => self.pack_pixels(words),
            false => self.pack_planes(words),
        }
    }
}

impl<T: Element> PackImage<'_, T> {
    /// Pixel by pixel.
    #[inline(always)]
    fn pack_pixels(&self, words: &mut [u32]) -> bool {
        let width = self.geometry.group_channels();
        let mut groups = words.chunks_exact_mut(self.layout.group_words);
        let mut gathered = [T::zero(); RUN];
        let mut nan = false;
        for pixel in self.image.permuted_axes([1, 2, 3, 0]).lanes(Axis(3)) {
            for (channels, words) in pixel.axis_chunks_iter(Axis(0), width).zip(&mut groups) {
                for (i, run) in channels.axis_chunks_iter(Axis(0), RUN).enumerate() {
                    let (mut codes, first) = ([0; RUN], i * RUN);
                    nan |= self.write_codes(run, &mut gathered, &mut codes);
                    if self.layout.code_bits == 8 {
                        let words = words[first / 4..].iter_mut().zip(codes.as_chunks().0);
                        words.for_each(|(word, codes)| *word = u32::from_le_bytes(*codes));
                    } else {
                        let codes = &codes.as_chunks().0[..run.len().div_ceil(CODES)];
                        self.write_planes(codes, &mut words[first / CODES..]);
                    }
                }
            }
        }
        nan
    }

    /// A few pixels of all channels at a time, a word of channels together.
    #[inline(always)]
    fn pack_planes(&self, words: &mut [u32]) -> bool {
        let WordLayout { code_bits, group_words, pixel_words, .. } = *self.layout;
        let width = self.geometry.group_channels();
        let (channels, depth, height, line) = self.image.dim();
        // One long line, if pixels lie so.
        let flat = (channels, 1, 1, depth * height * line);
        let image = self.image.into_shape_with_order(flat).unwrap_or(self.image);
        let (_, depth, height, _) = image.dim();
        let mut rest = words;
        let mut gathered = [T::zero(); RUN];
        let mut nan = false;
        for i in 0..depth * height {
            let line = image.slice_move(s![.., i / height, i % height, ..]);
            for run in line.axis_chunks_iter(Axis(1), RUN) {
                let words;
                (words, rest) = rest.split_at_mut(run.ncols() * pixel_words);
                for (group, channels) in run.axis_chunks_iter(Axis(0), width).enumerate() {
                    let (words, gathered) = (&mut words[group * group_words..], &mut gathered);
                    nan |= match code_bits {
                        1 => self.pack_channels(
                            channels,
                            words,
                            gathered,
                            |codes: [u8; CODES], words| {
                                self.write_planes(&[codes], words);
                            },
                        ),
                        _ => self.pack_channels(
                            channels,
                            words,
                            gathered,
                            |codes: [u8; 4], words| {
                                words[0] = u32::from_le_bytes(codes);
                            },
                        ),
                    };
                }
            }
        }
        nan
    }

    /// Packs a group's channels of a run of pixels: `write` gets the codes of `N` of each pixel, and its
    /// words from there on.
    #[inline(always)]
    fn pack_channels<const N: usize>(
        &self,
        channels: ArrayView2<'_, T>,
        words: &mut [u32],
        gathered: &mut [T; RUN],
        write: impl Fn([u8; N], &mut [u32]),
    ) -> bool {
        let mut nan = false;
        for (i, planes) in channels.axis_chunks_iter(Axis(0), N).enumerate() {
            let mut codes = [[0; RUN]; N];
            for (plane, codes) in planes.outer_iter().zip(&mut codes) {
                nan |= self.write_codes(plane, gathered, codes);
            }
            let pixels = words.chunks_mut(self.layout.pixel_words);
            for (pixel, words) in pixels.enumerate().take(channels.ncols()) {
                write(std::array::from_fn(|channel| codes[channel][pixel]), &mut words[i..]);
            }
        }
        nan
    }

    /// Writes the codes of a run of activations. Returns whether it holds a NaN.
    #[inline(always)]
    fn write_codes(
        &self,
        run: ArrayView1<'_, T>,
        gathered: &mut [T; RUN],
        codes: &mut [u8; RUN],
    ) -> bool {
        self.quantizer.write_codes(side_by_side(run, gathered), codes)
    }

    /// Writes codes into the words of all bit planes, of which the first ones are given.
    #[inline(always)]
    fn write_planes(&self, codes: &[[u8; CODES]], words: &mut [u32]) {
        let planes = words.chunks_mut(self.layout.plane_words).take(self.layout.planes);
        for (plane, words) in planes.enumerate() {
            self.kernel.write_bits(codes, plane, &mut words[..codes.len()]);
        }
    }
}

/// A run in consecutive memory: in place, or in `gathered`.
#[inline(always)]
pub(crate) fn side_by_side<'a, T: Copy>(
    run: ArrayView1<'a, T>,
    gathered: &'a mut [T; RUN],
) -> &'a [T] {
    run.to_slice().unwrap_or_else(|| {
        let gathered = &mut gathered[..run.len()];
        gathered.iter_mut().zip(run).for_each(|(to, &x)| *to = x);
        gathered
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ActivationQuantizer;
    use crate::geometry::Window;
    use crate::kernel::Isa;
    use crate::packed::format::CodeFormat;
    use ndarray::Array5;

    /// In all layouts, of more channels and longer lines than are coded together.
    #[test]
    fn every_code_lies_in_its_byte() {
        let dims = [2, 2 * (RUN + 3), 2, 3, RUN + 2];
        let x = Array5::from_shape_fn(dims, |(n, c, d, h, w)| {
            ((n + 3 * c + 5 * d + 7 * h + 11 * w) % 256) as f32 / 255.0
        });
        // Every other number of a line of twice the length.
        let mut wide = Array5::zeros([2, dims[1], 2, 3, 2 * dims[4]]);
        wide.slice_mut(s![.., .., .., .., ..;2]).assign(&x);
        let closest = x.view().permuted_axes([0, 2, 3, 4, 1]).as_standard_layout().into_owned();
        let closest = closest.view().permuted_axes([0, 4, 1, 2, 3]);
        let views = [x.view(), wide.slice(s![.., .., .., .., ..;2]), closest];
        for groups in [1, 2, dims[1] / 2, dims[1]] {
            for x in views {
                for isa in Isa::ALL {
                    Kernel::new(*isa).into_iter().for_each(|kernel| check(kernel, x, groups));
                }
            }
        }
    }

    fn check(kernel: Kernel, x: ArrayView5<'_, f32>, groups: usize) {
        let width = x.len_of(Axis(1)) / groups;
        let window = Window { groups, ..Window::POINTWISE };
        let geometry = Geometry::new(window, x.dim().into(), [groups, width, 1, 1, 1]);
        let geometry = geometry.expect("sizes fit");
        let layout = WordLayout::new(&geometry, CodeFormat::Bytes, 8);
        // Of an earlier input.
        let mut words = vec![u32::MAX; layout.input_len(&geometry).expect("a size")];
        let quantizer = ActivationQuantizer::dorefa(8).expect("a width").fitted(1.0);
        assert!(!pack_codes(kernel, &geometry, &layout, &x, &mut words, |_| quantizer));
        let pixels = x.permuted_axes([0, 2, 3, 4, 1]);
        let mut words = words.chunks(layout.group_words);
        for pixel in pixels.lanes(Axis(4)) {
            for channels in pixel.axis_chunks_iter(Axis(0), width) {
                let bytes = words.next().expect("enough words");
                let bytes: Vec<u8> = bytes.iter().flat_map(|word| word.to_le_bytes()).collect();
                assert!(
                    channels.iter().map(|x| (x * 255.0).round() as u8).eq(bytes[..width].to_vec())
                );
                assert!(bytes[width..].iter().all(|&byte| byte == 0));
            }
        }
    }
}
