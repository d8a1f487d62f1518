//! The one way of every forward: quantize the input to lanes, gather windows to rows, multiply
//! tiles of rows with the packed weights, finish each row in the epilogue.

use crate::epilogue::{Epilogue, Numerator, Summed, pad_code};
use crate::gemm;
use crate::geometry::Geometry;
use crate::lanes::{k_map, quantize_lanes};
use crate::options::{InputScaling, OutputForm, PadValue};
use crate::pack::Codes;
use crate::quantizer::{Levels, check_numbers};
use crate::scratch::{Floats, Integers, Scratch, product, take};
use crate::tiles::Tiles;
use crate::{ActivationQuantizer, Element, Operand, PackedWeights, Result};
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
    let result = Call { task, x, weights, out }.compute(bias, &mut scratch.integers, &mut floats);
    *T::floats(scratch) = floats;
    result
}

/// One forward with its operands.
struct Call<'a, T> {
    task: Task<'a>,
    x: ArrayView5<'a, T>,
    weights: &'a PackedWeights<T>,
    out: ArrayViewMut5<'a, T>,
}

impl<T: Element> Call<'_, T> {
    fn compute(
        self,
        bias: Option<ArrayView1<'_, T>>,
        integers: &mut Integers,
        floats: &mut Floats<T>,
    ) -> Result<()> {
        let Task { geometry, activation, form, .. } = self.task;
        let formats = (activation.levels().filter(Levels::fit_a_byte), self.weights.levels());
        // Memory first: a broadcast view may be too large to be read through.
        match formats {
            (Some(_), Some(_)) => _ = take(&mut integers.lanes, geometry.lanes(), "activations")?,
            _ => _ = take(&mut floats.lanes, geometry.lanes(), "activations")?,
        }
        check_numbers(Operand::Input, &self.x)?;
        if let Some(bias) = &bias {
            check_numbers(Operand::Bias, bias)?;
        }
        floats.bias.clear();
        floats.bias.extend(bias.iter().flatten());
        let k_map = match self.task.input_scaling {
            InputScaling::None => &[][..],
            InputScaling::KMap => {
                k_map(&geometry, &self.x, &mut floats.magnitudes, &mut floats.k_map)?
            }
        };
        let epilogue = Epilogue {
            numerator: Numerator::default(),
            addends: &[],
            pad_addends: &[],
            form,
            row_len: geometry.row_len(),
            factors: self.weights.factors(),
            bias: &floats.bias,
        };
        match formats {
            (Some(activation), Some(weight)) => {
                self.integers(activation, weight, epilogue, k_map, integers)
            }
            _ => {
                let buffers = (&mut floats.lanes, &mut floats.weights);
                let tiles = (&mut floats.rows, &mut floats.products);
                self.floats(epilogue, k_map, buffers, tiles)
            }
        }
    }

    /// Codes of up to 8 bits on both sides: exact integers.
    fn integers(
        self,
        activation: Levels,
        weight: Levels,
        epilogue: Epilogue<'_, T>,
        k_map: &[T],
        buffers: &mut Integers,
    ) -> Result<()> {
        let Call { task, x, weights, out } = self;
        let geometry = &task.geometry;
        let lanes = take(&mut buffers.lanes, geometry.lanes(), "activation codes")?;
        quantize_lanes(&x, lanes, |x| task.activation.code(x) as u8);

        let both_bits = activation.bits() == 1 && weight.bits() == 1;
        let summed = if both_bits { Summed::DifferingBits } else { Summed::CodeProducts };
        let numerator = Numerator::new(summed, activation, weight, geometry.row_len(), task.form);
        let addends = take(&mut buffers.addends, geometry.filters, "filter sums")?;
        for (addend, &sum) in addends.iter_mut().zip(weights.sums()) {
            *addend = numerator.addend(sum);
        }
        let (pad, multiple) = pad_code(activation, task.pad);
        let pad_addends: &[i64] = if multiple != 0 && geometry.has_padding() {
            let len = product(&[geometry.taps(), geometry.filters], "filter sums")?;
            let sums = take(&mut buffers.pad_addends, len, "filter sums")?;
            weights.sum_taps(weight, sums);
            sums.iter_mut().for_each(|sum| *sum *= 2 * multiple);
            sums
        } else {
            &[]
        };
        let codes = match weights.codes() {
            Codes::Bits(words) if both_bits => gemm::Integers::Bits(words),
            Codes::Bytes(bytes) => gemm::Integers::Bytes(bytes),
            _ => {
                let bytes = take(&mut buffers.weights, weights.len(), "weight codes")?;
                weights.expand_codes(bytes);
                gemm::Integers::Bytes(bytes)
            }
        };
        Tiles {
            geometry,
            product: &codes,
            lanes,
            pad,
            epilogue: Epilogue { numerator, addends, pad_addends, ..epilogue },
            k_map,
        }
        .run(&mut buffers.rows, &mut buffers.words, &mut buffers.products, out)
    }

    /// Anything wider: a matrix product of the quantized numbers.
    fn floats(
        self,
        epilogue: Epilogue<'_, T>,
        k_map: &[T],
        (lanes, values): (&mut Vec<T>, &mut Vec<T>),
        (rows, products): (&mut Vec<T>, &mut Vec<T>),
    ) -> Result<()> {
        let Call { task, x, weights, out } = self;
        let geometry = &task.geometry;
        let lanes = take(lanes, geometry.lanes(), "quantized activations")?;
        quantize_lanes(&x, lanes, |x| task.activation.value(x));
        let values = match weights.codes() {
            Codes::Values(values) => values,
            _ => {
                let values = take(values, weights.len(), "quantized weights")?;
                weights.expand_values(values);
                values
            }
        };
        let pad = T::of_integer(task.pad.as_integer());
        Tiles { geometry, product: &gemm::Floats(values), lanes, pad, epilogue, k_map }.run(
            rows,
            &mut Vec::new(),
            products,
            out,
        )
    }
}
