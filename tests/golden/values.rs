//! JSON and safetensors, read into arrays of `f64`: exact for every number type they hold.

use crate::report::{Check, Miss, failed};
use ndarray::{Array1, ArrayD, IxDyn};
use ndarray_qnn::Element;
use num_traits::NumCast;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The tensors of a file by name.
#[derive(Debug)]
pub(crate) struct Tensors(BTreeMap<String, ArrayD<f64>>);

impl Tensors {
    pub(crate) fn read(path: &Path) -> Check<Self> {
        let bytes = read(path)?;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in SafeTensors::deserialize(&bytes)?.tensors() {
            let values = match numbers(tensor.dtype(), tensor.data()) {
                Some(values) => values,
                None => return failed(format!("{name}: number type {:?}", tensor.dtype())),
            };
            tensors.insert(name, ArrayD::from_shape_vec(IxDyn(tensor.shape()), values)?);
        }
        Ok(Tensors(tensors))
    }

    pub(crate) fn get(&self, name: &str) -> Check<&ArrayD<f64>> {
        self.find(name).ok_or_else(|| Miss::Failed(format!("no tensor {name}")))
    }

    pub(crate) fn find(&self, name: &str) -> Option<&ArrayD<f64>> {
        self.0.get(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The bytes of a file; a file that is not there is absent, not wrong.
pub(crate) fn read(path: &Path) -> Check<Vec<u8>> {
    if !path.exists() {
        return Err(Miss::Absent(path.display().to_string()));
    }
    Ok(std::fs::read(path)?)
}

pub(crate) fn read_json(path: &Path) -> Check<Value> {
    Ok(serde_json::from_slice(&read(path)?)?)
}

fn numbers(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    macro_rules! decode {
        ($number:ident) => {
            bytes
                .chunks_exact(size_of::<$number>())
                .map(|b| $number::from_le_bytes(b.try_into().unwrap()) as f64)
                .collect()
        };
    }
    Some(match dtype {
        Dtype::F32 => decode!(f32),
        Dtype::F64 => decode!(f64),
        Dtype::U8 | Dtype::BOOL => decode!(u8),
        Dtype::I8 => decode!(i8),
        Dtype::I16 => decode!(i16),
        Dtype::I32 => decode!(i32),
        Dtype::I64 => decode!(i64),
        _ => return None,
    })
}

/// The nearest number of type `T`.
pub(crate) fn real<T: Element>(value: f64) -> T {
    <T as NumCast>::from(value).unwrap()
}

pub(crate) fn cast<T: Element>(array: &ArrayD<f64>) -> ArrayD<T> {
    array.mapv(real)
}

pub(crate) fn cast1<T: Element>(array: &ArrayD<f64>) -> Array1<T> {
    array.iter().map(|&value| real(value)).collect()
}

pub(crate) fn number(value: &Value) -> Check<f64> {
    match value.as_f64() {
        Some(number) => Ok(number),
        None => failed(format!("not a number: {value}")),
    }
}

pub(crate) fn integer(value: &Value) -> Check<usize> {
    match value.as_u64() {
        Some(integer) => Ok(integer as usize),
        None => failed(format!("not an integer: {value}")),
    }
}

pub(crate) fn bits(value: &Value) -> Check<u32> {
    Ok(u32::try_from(integer(value)?)?)
}

pub(crate) fn flag(value: &Value) -> bool {
    value.as_bool().unwrap_or(false)
}

pub(crate) fn text(value: &Value) -> Check<&str> {
    match value.as_str() {
        Some(text) => Ok(text),
        None => failed(format!("not a string: {value}")),
    }
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A list of numbers as an array of the given shape.
pub(crate) fn array(value: &Value, shape: &[usize]) -> Check<ArrayD<f64>> {
    let values = list(value).iter().map(number).collect::<Check<_>>()?;
    Ok(ArrayD::from_shape_vec(IxDyn(shape), values)?)
}

/// A list of numbers as it is.
pub(crate) fn vector(value: &Value) -> Check<ArrayD<f64>> {
    array(value, &[list(value).len()])
}

pub(crate) fn shape(value: &Value) -> Check<Vec<usize>> {
    list(value).iter().map(integer).collect()
}

/// One length for each spatial axis, written as a list or as a number that serves all.
pub(crate) fn spatial<const S: usize>(value: &Value) -> Check<[usize; S]> {
    if value.is_array() {
        match shape(value)?.try_into() {
            Ok(lengths) => Ok(lengths),
            Err(_) => failed(format!("not {S} lengths: {value}")),
        }
    } else {
        Ok([integer(value)?; S])
    }
}
