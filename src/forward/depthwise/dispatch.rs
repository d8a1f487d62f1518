//! The same way for depthwise convolutions, whose lanes are filters of different channels.

use crate::epilogue::Numerators;
use crate::epilogue::exact::{Summed, ZeroPoints, pad_code};
use crate::epilogue::padding::Padding;
use crate::epilogue::to_floats::FloatOutput;
use crate::epilogue::to_signs::SignOutput;
use crate::forward::depthwise::{
    Arithmetic, BitOperands, BitTiles, Bits, Codes, Columns, DepthTiles, Layout, Long, MOST_TAPS,
    PlaneBits, PlaneCodes, PlaneSource, PlaneTiles, Product, Short, Signs, Source, are_planes,
    lay_weights, numbers_of_bits, plane,
};
use crate::forward::input::Input;
use crate::forward::scratch::{Floats, Integers};
use crate::forward::{Call, Exact, Numbers as OutputNumbers, Output};
use crate::kernel::LANES;
use crate::memory::parallel::any_chunk;
use crate::memory::{product, take};
use crate::options::InputScaling;
use crate::packed::bits::pack_input;
use crate::{Element, Error, Operand, Result};
use ndarray::ArrayView5;

impl<T: Element> Call<'_, '_, T> {
    /// How a depthwise convolution lies in lanes, if it is one, and has outputs. A position has one
    /// row of sums then, for all groups, and so cannot have XNOR-Net's K, one for each.
    pub(in crate::forward) fn depthwise_layout(&self, exact: Exact<'_>) -> Option<Layout> {
        let geometry = &self.problem.geometry;
        let fits = self.problem.input_scaling == InputScaling::None && geometry.positions() > 0;
        let layout = Layout::new(geometry, exact.activation, exact.weight, self.problem.pad);
        layout.filter(|_| fits)
    }

    pub(in crate::forward) fn depthwise(
        &self,
        exact: Exact<'_>,
        layout: &Layout,
        buffers: &mut Integers,
        floats: &mut Floats<T>,
        output: Output<'_, T>,
    ) -> Result<()> {
        let geometry = &self.problem.geometry;
        let signs = [exact.activation, exact.weight].map(|levels| levels.is_sign());
        if let Output::Signs { .. } = output
            && signs == [true; 2]
            && geometry.group_filters() == 1
            && geometry.taps() <= MOST_TAPS
        {
            return self.count_bits(exact, layout, buffers, output);
        }
        let output = match (&self.x, output) {
            (Input::Floats(x), Output::Numbers(numbers))
                if are_planes(geometry, x.strides(), numbers.out.strides())
                    && let Some(columns) = Columns::new(geometry) =>
            {
                let compute = match layout.arithmetic {
                    Arithmetic::Signs => Self::sum_planes::<Signs, LANES>,
                    Arithmetic::Short => Self::sum_planes::<Short, 32>,
                    Arithmetic::Long => Self::sum_planes::<Long, 32>,
                };
                return compute(self, exact, x, (columns, layout.pad), buffers, floats, numbers);
            }
            (_, output) => output,
        };
        let compute = match layout.arithmetic {
            Arithmetic::Signs => Self::sum_lanes::<Signs, LANES>,
            Arithmetic::Short => Self::sum_lanes::<Short, 32>,
            Arithmetic::Long => Self::sum_lanes::<Long, 32>,
        };
        compute(self, exact, layout, buffers, floats, output)
    }

    fn sum_lanes<P: Product, const N: usize>(
        &self,
        exact: Exact<'_>,
        layout: &Layout,
        buffers: &mut Integers,
        floats: &mut Floats<T>,
        output: Output<'_, T>,
    ) -> Result<()> {
        let (kernel, geometry) = (self.kernel, &self.problem.geometry);
        let Exact { activation, weight, panels, .. } = exact;
        let (lanes, tiles) = P::buffers(&mut buffers.depth);
        let threshold = self.problem.activation.threshold();
        let magnitudes = self.magnitudes(threshold.is_some(), &mut floats.sample_magnitudes)?;
        let bias = output.check_addends()?;
        let epilogue = self.epilogue(bias, magnitudes, &mut floats.side)?;
        let number = |code| P::activation(activation.numerator(code));
        let pad = P::activation(layout.pad);
        let (bits, codes);
        let input: &dyn Source<P::Lane> = match (threshold, &self.x) {
            (None, Input::Floats(x)) => {
                let coder = |image| self.problem.coder(magnitudes, image);
                let numbers = std::array::from_fn(|code| number(code as u32));
                codes = Codes { kernel, geometry, grid: layout.grid, x, coder, pad, numbers };
                &codes
            }
            (threshold, _) => {
                let threshold = threshold.unwrap_or(T::zero());
                let words = self.pack_bits(threshold, &mut buffers.words)?;
                let numbers = [number(0), number(1)];
                bits = Bits::new(geometry, layout.grid, words, pad, numbers);
                &bits
            }
        };
        let weights = lay_weights::<P, N>(kernel, panels, weight, geometry, &mut lanes.weights)?;
        layout.grid.offsets(geometry, &mut tiles.offsets);
        let numerators = self.numerators(exact, output.thresholds(), &mut buffers.padding);
        let offsets = &tiles.offsets[..];
        let depth_tiles = DepthTiles::<P, N> { kernel, geometry, layout, input, weights, offsets };
        let lane_buffers = (&mut lanes.input, &mut lanes.sums);
        let (sums, signs) = (&mut tiles.sums, &mut buffers.signs);
        match output {
            Output::Numbers(OutputNumbers { residual, out, .. }) => {
                let finish = FloatOutput::new(numerators, epilogue, residual);
                depth_tiles.run(&finish, lane_buffers, sums, &mut floats.outs, out)
            }
            Output::Signs { thresholds, out } => {
                let finish = SignOutput { numerators, thresholds };
                depth_tiles.run(&finish, lane_buffers, sums, signs, out)
            }
        }
    }

    /// From planes to planes.
    fn sum_planes<P: Product + Sync, const N: usize>(
        &self,
        exact: Exact<'_>,
        x: &ArrayView5<'_, T>,
        (columns, pad): (Columns, i64),
        buffers: &mut Integers,
        floats: &mut Floats<T>,
        output: OutputNumbers<'_, T>,
    ) -> Result<()> {
        let (kernel, geometry) = (self.kernel, &self.problem.geometry);
        let Exact { activation, weight, panels, .. } = exact;
        let (lanes, tiles) = P::buffers(&mut buffers.depth);
        let threshold = self.problem.activation.threshold();
        let magnitudes = self.magnitudes(threshold.is_some(), &mut floats.sample_magnitudes)?;
        let bias = output.check_addends()?;
        let epilogue = self.epilogue(bias, magnitudes, &mut floats.side)?;
        let OutputNumbers { residual, out, .. } = output;
        let numbers = [0, 1].map(|code| P::activation(activation.numerator(code)));
        let (bits, codes);
        let input: &dyn PlaneSource<P::Lane> = match threshold {
            None => {
                let coder = |image| self.problem.coder(magnitudes, image);
                codes = PlaneCodes::<T, P, _> { kernel, x, coder, numbers };
                &codes
            }
            Some(threshold) => {
                let words = self.pack_planes(x, threshold, &mut buffers.words)?;
                bits = PlaneBits { geometry, words, numbers: numbers_of_bits(numbers) };
                &bits
            }
        };
        let weights = lay_weights::<P, N>(kernel, panels, weight, geometry, &mut lanes.weights)?;
        columns.offsets(geometry, &mut tiles.offsets);
        let numerators = self.numerators(exact, &[], &mut buffers.padding);
        let (pad, offsets) = (P::activation(pad), &tiles.offsets[..]);
        let planes = PlaneTiles::<P, N> { kernel, geometry, columns, pad, input, weights, offsets };
        let finish = FloatOutput::new(numerators, epilogue, residual);
        let buffers = [&mut lanes.plane, &mut lanes.input, &mut lanes.lane_weights];
        planes.run(&finish, buffers, &mut lanes.sums, out)
    }

    /// What makes outputs of numerators.
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

    /// From signs to signs.
    fn count_bits(
        &self,
        exact: Exact<'_>,
        layout: &Layout,
        buffers: &mut Integers,
        output: Output<'_, T>,
    ) -> Result<()> {
        let (kernel, geometry) = (self.kernel, &self.problem.geometry);
        let Exact { activation, weight, panels, .. } = exact;
        let words = self.pack_bits(T::zero(), &mut buffers.words)?;
        let zero_points = ZeroPoints::new(
            Summed::DifferingBits,
            activation,
            weight,
            geometry.row_len(),
            self.problem.form,
        );
        let Integers { padding, taps, depth, .. } = buffers;
        self.fill_padding(exact, zero_points, &output, padding, taps)?;
        let Output::Signs { thresholds, out } = output else { return Ok(()) };
        let (pad, _) = pad_code(activation, self.problem.pad);
        let operands = BitOperands {
            grid: layout.grid.with_pixel(geometry.filters.div_ceil(32)),
            words,
            pad: u32::from(pad) * u32::MAX,
            panels,
            padding,
            factor: zero_points.sum_factor,
            flips: thresholds.flips(),
        };
        let tiles =
            BitTiles::new(kernel, geometry, operands, &mut depth.bits, &mut depth.tiles.offsets)?;
        // The words of signs lie without gaps.
        let out = out.permuted_axes([0, 2, 3, 4, 1]).into_slice();
        tiles.run(out.unwrap_or_default());
        Ok(())
    }

    /// The bits of planes, `[image][channel][word]`.
    fn pack_planes<'w>(
        &self,
        x: &ArrayView5<'_, T>,
        threshold: T,
        words: &'w mut Vec<u32>,
    ) -> Result<&'w [u32]> {
        let (channels, pixels) = (self.problem.geometry.channels, self.problem.geometry.pixels());
        let plane_words = pixels.div_ceil(32);
        let sizes = [self.problem.geometry.batch, channels, plane_words];
        let what = "packed activations";
        let words = take(words, product(&sizes, what)?, what)?;
        let nan = any_chunk(words, plane_words, 32, |i, words| {
            let plane = plane(x, i / channels, i % channels);
            self.kernel.pack_rows(plane, pixels, threshold, words)
        });
        match nan {
            true => Err(Error::NaN { operand: Operand::Input }),
            false => Ok(words),
        }
    }

    /// The bits of the input, `[image][pixel][word]`.
    fn pack_bits<'w>(&'w self, threshold: T, words: &'w mut Vec<u32>) -> Result<&'w [u32]> {
        let x = match &self.x {
            Input::Signs(signs) => return Ok(signs.words()),
            Input::Floats(x) => x,
        };
        let geometry = &self.problem.geometry;
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
