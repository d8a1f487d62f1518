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
use crate::forward::dequantize::MANY_ROWS;
use crate::forward::partition::Partition;
use crate::forward::problem::{Exact, Problem, Target};
use crate::geometry::Geometry;
use crate::kernel::{Isa, Kernel, PANEL, starts_two_byte_products};
use crate::memory::parallel::blocks;
use crate::packed::format::CodeFormat;
use crate::packed::layout::WordLayout;
use crate::packed::weights::Codes;
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
        let storage = exact.panels.storage_in(format);
        let panel_words = storage.planes() * storage.panel_words(geometry.row_len());
        let tile = TileShape::new(geometry, &windows, panel_words, (format, tiles), target);
        let (elements, filters_per_element) = target.elements();
        let words = windows.gathered_words().saturating_mul(storage.planes());
        let work = elements.saturating_mul(filters_per_element).saturating_mul(words);
        let partition = Partition {
            blocks: blocks(work, WORDS_PER_BLOCK),
            filters_together: (tile.panels * PANEL).next_multiple_of(filters_per_element),
            positions_together: if geometry.groups() == 1 { MIN_ROWS } else { 0 },
        };
        GemmPlan { exact, format, packed, windows, tile, partition }
    }
}

/// What to multiply as, on the kernels of an instruction set.
fn format(exact: Exact<'_>, isa: Isa, geometry: &Geometry) -> CodeFormat {
    let Exact { activation, weight, panels } = exact;
    if panels.format() == CodeFormat::Bytes
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
    let short = width < SHORT_LINE && geometry.positions() > width;
    let join = tiles && short && geometry.group_filters() >= FILTERS_GATHERED_FOR;
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
        let (mut rows, panels) = match (side_by_side, format) {
            (true, CodeFormat::Planes) => (64, 16),
            (true, CodeFormat::Bytes) => (64, if tiles { 8 } else { 4 }),
            (false, _) => (128, 2),
        };
        let panels = geometry.group_filters().div_ceil(PANEL).clamp(2, panels);
        if !windows.direct {
            let words = if tiles { 4 * TILE_WORDS } else { TILE_WORDS };
            rows = rows.min(words / windows.gathered_words().max(1)).max(MIN_ROWS);
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
        let few = geometry.batch.saturating_mul(geometry.positions()) < MANY_ROWS;
        let weights = match weights.codes() {
            Codes::Values(_) => FloatWeights::Values,
            Codes::Panels(panels, _) if few && panels.planes() == 1 => FloatWeights::Codes,
            Codes::Panels(..) => FloatWeights::Expanded,
        };
        let row_len = geometry.row_len().max(1);
        let (filters_together, positions_together) = match weights {
            // A thread that has a share of the rows would read all weights.
            FloatWeights::Codes if geometry.groups() == 1 => (2 * PANEL, MANY_ROWS),
            _ => (usize::MAX, 0),
        };
        let (outputs, _) = target.elements();
        let blocks = blocks(outputs.saturating_mul(row_len), PRODUCTS_PER_BLOCK);
        let partition = Partition { blocks, filters_together, positions_together };
        FloatPlan { weights, tile_rows: (TILE_LEN / row_len).clamp(1, 64), partition }
    }
}

/// A tile of gathered windows has at most so many words, if that leaves it `MIN_ROWS`.
const TILE_WORDS: usize = 1 << 15;
const MIN_ROWS: usize = 8;

/// Words of panels that stay in the second cache.
const CACHED_WORDS: usize = 1 << 16;

/// Words times filters below which a second thread costs more than it saves.
const WORDS_PER_BLOCK: usize = 1 << 17;

/// Output positions of lines that tiles of AMX join, and how many filters must use the gathered
/// windows.
const SHORT_LINE: usize = 12;
const FILTERS_GATHERED_FOR: usize = 64;

/// Windows of floats are gathered in tiles of at most this many, unless one window is larger.
const TILE_LEN: usize = 1 << 18;

/// Products of floats below which a second thread costs more than it saves.
const PRODUCTS_PER_BLOCK: usize = 1 << 18;

/// Products of bits that are made in the time of other work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CostModel {
    /// Of a product of bytes.
    byte: usize,
    /// Of making a number from a code that is held in planes.
    expansion: usize,
}

impl CostModel {
    /// Of the kernels of an instruction set. What is said to be measured is so on a core of a
    /// Zen 3, with 512 rows, filters and inputs; the rest is reckoned from instructions.
    pub(crate) fn of(isa: Isa) -> Self {
        let (byte, expansion) = match isa {
            // Measured 33 where the compiler has SSE2 for bits; about 10 without vectors.
            Isa::Portable => (16, 10),
            // Measured 3.6 for narrow codes; 1x3 and 3x1 bits take as long in either form.
            Isa::Avx2 => (3, 40),
            // As many products of bits a cycle as with AVX2, about 100, for 64 of bytes.
            Isa::AvxVnni => (1, 40),
            // Measured 3.2 on an Emerald Rapids: 390 products of bits a cycle for 115 of bytes.
            Isa::Avx512 if starts_two_byte_products() => (3, 150),
            // Half as many of bytes, less what it takes to pack several planes.
            Isa::Avx512 => (5, 150),
            // Measured 1.2 on the same for dense layers; convolutions by 1x2 and 2x1 bits are up to
            // 1.4 times faster in planes, so that these stay.
            Isa::Amx => (2, 100),
            // An instruction makes 43 products of bits, or 8 of bytes, and these must be unpacked.
            Isa::Neon => (4, 40),
            // 43 for 16 of bytes, or 11 with what it takes to unpack them.
            Isa::Dotprod => (3, 40),
        };
        CostModel { byte, expansion }
    }

    /// How to hold the codes of weights. One bit always is a plane.
    pub(crate) fn weight_format(self, activation_bits: u32, weight_bits: u32) -> CodeFormat {
        match weight_bits == 1 || (activation_bits * weight_bits) as usize <= self.byte {
            true => CodeFormat::Planes,
            false => CodeFormat::Bytes,
        }
    }

    /// How to multiply `rows` of activations with weights that are held in planes: as bytes only if
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
