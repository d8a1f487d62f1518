//! Short trainings of small networks, step by step as Keras did them.

use super::Case;
use super::layers::pad_value;
use super::network::{BatchNorm, Real, Stage, Weights};
use super::spec::Spec;
use crate::compare::{Tolerance, close};
use crate::report::{Check, Miss, failed, unsupported};
use crate::values::{cast, integer, list, number, real, spatial, text};
use ndarray::{Array1, ArrayD, Axis, Zip};
use ndarray_qnn::{QConvolution, QFullyConnected};
use serde_json::Value;

/// Runs the training in single precision, which the case tells in full, and in double precision,
/// of which it has the losses.
pub(crate) fn check(case: &Case<'_>) -> Check {
    let tolerance = case.tolerance()?;
    let (trainer, losses) = run::<f32>(case, tolerance)?;
    let (_, losses_f64) = run::<f64>(case, tolerance)?;
    let double = Tolerance { rtol: 1e-6, atol: 1e-6 };
    close("losses_f64", &losses_f64, case.get("losses_f64")?, double)?;

    // What single precision made of the losses, it may make of the rest.
    let noise = case.get("losses")? - case.get("losses_f64")?;
    let noise = noise.fold(0.0f64, |max, noise| max.max(noise.abs()));
    let tolerance = Tolerance { atol: tolerance.atol + noise, ..tolerance };
    close("losses", &losses, case.get("losses")?, tolerance)?;
    for (i, variable) in trainer.variables.iter().enumerate() {
        let name = format!("final_{i}");
        close(&name, variable, case.get(&name)?, tolerance)?;
    }
    let mut trainer = trainer;
    let outputs = trainer.forward(&cast(case.get("x")?), false)?;
    let logits = case.get("logits_infer_final")?;
    close("logits_infer_final", &outputs[outputs.len() - 1], logits, tolerance)
}

struct Trainer<T> {
    stages: Vec<Stage>,
    variables: Vec<ArrayD<T>>,
    /// Whether a variable is clipped to -1..1 after each step.
    clipped: Vec<bool>,
    optimizer: Optimizer<T>,
}

/// The trained network and the loss of each step, after checking the first step.
fn run<T: Real>(case: &Case<'_>, tolerance: Tolerance) -> Check<(Trainer<T>, ArrayD<T>)> {
    let x = cast::<T>(case.get("x")?);
    let labels: Vec<usize> = case.get("labels")?.iter().map(|&l| l as usize).collect();
    let mut trainer = Trainer::<T>::new(case)?;
    let mut losses = Vec::new();
    for step in 0..integer(case.param("steps"))? {
        let inputs = trainer.forward(&x, true)?;
        let logits = &inputs[inputs.len() - 1];
        let (loss, dlogits) = cross_entropy(logits, &labels);
        let gradients = trainer.backward(&inputs, dlogits)?;
        losses.push(loss);
        if step == 0 {
            close("logits0", logits, case.get("logits0")?, tolerance)?;
            for (i, gradient) in gradients.iter().enumerate() {
                if let Some(gradient) = gradient {
                    let name = format!("grad0_{i}");
                    close(&name, gradient, case.get(&name)?, tolerance)?;
                }
            }
        }
        trainer.update(gradients);
    }
    Ok((trainer, Array1::from(losses).into_dyn()))
}

impl<T: Real> Trainer<T> {
    fn new(case: &Case<'_>) -> Check<Self> {
        let names = list(case.param("variables")).iter().map(text).collect::<Check<Vec<_>>>()?;
        let constraint = case.param("kernel_constraint").as_str();
        let clips = match constraint {
            None => false,
            Some(text) if text.starts_with("clip [-1,1]") => true,
            Some(text) => return unsupported(format!("kernel constraint {text}")),
        };
        let mut variables = Variables::new(&names);
        let stages = list(case.param("layers"))
            .iter()
            .map(|layer| stage(layer, &mut variables))
            .collect::<Check<_>>()?;
        if !variables.layers.is_empty() {
            return failed("variables of no layer are left");
        }
        Ok(Trainer {
            stages,
            variables: (0..names.len())
                .map(|i| Ok(cast(case.get(&format!("init_{i}"))?)))
                .collect::<Check<_>>()?,
            clipped: names.iter().map(|name| clips && leaf(name) == "kernel").collect(),
            optimizer: Optimizer::new(case, names.len())?,
        })
    }

    /// The input of each stage, and the logits.
    fn forward(&mut self, x: &ArrayD<T>, training: bool) -> Check<Vec<ArrayD<T>>> {
        let mut values = vec![x.clone()];
        for stage in &self.stages {
            let input = &values[values.len() - 1];
            let output = stage.forward(input, &mut self.variables, training)?;
            values.push(output);
        }
        Ok(values)
    }

    fn backward(&self, inputs: &[ArrayD<T>], dlogits: ArrayD<T>) -> Check<Vec<Option<ArrayD<T>>>> {
        let mut gradients = vec![None; self.variables.len()];
        let mut dy = dlogits;
        for (stage, x) in self.stages.iter().zip(inputs).rev() {
            let (dx, of_variables) = stage.backward(&dy, x, &self.variables)?;
            for (index, gradient) in of_variables {
                gradients[index] = Some(gradient);
            }
            dy = dx;
        }
        Ok(gradients)
    }

    fn update(&mut self, gradients: Vec<Option<ArrayD<T>>>) {
        self.optimizer.step += 1;
        for (i, gradient) in gradients.into_iter().enumerate() {
            if let Some(gradient) = gradient {
                self.optimizer.update(i, &mut self.variables[i], &gradient);
            }
            if self.clipped[i] {
                self.variables[i].mapv_inplace(|v| v.max(-T::one()).min(T::one()));
            }
        }
    }
}

/// The mean softmax cross entropy of (N, classes) logits, and its gradient.
fn cross_entropy<T: Real>(logits: &ArrayD<T>, labels: &[usize]) -> (T, ArrayD<T>) {
    let batch = real::<T>(labels.len() as f64);
    let mut loss = T::zero();
    let mut gradient = logits.clone();
    for (mut row, &label) in gradient.axis_iter_mut(Axis(0)).zip(labels) {
        let max = row.fold(T::neg_infinity(), |max, &x| max.max(x));
        loss += max - row[label];
        row.mapv_inplace(|x| (x - max).exp());
        let sum = row.sum();
        loss += sum.ln();
        row.mapv_inplace(|e| e / sum / batch);
        row[label] -= batch.recip();
    }
    (loss / batch, gradient)
}

struct Optimizer<T> {
    rate: T,
    step: i32,
    /// Adam's first and second moments of each variable, or nothing for SGD.
    moments: Option<Vec<Option<[ArrayD<T>; 2]>>>,
}

impl<T: Real> Optimizer<T> {
    fn new(case: &Case<'_>, variables: usize) -> Check<Self> {
        let moments = match text(case.param("optimizer"))? {
            "sgd" => None,
            "adam" => Some(vec![None; variables]),
            name => return unsupported(format!("optimizer {name}")),
        };
        Ok(Optimizer { rate: real(number(case.param("lr"))?), step: 0, moments })
    }

    fn update(&mut self, i: usize, variable: &mut ArrayD<T>, gradient: &ArrayD<T>) {
        let Some(moments) = &mut self.moments else {
            variable.scaled_add(-self.rate, gradient);
            return;
        };
        let [b1, b2, epsilon] = [0.9, 0.999, 1e-7].map(real::<T>);
        let zeros = || ArrayD::zeros(gradient.raw_dim());
        let [first, second] = moments[i].get_or_insert_with(|| [zeros(), zeros()]);
        let one = T::one();
        let rate = self.rate * (one - b2.powi(self.step)).sqrt() / (one - b1.powi(self.step));
        Zip::from(variable).and(gradient).and(first).and(second).for_each(|v, &g, m, s| {
            *m = b1 * *m + (one - b1) * g;
            *s = b2 * *s + (one - b2) * g * g;
            *v -= rate * *m / (s.sqrt() + epsilon);
        });
    }
}

/// Variables by layer, in the order of the layers: Keras names them `layer/variable:0`.
struct Variables<'a> {
    layers: Vec<Vec<(usize, &'a str)>>,
}

impl<'a> Variables<'a> {
    fn new(names: &[&'a str]) -> Self {
        let numbered: Vec<(usize, &str)> = names.iter().copied().enumerate().collect();
        let layer = |name: &'a str| name.rsplit_once('/').map(|(layer, _)| layer);
        let layers = numbered
            .chunk_by(|(_, a), (_, b)| layer(a) == layer(b))
            .map(|chunk| chunk.iter().map(|(i, name)| (*i, leaf(name))).collect())
            .rev();
        Variables { layers: layers.collect() }
    }

    /// Hands out the variables of the next layer that has some.
    fn next(&mut self) -> LayerVariables<'a> {
        LayerVariables(self.layers.pop().unwrap_or_default())
    }
}

struct LayerVariables<'a>(Vec<(usize, &'a str)>);

impl LayerVariables<'_> {
    fn find(&self, name: &str) -> Option<usize> {
        let found = self.0.iter().find(|(_, found)| *found == name);
        found.map(|(index, _)| *index)
    }

    fn get(&self, name: &str) -> Check<usize> {
        self.find(name).ok_or_else(|| Miss::Failed(format!("no variable {name}")))
    }

    fn weights(&self) -> Check<Weights> {
        Ok(Weights { kernel: self.get("kernel")?, bias: self.find("bias") })
    }
}

/// `kernel` of `layer/kernel:0`.
fn leaf(name: &str) -> &str {
    let name = name.rsplit_once('/').map_or(name, |(_, name)| name);
    name.split_once(':').map_or(name, |(name, _)| name)
}

fn stage(json: &Value, variables: &mut Variables<'_>) -> Check<Stage> {
    let quantizers = || {
        Ok::<_, Miss>((
            Spec::input(&json["input_quantizer"])?,
            Spec::kernel(&json["kernel_quantizer"])?,
        ))
    };
    Ok(match text(&json["cls"])? {
        "QuantDense" => {
            let (input, kernel) = quantizers()?;
            Stage::Dense(QFullyConnected::new(input, kernel), variables.next().weights()?)
        }
        "QuantConv2D" => {
            let (input, kernel) = quantizers()?;
            let stride = spatial(&json["strides"])?;
            Stage::Convolution {
                layer: QConvolution::new(input, kernel)
                    .stride(stride)
                    .pad_value(pad_value(&json["pad_values"])?),
                stride,
                same: same_padding(json)?,
                weights: variables.next().weights()?,
            }
        }
        "BatchNormalization" => {
            let variables = variables.next();
            Stage::BatchNorm(BatchNorm {
                gamma: variables.get("gamma")?,
                beta: variables.get("beta")?,
                mean: variables.get("moving_mean")?,
                variance: variables.get("moving_variance")?,
                momentum: number(&json["momentum"])?,
                epsilon: number(&json["epsilon"])?,
            })
        }
        "AveragePooling2D" if !same_padding(json)? => Stage::AveragePool {
            size: spatial(&json["pool_size"])?,
            stride: spatial(&json["strides"])?,
        },
        "Flatten" => Stage::Flatten,
        class => return unsupported(format!("{class} in training")),
    })
}

fn same_padding(json: &Value) -> Check<bool> {
    match text(&json["padding"])? {
        "same" => Ok(true),
        "valid" => Ok(false),
        other => unsupported(format!("padding {other}")),
    }
}
