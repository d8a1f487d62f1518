//! What the golden test is made of: readers of the vectors, laws, and one module per kind of case.

pub(crate) mod bmxnet;
pub(crate) mod bmxnet_layers_v2;
pub(crate) mod bmxnet_model;
pub(crate) mod bmxnet_operators_v1;
pub(crate) mod bmxnet_packing;
pub(crate) mod bmxnet_quantizers;
pub(crate) mod bmxnet_seed;
pub(crate) mod compare;
pub(crate) mod data;
pub(crate) mod larq;
pub(crate) mod larq_layers;
pub(crate) mod larq_quantizers;
pub(crate) mod larq_spec;
pub(crate) mod larq_train;
pub(crate) mod layer;
pub(crate) mod layout;
pub(crate) mod network;
pub(crate) mod params;
pub(crate) mod quantizer;
pub(crate) mod report;
pub(crate) mod words;
