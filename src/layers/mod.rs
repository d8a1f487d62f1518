//! What users call: operators, their options at the door, and what stands between them.

pub(crate) mod activation;
pub(crate) mod batch_norm;
mod checks;
pub(crate) mod convolution;
mod fold;
pub(crate) mod fully_connected;
pub(crate) mod max_pool;
mod methods;
mod operator;
mod presets;
