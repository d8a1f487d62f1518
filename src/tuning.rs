//! Every threshold of the crate: sizes at which one way of computing becomes faster than another, and
//! how much is done at a time, from the lowest layer up.
//!
//! Each says its unit, what it weighs, and the CPU and case that it was measured on. "Reckoned" is
//! what nobody measured: it follows from the sizes of caches or the times of parts. No threshold of
//! exact sums changes a result; those of sums of floats do by a rounding, as they order the sum.
//!
//! Sizes that are facts of a format (filters of a panel, bits of a word) stand with the format.

// Threads: waking one takes about as long as some 10 thousand values, so that it must get more.

/// Values that a thread quantizes at least. Reckoned: 65 us of codes of 8 bits, at 1 ns each (AVX2 of a
/// Zen 3, 1024 x 1024 floats).
pub(crate) const VALUES_PER_THREAD: usize = 1 << 16;

/// Latent weights that a thread packs at least. Reckoned: 20 us where they are bits, at 0.3 ns each
/// (Zen 3, 1024 x 1024 signs), and more where they are codes.
pub(crate) const WEIGHTS_PER_THREAD: usize = 1 << 16;

// Packing.

/// Values of an image that are packed to bits at a time. Reckoned: 256 kB of floats. Most images of
/// which all planes are short are packed whole, and longer ones by several threads.
pub(crate) const PACKED_VALUES: usize = 1 << 16;

/// Values that are brought together before they are quantized in place. Reckoned: 4 or 8 kB, which
/// the first cache holds beside what is read.
pub(crate) const QUANTIZED_VALUES: usize = 1 << 10;

/// How many times larger padding may make an image so that windows are read where they lie; a long
/// window over little but padding is gathered. Reckoned: it bounds the memory of a call.
pub(crate) const PADDED_GROWTH: usize = 4;

/// Output positions of a line from which on AMX reads windows where they lie. A tile has 16 rows, of
/// which shorter lines fill too few, unless they are gathered and follow each other. Measured on an
/// Emerald Rapids: 7 x 7 positions of 512 channels became 1.7 times faster by gathering.
pub(crate) const LINE_POSITIONS: usize = 12;

/// Filters of a group from which on gathering short lines pays. Reckoned: four panels that read what
/// was written once.
pub(crate) const GATHERED_FILTERS: usize = 64;

// Products of floats.

/// Products of floats that a thread makes at least. Reckoned: 10 us, at 25 products a nanosecond.
pub(crate) const FLOAT_PRODUCTS_PER_THREAD: usize = 1 << 18;

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
