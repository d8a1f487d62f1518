//! Sums to outputs: exact integers to floats, or to the signs of these.

pub(crate) mod exact;
pub(crate) mod output_scale;
pub(crate) mod padding;
pub(crate) mod runs;
pub(crate) mod sign_thresholds;
pub(crate) mod store;
pub(crate) mod terms;
pub(crate) mod to_floats;
pub(crate) mod to_planes;
pub(crate) mod to_signs;
