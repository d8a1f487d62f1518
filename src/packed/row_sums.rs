//! `Σ c_a` of every window: what a dot product of codes lacks where weights have an offset.

use crate::Result;
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel};
use crate::memory::{product, take};
use crate::packed::layout::WordLayout;

/// Sums the codes of every window, `[image][position][group]`: those of each pixel first, then
/// those of the pixels that a window sees. `pad` is the code of a padded position.
pub(crate) fn row_sums<'a>(
    kernel: Kernel,
    geometry: &Geometry,
    layout: &WordLayout,
    words: &[u32],
    pad: u8,
    [pixels, windows]: &'a mut [Vec<i64>; 2],
) -> Result<&'a [i64]> {
    let groups = geometry.groups();
    let what = "sums of codes";
    let image_len = geometry.pixels() * groups;
    let pixels = take(pixels, product(&[geometry.batch, image_len], what)?, what)?;
    kernel.vectorize(SumWords { words, layout, sums: pixels });
    if geometry.is_pointwise() {
        return Ok(pixels);
    }
    let positions = geometry.positions();
    let windows = take(windows, product(&[geometry.batch, positions, groups], what)?, what)?;
    windows.fill(0);
    if geometry.row_len() == 0 {
        return Ok(windows); // a kernel without weights may be longer than could be walked through
    }
    let padding = i64::from(pad) * geometry.group_channels() as i64;
    for (image, sums) in windows.chunks_mut(positions * groups).enumerate() {
        let pixels = &pixels[image * image_len..][..image_len];
        kernel.vectorize(SumWindows { geometry, pixels, padding, sums });
    }
    Ok(windows)
}

/// Adds to the sum of each window of an image, `[position][group]`, those of the pixels that it
/// sees: tap by tap, for all windows of a line at once.
struct SumWindows<'a> {
    geometry: &'a Geometry,
    pixels: &'a [i64],
    /// The sum of a padded pixel.
    padding: i64,
    sums: &'a mut [i64],
}

impl Code for SumWindows<'_> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let sums = std::mem::take(&mut self.sums);
        let [depth, height, width] = self.geometry.kernel;
        let [_, output_height, output_width] = self.geometry.output;
        let [_, input_height, input_width] = self.geometry.input;
        let groups = self.geometry.groups();
        for (i, sums) in sums.chunks_mut(output_width * groups).enumerate() {
            let at = [i / output_height, i % output_height];
            for d in (0..depth).map(|tap| self.geometry.source(0, at[0], tap)) {
                for h in (0..height).map(|tap| self.geometry.source(1, at[1], tap)) {
                    let line = d.zip(h).map(|(d, h)| {
                        let start = (d * input_height + h) * input_width * groups;
                        &self.pixels[start..][..input_width * groups]
                    });
                    match line {
                        Some(line) => (0..width).for_each(|tap| self.add_tap(tap, line, sums)),
                        None => add(sums, width as i64 * self.padding),
                    }
                }
            }
        }
    }
}

impl SumWindows<'_> {
    /// Adds what a tap of the last axis sees in a line.
    #[inline(always)]
    fn add_tap(&self, tap: usize, line: &[i64], sums: &mut [i64]) {
        let [groups, stride] = [self.geometry.groups(), self.geometry.stride()[2]];
        let before = self.geometry.padding_before()[2];
        let shift = tap * self.geometry.dilation()[2];
        // Of the windows that see a pixel, not padding, the first one, and the end.
        let first_seeing = |pixel: usize| (pixel + before).saturating_sub(shift).div_ceil(stride);
        let windows = sums.len() / groups;
        let end = first_seeing(line.len() / groups).min(windows);
        let first = first_seeing(0).min(end);
        let (sums, after) = sums.split_at_mut(end * groups);
        let (left, sums) = sums.split_at_mut(first * groups);
        add(left, self.padding);
        add(after, self.padding);
        if sums.is_empty() {
            return;
        }
        let line = &line[(first * stride + shift - before) * groups..];
        if stride == 1 {
            sums.iter_mut().zip(line).for_each(|(sum, pixel)| *sum += pixel);
        } else {
            let pixels = line.chunks(stride.saturating_mul(groups));
            for (sums, pixels) in sums.chunks_mut(groups).zip(pixels) {
                sums.iter_mut().zip(pixels).for_each(|(sum, pixel)| *sum += pixel);
            }
        }
    }
}

#[inline(always)]
fn add(sums: &mut [i64], addend: i64) {
    sums.iter_mut().for_each(|sum| *sum += addend);
}

/// Sums the codes of each group of each pixel.
struct SumWords<'a> {
    words: &'a [u32],
    layout: &'a WordLayout,
    sums: &'a mut [i64],
}

impl Code for SumWords<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let WordLayout { code_bits, planes, plane_words, group_words, .. } = *self.layout;
        if group_words == 0 {
            return self.sums.fill(0);
        }
        let groups = self.words.chunks_exact(group_words);
        let ones = |words: &[u32]| words.iter().map(|word| i64::from(word.count_ones())).sum();
        for (sum, words) in self.sums.iter_mut().zip(groups) {
            *sum = match (code_bits, planes) {
                (1, 1) => ones(words),
                (1, _) => {
                    let planes = words.chunks_exact(plane_words).enumerate();
                    planes.map(|(i, plane)| ones(plane) << i).sum()
                }
                _ => words.iter().map(|word| i64::from(byte_sum(*word))).sum(),
            };
        }
    }
}

#[inline(always)]
fn byte_sum(word: u32) -> u32 {
    let pairs = (word & 0x00ff_00ff) + (word >> 8 & 0x00ff_00ff);
    (pairs & 0xffff) + (pairs >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Window;
    use crate::kernel::Isa;
    use crate::packed::format::CodeFormat;

    /// Windows within the input, over its edges, and of padding alone.
    #[test]
    fn sums_are_those_of_the_pixels_that_windows_see() {
        let strides = [[1, 1, 1], [1, 2, 3], [2, 1, 2]];
        for (input, kernel) in
            [([1, 4, 7], [1, 3, 3]), ([3, 2, 5], [2, 1, 2]), ([1, 1, 1], [1, 1, 4])]
        {
            for (stride, dilation) in strides.into_iter().zip([[1; 3], [1, 1, 2], [2, 2, 1]]) {
                for padding in [[[0, 0]; 3], [[0, 1], [2, 1], [3, 2]], [[1, 1], [0, 3], [9, 9]]] {
                    for groups in [1, 3] {
                        let window =
                            Window { stride, dilation, padding, groups, ..Window::POINTWISE };
                        let x = [2, 4 * groups, input[0], input[1], input[2]];
                        let w = [groups, 4, kernel[0], kernel[1], kernel[2]];
                        // Some kernels are too large.
                        let geometry = Geometry::new(window, x, w);
                        geometry.iter().for_each(check);
                    }
                }
            }
        }
    }

    fn check(geometry: &Geometry) {
        let layout = WordLayout::new(geometry, CodeFormat::Bytes, 8);
        let len = layout.input_len(geometry).expect("a size") as u32;
        let words: Vec<u32> = (0..len).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
        let (groups, pixels, pad) = (geometry.groups(), geometry.pixels(), 7);
        let mut expected = vec![];
        for image in words.chunks(pixels * groups) {
            for position in 0..geometry.positions() {
                let mut sums = vec![0; groups];
                geometry.for_each_tap(position, |_, pixel| {
                    for (group, sum) in sums.iter_mut().enumerate() {
                        let code = |code: u8| i64::from(code);
                        *sum += match pixel {
                            Some(pixel) => {
                                let word = image[pixel * groups + group].to_le_bytes();
                                word.map(code).iter().sum::<i64>()
                            }
                            None => 4 * code(pad),
                        };
                    }
                });
                expected.extend(sums);
            }
        }
        for kernel in Isa::ALL.iter().filter_map(|&isa| Kernel::new(isa)) {
            let buffers = &mut [vec![], vec![-1; 9]];
            let sums = row_sums(kernel, geometry, &layout, &words, pad, buffers);
            assert_eq!(sums.expect("memory"), expected, "{geometry:?}");
        }
    }
}
