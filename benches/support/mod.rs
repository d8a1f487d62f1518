//! What the benches measure with: contestants that take turns, the most that the CPU can do, and
//! tables of both.
//!
//! Anything that is measured is a [`Contestant`](race::Contestant): it does a known amount of work
//! in each call. So are the rooflines, the clock and the read bandwidth, which thus run in the
//! same seconds as what is compared with them.

// Each bench includes all of this and uses a part.
#![allow(dead_code, unused_imports)]

mod bandwidth;
mod clock;
mod float_conv;
mod floats;
mod load;
mod race;
mod report;
pub(crate) mod roofline;
mod threads;

pub(crate) use bandwidth::{READ, read};
pub(crate) use float_conv::{ConvShape, FloatConv, FloatGradients, float_depthwise};
pub(crate) use floats::{float_gemm, numbers};
pub(crate) use race::Contestant;
pub(crate) use report::{Table, Unit, wanted};
pub(crate) use threads::{pool, thread_table};
