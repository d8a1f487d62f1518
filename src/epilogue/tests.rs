//! Outputs against the formulas, on every instruction set, bit for bit.

use super::*;
use crate::Element;
use crate::epilogue::exact::{Accumulator, Summed};
use crate::epilogue::to_floats::{FloatOutput, OutputScale};
use crate::epilogue::to_planes::PlaneSums;
use crate::epilogue::to_signs::{SignOutput, SignThresholds};
use crate::geometry::Window;
use crate::kernel::Isa;
use crate::options::OutputForm;
use crate::quantizer::Levels;
use bytemuck::Zeroable;
use ndarray::{Array4, Array5, ArrayView5, Axis, s};

const ACCUMULATORS: [Accumulator; 3] = [Accumulator::F32, Accumulator::I32, Accumulator::I64];

struct Random(u64);

impl Random {
    /// An integer below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % end
    }

    fn around_zero(&mut self, size: u64) -> i64 {
        self.below(2 * size + 1) as i64 - size as i64
    }

    /// As many floats, or none.
    fn some<T: Element>(&mut self, len: usize) -> Vec<T> {
        let len = if self.below(2) == 0 { 0 } else { len };
        (0..len).map(|_| T::of(self.around_zero(1 << 20) as f64 / 1e4)).collect()
    }
}

/// The problem of a tile: positions of two images, filters of two groups.
struct Case {
    geometry: Geometry,
    zero_points: ZeroPoints,
    padding: Padding,
    offsets: Vec<i64>,
    row_sums: Vec<i64>,
    tile: Tile,
    /// Those of whole panels, `[row][filter]`.
    sums: Vec<i64>,
    stride: usize,
}

impl Case {
    fn new(random: &mut Random, accumulator: Accumulator) -> Self {
        let groups = 1 + random.below(2) as usize;
        let group_filters = 1 + random.below(70) as usize;
        let filters = groups * group_filters;
        let window = Window { groups, ..Window::POINTWISE };
        let geometry = Geometry::new(window, [2, groups, 1, 3, 5], [filters, 1, 1, 1, 1]);
        let geometry = geometry.expect("sizes");
        let levels = [Levels::SIGN, Levels::unit(2), Levels::symmetric(3), Levels::unit(8)];
        let [activation, weight] = [(); 2].map(|()| levels[random.below(4) as usize]);
        let summed = [Summed::DifferingBits, Summed::CodeProducts { center: 1 }];
        let summed = summed[random.below(2) as usize];
        let zero_points = ZeroPoints::new(summed, activation, weight, 1, OutputForm::Dot);
        let size = if accumulator == Accumulator::F32 { 9 } else { 1000 };
        // Twice the numerators are even.
        let offsets: Vec<_> = (0..filters).map(|_| 2 * random.around_zero(size)).collect();
        let mut padding = Padding::default();
        padding.same(offsets.iter().copied());
        padding.set_accumulator(accumulator);
        let index_len = 2 * geometry.positions() * groups;
        let row_sums = 0..random.below(2) as usize * index_len;
        let row_sums = row_sums.map(|_| 2 * random.around_zero(9)).collect();
        let group = random.below(groups as u64) as usize;
        let position = random.below(15) as usize;
        let rows = 1 + random.below(15 - position as u64) as usize;
        let filters = group * group_filters..(group + 1) * group_filters;
        let stride = (filters.end.div_ceil(PANEL) - filters.start / PANEL) * PANEL;
        let sums = (0..rows * stride).map(|_| 2 * random.around_zero(4 * size)).collect();
        let image = random.below(2) as usize;
        let tile = Tile { image, group, position, rows, filters };
        Case { geometry, zero_points, padding, offsets, row_sums, tile, sums, stride }
    }

    fn numerators(&self, kernel: Kernel) -> Numerators<'_> {
        let Case { geometry, zero_points, padding, row_sums, .. } = self;
        Numerators { kernel, geometry, zero_points: *zero_points, padding, row_sums }
    }

    /// The index of a row of the tile.
    fn index(&self, row: usize) -> usize {
        let Tile { image, group, position, .. } = self.tile;
        (image * 15 + position + row) * self.geometry.groups() + group
    }

    fn numerator(&self, row: usize, filter: usize) -> i64 {
        let lane = filter - self.tile.filters.start / PANEL * PANEL;
        let row_sum = self.row_sums.get(self.index(row)).copied().unwrap_or(0);
        let product = self.zero_points.sum_factor * self.sums[row * self.stride + lane];
        let twice = product + self.offsets[filter] + self.zero_points.row_factor * row_sum;
        assert_eq!(twice % 2, 0);
        twice / 2
    }

    /// The outputs of the tile, (filters, depth, height, width), of memory of one order or another.
    fn outputs<O: Output>(&self, output: &O, kernel: Kernel, nhwc: bool) -> Array4<O::Element> {
        let len = self.tile.filters.len().div_ceil(O::FILTERS);
        let zero = O::Element::zeroed();
        let mut out = match nhwc {
            true => Array4::from_elem((1, 3, 5, len), zero).permuted_axes([3, 0, 1, 2]),
            false => Array4::from_elem((len, 1, 3, 5), zero),
        };
        let mut buffer = vec![zero; self.tile.rows * len];
        let start = self.tile.position;
        let mut outputs =
            Outputs::new(output, self.tile.clone(), out.view_mut(), start, &mut buffer);
        let begins_panel = self.tile.filters.start.is_multiple_of(PANEL);
        let ints: Vec<_> = self.sums.iter().map(|&sum| sum as i32).collect();
        match self.padding.accumulator() {
            Accumulator::I64 if nhwc => outputs.take_long(&self.sums, self.stride),
            _ if begins_panel && nhwc => outputs.take(&ints, self.stride),
            _ => with_vectors!(kernel, |v| self.hand_over(v, &ints, &mut outputs)),
        }
        outputs.finish();
        out
    }

    /// In blocks of two rows and panels, rows of a call after others.
    fn hand_over<V: Vector, O: Output>(&self, v: V, sums: &[i32], outputs: &mut Outputs<'_, O>) {
        let panels = self.stride / PANEL;
        let load = |row, panel| v.load_ints(&panel_of(sums, row * self.stride + panel * PANEL, 0));
        for row in 0..self.tile.rows {
            outputs.first_row = row;
            for panel in (0..panels).step_by(2) {
                if row + 1 < self.tile.rows && panel + 1 < panels {
                    let sums = [row, row + 1].map(|row| [load(row, panel), load(row, panel + 1)]);
                    outputs.block(v, 0, panel, &sums);
                } else {
                    let panels = panel..panels.min(panel + 2);
                    panels.for_each(|panel| outputs.block(v, 0, panel, &[[load(row, panel)]]));
                }
            }
        }
    }
}

fn check_floats<T: Element>() {
    let mut random = Random(3);
    for i in 0..400 {
        let case = Case::new(&mut random, ACCUMULATORS[i % 3]);
        let (filters, groups) = (case.geometry.filters, case.geometry.groups());
        let (scales, bias) = (random.some::<T>(filters), random.some::<T>(filters));
        let k_map = random.some::<T>(2 * 15 * groups);
        let residual = (random.below(2) == 0).then(|| {
            Array5::from_shape_fn((2, filters, 1, 3, 5), |_| T::of(random.around_zero(99) as f64))
        });
        let residual = residual.as_ref().map(|residual| residual.view());
        let scale = OutputScale {
            form: OutputForm::Dot,
            row_len: 1,
            scales: &scales,
            k_map: &k_map,
            bias: &bias,
        };
        let expected = |row: usize, filter: usize| {
            let at = case.tile.position + row;
            let mut y = T::of_integer(case.numerator(row, filter));
            y /= T::of_integer(case.zero_points.denominator);
            y *= scales.get(filter).copied().unwrap_or(T::one());
            y *= k_map.get(case.index(row)).copied().unwrap_or(T::one());
            y += bias.get(filter).copied().unwrap_or(-T::zero());
            let residual: Option<&ArrayView5<'_, T>> = residual.as_ref();
            residual.map_or(y, |r| y + r[[case.tile.image, filter, 0, at / 5, at % 5]])
        };
        for kernel in Isa::ALL.iter().filter_map(|&isa| Kernel::new(isa)) {
            let output = FloatOutput::new(case.numerators(kernel), scale, residual);
            let out = case.outputs(&output, kernel, random.below(2) == 0);
            for (lane, out) in out.outer_iter().enumerate() {
                for row in 0..case.tile.rows {
                    let at = case.tile.position + row;
                    let found = out[[0, at / 5, at % 5]].as_f64();
                    let expected = expected(row, case.tile.filters.start + lane).as_f64();
                    assert_eq!(found.to_bits(), expected.to_bits(), "{i} {kernel:?} {row} {lane}");
                }
            }
        }
    }
}

#[test]
fn floats_are_those_of_the_formula() {
    check_floats::<f32>();
    check_floats::<f64>();
}

#[test]
fn planes_are_those_of_the_formula() {
    let mut random = Random(5);
    for i in 0..200 {
        let mut case = Case::new(&mut random, ACCUMULATORS[i % 3]);
        let filters = case.geometry.filters;
        let (scales, bias) = (random.some::<f32>(filters), random.some::<f32>(filters));
        let k_map = random.some::<f32>(2 * 15 * case.geometry.groups());
        let k_map: Vec<_> = k_map.iter().map(|_| k_map[0]).collect();
        let residual = (random.below(2) == 0).then(|| Array5::ones((2, filters, 1, 3, 5)));
        case.row_sums.clear();
        let scale = OutputScale {
            form: OutputForm::Dot,
            row_len: 1,
            scales: &scales,
            k_map: &k_map,
            bias: &bias,
        };
        let (step, image) = (5 + random.below(2) as usize, 1);
        let filter = random.below(filters as u64) as usize;
        let sums: Vec<_> = (0..3 * step).map(|_| 2 * random.around_zero(40) as i8).collect();
        for kernel in Isa::ALL.iter().filter_map(|&isa| Kernel::new(isa)) {
            let view = residual.as_ref().map(|residual| residual.view());
            let output = FloatOutput::new(case.numerators(kernel), scale, view);
            let mut out = Array4::<f32>::zeros((1, 1, 3, 5));
            let plane = PlaneSums { sums: &sums, step, image, filter, depth: 0 };
            output.write_plane(plane, out.slice_mut(s![0, 0, .., ..]));
            for ((_, _, h, w), &found) in out.indexed_iter() {
                let product = case.zero_points.sum_factor * i64::from(sums[h * step + w]);
                let numerator = (product + case.offsets[filter]) / 2;
                let y = numerator as f32 / case.zero_points.denominator as f32;
                let y = y * scales.get(filter).unwrap_or(&1.0) * k_map.first().unwrap_or(&1.0);
                let y = y + bias.get(filter).unwrap_or(&-0.0);
                let y = if residual.is_some() { y + 1.0 } else { y };
                assert_eq!(found.to_bits(), y.to_bits(), "{i} {kernel:?} {h} {w}");
            }
        }
    }
}

#[test]
fn signs_are_those_of_the_numerators() {
    let mut random = Random(7);
    for i in 0..400 {
        let case = Case::new(&mut random, ACCUMULATORS[i % 3]);
        let filters = case.geometry.filters;
        let flips = (0..filters.div_ceil(32)).map(|_| random.below(1 << 31) as u32).collect();
        let thresholds = SignThresholds::new(vec![0; filters], flips);
        for kernel in Isa::ALL.iter().filter_map(|&isa| Kernel::new(isa)) {
            let numerators = case.numerators(kernel);
            let output = SignOutput { numerators, thresholds: &thresholds };
            // A group may begin within a word.
            let tile = case.tile.clone();
            let (start, first_word) = (tile.position, tile.filters.start / 32);
            let words = tile.filters.end.div_ceil(32) - first_word;
            let mut out = Array4::from_elem((1, 3, 5, words), 0).permuted_axes([3, 0, 1, 2]);
            let mut outputs = Outputs::new(&output, tile, out.view_mut(), start, &mut []);
            let ints: Vec<_> = case.sums.iter().map(|&sum| sum as i32).collect();
            match i % 2 {
                0 => with_vectors!(kernel, |v| case.hand_over(v, &ints, &mut outputs)),
                _ => outputs.take_long(&case.sums, case.stride),
            }
            outputs.finish();
            for row in 0..case.tile.rows {
                let at = start + row;
                let mut expected = vec![0u32; words];
                for filter in case.tile.filters.clone() {
                    let sign = thresholds.is_positive(filter, case.numerator(row, filter));
                    let bit = u32::from(sign == Some(true)) << (filter % 32);
                    expected[filter / 32 - first_word] |= bit;
                }
                let found = out.index_axis(Axis(2), at / 5);
                let found = found.index_axis(Axis(2), at % 5);
                assert!(found.iter().eq(&expected), "{i} {kernel:?} {row}");
            }
        }
    }
}
