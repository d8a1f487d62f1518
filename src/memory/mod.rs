//! Memory and views of it, for all layers above: checked sizes, aligned buffers, threads.

mod aligned;
mod buffers;
pub(crate) mod parallel;
mod views;
mod workspace;

pub(crate) use aligned::Aligned;
pub(crate) use buffers::{LINE, line_start, product, reserve, take, take_aligned, zeros};
pub(crate) use views::{each_slice, matrix, matrix_mut, view5, zeros_array};
pub(crate) use workspace::{Workspace, WorkspaceSize};
