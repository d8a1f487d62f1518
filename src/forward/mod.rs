//! The one way of every forward: a validated [`Problem`], a [`Plan`] that holds every choice, and
//! one driver (`partition`) that has an engine compute the output block by block.
//!
//! ```text
//! problem ──► plan ──► quantize, pack activations ──► windows ──► engine: tiles ──► kernel ──► epilogue
//! ```

mod depthwise;
mod dequantize;
mod float;
mod gemm;
pub(crate) mod input;
mod partition;
pub(crate) mod plan;
pub(crate) mod problem;
pub(crate) mod scales;
pub(crate) mod scratch;

use crate::epilogue::Numerators;
use crate::epilogue::exact::{Summed, ZeroPoints, pad_code};
use crate::epilogue::padding::Padding;
use crate::epilogue::to_floats::{FloatOutput, OutputScale};
use crate::epilogue::to_signs::SignOutput;
use crate::forward::dequantize::CodedWeights;
use crate::forward::float::{FloatEngine, Weights};
use crate::forward::gemm::{Gemm, Operands};
use crate::forward::input::Input;
use crate::forward::plan::{FloatPlan, FloatWeights, GemmPlan, Plan};
use crate::forward::problem::{Exact, FloatTarget, Problem, Target};
use crate::forward::scratch::{Buffers, ScaleBuffers, Scratch};
use crate::kernel::{Kernel, Offsets};
use crate::memory::{product, take, take_aligned};
use crate::packed::bit_tensor::sign_threshold;
use crate::packed::bits::{pack_input, regroup};
use crate::packed::codes::pack_codes;
use crate::packed::format::CodeFormat;
use crate::packed::layout::WordLayout;
use crate::packed::nhwc::quantize_nhwc;
use crate::packed::row_sums::row_sums;
use crate::packed::weights::Codes;
use crate::quantizer::check_no_nan;
use crate::{ActivationQuantizer, Element, Error, Operand, PackedWeights, Result};

/// Computes an output from an input and packed weights, all of the shapes that the problem says.
pub(crate) fn forward<T: Element>(
    problem: Problem<'_>,
    x: Input<'_, T>,
    weights: &PackedWeights<T>,
    scratch: &mut Scratch,
    target: Target<'_, T>,
) -> Result<()> {
    let kernel = Kernel::current();
    let plan = Plan::new(kernel, &problem, weights, &target);
    let call = Call { kernel, problem, x, weights };
    let buffers = scratch.buffers();
    match (plan, target) {
        (Plan::Gemm(plan), target) => call.gemm(&plan, buffers, target),
        (Plan::Depthwise(exact, layout), target) => call.depthwise(exact, &layout, buffers, target),
        (Plan::Float(plan), Target::Floats(target)) => call.floats(&plan, buffers, target),
        (Plan::Float(_), Target::Signs { .. }) => Err(too_wide(problem.activation, weights)),
    }
}

/// Says which side has too many bits for exact integers.
pub(crate) fn too_wide<T: Element>(
    activation: &ActivationQuantizer,
    weights: &PackedWeights<T>,
) -> Error {
    let (operand, bits) = match activation.bits() {
        bits if bits > 8 => (Operand::Input, bits),
        _ => (Operand::Weight, weights.quantizer().bits()),
    };
    Error::BitWidth { operand, expected: "1 to 8", bits }
}

/// One forward with its operands.
struct Call<'a, 'x, T> {
    kernel: Kernel,
    problem: Problem<'a>,
    x: Input<'x, T>,
    weights: &'a PackedWeights<T>,
}

impl<T: Element> Call<'_, '_, T> {
    /// A matrix product of codes.
    fn gemm(
        &self,
        plan: &GemmPlan<'_>,
        buffers: Buffers<'_, T>,
        target: Target<'_, T>,
    ) -> Result<()> {
        let GemmPlan { exact, format, packed, windows, tile, partition } = plan;
        let Exact { activation, weight, mut panels } = *exact;
        let Buffers { integers, floats, workspaces } = buffers;
        let (kernel, geometry) = (self.kernel, &self.problem.geometry);
        let len = packed.input_len(geometry)?;
        let words = take_aligned(&mut integers.words, len, "packed activations")?;
        let threshold =
            self.problem.activation.threshold().filter(|_| *format == CodeFormat::Planes);
        // The packing finds NaNs, but scales must be without.
        let found_later = !self.problem.activation.scales_samples();
        let sample_scales = self.sample_scales(found_later, &mut floats.sample_scales)?;
        let scale = self.output_scale(&target, sample_scales, &mut floats.scales)?;
        let words = self.pack_input(packed, threshold, sample_scales, words)?;
        if target.is_empty() {
            return Ok(()); // there may be more positions than could be walked through
        }
        if panels.storage.format() != *format {
            panels.expand(&mut integers.panels)?;
            panels = &integers.panels;
        }
        let summed = match format {
            CodeFormat::Planes => Summed::DifferingBits,
            CodeFormat::Bytes => Summed::CodeProducts { center: panels.storage.center },
        };
        let row_len = geometry.row_len();
        let zero_points = ZeroPoints::new(summed, activation, weight, row_len, self.problem.form);
        let (pad, padding) = (pad_code(activation, self.problem.pad).0, &mut integers.padding);
        self.fill_padding(*exact, zero_points, &target, padding, &mut integers.taps)?;
        padding.set_accumulator(zero_points.accumulator(activation, weight, row_len));
        let row_sums = match zero_points.row_factor {
            0 => &[],
            _ => row_sums(kernel, geometry, packed, words, pad, &mut integers.row_sums)?,
        };
        windows.offsets(geometry, panels.row_words(), &mut integers.offsets)?;
        let words = packed.copy_to(geometry, windows, words, pad, &mut integers.padded)?;
        let operands = Operands {
            kernel,
            geometry,
            layout: windows,
            offsets: Offsets::new(&integers.offsets),
            words,
            pad,
            panels,
            summed,
            largest: (1 << activation.bits()) - 1,
        };
        let numerators = Numerators { kernel, geometry, zero_points, padding, row_sums };
        let shape = *tile;
        match target {
            Target::Floats(FloatTarget { residual, out, .. }) => {
                let output = &FloatOutput::new(numerators, scale, residual);
                partition.run(kernel, geometry, &Gemm { operands, output, shape }, workspaces, out)
            }
            Target::Signs { thresholds, out } => {
                let output = &SignOutput { numerators, thresholds };
                partition.run(kernel, geometry, &Gemm { operands, output, shape }, workspaces, out)
            }
        }
    }

    /// A matrix product of floats.
    fn floats(
        &self,
        plan: &FloatPlan,
        buffers: Buffers<'_, T>,
        target: FloatTarget<'_, T>,
    ) -> Result<()> {
        let Buffers { floats, workspaces, .. } = buffers;
        let (kernel, geometry) = (self.kernel, &self.problem.geometry);
        let Input::Floats(x) = &self.x else {
            return Err(too_wide(self.problem.activation, self.weights));
        };
        let activations = geometry.activations();
        let activations = take(&mut floats.activations, activations, "quantized activations")?;
        let sample_scales = self.sample_scales(false, &mut floats.sample_scales)?;
        let target = Target::Floats(target);
        let scale = self.output_scale(&target, sample_scales, &mut floats.scales)?;
        let Target::Floats(FloatTarget { residual, mut out, .. }) = target else { return Ok(()) };
        quantize_nhwc(&self.problem.samples(x), activations, |sample| {
            let quantizer = self.problem.quantizer(sample_scales, sample);
            move |activations: &mut [T]| quantizer.values(activations)
        });
        let weights = match (plan.weights, self.weights.codes()) {
            (_, Codes::Values(values)) => Weights::Values(values),
            (FloatWeights::Codes, Codes::Panels(panels, levels)) => {
                Weights::Codes(CodedWeights::new(kernel, panels, levels))
            }
            _ => {
                let values = take(&mut floats.weights, self.weights.len(), "quantized weights")?;
                self.weights.expand_values(values);
                Weights::Values(values)
            }
        };
        let pad = T::of_integer(self.problem.pad.as_integer());
        let tile_rows = plan.tile_rows;
        let engine = FloatEngine { kernel, geometry, activations, weights, pad, scale, tile_rows };
        plan.partition.run(kernel, geometry, &engine, workspaces, out.view_mut())?;
        if let Some(residual) = residual {
            out += &residual;
        }
        Ok(())
    }

    /// Fills in what is added to the sums of codes at each position.
    fn fill_padding(
        &self,
        exact: Exact<'_>,
        zero_points: ZeroPoints,
        target: &Target<'_, T>,
        padding: &mut Padding,
        taps: &mut Vec<i64>,
    ) -> Result<()> {
        let geometry = &self.problem.geometry;
        let (_, multiple) = pad_code(exact.activation, self.problem.pad);
        padding.same(self.weights.sums().iter().map(|&sum| zero_points.offset(sum)));
        padding.subtract(target.thresholds());
        if multiple != 0 && geometry.has_padding() && geometry.row_len() > 0 {
            let len = product(&[geometry.taps(), geometry.filters], "filter sums")?;
            let taps = take(taps, len, "filter sums")?;
            self.weights.sum_taps(self.kernel, exact.weight, 2 * multiple, taps);
            padding.add_taps(geometry, taps)?;
        }
        Ok(())
    }

    /// Checks the input unless its NaNs are found while it is packed, and measures what its
    /// samples are scaled by.
    fn sample_scales<'m>(&self, found_later: bool, scales: &'m mut Vec<T>) -> Result<&'m [T]> {
        match &self.x {
            Input::Signs(_) => Ok(&[]),
            Input::Floats(_) if found_later => Ok(&[]),
            Input::Floats(x) => {
                check_no_nan(Operand::Input, x)?;
                self.problem.sample_scales(x, scales)
            }
        }
    }

    /// Packs the codes of the input, as bits if there is a threshold. NaNs are found on the way.
    fn pack_input<'w>(
        &'w self,
        layout: &WordLayout,
        threshold: Option<T>,
        sample_scales: &[T],
        words: &'w mut [u32],
    ) -> Result<&'w [u32]> {
        let (kernel, geometry) = (self.kernel, &self.problem.geometry);
        let x = match &self.x {
            Input::Floats(x) => x,
            Input::Signs(signs) => {
                sign_threshold::<T>(self.problem.activation)?;
                let as_packed = geometry.groups() == 1 || geometry.group_channels() % 32 == 0;
                if threshold.is_some() && as_packed {
                    return Ok(signs.words());
                }
                regroup(geometry, layout, signs.words(), words);
                return Ok(words);
            }
        };
        let nan = match threshold {
            Some(threshold) => pack_input(kernel, geometry.groups(), x, threshold, words),
            None => {
                let quantizer = |sample| self.problem.quantizer(sample_scales, sample);
                let samples = self.problem.samples(x);
                pack_codes(kernel, geometry, layout, &samples, words, quantizer)
            }
        };
        if nan {
            return Err(Error::NaN { operand: Operand::Input });
        }
        Ok(words)
    }

    /// Checks what is added to floats, and collects what they are scaled with. The activations have
    /// been allocated by now: a broadcast view may be too large to be read through.
    fn output_scale<'b>(
        &'b self,
        target: &Target<'_, T>,
        sample_scales: &[T],
        buffers: &'b mut ScaleBuffers<T>,
    ) -> Result<OutputScale<'b, T>> {
        let given_bias = target.check_addends()?;
        let ScaleBuffers { bias, pixel_means, k_map } = buffers;
        bias.clear();
        bias.extend(given_bias.into_iter().flatten());
        Ok(OutputScale {
            form: self.problem.form,
            row_len: self.problem.geometry.row_len(),
            scales: self.weights.factors(),
            k_map: match &self.x {
                Input::Floats(x) => {
                    self.problem.position_factors(x, sample_scales, pixel_means, k_map)?
                }
                Input::Signs(_) => &[],
            },
            bias,
        })
    }
}

#[cfg(test)]
mod tests;
