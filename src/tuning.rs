//! Every threshold of the crate: sizes at which one way of computing becomes faster than another, and
//! how much is done at a time, from the lowest layer up.
//!
//! Each says its unit, what it weighs, and the CPU and case that it was measured on. "Reckoned" is
//! what nobody measured: it follows from the sizes of caches, or from the times of parts. No threshold
//! of exact sums changes a result; those of sums of floats do by a rounding, as they order the sum.
//!
//! Sizes that are facts of a format or of registers (filters of a panel, bits of a word, rows of a
//! block) stand where these are.

// Kernels of other CPUs use fewer.
#![cfg_attr(not(all(target_arch = "x86_64", target_os = "linux")), allow(dead_code))]

// Threads: each must get so much that waking it is a small part.

/// Values that a thread quantizes at least. Reckoned: 65 us of codes of 8 bits, at 1 ns each (AVX2 of a
/// Zen 3, 1024 x 1024 floats).
pub(crate) const VALUES_PER_THREAD: usize = 1 << 16;

/// Latent weights that a thread packs at least. Reckoned: 20 us where they are bits, at 0.3 ns each
/// (Zen 3, 1024 x 1024 signs), and more where they are codes.
pub(crate) const WEIGHTS_PER_THREAD: usize = 1 << 16;

/// Words of rows times filters that a thread multiplies at least. Reckoned: 10 us of bits, at 400
/// products a nanosecond, and 5 us of bytes, at 100.
pub(crate) const WORD_PRODUCTS_PER_THREAD: usize = 1 << 17;

/// Products of floats that a thread makes at least. Reckoned: 10 us, at 25 a nanosecond.
pub(crate) const FLOAT_PRODUCTS_PER_THREAD: usize = 1 << 18;

// Kernels.

/// Bytes of rows that are asked for before they are packed: the CPU stops at the end of a page, which
/// is as long. Measured on an Emerald Rapids: rows of 4 MB were packed at 85 to 96 % of the speed of
/// reading, and planes, at [`PLANE_VALUES_AHEAD`], at 94 to 100 %.
pub(crate) const ROW_BYTES_AHEAD: isize = 4096;

/// Values of each of 32 planes that are asked for before they are packed: two or four cache lines.
pub(crate) const PLANE_VALUES_AHEAD: usize = 64;

/// Bytes of a panel of bits that are asked for before they are compared with a single row, for which
/// they come in from the third cache. Measured on an Emerald Rapids: 4096 filters of 4096 bits went
/// from 54 to 75 % of the speed of reading, together with fewer passes over what is added to sums.
pub(crate) const BIT_PANEL_BYTES_AHEAD: isize = 16 * 64;

/// The same of bytes, which may come in from memory. Reckoned from that of bits.
pub(crate) const BYTE_PANEL_BYTES_AHEAD: isize = 32 * 64;

/// Rows whose pairs of words AVX2 prepares for all panels, and which share those of a panel. Measured on
/// a Zen 3: 1.04 to 1.11 times as many products a cycle from 8 to 128 words.
pub(crate) const PAIRED_ROWS: usize = 16;

/// Rows from which on AMX loads panels as tiles; fewer are left to VNNI. By trial on an Emerald Rapids.
pub(crate) const AMX_ROWS: usize = 6;

/// Rows times words times filters from which on it pays to set up the tiles of AMX. By trial on an
/// Emerald Rapids.
pub(crate) const AMX_WORK: usize = 1 << 15;

/// Steps of 16 words for which AMX unpacks narrow weights of two panels at a time. Reckoned: 32 kB,
/// which the first cache (48 kB) holds with the rows.
pub(crate) const AMX_UNPACKED_STEPS: usize = 16;

/// Pairs of tiles of 16 rows that AMX multiplies with a panel before the next. Reckoned: the panel
/// comes from the first cache for the second.
pub(crate) const AMX_TILE_PAIRS: usize = 2;

// Packing.

/// Values of an image that are packed to bits at a time. Reckoned: 256 kB of floats. Most images of
/// which all planes are short are packed whole, and longer ones by several threads.
pub(crate) const PACKED_VALUES: usize = 1 << 16;

/// Values whose codes are computed together, by vectors. Measured on a Zen 3 with AVX2: 1024 x 1024
/// floats took 1.0 ms to 8 bits, and 5.6 ms one by one.
pub(crate) const CODED_VALUES: usize = 128;

/// Values that are brought together before they are quantized in place. Reckoned: 4 or 8 kB, which
/// the first cache holds beside what is read.
pub(crate) const QUANTIZED_VALUES: usize = 1 << 10;

/// How many times larger padding may make an image so that windows are read where they lie; a long
/// window over little but padding is gathered. Reckoned: it bounds the memory of a call.
pub(crate) const PADDED_GROWTH: usize = 4;

// The plan of a product.

/// Products of bits that are made in the time of other work: what decides between bit planes and
/// bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CostModel {
    /// Of a product of bytes.
    pub(crate) byte: usize,
    /// Of making a byte from a code that is held in planes.
    pub(crate) expansion: usize,
}

impl CostModel {
    /// Measured 33 for a byte on a Zen 3, with 512 rows, filters and inputs, where the compiler has SSE2
    /// for bits; about 10 without vectors.
    pub(crate) const PORTABLE: Self = Self { byte: 16, expansion: 10 };

    /// Measured 3.6 for a byte on a Zen 3, with 512 rows, filters and inputs and narrow weights; 1x3 and
    /// 3x1 bits take as long in either form.
    pub(crate) const AVX2: Self = Self { byte: 3, expansion: 40 };

    /// Reckoned: as many products of bits a cycle as with AVX2, about 100, for 64 of bytes.
    pub(crate) const AVX_VNNI: Self = Self { byte: 1, expansion: 40 };

    /// Of CPUs that start two products of bytes a cycle. Measured 3.2 on an Emerald Rapids: 390 products
    /// of bits a cycle for 115 of bytes.
    pub(crate) const AVX512_TWO: Self = Self { byte: 3, expansion: 150 };

    /// Of CPUs that start one. Reckoned: half as many of bytes, less what it takes to pack several planes.
    pub(crate) const AVX512_ONE: Self = Self { byte: 5, expansion: 150 };

    /// Measured 1.2 on an Emerald Rapids for dense layers; convolutions by 1x2 and 2x1 bits are up to 1.4
    /// times faster in planes, so that these stay.
    pub(crate) const AMX: Self = Self { byte: 2, expansion: 100 };

    /// Reckoned: an instruction makes 43 products of bits, or 8 of bytes, and these must be unpacked.
    pub(crate) const NEON: Self = Self { byte: 4, expansion: 40 };

    /// Reckoned: 43 for 16 of bytes, or 11 with what it takes to unpack them.
    pub(crate) const DOTPROD: Self = Self { byte: 3, expansion: 40 };
}

/// Output positions of a line from which on AMX reads windows where they lie. A tile has 16 rows, of
/// which shorter lines fill too few, unless they are gathered and follow each other. Measured on an
/// Emerald Rapids: 7 x 7 positions of 512 channels became 1.7 times faster by gathering.
pub(crate) const LINE_POSITIONS: usize = 12;

/// Filters of a group from which on gathering short lines pays. Reckoned: four panels that read what
/// was written once.
pub(crate) const GATHERED_FILTERS: usize = 64;

/// Rows and panels of a tile of bits whose outputs lie side by side for a position. Measured on an
/// Emerald Rapids at 1024^3: 16 or 32 rows were slower.
pub(crate) const BIT_TILE: [usize; 2] = [64, 16];

/// The same of bytes. Measured on an Emerald Rapids at 1024^3: 64 rows over two panels of a block took 4.1
/// ms, and fewer rows over four 6.4 ms, as panels came from the second cache.
pub(crate) const BYTE_TILE: [usize; 2] = [64, 4];

/// The same of AMX. Reckoned.
pub(crate) const AMX_TILE: [usize; 2] = [64, 8];

/// The same of any product whose outputs lie side by side for a filter. Prefetchers follow the streams
/// of few planes: measured on an Emerald Rapids, 56 x 56 positions of 64 channels in NCHW took 206 to
/// 232 us, and 240 with more.
pub(crate) const PLANE_TILE: [usize; 2] = [128, 2];

/// Words of the gathered windows of a tile, at most. Reckoned: 128 kB of a second cache of 512 kB (Zen
/// 3).
pub(crate) const TILE_WORDS: usize = 1 << 15;

/// The same of AMX, which takes more rows at a time. Reckoned: 512 kB of 2 MB (Emerald Rapids).
pub(crate) const AMX_TILE_WORDS: usize = 1 << 17;

/// Rows of a tile, at least, however long they are. Reckoned: two blocks of four, so that panels are
/// read half as often.
pub(crate) const TILE_ROWS: usize = 8;

/// Words of panels that all tiles of rows use up before the next panels. Reckoned: 256 kB, half the
/// second cache of a Zen 3.
pub(crate) const CACHED_WORDS: usize = 1 << 16;

// Depthwise convolutions.

/// Products that a thread makes at least. Reckoned: 10 us, at 50 a nanosecond.
pub(crate) const DEPTHWISE_PRODUCTS_PER_THREAD: usize = 1 << 19;

/// Bytes of lines of an image that are in memory at a time. Reckoned: they stay in the second cache,
/// and smaller images are there as a whole.
pub(crate) const STRIP_BYTES: usize = 1 << 18;

/// Sums of a tile of channels, at most. Reckoned: 8 kB, which stay in the first cache.
pub(crate) const DEPTHWISE_SUMS: usize = 2048;

/// Positions of such a tile, at most. Reckoned, as that of a product.
pub(crate) const DEPTHWISE_ROWS: usize = 64;

/// Filters of such a tile where the outputs of a filter lie side by side. Reckoned: whole words of signs,
/// and few planes that are written at a time.
pub(crate) const DEPTHWISE_FILTERS: usize = 64;

/// Outputs of a plane from which on vectors run along its lines; below, what is done once a plane takes
/// longer than its sums. By trial on an Emerald Rapids.
pub(crate) const PLANE_OUTPUTS: usize = 256;

/// Copies of a plane, one for each column of the kernel, at most. Reckoned: each takes the memory of a
/// plane.
pub(crate) const PLANE_COPIES: usize = 16;

/// Outputs that are asked for before they are written, at most, as stores that miss the caches come in
/// bursts. Measured on an Emerald Rapids: faster by 8 images of 256 channels and 28 x 28 positions, and
/// 10 % slower by one image, in NHWC.
pub(crate) const OUTPUTS_AHEAD: usize = 2048;

// Products of floats.

/// Rows from which on it is faster to write out all weights as floats than to decode them in
/// registers. Measured on a Zen 3: between 64 and 96, at 4096 filters of 4096 weights of any width.
pub(crate) const EXPANDED_ROWS: usize = 65;

/// Floats of gathered windows of a tile, at most. Reckoned: 1 MB, of a second cache or a third one.
pub(crate) const TILE_FLOATS: usize = 1 << 18;

/// Rows of such a tile, at most. Reckoned: as many as make a product efficient.
pub(crate) const FLOAT_TILE_ROWS: usize = 64;

/// Words of a filter whose products are summed before the sum is added to others. It is for rounding:
/// errors grow with the length of the parts and with their number, not with that of the whole.
pub(crate) const SUMMED_WORDS: usize = 64;

// Backward.

/// Sums over images that are made apart from each other, at most, by as many threads. They are part of
/// the result, so that it is the same at any number of threads. Reckoned: each takes the memory of
/// the weights.
pub(crate) const GRADIENT_SUMS: usize = 8;

/// Windows that are gathered at a time, at most. Reckoned: 1.2 MB of floats where they are 3 x 3
/// over 64 channels, for a second cache of 2 MB (Emerald Rapids).
pub(crate) const GRADIENT_ROWS: usize = 512;

/// Pixels for so many positions up to which the gradient of the input is a product of gathered
/// windows, instead of windows that are added to pixels. Reckoned: no more floats are gathered than
/// were added, but for an edge.
pub(crate) const GRADIENT_PIXELS: [usize; 2] = [9, 8];

/// Filters for a channel up to which the same is so. Reckoned: gathered windows run over filters,
/// added ones over channels.
pub(crate) const GRADIENT_FILTERS: usize = 2;
