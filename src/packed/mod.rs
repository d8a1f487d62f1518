//! Codes in memory, and how they get there: weights in panels, activations in words, windows of them.

pub(crate) mod bit_tensor;
mod bit_writer;
pub(crate) mod bits;
pub(crate) mod codes;
mod filter_sums;
pub(crate) mod format;
pub(crate) mod im2row;
pub(crate) mod layout;
pub(crate) mod nhwc;
pub(crate) mod panels;
pub(crate) mod row_sums;
pub(crate) mod weights;
mod windows;
