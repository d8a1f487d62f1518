//! The plan of a forward: every choice of path, made here, once, before anything is computed.
//!
//! | path | where | because |
//! | --- | --- | --- |
//! | exact, bit planes | weights of 1 bit, or as few products of bits as [`CostModel`] says | XNOR and popcount make `m n` products of bits in the time of a product of bytes |
//! | exact, bytes | other codes of up to 8 bits; 1-bit weights under wide activations of many rows | dot products of bytes take the same time for all widths |
//! | windows in place | channels fill their words, and padding makes the image at most 4 times larger | nothing is copied but padding |
//! | windows from lines of bits | other kernels wider than 1 without dilation | a run of taps is one field of bits |
//! | windows tap by tap | the rest | |
//! | depthwise | one channel a group, sums in 32 bits, no K-map | there is nothing to share among filters: vectors run over channels, or along lines |
//! | floats, weights as packed | wider activations, weights of up to 8 bits, few rows | what comes from memory are the packed weights alone |
//! | floats | the rest | the matrix product of `ndarray` |

use crate::epilogue::exact::differing_bits_fit;
use crate::forward::depthwise;
use crate::forward::partition::Partition;
use crate::forward::problem::{Exact, Problem, Target};
use crate::geometry::Geometry;
use crate::kernel::{Isa, Kernel, PANEL, starts_two_byte_products};
use crate::memory::parallel::blocks;
use crate::packed::format::CodeFormat;
use crate::packed::layout::WordLayout;
use crate::packed::weights::Codes;
pub(crate) use crate::tuning::CostModel;
use crate::tuning::{
    AMX_TILE, AMX_TILE_WORDS, BIT_TILE, BYTE_TILE, CACHED_WORDS, EXPANDED_ROWS,
    FLOAT_PRODUCTS_PER_THREAD, FLOAT_TILE_ROWS, GATHERED_FILTERS, LINE_POSITIONS, PLANE_TILE,
    TILE_FLOATS, TILE_ROWS, TILE_WORDS, WORD_PRODUCTS_PER_THREAD,
};
use crate::{Element, PackedWeights};

/// How a forward is computed.
pub(crate) enum Plan<'a> {
    Gemm(GemmPlan<'a>),
    Depthwise(Exact<'a>, depthwise::Layout<'a>),
    Float(FloatPlan),
}

/// A matrix product of codes.
pub(crate) struct GemmPlan<'a> {
    pub(crate) exact: Exact<'a>,
    /// What both are multiplied as.
    pub(crate) format: CodeFormat,
    /// How activations are packed.
    pub(crate) packed: WordLayout,
    /// What windows are read from.
    pub(crate) windows: WordLayout,
    pub(crate) tile: TileShape,
    pub(crate) partition: Partition,
}

/// What is computed before a thread goes on: rows of windows with panels of filters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TileShape {
    pub(crate) rows: usize,
    pub(crate) panels: usize,
    /// Panels that are used up for a tile of rows before the next: all tiles find them in the
    /// second cache.
    pub(crate) cached_panels: usize,
}

impl<'a> Plan<'a> {
    pub(crate) fn new<T: Element>(
        kernel: Kernel,
        problem: &'a Problem<'_>,
        weights: &'a PackedWeights<T>,
        target: &Target<'_, T>,
    ) -> Self {
        let Some(exact) = Exact::new(problem, weights) else {
            return Plan::Float(FloatPlan::new(problem, weights, target));
        };
        match depthwise::Layout::of_problem(problem, exact) {
            Some(layout) => Plan::Depthwise(exact, layout),
            None => Plan::Gemm(GemmPlan::new(kernel, &problem.geometry, exact, target)),
        }
    }
}

impl<'a> GemmPlan<'a> {
    pub(crate) fn new<T: Element>(
        kernel: Kernel,
        geometry: &Geometry,
        exact: Exact<'a>,
        target: &Target<'_, T>,
    ) -> Self {
        Self::in_format(kernel, geometry, exact, format(exact, kernel.isa(), geometry), target)
    }

    /// The same in a given format.
    pub(crate) fn in_format<T: Element>(
        kernel: Kernel,
        geometry: &Geometry,
        exact: Exact<'a>,
        format: CodeFormat,
        target: &Target<'_, T>,
    ) -> Self {
        let packed = WordLayout::new(geometry, format, exact.activation.bits() as usize);
        let tiles = format == CodeFormat::Bytes && kernel.has_tiles();
        let windows = windows(geometry, &packed, tiles);
        let storage = exact.panels.storage.in_format(format);
        let panel_words = storage.planes() * storage.panel_words(geometry.row_len());
        let tile = TileShape::new(geometry, &windows, panel_words, (format, tiles), target);
        let (elements, filters_per_element) = target.elements();
        let words = windows.gathered_words().saturating_mul(storage.planes());
        let work = elements.saturating_mul(filters_per_element).saturating_mul(words);
        let partition = Partition {
            blocks: blocks(work, WORD_PRODUCTS_PER_THREAD),
            filters_together: (tile.panels * PANEL).next_multiple_of(filters_per_element),
            positions_together: if geometry.groups() == 1 { TILE_ROWS } else { 0 },
        };
        GemmPlan { exact, format, packed, windows, tile, partition }
    }
}

/// What to multiply as, on the kernels of an instruction set.
fn format(exact: Exact<'_>, isa: Isa, geometry: &Geometry) -> CodeFormat {
    let Exact { activation, weight, panels } = exact;
    if panels.storage.format() == CodeFormat::Bytes
        || !differing_bits_fit(activation, weight, geometry.row_len())
    {
        return CodeFormat::Bytes;
    }
    let rows = geometry.batch.saturating_mul(geometry.positions());
    CostModel::of(isa).product_format(activation.bits(), weight.bits(), rows)
}

/// What windows of packed activations are read from: in place if they can be, since nothing but
/// padding is copied then. Tiles of AMX take many rows at a time: short lines of output positions are
/// joined by gathering, where enough filters pay for it.
fn windows(geometry: &Geometry, packed: &WordLayout, tiles: bool) -> WordLayout {
    let width = geometry.output[2];
    let short = width < LINE_POSITIONS && geometry.positions() > width;
    let join = tiles && short && geometry.group_filters() >= GATHERED_FILTERS;
    let in_place = packed.in_place(geometry).filter(|_| !join);
    in_place.or_else(|| packed.lines_of_bits(geometry)).unwrap_or(*packed)
}

impl TileShape {
    /// Panels that a kernel takes at a time stay in the first cache while it multiplies all rows with
    /// them. Filters come first, so that outputs that lie side by side are written together; where
    /// they lie apart, they come few at a time.
    fn new<T: Element>(
        geometry: &Geometry,
        windows: &WordLayout,
        panel_words: usize,
        (format, tiles): (CodeFormat, bool),
        target: &Target<'_, T>,
    ) -> Self {
        let side_by_side = target.is_side_by_side();
        let [mut rows, panels] = match (side_by_side, format) {
            (true, CodeFormat::Planes) => BIT_TILE,
            (true, CodeFormat::Bytes) if tiles => AMX_TILE,
            (true, CodeFormat::Bytes) => BYTE_TILE,
            (false, _) => PLANE_TILE,
        };
        let panels = geometry.group_filters().div_ceil(PANEL).clamp(2, panels);
        if !windows.direct {
            let words = if tiles { AMX_TILE_WORDS } else { TILE_WORDS };
            rows = rows.min(words / windows.gathered_words().max(1)).max(TILE_ROWS);
        }
        let cached_panels = match side_by_side || !windows.direct {
            _ if geometry.positions() <= rows => geometry.filters.div_ceil(PANEL),
            true => (CACHED_WORDS / (panel_words.max(1) * PANEL)).max(1).next_multiple_of(panels),
            false => panels, // few planes at a time, for whole images
        };
        TileShape { rows, panels, cached_panels: cached_panels.max(panels) }
    }
}

/// A matrix product of floats.
pub(crate) struct FloatPlan {
    pub(crate) weights: FloatWeights,
    /// Rows of a tile: by the size of the problem alone, so that floats are summed in the same order
    /// at any number of threads.
    pub(crate) tile_rows: usize,
    pub(crate) partition: Partition,
}

/// What activations are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FloatWeights {
    /// Floats.
    Values,
    /// Codes as they are packed: few rows do not pay for writing out all weights as floats.
    Codes,
    /// Codes that are written out as floats first.
    Expanded,
}

impl FloatPlan {
    fn new<T: Element>(
        problem: &Problem<'_>,
        weights: &PackedWeights<T>,
        target: &Target<'_, T>,
    ) -> Self {
        let geometry = &problem.geometry;
        let few = geometry.batch.saturating_mul(geometry.positions()) < EXPANDED_ROWS;
        let weights = match weights.codes() {
            Codes::Values(_) => FloatWeights::Values,
            Codes::Panels(panels, _) if few && panels.planes() == 1 => FloatWeights::Codes,
            Codes::Panels(..) => FloatWeights::Expanded,
        };
        let row_len = geometry.row_len().max(1);
        let (filters_together, positions_together) = match weights {
            // A thread that has a share of the rows would read all weights.
            FloatWeights::Codes if geometry.groups() == 1 => (2 * PANEL, EXPANDED_ROWS),
            _ => (usize::MAX, 0),
        };
        let (outputs, _) = target.elements();
        let blocks = blocks(outputs.saturating_mul(row_len), FLOAT_PRODUCTS_PER_THREAD);
        let partition = Partition { blocks, filters_together, positions_together };
        FloatPlan {
            weights,
            tile_rows: (TILE_FLOATS / row_len).clamp(1, FLOAT_TILE_ROWS),
            partition,
        }
    }
}

impl CostModel {
    /// Of the kernels of an instruction set.
    pub(crate) fn of(isa: Isa) -> Self {
        match isa {
            Isa::Portable => Self::PORTABLE,
            Isa::Avx2 => Self::AVX2,
            Isa::AvxVnni => Self::AVX_VNNI,
            Isa::Avx512 if starts_two_byte_products() => Self::AVX512_TWO,
            Isa::Avx512 => Self::AVX512_ONE,
            Isa::Amx => Self::AMX,
            Isa::Neon => Self::NEON,
            Isa::Dotprod => Self::DOTPROD,
        }
    }

    /// The format of codes of weights. One bit always is a plane.
    pub(crate) fn weight_format(self, activation_bits: u32, weight_bits: u32) -> CodeFormat {
        match weight_bits == 1 || (activation_bits * weight_bits) as usize <= self.byte {
            true => CodeFormat::Planes,
            false => CodeFormat::Bytes,
        }
    }

    /// How to multiply `rows` of activations with weights in planes: as bytes only if
    /// that makes up for expanding the weights.
    pub(crate) fn product_format(
        self,
        activation_bits: u32,
        weight_bits: u32,
        rows: usize,
    ) -> CodeFormat {
        let lost = ((activation_bits * weight_bits) as usize).saturating_sub(self.byte);
        match rows.saturating_mul(lost) <= self.expansion {
            true => CodeFormat::Planes,
            false => CodeFormat::Bytes,
        }
    }
}
