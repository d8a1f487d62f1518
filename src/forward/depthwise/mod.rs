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
mod cyclic;
mod grid;
mod input;
mod planes;
mod weights;

use crate::epilogue::Numerators;
use crate::epilogue::exact::{Summed, ZeroPoints, pad_code};
use crate::epilogue::padding::Padding;
use crate::epilogue::to_floats::FloatOutput;
use crate::epilogue::to_signs::SignOutput;
use crate::forward::Call;
use crate::forward::input::Input;
use crate::forward::partition::{Engine, Partition};
use crate::forward::problem::{Exact, FloatTarget, Problem, Target};
use crate::forward::scratch::{Buffers, IntegerBuffers};
use crate::geometry::Geometry;
use crate::kernel::{Kernel, LANES};
use crate::memory::parallel::blocks;
use crate::memory::{Workspace, WorkspaceSize, product, take, take_aligned};
use crate::options::InputScaling;
use crate::packed::bits::pack_input;
use crate::tuning::DEPTHWISE_PRODUCTS_PER_THREAD;
use crate::{Element, Error, Operand, Result};
use arithmetic::{Arithmetic, Products, Signs};
use bits::{BitOperands, CountBits, are_countable};
use channels_last::ChannelsLast;
use cyclic::Cyclic;
use grid::Grid;
use input::{Codes, Source, of_bits};
use ndarray::{ArrayView5, ArrayViewMut5, Axis};
use planes::{Planes, are_planes};
use weights::lay_weights;

/// How a depthwise convolution is computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout<'a> {
    /// Of an element for each filter: those of one channel each have a copy of it.
    grid: Grid<'a>,
    /// The numerator of the padding.
    pad: i64,
    /// The largest magnitude of a sum.
    largest: i64,
}

impl<'a> Layout<'a> {
    /// How a convolution is computed if it is depthwise, has outputs, and its sums fit into 32 bits. A
    /// position has one row of sums then, for all groups, and so cannot have XNOR-Net's K, one for
    /// each.
    pub(super) fn of_problem(problem: &'a Problem<'_>, exact: Exact<'_>) -> Option<Self> {
        let geometry = &problem.geometry;
        let depthwise = geometry.group_channels() == 1 && geometry.groups() > 1;
        let unscaled = problem.input_scaling == InputScaling::None;
        let empty = [geometry.activations(), geometry.filters, geometry.positions()].contains(&0);
        if !depthwise || !unscaled || empty {
            return None;
        }
        let pad = problem.pad.as_integer() * exact.activation.denominator();
        let factors =
            [exact.activation.largest_numerator().max(pad.abs()), exact.weight.largest_numerator()];
        let largest = factors[0] * factors[1] * geometry.row_len() as i64;
        let grid = Grid::new(geometry, geometry.filters).filter(|_| largest <= i32::MAX.into())?;
        Some(Layout { grid, pad, largest })
    }
}

/// The operands of a convolution, for either order of the memory.
struct Operands<'a, A: Arithmetic, T> {
    kernel: Kernel,
    geometry: &'a Geometry,
    grid: Grid<'a>,
    /// The numerator of the padding.
    pad: A::Int,
    source: Source<'a, A, T>,
    /// What the sums begin with, then the weights of each tap.
    weights: Cyclic<'a, A::Int, LANES>,
    /// Where the pixels of a window lie.
    offsets: &'a [usize],
}

/// Memory for the operands of a call.
fn call_memory(buffer: &mut Vec<u64>, size: WorkspaceSize) -> Result<Workspace<'_>> {
    Ok(Workspace::new(take_aligned(buffer, size.units(1)?, "packed weights")?))
}

impl<T: Element> Call<'_, '_, T> {
    pub(super) fn depthwise(
        &self,
        exact: Exact<'_>,
        layout: &Layout<'_>,
        buffers: Buffers<'_, T>,
        target: Target<'_, T>,
    ) -> Result<()> {
        let signs = exact.activation.is_sign() && exact.weight.is_sign();
        if signs
            && let Target::Signs { .. } = target
            && are_countable(&self.problem.geometry)
        {
            return self.count_bits(exact, layout, buffers, target);
        }
        let multiply = if exact.weight.is_sign() && layout.largest <= i8::MAX.into() {
            Self::multiply::<Signs>
        } else if layout.largest <= i16::MAX.into() {
            Self::multiply::<Products<i16>>
        } else {
            Self::multiply::<Products<i32>>
        };
        multiply(self, exact, layout, buffers, target)
    }

    fn multiply<A: Arithmetic>(
        &self,
        exact: Exact<'_>,
        layout: &Layout<'_>,
        buffers: Buffers<'_, T>,
        target: Target<'_, T>,
    ) -> Result<()> {
        let (kernel, geometry) = (self.kernel, &self.problem.geometry);
        let Exact { activation, weight, panels, .. } = exact;
        let Buffers { integers, floats, workspaces } = buffers;
        let IntegerBuffers { words, depthwise, padding, .. } = integers;
        let threshold = self.problem.activation.threshold();
        let sample_scales = self.sample_scales(threshold.is_some(), &mut floats.sample_scales)?;
        let scale = self.output_scale(&target, sample_scales, &mut floats.scales)?;
        let planes = match (&self.x, &target) {
            (Input::Floats(x), Target::Floats(target))
                if are_planes(geometry, x.strides(), target.out.strides()) =>
            {
                layout.grid.of_planes()
            }
            _ => None,
        };
        let (grid, planes) = (planes.unwrap_or(layout.grid), planes.is_some());
        let (elements, pixels) = match planes {
            true => (geometry.pixels(), [1, geometry.channels, 1]),
            false => (geometry.channels, geometry.input),
        };
        let numerators = [0, 1].map(|code| A::activation(activation.numerator(code)));
        let (coder, table) =
            (|image| self.problem.quantizer(sample_scales, image), of_bits(numerators));
        let codes = match (&self.x, threshold) {
            (Input::Floats(x), None) => Codes::Floats(in_order(x, planes), &coder),
            (_, threshold) => {
                let threshold = threshold.unwrap_or(T::zero());
                Codes::Bits(self.pack_bits(planes, threshold, words)?, &table)
            }
        };
        let source = Source { kernel, codes, elements, pixels, numerators };

        let weights_len = Cyclic::<A::Int, LANES>::len(1 + geometry.taps(), geometry.filters)?;
        let size = WorkspaceSize::default()
            .and::<A::Int>(&[weights_len], "packed weights")?
            .and::<usize>(&[geometry.taps()], "offsets")?;
        let mut memory = call_memory(depthwise, size)?;
        let weights =
            lay_weights::<A>(kernel, panels, weight, geometry.filters, memory.take(weights_len));
        let offsets = grid.write_offsets(memory.take(geometry.taps()));
        let pad = A::activation(layout.pad);
        let operands = &Operands::<A, T> { kernel, geometry, grid, pad, source, weights, offsets };

        let numerators = self.numerators(exact, target.thresholds(), padding);
        match target {
            Target::Floats(FloatTarget { residual, out, .. }) => {
                let output = FloatOutput::new(numerators, scale, residual);
                if planes {
                    return self.run(&Planes { operands, output }, workspaces, out, true);
                }
                let engine = ChannelsLast::new(operands, output, &out)?;
                self.run(&engine, workspaces, out, false)
            }
            Target::Signs { thresholds, out } => {
                let output = SignOutput { numerators, thresholds };
                let engine = ChannelsLast::new(operands, output, &out)?;
                self.run(&engine, workspaces, out, false)
            }
        }
    }

    /// From signs to signs.
    fn count_bits(
        &self,
        exact: Exact<'_>,
        layout: &Layout<'_>,
        buffers: Buffers<'_, T>,
        target: Target<'_, T>,
    ) -> Result<()> {
        let (geometry, form) = (&self.problem.geometry, self.problem.form);
        let Exact { activation, weight, panels, .. } = exact;
        let IntegerBuffers { words, depthwise, padding, taps, .. } = buffers.integers;
        let words = self.pack_bits(false, T::zero(), words)?;
        let row_len = geometry.row_len();
        let zero_points = ZeroPoints::new(Summed::DifferingBits, activation, weight, row_len, form);
        self.fill_padding(exact, zero_points, &target, padding, taps)?;
        let Target::Signs { thresholds, out } = target else { return Ok(()) };
        let (pad, _) = pad_code(activation, self.problem.pad);
        let operands = BitOperands {
            geometry,
            grid: layout.grid.with_pixel(geometry.filters.div_ceil(32)),
            words,
            pad: u32::from(pad) * u32::MAX,
            panels,
            padding,
            sum_factor: zero_points.sum_factor,
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
        let geometry = &self.problem.geometry;
        let outputs = out.len().saturating_mul(E::FILTERS);
        let blocks = blocks(outputs.saturating_mul(geometry.taps()), DEPTHWISE_PRODUCTS_PER_THREAD);
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
    ) -> Numerators<'f> {
        let (kernel, geometry) = (self.kernel, &self.problem.geometry);
        let (row_len, form) = (geometry.row_len(), self.problem.form);
        let Exact { activation, weight, .. } = exact;
        let zero_points = ZeroPoints::of_numerators(activation, weight, row_len, form);
        padding.same((0..geometry.filters).map(|_| zero_points.offset(0)));
        padding.subtract(thresholds);
        padding.set_accumulator(zero_points.accumulator(activation, weight, row_len));
        Numerators { kernel, geometry, zero_points, padding, row_sums: &[] }
    }

    /// The bits of the input, `[image][pixel][word]` or, of planes, `[image][channel][word]`.
    fn pack_bits<'w>(
        &'w self,
        planes: bool,
        threshold: T,
        words: &'w mut Vec<u32>,
    ) -> Result<&'w [u32]> {
        let x = match &self.x {
            Input::Signs(signs) => return Ok(signs.words()),
            Input::Floats(x) => in_order(x, planes),
        };
        let (images, elements, depth, height, width) = x.dim();
        let sizes = [images, depth, height, width, elements.div_ceil(32)];
        let words = take(words, product(&sizes, "packed activations")?, "packed activations")?;
        match pack_input(self.kernel, 1, &x, threshold, words) {
            true => Err(Error::NaN { operand: Operand::Input }),
            false => Ok(words),
        }
    }
}

/// Activations in the order in which they are computed: as they are (N, C, D, H, W) or, of planes whose
/// pixels lie side by side, (N, D * H * W, 1, C, 1), as if channels were pixels.
fn in_order<'a, T>(x: &ArrayView5<'a, T>, planes: bool) -> ArrayView5<'a, T> {
    let mut x = *x;
    if planes {
        let _ = x.merge_axes(Axis(3), Axis(4)) && x.merge_axes(Axis(2), Axis(4));
        x = x.permuted_axes([0, 4, 2, 1, 3]);
    }
    x
}
