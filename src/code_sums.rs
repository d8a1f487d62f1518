//! `Σ c_a` of every window: what a dot product of codes lacks where weights have an offset.

use crate::Result;
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel};
use crate::scratch::{product, take};
use crate::word_layout::WordLayout;

/// Sums the codes of every window, `[image][position][group]`: those of each pixel first, then
/// those of the pixels that a window sees. `pad` is the code of a padded position.
pub(crate) fn code_sums<'a>(
    kernel: Kernel,
    geometry: &Geometry,
    layout: &WordLayout,
    words: &[u32],
    pad: u8,
    [pixels, windows]: [&'a mut Vec<i64>; 2],
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
    for (image, windows) in windows.chunks_mut(positions * groups).enumerate() {
        let pixels = &pixels[image * image_len..][..image_len];
        for (position, sums) in windows.chunks_mut(groups).enumerate() {
            geometry.for_each_tap(position, |_, pixel| match pixel {
                Some(pixel) => {
                    let pixels = &pixels[pixel * groups..][..groups];
                    sums.iter_mut().zip(pixels).for_each(|(sum, pixel)| *sum += pixel);
                }
                None => sums.iter_mut().for_each(|sum| *sum += padding),
            });
        }
    }
    Ok(windows)
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
