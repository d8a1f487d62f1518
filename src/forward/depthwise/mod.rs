//! Depthwise convolutions: every filter sees one channel alone.
//!
//! There is nothing to share among filters, as panels do. Activations and weights are the numerators
//! of their values, integers as narrow as sums allow (`arithmetic`), and images have their padding
//! around them (`grid`). Vectors run over the channels of consecutive positions (`channels_last`)
//! or, where planes of channels are wanted from planes, along the lines of one (`planes`). From
//! signs to signs, bits are counted where they are (`bits`).

mod arithmetic;
mod bits;
mod channels_last;
mod grid;
mod input;
mod planes;
mod weights;

use crate::epilogue::exact::{Numerator, Summed, pad_code};
use crate::epilogue::padding::Padding;
use crate::epilogue::terms::Finishing;
use crate::epilogue::to_floats::FloatOutput;
use crate::epilogue::to_signs::BitOutput;
use crate::forward::depthwise::arithmetic::{Arithmetic, Products, Signs, Width};
use crate::forward::depthwise::bits::{BitOperands, CountBits, are_countable};
use crate::forward::depthwise::channels_last::ChannelsLast;
use crate::forward::depthwise::grid::Grid;
use crate::forward::depthwise::input::{Codes, Source, of_bits, plane_of};
use crate::forward::depthwise::planes::{Planes, are_planes};
use crate::forward::depthwise::weights::{Cyclic, lay_weights};
use crate::forward::input::Input;
use crate::forward::partition::{Engine, Partition};
use crate::forward::scratch::{Floats, Integers};
use crate::forward::{Call, Exact, Numbers, Output};
use crate::geometry::Geometry;
use crate::kernel::{Kernel, LANES};
use crate::memory::parallel::{any_chunk, blocks};
use crate::memory::{Workspace, WorkspaceSize, product, take, take_aligned};
use crate::options::{InputScaling, PadValue};
use crate::packed::bits::pack_input;
use crate::quantizer::{Levels, Threshold};
use crate::{Element, Error, Operand, Result};
use ndarray::{ArrayView5, ArrayViewMut5};

/// Products below which a second thread costs more than it saves.
const PRODUCTS_PER_BLOCK: usize = 1 << 19;

/// How a depthwise convolution is computed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout<'a> {
    width: Width,
    /// Of an element for each filter: those of one channel each have a copy of it.
    grid: Grid<'a>,
    /// The numerator of the padding.
    pad: i64,
}

impl<'a> Layout<'a> {
    /// For depthwise convolutions that have outputs, and whose sums fit into 32 bits.
    fn new(
        geometry: &'a Geometry,
        activation: Levels,
        weight: Levels,
        pad: PadValue,
    ) -> Option<Self> {
        let depthwise = geometry.group_channels() == 1 && geometry.groups() > 1;
        let empty = geometry.lanes() == 0 || geometry.filters == 0 || geometry.positions() == 0;
        if !depthwise || empty {
            return None;
        }
        let pad = pad.as_integer() * activation.denominator();
        let largest = activation.largest_numerator().max(pad.abs());
        let sum = largest * weight.largest_numerator() * geometry.row_len() as i64;
        let width = if weight.is_sign() && sum <= i8::MAX.into() {
            Width::Signs
        } else if sum <= i16::MAX.into() {
            Width::Short
        } else if sum <= i32::MAX.into() {
            Width::Long
        } else {
            return None;
        };
        Some(Layout { width, grid: Grid::new(geometry, geometry.filters)?, pad })
    }
}

/// The operands of a convolution, for either order of the memory.
struct Operands<'a, A: Arithmetic, T> {
    kernel: Kernel,
    geometry: &'a Geometry,
    grid: Grid<'a>,
    source: Source<'a, A, T>,
    /// What the sums begin with, then the weights of each tap.
    weights: Cyclic<'a, A::Int, LANES>,
    /// Where the pixels of a window lie.
    offsets: &'a [usize],
}

impl<A: Arithmetic, T: Element> Operands<'_, A, T> {
    /// See [`Arithmetic::sum_line`].
    #[inline(always)]
    fn sum_line(
        &self,
        line: &[A::Int],
        weights: Cyclic<'_, A::Int, LANES>,
        len: usize,
        sums: &mut [A::Sum],
    ) {
        A::sum_line(self.kernel, line, self.offsets, weights, len, sums);
    }
}

/// Memory for the operands of a call.
fn call_memory(buffer: &mut Vec<u64>, size: WorkspaceSize) -> Result<Workspace<'_>> {
    Ok(Workspace::new(take_aligned(buffer, size.units(1)?, "packed weights")?))
}

/// What a call computes in, and its operands.
struct Buffers<'a, T> {
    integers: &'a mut Integers,
    floats: &'a mut Floats<T>,
    workspaces: &'a mut Vec<u64>,
}

impl<T: Element> Call<'_, '_, T> {
    /// How a depthwise convolution is computed, if it is one. A position has one row of sums then,
    /// for all groups, and so cannot have XNOR-Net's K, one for each.
    pub(super) fn depthwise_layout(&self, exact: Exact<'_>) -> Option<Layout<'_>> {
        let unscaled = self.task.input_scaling == InputScaling::None;
        let geometry = &self.task.geometry;
        let layout = Layout::new(geometry, exact.activation, exact.weight, self.task.pad);
        layout.filter(|_| unscaled)
    }

    pub(super) fn depthwise(
        &self,
        exact: Exact<'_>,
        layout: Layout<'_>,
        integers: &mut Integers,
        floats: &mut Floats<T>,
        workspaces: &mut Vec<u64>,
        output: Output<'_, T>,
    ) -> Result<()> {
        let buffers = Buffers { integers, floats, workspaces };
        let signs = exact.activation.is_sign() && exact.weight.is_sign();
        if signs
            && let Output::Signs { .. } = output
            && are_countable(&self.task.geometry)
        {
            return self.count_bits(exact, layout, buffers, output);
        }
        match layout.width {
            Width::Signs => self.multiply::<Signs>(exact, layout, buffers, output),
            Width::Short => self.multiply::<Products<i16>>(exact, layout, buffers, output),
            Width::Long => self.multiply::<Products<i32>>(exact, layout, buffers, output),
        }
    }

    fn multiply<A: Arithmetic>(
        &self,
        exact: Exact<'_>,
        layout: Layout<'_>,
        buffers: Buffers<'_, T>,
        output: Output<'_, T>,
    ) -> Result<()> {
        let (kernel, geometry) = (self.kernel, &self.task.geometry);
        let Exact { activation, weight, panels, .. } = exact;
        let Buffers { integers: Integers { words, depthwise, padding, .. }, floats, workspaces } =
            buffers;
        let threshold = self.task.activation.threshold();
        let magnitudes = self.magnitudes(threshold.is_some(), &mut floats.sample_magnitudes)?;
        let bias = output.check_addends()?;
        let epilogue = self.epilogue(bias, magnitudes, &mut floats.side)?;
        let planes = match (&self.x, &output) {
            (Input::Numbers(x), Output::Numbers(numbers)) => layout
                .grid
                .of_planes()
                .filter(|_| are_planes(geometry, x.strides(), numbers.out.strides())),
            _ => None,
        };
        let grid = planes.unwrap_or(layout.grid);
        let numerators = [0, 1].map(|code| A::activation(activation.numerator(code)));
        let (coder, table) = (|image| self.task.coder(magnitudes, image), of_bits(numerators));
        let codes = match (&self.x, threshold) {
            (Input::Numbers(x), None) => Codes::Floats(x, &coder),
            (Input::Numbers(x), Some(threshold)) if planes.is_some() => {
                Codes::Bits(self.pack_planes(x, threshold, words)?, &table)
            }
            (_, threshold) => {
                Codes::Bits(self.pack_bits(threshold.unwrap_or(Threshold::sign()), words)?, &table)
            }
        };
        let pad = A::activation(layout.pad);
        let source = Source::<A, T> { kernel, geometry, grid, codes, numerators, pad };

        let weights_len = Cyclic::<A::Int, LANES>::len(1 + geometry.taps(), geometry.filters)?;
        let size = WorkspaceSize::default()
            .and::<A::Int>(&[weights_len], "packed weights")?
            .and::<usize>(&[geometry.taps()], "offsets")?;
        let mut memory = call_memory(depthwise, size)?;
        let weights = lay_weights::<A>(kernel, panels, weight, geometry, memory.take(weights_len));
        let offsets = grid.write_offsets(memory.take(geometry.taps()));
        let operands = &Operands { kernel, geometry, grid, source, weights, offsets };

        let finishing = self.numerators(exact, output.thresholds(), padding);
        match output {
            Output::Numbers(Numbers { residual, out, .. }) => {
                let output = FloatOutput { finishing, epilogue, residual };
                if planes.is_some() {
                    return self.run(&Planes { operands, output }, workspaces, out, true);
                }
                let engine = ChannelsLast::new(operands, output, &out)?;
                self.run(&engine, workspaces, out, false)
            }
            Output::Signs { thresholds, out } => {
                let output = BitOutput { finishing, flips: thresholds.flips() };
                let engine = ChannelsLast::new(operands, output, &out)?;
                self.run(&engine, workspaces, out, false)
            }
        }
    }

    /// From signs to signs.
    fn count_bits(
        &self,
        exact: Exact<'_>,
        layout: Layout<'_>,
        buffers: Buffers<'_, T>,
        output: Output<'_, T>,
    ) -> Result<()> {
        let (geometry, form) = (&self.task.geometry, self.task.form);
        let Exact { activation, weight, panels, .. } = exact;
        let Integers { words, depthwise, padding, taps, .. } = buffers.integers;
        let words = self.pack_bits(Threshold::sign(), words)?;
        let numerator =
            Numerator::new(Summed::DifferingBits, activation, weight, geometry.row_len(), form);
        self.fill_padding(exact, numerator, &output, padding, taps)?;
        let Output::Signs { thresholds, out } = output else { return Ok(()) };
        let (pad, _) = pad_code(activation, self.task.pad);
        let operands = BitOperands {
            geometry,
            grid: layout.grid.with_pixel(geometry.filters.div_ceil(32)),
            words,
            pad: u32::from(pad) * u32::MAX,
            panels,
            padding,
            sum_factor: numerator.product,
            flips: thresholds.flips(),
        };
        let engine = CountBits::new(operands, depthwise)?;
        self.run(&engine, buffers.workspaces, out, false)
    }

    /// Has an engine compute the output, which may be cut only between planes.
    fn run<E: Engine>(
        &self,
        engine: &E,
        workspaces: &mut Vec<u64>,
        out: ArrayViewMut5<'_, E::Out>,
        planes: bool,
    ) -> Result<()> {
        let geometry = &self.task.geometry;
        let outputs = out.len().saturating_mul(E::FILTERS);
        let blocks = blocks(outputs.saturating_mul(geometry.taps()), PRODUCTS_PER_BLOCK);
        let (blocks, filters_together, positions_together) = match planes {
            true => (blocks.min(geometry.filters), 1, usize::MAX / 2),
            false => (blocks, usize::MAX, 0),
        };
        let partition = Partition { blocks, filters_together, positions_together };
        partition.run(self.kernel, geometry, engine, workspaces, out)
    }

    /// What makes outputs of sums of numerators.
    fn numerators<'f>(
        &'f self,
        exact: Exact<'_>,
        thresholds: &[i64],
        padding: &'f mut Padding,
    ) -> Finishing<'f> {
        let (kernel, geometry) = (self.kernel, &self.task.geometry);
        let (row_len, form) = (geometry.row_len(), self.task.form);
        let numerator = Numerator::of_numerators(exact.activation, exact.weight, row_len, form);
        padding.same((0..geometry.filters).map(|_| numerator.addend(0)));
        padding.subtract(thresholds);
        padding.set_precision(numerator.precision(exact.activation, exact.weight, row_len));
        Finishing { kernel, geometry, numerator, padding, code_sums: &[] }
    }

    /// The bits of planes, `[image][channel][word]`.
    fn pack_planes<'w>(
        &self,
        x: &ArrayView5<'_, T>,
        threshold: Threshold<T>,
        words: &'w mut Vec<u32>,
    ) -> Result<&'w [u32]> {
        let (channels, pixels) = (self.task.geometry.channels, self.task.geometry.pixels());
        let plane_words = pixels.div_ceil(32);
        let sizes = [self.task.geometry.batch, channels, plane_words];
        let what = "packed activations";
        let words = take(words, product(&sizes, what)?, what)?;
        let nan = any_chunk(words, plane_words, 32, |i, words| {
            let plane = plane_of(x, i / channels, i % channels);
            self.kernel.pack_rows(plane, pixels, threshold, words)
        });
        match nan {
            true => Err(Error::NaN { operand: Operand::Input }),
            false => Ok(words),
        }
    }

    /// The bits of the input, `[image][pixel][word]`.
    fn pack_bits<'w>(
        &'w self,
        threshold: Threshold<T>,
        words: &'w mut Vec<u32>,
    ) -> Result<&'w [u32]> {
        let x = match &self.x {
            Input::Signs(signs) => return Ok(signs.words()),
            Input::Numbers(x) => x,
        };
        let geometry = &self.task.geometry;
        let pixel_words = geometry.channels.div_ceil(32);
        let sizes = [geometry.batch, geometry.pixels(), pixel_words];
        let len = product(&sizes, "packed activations")?;
        let words = take(words, len, "packed activations")?;
        match pack_input(self.kernel, 1, x, threshold, words) {
            true => Err(Error::NaN { operand: Operand::Input }),
            false => Ok(words),
        }
    }
}
