//! The one way of every forward: quantize the input to lanes, gather windows to rows, multiply
//! tiles of rows with the packed weights, finish each row in the epilogue.

use crate::bit_lanes::{pack_input, packed_len};
use crate::bits::Bits;
use crate::epilogue::{Epilogue, LONG_ROW, Numerator, Summed, pad_code};
use crate::gemm::{self, Bytes};
use crate::geometry::Geometry;
use crate::kernel::Kernel;
use crate::lanes::{k_map, quantize_lanes};
use crate::options::{InputScaling, OutputForm, PadValue};
use crate::pack::Codes;
use crate::panels::BitPanels;
use crate::quantizer::{Levels, Threshold, check_numbers};
use crate::scratch::{Addends, Floats, Integers, Scratch, Side, product, take};
use crate::tiles::Tiles;
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
    let result = match call.path() {
        Path::Bits(exact, panels, threshold) => {
            call.bits(exact, panels, threshold, &mut scratch.integers, &mut floats, out)
        }
        Path::Bytes(exact) => call.bytes(exact, &mut scratch.integers, &mut floats, out),
        Path::Floats => call.floats(&mut floats, out),
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

/// How a forward is computed.
enum Path<'a, T> {
    /// 1-bit codes on both sides: XNOR and popcount.
    Bits(Exact, &'a BitPanels, Threshold<T>),
    /// Codes of up to 8 bits: products of bytes.
    Bytes(Exact),
    /// Anything wider: a matrix product of the quantized numbers.
    Floats,
}

/// Levels of two operands that are held as integers.
#[derive(Clone, Copy)]
struct Exact {
    activation: Levels,
    weight: Levels,
}

impl<'a, T: Element> Call<'a, T> {
    fn path(&self) -> Path<'a, T> {
        let activation = self.task.activation.levels().filter(Levels::fit_a_byte);
        let Some((activation, weight)) = activation.zip(self.weights.levels()) else {
            return Path::Floats;
        };
        let exact = Exact { activation, weight };
        let short = self.task.geometry.row_len() < LONG_ROW;
        match (self.task.activation.threshold(), self.weights.codes()) {
            (Some(threshold), Codes::Panels(panels)) if short => {
                Path::Bits(exact, panels, threshold)
            }
            _ => Path::Bytes(exact),
        }
    }

    fn bits(
        &self,
        exact: Exact,
        panels: &BitPanels,
        threshold: Threshold<T>,
        buffers: &mut Integers,
        floats: &mut Floats<T>,
        out: ArrayViewMut5<'_, T>,
    ) -> Result<()> {
        let geometry = &self.task.geometry;
        let lanes = take(&mut buffers.bits, packed_len(geometry)?, "packed activations")?;
        let (epilogue, k_map) = self.epilogue(&mut floats.side)?;
        let kernel = self.kernel;
        if pack_input(kernel, geometry, &self.x, threshold, lanes) {
            return Err(Error::NaN { operand: Operand::Input });
        }
        let (pad, epilogue) =
            self.correct(exact, Summed::DifferingBits, epilogue, &mut buffers.addends)?;
        panels.fill_last(&mut buffers.last_panel)?;
        let (panels, last) = (panels.words(), &buffers.last_panel[..]);
        let product = &Bits { kernel, panels, last, pad: pad == 1 };
        let (rows, sums) = (&mut buffers.bit_rows, &mut buffers.bit_sums);
        Tiles { kernel: self.kernel, geometry, product, lanes, epilogue, k_map }.run(
            rows,
            sums,
            &mut floats.outs,
            out,
        )
    }

    fn bytes(
        &self,
        exact: Exact,
        buffers: &mut Integers,
        floats: &mut Floats<T>,
        out: ArrayViewMut5<'_, T>,
    ) -> Result<()> {
        let geometry = &self.task.geometry;
        let lanes = take(&mut buffers.bytes, geometry.lanes(), "activation codes")?;
        check_numbers(Operand::Input, &self.x)?;
        let (epilogue, k_map) = self.epilogue(&mut floats.side)?;
        quantize_lanes(&self.x, lanes, |x| self.task.activation.code(x) as u8);
        let (pad, epilogue) =
            self.correct(exact, Summed::CodeProducts, epilogue, &mut buffers.addends)?;
        let weights = match self.weights.codes() {
            Codes::Bytes(bytes) => bytes,
            _ => {
                let bytes = take(&mut buffers.weights, self.weights.len(), "weight codes")?;
                self.weights.expand_codes(bytes);
                bytes
            }
        };
        let product = &Bytes { weights, pad };
        let (rows, sums) = (&mut buffers.byte_rows, &mut buffers.byte_sums);
        Tiles { kernel: self.kernel, geometry, product, lanes, epilogue, k_map }.run(
            rows,
            sums,
            &mut floats.outs,
            out,
        )
    }

    fn floats(&self, buffers: &mut Floats<T>, out: ArrayViewMut5<'_, T>) -> Result<()> {
        let geometry = &self.task.geometry;
        let lanes = take(&mut buffers.lanes, geometry.lanes(), "quantized activations")?;
        check_numbers(Operand::Input, &self.x)?;
        let (epilogue, k_map) = self.epilogue(&mut buffers.side)?;
        quantize_lanes(&self.x, lanes, |x| self.task.activation.value(x));
        let weights = match self.weights.codes() {
            Codes::Values(values) => values,
            _ => {
                let values = take(&mut buffers.weights, self.weights.len(), "quantized weights")?;
                self.weights.expand_values(values);
                values
            }
        };
        let product = &gemm::Floats { weights, pad: T::of_integer(self.task.pad.as_integer()) };
        let (rows, sums) = (&mut buffers.rows, &mut buffers.sums);
        Tiles { kernel: self.kernel, geometry, product, lanes, epilogue, k_map }.run(
            rows,
            sums,
            &mut buffers.outs,
            out,
        )
    }

    /// Checks the bias, and fills in what every path's epilogue needs. The lanes have been
    /// allocated by now: a broadcast view may be too large to be read through.
    fn epilogue<'b>(&'b self, side: &'b mut Side<T>) -> Result<(Epilogue<'b, T>, &'b [T])> {
        if let Some(bias) = &self.bias {
            check_numbers(Operand::Bias, bias)?;
        }
        side.bias.clear();
        side.bias.extend(self.bias.iter().flatten());
        let k_map = match self.task.input_scaling {
            InputScaling::None => &[],
            InputScaling::KMap => {
                k_map(&self.task.geometry, &self.x, &mut side.magnitudes, &mut side.k_map)?
            }
        };
        let epilogue = Epilogue {
            numerator: Numerator::default(),
            addends: &[],
            pad_addends: &[],
            form: self.task.form,
            row_len: self.task.geometry.row_len(),
            factors: self.weights.factors(),
            bias: &side.bias,
        };
        Ok((epilogue, k_map))
    }

    /// Adds what turns integer sums into dot products. Returns the code of padded positions too.
    fn correct<'b>(
        &self,
        exact: Exact,
        summed: Summed,
        epilogue: Epilogue<'b, T>,
        buffers: &'b mut Addends,
    ) -> Result<(u8, Epilogue<'b, T>)> {
        let Exact { activation, weight } = exact;
        let Task { geometry, form, pad, .. } = self.task;
        let numerator = Numerator::new(summed, activation, weight, geometry.row_len(), form);
        let addends = take(&mut buffers.filters, geometry.filters, "filter sums")?;
        for (addend, &sum) in addends.iter_mut().zip(self.weights.sums()) {
            *addend = numerator.addend(sum);
        }
        let (pad, multiple) = pad_code(activation, pad);
        let len = match multiple != 0 && geometry.has_padding() && geometry.row_len() > 0 {
            true => product(&[geometry.taps(), geometry.filters], "filter sums")?,
            false => 0,
        };
        let pad_addends = take(&mut buffers.taps, len, "filter sums")?;
        if len > 0 {
            self.weights.sum_taps(weight, pad_addends);
        }
        pad_addends.iter_mut().for_each(|sum| *sum *= 2 * multiple);
        Ok((pad, Epilogue { numerator, addends, pad_addends, ..epilogue }))
    }
}
