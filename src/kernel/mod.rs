//! The innermost loops, on slices of codes.

mod portable;

pub(crate) use portable::{dot_bytes, xor_popcount};
