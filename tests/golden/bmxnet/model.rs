//! BMXNet's published binary LeNet on MNIST: full precision at both ends, XNOR between.

use super::file_names;
use super::params::{self, Parameter};
use super::words::Words;
use crate::compare::{Tolerance, close};
use crate::layer::{Operands, forward};
use crate::report::{Check, Miss, Report, failed};
use crate::values::{Tensors, cast, read, real};
use ndarray::{ArrayD, ArrayView1, Axis, IxDyn, Slice};
use ndarray_qnn::{
    ActivationQuantizer, Element, QActivation, QConvolution, QFullyConnected, WeightQuantizer,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const KERNEL: usize = 5;
const EPSILON: f64 = 1e-3;

/// Runs the vectors of the model through each file of its parameters that can be found.
pub(crate) fn run(dir: &Path, report: &mut Report) {
    let op = "bmxnet/models";
    let golden = dir.join("models/mnist_lenet_golden.safetensors");
    if !golden.exists() {
        return;
    }
    let Some(golden) = report.require(op, "vectors", Tensors::read(&golden)) else {
        return;
    };
    let files = parameter_files(dir);
    if files.is_empty() {
        let absent = Miss::Absent("binarized_mnist*.params".to_owned());
        report.record(op, "mnist_lenet", Err(absent));
    }
    for file in files {
        let outcome = Model::read(&file).and_then(|model| {
            model.check::<f32>(&golden, "logits_f32")?;
            model.check::<f64>(&golden, "logits_f64")
        });
        report.record(op, &file.display().to_string(), outcome);
    }
}

/// The parameters beside the vectors, or else those of this repository.
fn parameter_files(dir: &Path) -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/data/bmxnet/models");
    [dir.join("models"), dir.join("../models"), dir.join("../../models/bmxnet"), own]
        .iter()
        .map(|dir| {
            let names = file_names(dir, "params").into_iter();
            let models = names.filter(|name| name.starts_with("binarized_mnist"));
            models.map(|name| dir.join(name)).collect()
        })
        .find(|files: &Vec<PathBuf>| !files.is_empty())
        .unwrap_or_default()
}

struct Model(BTreeMap<String, Parameter>);

/// What the network computes on the way.
struct Stages<T> {
    bn0: ArrayD<T>,
    qconv0: ArrayD<T>,
    flat: ArrayD<T>,
    qfc0: ArrayD<T>,
    logits: ArrayD<T>,
}

impl Model {
    fn read(path: &Path) -> Check<Self> {
        let mut parameters = BTreeMap::new();
        for (name, parameter) in params::parse(&read(path)?)? {
            let name = name.unwrap_or_default();
            let name = name.split_once(':').map_or(&*name, |(_, name)| name);
            parameters.insert(name.to_owned(), parameter);
        }
        Ok(Model(parameters))
    }

    fn check<T: Element>(&self, golden: &Tensors, logits: &str) -> Check {
        let stages = self.stages::<T>(golden.get("images_u8")?)?;
        let sign = |stage: &ArrayD<T>| stage.mapv(|x| if x >= T::zero() { 1.0 } else { 0.0 });
        for (name, found) in [
            ("bn0_sign_u8", sign(&stages.bn0)),
            ("qconv0_popcount_i16", stages.qconv0.mapv(|x| x.as_f64())),
            ("flat_sign_u8", sign(&stages.flat)),
            ("qfc0_popcount_i16", stages.qfc0.mapv(|x| x.as_f64())),
        ] {
            close(name, &found, golden.get(name)?, Tolerance::EXACT)?;
        }
        let tolerance = Tolerance::absolute(1e-3).of::<T>();
        close(logits, &stages.logits, golden.get(logits)?, tolerance)?;
        if let Some(images) = golden.find("random_images_u8") {
            let found = self.stages::<T>(images)?.logits;
            let expected = golden.get("random_logits_f64")?;
            close("random_logits", &found, expected, tolerance)?;
        }
        Ok(())
    }

    /// The network, on bytes (N, H, W).
    fn stages<T: Element>(&self, images: &ArrayD<f64>) -> Check<Stages<T>> {
        let conv0 =
            QConvolution::<2>::new(ActivationQuantizer::identity(), WeightQuantizer::identity());
        // Pixels are f32 also where the rest is computed in f64.
        let pixels = images.mapv(|byte| real::<T>(f64::from(byte as f32 / 255.0)));
        let x = pixels.insert_axis(Axis(1));
        let (w, b) = self.full_precision::<T>("convolution0")?;
        let bias = ArrayView1::from(&b);
        let x = forward(&conv0, &operands(&x, &w, Some(bias)))?;
        let bn0 = self.batch_norm(max_pool(&x.mapv(T::tanh)), "batchnorm0")?;

        let w = self.binary_convolution("qconvolution0", bn0.shape()[1])?;
        let layer = QConvolution::<2>::bmxnet_v1(1, 1)?;
        let x = QActivation::bmxnet_v1(1)?.forward(bn0.view())?;
        let qconv0 = forward(&layer, &operands(&x, &w, None))?;

        let x = max_pool(&self.batch_norm(qconv0.clone(), "batchnorm1")?);
        let batch = x.shape()[0];
        let inputs = x.len() / batch;
        let flat = x.into_shape_with_order(IxDyn(&[batch, inputs]))?;

        let w = self.binary_dense("qfullyconnected0", inputs)?;
        let layer = QFullyConnected::bmxnet_v1(1, 1)?;
        let qfc0 = forward(&layer, &operands(&flat, &w, None))?;

        let x = self.batch_norm(qfc0.clone(), "batchnorm2")?.mapv(T::tanh);
        let fc0 = QFullyConnected::bmxnet_v1(32, 32)?;
        let (w, b) = self.full_precision::<T>("fullyconnected0")?;
        let bias = ArrayView1::from(&b);
        let logits = forward(&fc0, &operands(&x, &w, Some(bias)))?;
        Ok(Stages { bn0, qconv0, flat, qfc0, logits })
    }

    /// Normalizes along axis 1 with the moving statistics. The network fixes gamma at 1.
    fn batch_norm<T: Element>(&self, mut x: ArrayD<T>, name: &str) -> Check<ArrayD<T>> {
        let parameter = |part: &str| self.floats::<T>(&format!("{name}_{part}"));
        let (mean, variance) = (parameter("moving_mean")?, parameter("moving_var")?);
        let beta = parameter("beta")?;
        for (c, mut channel) in x.axis_iter_mut(Axis(1)).enumerate() {
            let deviation = (variance[c] + real(EPSILON)).sqrt();
            channel.mapv_inplace(|x| (x - mean[c]) / deviation + beta[c]);
        }
        Ok(x)
    }

    fn full_precision<T: Element>(&self, layer: &str) -> Check<(ArrayD<T>, Vec<T>)> {
        let weight = self.floats(&format!("{layer}_weight"))?;
        let bias = self.floats(&format!("{layer}_bias"))?;
        Ok((weight, bias.into_iter().collect()))
    }

    /// Filters lie one after the other, each in the order (C, KH, KW).
    fn binary_convolution<T: Element>(&self, layer: &str, channels: usize) -> Check<ArrayD<T>> {
        let words = self.words(&format!("{layer}_weight"))?;
        let inputs = channels * KERNEL * KERNEL;
        let filters = words.words.len() * words.width / inputs;
        let shape = IxDyn(&[filters, channels, KERNEL, KERNEL]);
        let signs = words.signs(filters)?.into_shape_with_order(shape)?;
        Ok(cast(&signs))
    }

    /// Filters lie interleaved.
    fn binary_dense<T: Element>(&self, layer: &str, inputs: usize) -> Check<ArrayD<T>> {
        let words = self.words(&format!("{layer}_weight"))?;
        let filters = words.words.len() * words.width / inputs;
        Ok(cast(&words.signs_of_interleaved(filters)?.into_dyn()))
    }

    fn parameter(&self, name: &str) -> Check<&Parameter> {
        let parameter = self.0.get(name);
        parameter.ok_or_else(|| Miss::Failed(format!("no parameter {name}")))
    }

    fn floats<T: Element>(&self, name: &str) -> Check<ArrayD<T>> {
        let parameter = self.parameter(name)?;
        if parameter.dtype != "float32" {
            return failed(format!("{name}: {}", parameter.dtype));
        }
        let numbers = parameter.bytes.chunks_exact(4);
        let numbers = numbers.map(|b| real(f32::from_le_bytes(b.try_into().unwrap()).into()));
        Ok(ArrayD::from_shape_vec(IxDyn(&parameter.shape), numbers.collect())?)
    }

    /// Words are stored as floats of their width, whose bits they are.
    fn words(&self, name: &str) -> Check<Words> {
        let parameter = self.parameter(name)?;
        let size = match parameter.dtype {
            "float64" => 8,
            "float32" => 4,
            dtype => return failed(format!("{name}: {dtype}")),
        };
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |w, &b| w << 8 | u64::from(b));
        Ok(Words { words: parameter.bytes.chunks_exact(size).map(word).collect(), width: 8 * size })
    }
}

fn operands<'a, T>(
    x: &'a ArrayD<T>,
    w: &'a ArrayD<T>,
    bias: Option<ArrayView1<'a, T>>,
) -> Operands<'a, T> {
    Operands { x: x.view(), w: w.view(), bias }
}

/// The maximum of each square of 2 by 2.
fn max_pool<T: Element>(x: &ArrayD<T>) -> ArrayD<T> {
    let corner = |h: isize, w: isize| {
        let rows = x.slice_axis(Axis(2), Slice::new(h, None, 2));
        rows.slice_axis_move(Axis(3), Slice::new(w, None, 2))
    };
    let mut max = corner(0, 0).to_owned();
    for (h, w) in [(0, 1), (1, 0), (1, 1)] {
        max.zip_mut_with(&corner(h, w), |max, &x| *max = max.max(x));
    }
    max
}
