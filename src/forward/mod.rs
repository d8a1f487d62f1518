//! The one way of every forward: quantize the input, find or gather windows, multiply tiles of
//! rows with the packed weights, finish each row in the epilogue.

mod blocks_old;
mod depthwise;
mod dequantize;
mod float;
pub(crate) mod gemm;
pub(crate) mod input;
mod partition;
pub(crate) mod plan;
pub(crate) mod scales;
pub(crate) mod scratch;
pub(crate) mod tile_sums;

use crate::epilogue::exact::{Numerator, Summed, differing_bits_fit, pad_code};
use crate::epilogue::output_scale::Epilogue;
use crate::epilogue::padding::Padding;
use crate::epilogue::terms::Finishing;
use crate::epilogue::to_floats::FloatOutput;
use crate::epilogue::to_signs::BitOutput;
use crate::forward::dequantize::{CodedWeights, MANY_ROWS};
use crate::forward::float::{FloatEngine, FloatWeights};
use crate::forward::gemm::WordTiles;
use crate::forward::input::Input;
use crate::forward::plan::CostModel;
use crate::forward::scratch::{Floats, Integers, Scratch, Side};
use crate::geometry::Geometry;
use crate::kernel::{Kernel, Offsets};
use crate::memory::{product, take, take_aligned};
use crate::options::{InputScaling, OutputForm, PadValue};
use crate::packed::bit_tensor::sign_threshold;
use crate::packed::bits::{pack_input, regroup};
use crate::packed::codes::pack_codes;
use crate::packed::format::CodeFormat;
use crate::packed::layout::WordLayout;
use crate::packed::nhwc::quantize_lanes;
use crate::packed::panels::Panels;
use crate::packed::row_sums::code_sums;
use crate::packed::weights::Codes;
use crate::quantizer::{Levels, Threshold, check_no_nan};
use crate::{ActivationQuantizer, Element, Error, Operand, PackedWeights, Result, SignThresholds};
use ndarray::{ArrayView1, ArrayView5, ArrayViewMut5};

/// What a forward is to compute, beside its operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task<'a> {
    pub(crate) geometry: Geometry,
    pub(crate) activation: &'a ActivationQuantizer,
    pub(crate) form: OutputForm,
    pub(crate) input_scaling: InputScaling,
    pub(crate) pad: PadValue,
    /// Whether the pixels of the one image are the rows of a dense layer.
    pub(crate) dense: bool,
}

/// What a forward computes from its input and packed weights.
pub(crate) enum Output<'a, T> {
    Numbers(Numbers<'a, T>),
    /// The signs of numbers, (images, words, depth, height, width).
    Signs {
        thresholds: &'a SignThresholds,
        out: ArrayViewMut5<'a, u32>,
    },
}

/// Numbers, and what is added to them.
pub(crate) struct Numbers<'a, T> {
    /// One a filter.
    pub(crate) bias: Option<ArrayView1<'a, T>>,
    /// Of the shape of the output.
    pub(crate) residual: Option<ArrayView5<'a, T>>,
    pub(crate) out: ArrayViewMut5<'a, T>,
}

/// Computes an output from an input and packed weights, all of the shapes that the geometry says.
pub(crate) fn forward<T: Element>(
    task: Task<'_>,
    x: Input<'_, T>,
    weights: &PackedWeights<T>,
    scratch: &mut Scratch,
    output: Output<'_, T>,
) -> Result<()> {
    // Taken out, so that the integer and the float buffers can be borrowed side by side.
    let mut floats = std::mem::take(scratch.floats::<T>());
    let call = Call { kernel: Kernel::current(), task, x, weights };
    let result = match (call.exact(), output) {
        (Some(exact), output) => match call.depthwise_layout(exact) {
            Some(layout) => {
                let (integers, workspaces) = (&mut scratch.integers, &mut scratch.workspaces);
                call.depthwise(exact, layout, integers, &mut floats, workspaces, output)
            }
            None => call.integers(exact, &mut scratch.integers, &mut floats, output),
        },
        (None, Output::Numbers(numbers)) => {
            call.floats(&mut floats, &mut scratch.workspaces, numbers)
        }
        (None, Output::Signs { .. }) => Err(too_wide(task.activation, weights)),
    };
    *scratch.floats::<T>() = floats;
    result
}

impl<T: Element> Numbers<'_, T> {
    /// Checks what is added, and hands out the bias.
    fn check_addends(&self) -> Result<Option<&ArrayView1<'_, T>>> {
        if let Some(residual) = &self.residual {
            check_no_nan(Operand::Residual, residual)?;
        }
        Ok(self.bias.as_ref())
    }
}

impl<T: Element> Output<'_, T> {
    /// Checks what is added to numbers, and hands out the bias.
    fn check_addends(&self) -> Result<Option<&ArrayView1<'_, T>>> {
        match self {
            Output::Numbers(numbers) => numbers.check_addends(),
            Output::Signs { .. } => Ok(None),
        }
    }

    /// What numerators are compared with, one of each filter, or nothing.
    fn thresholds(&self) -> &[i64] {
        match self {
            Output::Numbers(_) => &[],
            Output::Signs { thresholds, .. } => thresholds.thresholds(),
        }
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
    task: Task<'a>,
    x: Input<'x, T>,
    weights: &'a PackedWeights<T>,
}

/// Operands that are held as integers.
#[derive(Clone, Copy)]
struct Exact<'a> {
    activation: Levels,
    weight: Levels,
    panels: &'a Panels,
    /// What both are multiplied as.
    form: CodeFormat,
}

impl<'a, T: Element> Call<'a, '_, T> {
    /// How to multiply integers, if all codes have 8 bits at most.
    fn exact(&self) -> Option<Exact<'a>> {
        let activation = self.task.activation.levels().filter(Levels::fit_a_byte)?;
        let Codes::Panels(panels, weight) = self.weights.codes() else {
            return None;
        };
        let form = match panels.format() {
            CodeFormat::Planes => self.product_form(activation, weight),
            CodeFormat::Bytes => CodeFormat::Bytes,
        };
        Some(Exact { activation, weight, panels, form })
    }

    /// How to multiply with weights that are held in planes.
    fn product_form(&self, activation: Levels, weight: Levels) -> CodeFormat {
        let geometry = &self.task.geometry;
        if !differing_bits_fit(activation, weight, geometry.row_len()) {
            return CodeFormat::Bytes;
        }
        let rows = geometry.batch.saturating_mul(geometry.positions());
        CostModel::of(self.kernel.isa()).product_form(activation.bits(), weight.bits(), rows)
    }

    fn integers(
        &self,
        exact: Exact<'_>,
        buffers: &mut Integers,
        floats: &mut Floats<T>,
        output: Output<'_, T>,
    ) -> Result<()> {
        let (kernel, geometry) = (self.kernel, &self.task.geometry);
        let Exact { activation, weight, form, mut panels } = exact;
        let mut layout = WordLayout::new(geometry, form, activation.bits() as usize);
        if form == CodeFormat::Bytes && kernel.has_tiles() {
            layout.gather_short_lines(geometry);
        }
        let layout = &layout;
        let len = layout.input_len(geometry)?;
        let words = take_aligned(&mut buffers.words, len, "packed activations")?;
        let threshold = self.task.activation.threshold().filter(|_| form == CodeFormat::Planes);
        // The packing finds NaNs, but scales must be of numbers.
        let found_later = !self.task.activation.scales_samples();
        let magnitudes = self.magnitudes(found_later, &mut floats.sample_magnitudes)?;
        let bias = output.check_addends()?;
        let epilogue = self.epilogue(bias, magnitudes, &mut floats.side)?;
        let words = self.pack_input(layout, threshold, magnitudes, words)?;
        let nothing = match &output {
            Output::Numbers(numbers) => numbers.out.is_empty(),
            Output::Signs { out, .. } => out.is_empty(),
        };
        if nothing {
            return Ok(()); // there may be more positions than could be walked through
        }
        if panels.format() != form {
            panels.expand(&mut buffers.panels)?;
            panels = &buffers.panels;
        }

        let summed = match form {
            CodeFormat::Planes => Summed::DifferingBits,
            CodeFormat::Bytes => Summed::CodeProducts { center: panels.center() },
        };
        let numerator =
            Numerator::new(summed, activation, weight, geometry.row_len(), self.task.form);
        let (pad, padding) = (pad_code(activation, self.task.pad).0, &mut buffers.padding);
        self.fill_padding(exact, numerator, &output, padding, &mut buffers.taps)?;
        padding.set_precision(numerator.precision(activation, weight, geometry.row_len()));
        let code_sums = match numerator.row {
            0 => &[],
            _ => {
                let [pixels, windows] = &mut buffers.code_sums;
                code_sums(kernel, geometry, layout, words, pad, [pixels, windows])?
            }
        };
        layout.offsets(geometry, panels.padded_row_words(), &mut buffers.offsets)?;
        let lines = layout.lines_of_bits(geometry);
        let padded = &mut buffers.padded;
        let words = match &lines {
            Some(lines) => layout.write_lines(geometry, lines, words, pad, padded)?,
            None if layout.is_padded(geometry) => layout.pad(geometry, words, pad, padded)?,
            None => words,
        };
        let layout = lines.as_ref().unwrap_or(layout);
        let tiles = WordTiles {
            kernel,
            geometry,
            layout,
            offsets: Offsets::new(&buffers.offsets),
            words,
            pad,
            panels,
            summed,
            largest: (1 << activation.bits()) - 1,
        };
        let finishing = Finishing { kernel, geometry, numerator, padding, code_sums };
        match output {
            Output::Numbers(Numbers { residual, out, .. }) => {
                let finish = FloatOutput { finishing, epilogue, residual };
                tiles.run(&finish, &mut buffers.tiles, &mut floats.outs, out)
            }
            Output::Signs { thresholds, out } => {
                let finish = BitOutput { finishing, flips: thresholds.flips() };
                tiles.run(&finish, &mut buffers.tiles, &mut buffers.signs, out)
            }
        }
    }

    /// Fills in what is added to the sums of codes at each position.
    fn fill_padding(
        &self,
        exact: Exact<'_>,
        numerator: Numerator,
        output: &Output<'_, T>,
        padding: &mut Padding,
        taps: &mut Vec<i64>,
    ) -> Result<()> {
        let geometry = &self.task.geometry;
        let (_, multiple) = pad_code(exact.activation, self.task.pad);
        let addends = self.weights.sums().iter().map(|&sum| numerator.addend(sum));
        padding.same(addends);
        padding.subtract(output.thresholds());
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
    fn magnitudes<'m>(&self, found_later: bool, magnitudes: &'m mut Vec<T>) -> Result<&'m [T]> {
        match &self.x {
            Input::Signs(_) => Ok(&[]),
            Input::Numbers(_) if found_later => Ok(&[]),
            Input::Numbers(x) => {
                check_no_nan(Operand::Input, x)?;
                self.task.magnitudes(x, magnitudes)
            }
        }
    }

    /// Packs the codes of the input, as bits if there is a threshold. NaNs are found on the way.
    fn pack_input<'w>(
        &'w self,
        layout: &WordLayout,
        threshold: Option<Threshold<T>>,
        magnitudes: &[T],
        words: &'w mut [u32],
    ) -> Result<&'w [u32]> {
        let (kernel, geometry) = (self.kernel, &self.task.geometry);
        let x = match &self.x {
            Input::Numbers(x) => x,
            Input::Signs(signs) => {
                sign_threshold::<T>(self.task.activation)?;
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
                let coder = |sample| self.task.coder(magnitudes, sample);
                let samples = self.task.samples(x);
                pack_codes(kernel, geometry, layout, &samples, words, coder)
            }
        };
        if nan {
            return Err(Error::NaN { operand: Operand::Input });
        }
        Ok(words)
    }

    fn floats(
        &self,
        buffers: &mut Floats<T>,
        workspaces: &mut Vec<u64>,
        numbers: Numbers<'_, T>,
    ) -> Result<()> {
        let geometry = &self.task.geometry;
        let Input::Numbers(x) = &self.x else {
            return Err(too_wide(self.task.activation, self.weights));
        };
        let lanes = take(&mut buffers.lanes, geometry.activations(), "quantized activations")?;
        let magnitudes = self.magnitudes(false, &mut buffers.sample_magnitudes)?;
        let bias = numbers.check_addends()?;
        let epilogue = self.epilogue(bias, magnitudes, &mut buffers.side)?;
        let Numbers { residual, mut out, .. } = numbers;
        quantize_lanes(&self.task.samples(x), lanes, |sample| {
            let coder = self.task.coder(magnitudes, sample);
            move |lanes: &mut [T]| coder.values(lanes)
        });
        let few = geometry.batch.saturating_mul(geometry.positions()) < MANY_ROWS;
        let weights = match self.weights.codes() {
            Codes::Values(values) => FloatWeights::Values(values),
            Codes::Panels(panels, levels) if few && panels.planes() == 1 => {
                FloatWeights::Codes(CodedWeights::new(self.kernel, panels, levels))
            }
            Codes::Panels(..) => {
                let values = take(&mut buffers.weights, self.weights.len(), "quantized weights")?;
                self.weights.expand_values(values);
                FloatWeights::Values(values)
            }
        };
        let pad = T::of_integer(self.task.pad.as_integer());
        let engine = FloatEngine { kernel: self.kernel, geometry, lanes, weights, pad, epilogue };
        let partition = engine.partition(out.len());
        partition.run(self.kernel, geometry, &engine, workspaces, out.view_mut())?;
        if let Some(residual) = residual {
            out += &residual;
        }
        Ok(())
    }

    /// Checks the bias, and fills in what every path's epilogue needs. The lanes have been
    /// allocated by now: a broadcast view may be too large to be read through.
    fn epilogue<'b>(
        &'b self,
        given_bias: Option<&ArrayView1<'_, T>>,
        magnitudes: &[T],
        side: &'b mut Side<T>,
    ) -> Result<Epilogue<'b, T>> {
        if let Some(bias) = given_bias {
            check_no_nan(Operand::Bias, bias)?;
        }
        let Side { bias, magnitudes: pixels, k_map } = side;
        bias.clear();
        bias.extend(given_bias.into_iter().flatten());
        Ok(Epilogue {
            form: self.task.form,
            row_len: self.task.geometry.row_len(),
            factors: self.weights.factors(),
            k_map: match &self.x {
                Input::Numbers(x) => self.task.position_factors(x, magnitudes, pixels, k_map)?,
                Input::Signs(_) => &[],
            },
            bias,
        })
    }
}

#[cfg(test)]
mod tests;
