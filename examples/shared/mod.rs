//! What the examples that train on MNIST share: data, optimizer, and the way from one to the other.

pub(crate) mod adam;
pub(crate) mod data;
pub(crate) mod rng;
pub(crate) mod training;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
