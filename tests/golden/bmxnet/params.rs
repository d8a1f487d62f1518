//! MXNet's `.params` files.
//!
//! `u64 0x112, u64 0, u64 count`, the arrays, `u64 count`, the names. An array begins with a magic
//! number that tells how the rest is written, or, in the oldest format, with its rank.

use super::file_names;
use crate::report::{Check, Miss, Report, failed};
use crate::values::{read, read_json, shape, text};
use serde_json::{Map, Value};
use std::path::Path;

/// An array, its numbers as little-endian bytes.
#[derive(Debug, PartialEq)]
pub(crate) struct Parameter {
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: &'static str,
    pub(crate) bytes: Vec<u8>,
}

/// The arrays of a file with their names, which it may lack.
pub(crate) type Parameters = Vec<(Option<String>, Parameter)>;

const LIST_MAGIC: u64 = 0x112;
const V1_MAGIC: u32 = 0xF993_FAC8;
const V2_MAGIC: u32 = 0xF993_FAC9;
const V3_MAGIC: u32 = 0xF993_FACA;

const DTYPES: [(&str, usize); 7] = [
    ("float32", 4),
    ("float64", 8),
    ("float16", 2),
    ("uint8", 1),
    ("int32", 4),
    ("int8", 1),
    ("int64", 8),
];

pub(crate) fn parse(bytes: &[u8]) -> Check<Parameters> {
    let mut reader = Reader(bytes);
    if (reader.u64()?, reader.u64()?) != (LIST_MAGIC, 0) {
        return failed("not a list of arrays");
    }
    let count = reader.u64()?;
    let arrays = (0..count).map(|_| reader.array()).collect::<Check<Vec<_>>>()?;
    let count = reader.u64()?;
    let names = (0..count).map(|_| reader.name()).collect::<Check<Vec<_>>>()?;
    if !names.is_empty() && names.len() != arrays.len() {
        return failed(format!("{} names of {}", names.len(), arrays.len()));
    }
    let names = names.into_iter().map(Some).chain(std::iter::repeat(None));
    Ok(names.zip(arrays).collect())
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, len: usize) -> Check<&[u8]> {
        match self.0.split_at_checked(len) {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => failed("the file is too short"),
        }
    }

    fn u32(&mut self) -> Check<u32> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into()?))
    }

    fn u64(&mut self) -> Check<u64> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into()?))
    }

    fn name(&mut self) -> Check<String> {
        let len = usize::try_from(self.u64()?)?;
        Ok(String::from_utf8(self.take(len)?.to_vec())?)
    }

    fn array(&mut self) -> Check<Parameter> {
        let shape = match self.u32()? {
            V2_MAGIC | V3_MAGIC => {
                let storage = self.u32()?;
                if storage != 0 {
                    return failed(format!("sparse storage {storage}"));
                }
                self.shape()?
            }
            V1_MAGIC => self.shape()?,
            rank => (0..rank).map(|_| Ok(self.u32()? as usize)).collect::<Check<_>>()?,
        };
        let _device = (self.u32()?, self.u32()?);
        let flag = self.u32()? as usize;
        let Some((dtype, size)) = DTYPES.get(flag) else {
            return failed(format!("number type {flag}"));
        };
        let len = shape.iter().product::<usize>() * size;
        Ok(Parameter { shape, dtype, bytes: self.take(len)?.to_vec() })
    }

    fn shape(&mut self) -> Check<Vec<usize>> {
        let rank = self.u32()?;
        (0..rank).map(|_| Ok(usize::try_from(self.u64()?)?)).collect()
    }
}

/// Reads every fixture beside the file that tells what they hold.
pub(crate) fn run(expected: &Path, report: &mut Report) {
    let op = "bmxnet/params";
    let Some(json) = report.require(op, "expected", read_json(expected)) else {
        return;
    };
    let dir = expected.parent().unwrap_or(expected);
    for name in file_names(dir, "params") {
        report.record(op, &name, check(&dir.join(&name), &json));
    }
}

fn check(path: &Path, json: &Value) -> Check {
    let expected = match json.as_object() {
        Some(object) => fixture(object)?,
        None => return failed("the expectation is not an object"),
    };
    let parameters = parse(&read(path)?)?;
    for (name, parameter) in &parameters {
        // Without names it is one of the arrays, whichever.
        let known = expected.iter().any(|(expected_name, expected)| {
            name.as_ref().is_none_or(|name| name == expected_name) && expected == parameter
        });
        if !known {
            return failed(format!("{name:?}: {parameter:?}"));
        }
    }
    let named = parameters.iter().any(|(name, _)| name.is_some());
    match parameters.len() {
        0 => failed("no arrays"),
        found if named && found != expected.len() => failed(format!("{found} arrays")),
        _ => Ok(()),
    }
}

fn fixture(object: &Map<String, Value>) -> Check<Vec<(&str, Parameter)>> {
    let mut arrays = Vec::new();
    for (name, array) in object {
        let dtype = text(&array["dtype"])?;
        let Some((dtype, _)) = DTYPES.into_iter().find(|(known, _)| *known == dtype) else {
            return failed(format!("number type {dtype}"));
        };
        let parameter = Parameter {
            shape: shape(&array["shape"])?,
            dtype,
            bytes: from_hex(text(&array["le_hex"])?)?,
        };
        arrays.push((name.as_str(), parameter));
    }
    Ok(arrays)
}

fn from_hex(digits: &str) -> Check<Vec<u8>> {
    let pairs = (0..digits.len()).step_by(2);
    pairs
        .map(|at| match digits.get(at..at + 2) {
            Some(pair) => u8::from_str_radix(pair, 16).map_err(Miss::from),
            None => failed("an odd number of digits"),
        })
        .collect()
}
