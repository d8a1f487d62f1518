//! The one way of every forward: quantize the input, find or gather windows, multiply tiles of
//! rows with the packed weights, finish each row in the epilogue.

use crate::bit_lanes::pack_input;
use crate::code_lanes::pack_codes;
use crate::code_sums::code_sums;
use crate::epilogue::{Epilogue, FloatOutput};
use crate::float_tiles::FloatTiles;
use crate::geometry::Geometry;
use crate::kernel::{Kernel, Offsets};
use crate::lanes::quantize_lanes;
use crate::numerator::{LONG_ROW, Numerator, Summed, pad_code};
use crate::options::{InputScaling, OutputForm, PadValue};
use crate::pack::Codes;
use crate::panels::Panels;
use crate::quantizer::{Levels, check_numbers};
use crate::scratch::{Floats, Integers, Scratch, Side, product, take};
use crate::word_layout::WordLayout;
use crate::word_tiles::WordTiles;
use crate::{ActivationQuantizer, Element, Error, Operand, PackedWeights, Result};
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

/// Computes `out` from `x` and packed weights, all of the shapes that the geometry says.
pub(crate) fn forward<T: Element>(
    task: Task<'_>,
    x: ArrayView5<'_, T>,
    weights: &PackedWeights<T>,
    bias: Option<ArrayView1<'_, T>>,
    scratch: &mut Scratch,
    out: ArrayViewMut5<'_, T>,
) -> Result<()> {
    // Taken out, so that the integer and the float buffers can be borrowed side by side.
    let mut floats = std::mem::take(T::floats(scratch));
    let call = Call { kernel: Kernel::current(), task, x, weights, bias };
    let result = match call.exact() {
        Some(exact) => call.integers(exact, &mut scratch.integers, &mut floats, out),
        None => call.floats(&mut floats, out),
    };
    *T::floats(scratch) = floats;
    result
}

/// One forward with its operands.
struct Call<'a, T> {
    kernel: Kernel,
    task: Task<'a>,
    x: ArrayView5<'a, T>,
    weights: &'a PackedWeights<T>,
    bias: Option<ArrayView1<'a, T>>,
}

/// Operands that are held as integers.
#[derive(Clone, Copy)]
struct Exact<'a> {
    activation: Levels,
    weight: Levels,
    panels: &'a Panels,
    /// Whether both are bits, to be multiplied by XNOR and popcount. Else they are bytes.
    bits: bool,
}

impl<'a, T: Element> Call<'a, T> {
    /// How to multiply integers, if all codes have 8 bits at most.
    fn exact(&self) -> Option<Exact<'a>> {
        let activation = self.task.activation.levels().filter(Levels::fit_a_byte)?;
        let (weight, Codes::Panels(panels)) = (self.weights.levels()?, self.weights.codes()) else {
            return None;
        };
        let short = self.task.geometry.row_len() < LONG_ROW;
        let bits = activation.bits() == 1 && panels.are_bits() && short;
        Some(Exact { activation, weight, panels, bits })
    }

    fn integers(
        &self,
        exact: Exact<'_>,
        buffers: &mut Integers,
        floats: &mut Floats<T>,
        out: ArrayViewMut5<'_, T>,
    ) -> Result<()> {
        let (kernel, geometry) = (self.kernel, &self.task.geometry);
        let Exact { activation, weight, bits, mut panels } = exact;
        let layout = &WordLayout::new(geometry, if bits { 1 } else { 8 });
        let words = take(&mut buffers.words, layout.input_len(geometry)?, "packed activations")?;
        if !bits {
            check_numbers(Operand::Input, &self.x)?;
        }
        let magnitudes = self.task.magnitudes(&self.x, &mut floats.sample_magnitudes)?;
        let epilogue = self.epilogue(magnitudes, &mut floats.side)?;
        self.pack_input(layout, bits, magnitudes, words)?;
        if out.is_empty() {
            return Ok(()); // there may be more positions than could be walked through
        }
        if panels.are_bits() != bits {
            self.weights.expand_codes(&mut buffers.panels)?;
            panels = &buffers.panels;
        }

        let summed = match bits {
            true => Summed::DifferingBits,
            false => Summed::CodeProducts { center: panels.center() },
        };
        let numerator =
            Numerator::new(summed, activation, weight, geometry.row_len(), self.task.form);
        let (pad, multiple) = pad_code(activation, self.task.pad);
        let padding = &mut buffers.padding;
        padding.same(self.weights.sums().iter().map(|&sum| numerator.addend(sum)));
        if multiple != 0 && geometry.has_padding() && geometry.row_len() > 0 {
            let len = product(&[geometry.taps(), geometry.filters], "filter sums")?;
            let taps = take(&mut buffers.taps, len, "filter sums")?;
            self.weights.sum_taps(weight, taps);
            taps.iter_mut().for_each(|sum| *sum *= 2 * multiple);
            padding.add_taps(geometry, taps)?;
        }
        if numerator.fits_32_bits(activation, weight, geometry.row_len()) {
            padding.make_narrow();
        }
        let code_sums = match numerator.row {
            0 => &[],
            _ => {
                let [pixels, windows] = &mut buffers.code_sums;
                code_sums(kernel, geometry, layout, words, pad, [pixels, windows])?
            }
        };
        layout.offsets(geometry, panels.padded_row_words(), &mut buffers.offsets)?;
        let words = match layout.is_padded(geometry) {
            true => layout.pad(geometry, words, pad, &mut buffers.padded)?,
            false => words,
        };
        let finish = &FloatOutput { geometry, numerator, padding, code_sums, epilogue };
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
            finish,
        };
        tiles.run(&mut buffers.tiles, &mut floats.outs, out)
    }

    /// Packs the codes of the input, whose NaNs are found on the way if they are bits.
    fn pack_input(
        &self,
        layout: &WordLayout,
        bits: bool,
        magnitudes: &[T],
        words: &mut [u32],
    ) -> Result<()> {
        let Task { geometry, activation, .. } = &self.task;
        match activation.threshold().filter(|_| bits) {
            Some(threshold) => {
                if pack_input(self.kernel, geometry, layout, &self.x, threshold, words) {
                    return Err(Error::NaN { operand: Operand::Input });
                }
            }
            None => pack_codes(geometry, layout, &self.task.samples(&self.x), words, |sample| {
                let coder = self.task.coder(magnitudes, sample);
                move |x| coder.code(x)
            }),
        }
        Ok(())
    }

    fn floats(&self, buffers: &mut Floats<T>, out: ArrayViewMut5<'_, T>) -> Result<()> {
        let geometry = &self.task.geometry;
        let lanes = take(&mut buffers.lanes, geometry.lanes(), "quantized activations")?;
        check_numbers(Operand::Input, &self.x)?;
        let magnitudes = self.task.magnitudes(&self.x, &mut buffers.sample_magnitudes)?;
        let epilogue = self.epilogue(magnitudes, &mut buffers.side)?;
        quantize_lanes(&self.task.samples(&self.x), lanes, |sample| {
            let coder = self.task.coder(magnitudes, sample);
            move |x| coder.value(x)
        });
        let weights = match self.weights.codes() {
            Codes::Values(values) => values,
            Codes::Panels(_) => {
                let values = take(&mut buffers.weights, self.weights.len(), "quantized weights")?;
                self.weights.expand_values(values);
                values
            }
        };
        let pad = T::of_integer(self.task.pad.as_integer());
        let tiles = FloatTiles { geometry, lanes, weights, pad, epilogue };
        tiles.run([&mut buffers.rows, &mut buffers.dots, &mut buffers.outs], out)
    }

    /// Checks the bias, and fills in what every path's epilogue needs. The lanes have been
    /// allocated by now: a broadcast view may be too large to be read through.
    fn epilogue<'b>(&'b self, magnitudes: &[T], side: &'b mut Side<T>) -> Result<Epilogue<'b, T>> {
        if let Some(bias) = &self.bias {
            check_numbers(Operand::Bias, bias)?;
        }
        let Side { bias, magnitudes: pixels, k_map } = side;
        bias.clear();
        bias.extend(self.bias.iter().flatten());
        Ok(Epilogue {
            form: self.task.form,
            row_len: self.task.geometry.row_len(),
            factors: self.weights.factors(),
            k_map: self.task.position_factors(&self.x, magnitudes, pixels, k_map)?,
            bias,
        })
    }
}
