//! The index of Larq's vectors, case by case.

mod layers;
mod layout;
mod network;
mod quantizers;
mod spec;
mod train;

use crate::compare::Tolerance;
use crate::report::{Check, Miss, Report, unsupported};
use crate::values::{Tensors, list, number, read_json, text};
use ndarray::ArrayD;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A case with the file of its tensors.
pub(crate) struct Case<'a> {
    json: &'a Value,
    file: &'a Tensors,
}

impl<'a> Case<'a> {
    pub(crate) fn param(&self, name: &str) -> &'a Value {
        &self.json["params"][name]
    }

    pub(crate) fn params(&self) -> &'a Value {
        &self.json["params"]
    }

    pub(crate) fn get(&self, name: &str) -> Check<&'a ArrayD<f64>> {
        match self.json["tensors"][name].as_str() {
            Some(name) => self.file.get(name),
            None => Err(Miss::Failed(format!("no tensor {name}"))),
        }
    }

    /// Input, output, output gradient and input gradient of a quantizer.
    pub(crate) fn both_ways(&self) -> Check<[&'a ArrayD<f64>; 4]> {
        Ok([self.get("x")?, self.get("y")?, self.get("dy")?, self.get("dx")?])
    }

    /// A tensor that not all cases have.
    pub(crate) fn find(&self, name: &str) -> Option<&'a ArrayD<f64>> {
        self.get(name).ok()
    }

    pub(crate) fn tolerance(&self) -> Check<Tolerance> {
        if self.json["exact"] == Value::Bool(true) {
            return Ok(Tolerance::EXACT);
        }
        let tol = &self.json["tol"];
        Ok(Tolerance { rtol: number(&tol["rtol"])?, atol: number(&tol["atol"])? })
    }
}

pub(crate) fn run(dir: &Path, report: &mut Report) {
    let index = dir.join("index.json");
    if !index.exists() {
        return;
    }
    let Some(json) = report.require("larq", "index", read_json(&index)) else {
        return;
    };
    let mut files = BTreeMap::new();
    for json in list(&json["cases"]) {
        let op = json["op"].as_str().unwrap_or("?");
        let name = json["name"].as_str().unwrap_or("?");
        let outcome = text(&json["file"]).and_then(|file| {
            let tensors = files.entry(file).or_insert_with(|| Tensors::read(&dir.join(file)));
            match tensors {
                Ok(file) => check(op, &Case { json, file }),
                Err(Miss::Absent(_)) => Err(Miss::Absent(file.to_owned())),
                Err(why) => Err(Miss::Failed(format!("{file}: {why:?}"))),
            }
        });
        report.record(&format!("larq/{op}"), name, outcome);
    }
}

fn check(op: &str, case: &Case<'_>) -> Check {
    match op {
        "QuantDense" => layers::dense(case),
        "QuantConv1D" => layers::convolution::<1>(case),
        "QuantConv2D" => layers::convolution::<2>(case),
        "QuantConv3D" => layers::convolution::<3>(case),
        "QuantDepthwiseConv2D" => layers::depthwise(case),
        "train" => train::check(case),
        "bmxnet_v1_qactivation" => quantizers::bmxnet_v1(case),
        "dorefa_weight" => quantizers::tensorpack_weight(case),
        "dorefa_act" => quantizers::tensorpack_activation(case),
        _ if op.starts_with("Quant") => unsupported("an operator that we do not have"),
        _ => quantizers::larq(op, case),
    }
}
