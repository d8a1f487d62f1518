//! What has a scale of its own where activations are scaled by sample: a row of a dense layer's
//! input, an image of a convolution's.
//!
//! Scales are no part of the exact sums. An output position sees a single sample, so that the
//! sample's scale is a factor there like XNOR-Net's K.

use crate::forward::problem::Problem;
use crate::geometry::Geometry;
use crate::memory::{product, take};
use crate::options::InputScaling;
use crate::quantizer::FittedQuantizer;
use crate::{Element, Result};
use ndarray::{ArrayView5, Axis};

impl Problem<'_> {
    /// The input as (samples, channels, pixels of a sample), its pixels in the same order.
    pub(crate) fn samples<'x, T>(&self, x: &ArrayView5<'x, T>) -> ArrayView5<'x, T> {
        let by_row = self.dense && self.activation.scales_samples();
        if by_row { x.permuted_axes([4, 1, 2, 3, 0]) } else { *x }
    }

    /// The scale of each sample of a checked input; nothing if samples have none.
    pub(crate) fn sample_scales<'m, T: Element>(
        &self,
        x: &ArrayView5<'_, T>,
        scales: &'m mut Vec<T>,
    ) -> Result<&'m [T]> {
        // Without elements on either side there may be more samples than could be counted.
        let nothing = x.is_empty() && self.geometry.output_shape().contains(&0);
        if nothing || !self.activation.scales_samples() {
            return Ok(&[]);
        }
        let samples = self.samples(x);
        let scales = take(scales, samples.len_of(Axis(0)), "input magnitudes")?;
        for (i, (scale, sample)) in scales.iter_mut().zip(samples.outer_iter()).enumerate() {
            *scale = self.activation.sample_scale(i, &sample)?;
        }
        Ok(scales)
    }

    /// The quantizer of a sample.
    pub(crate) fn quantizer<T: Element>(
        &self,
        sample_scales: &[T],
        sample: usize,
    ) -> FittedQuantizer<T> {
        self.activation.fitted(sample_scales.get(sample).copied().unwrap_or(T::one()))
    }

    /// The factor of every output position, `[image][position][group]`: XNOR-Net's K, times the
    /// scale of the sample; nothing if there is neither.
    pub(crate) fn position_factors<'s, T: Element>(
        &self,
        x: &ArrayView5<'_, T>,
        sample_scales: &[T],
        pixel_means: &mut Vec<T>,
        factors: &'s mut Vec<T>,
    ) -> Result<&'s [T]> {
        let geometry = &self.geometry;
        let factors = match self.input_scaling {
            InputScaling::KMap => k_map(geometry, x, pixel_means, factors)?,
            InputScaling::None if sample_scales.is_empty() || geometry.filters == 0 => {
                return Ok(&[]);
            }
            InputScaling::None => {
                let len = product(
                    &[geometry.batch, geometry.positions(), geometry.groups()],
                    "input scales",
                )?;
                let factors = take(factors, len, "input scales")?;
                factors.fill(T::one());
                factors
            }
        };
        let share = factors.len() / sample_scales.len().max(1);
        for (factors, &scale) in factors.chunks_mut(share.max(1)).zip(sample_scales) {
            factors.iter_mut().for_each(|factor| *factor *= scale);
        }
        Ok(factors)
    }
}

/// XNOR-Net's K, `[image][position][group]`: the mean over the window of `mean|x|` over the
/// channels of the group, padding counted as 0.
pub(crate) fn k_map<'a, T: Element>(
    geometry: &Geometry,
    x: &ArrayView5<'_, T>,
    magnitudes: &mut Vec<T>,
    k_map: &'a mut Vec<T>,
) -> Result<&'a mut [T]> {
    if geometry.filters == 0 {
        return Ok(&mut []); // a kernel without weights may be longer than could ever be walked through
    }
    let groups = geometry.groups();
    let width = geometry.group_channels();
    let (pixels, positions) = (geometry.pixels(), geometry.positions());
    let len = product(&[geometry.batch, pixels, groups], "input magnitudes")?;
    let magnitudes = take(magnitudes, len, "input magnitudes")?;
    let len = product(&[geometry.batch, positions, groups], "K-map")?;
    let k_map = take(k_map, len, "K-map")?;
    k_map.fill(T::zero());
    if x.is_empty() {
        return Ok(k_map); // windows see nothing but padding
    }

    for (image, x) in x.outer_iter().enumerate() {
        let a = &mut magnitudes[image * pixels * groups..][..pixels * groups];
        a.fill(T::zero());
        for (channel, plane) in x.outer_iter().enumerate() {
            let sums = a[channel / width..].iter_mut().step_by(groups);
            for (sum, x) in sums.zip(&plane) {
                *sum += x.abs();
            }
        }
        let share = T::of_integer((width * geometry.taps()) as i64);
        let k = &mut k_map[image * positions * groups..][..positions * groups];
        for (position, k) in k.chunks_mut(groups).enumerate() {
            geometry.for_each_tap(position, |_, pixel| {
                let Some(pixel) = pixel else { return };
                for (k, &sum) in k.iter_mut().zip(&a[pixel * groups..][..groups]) {
                    *k += sum / share;
                }
            });
        }
    }
    Ok(k_map)
}
