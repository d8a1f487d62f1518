//! From the arguments of an example to a trained network, and from there to a packed one.

use super::Result;
use super::adam::Adam;
use super::data::{CLASSES, Dataset};
use super::rng::Rng;
use indicatif::{ProgressBar, ProgressStyle};
use ndarray::{Array2, Array4, ArrayView1, Axis};
use std::f32::consts::PI;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Whether a network is learning or has learnt, for layers that make a difference.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    Training,
    Inference,
}

/// A classifier of digits.
pub(crate) trait Network: Sized {
    /// What it is called on the command line.
    const EXAMPLE: &'static str;
    /// What it is, in a few words.
    const ABOUT: &'static str;
    /// How often it wants to see the training images.
    const EPOCHS: usize;

    fn new(rng: &mut Rng) -> Self;

    /// The logits of images, (N, 1, 28, 28).
    fn forward(&mut self, x: Array4<f32>, mode: Mode) -> Result<Array2<f32>>;

    /// Fills in all gradients from that of the logits.
    fn backward(&mut self, d_logits: Array2<f32>) -> Result<()>;

    /// One step of training.
    fn update(&mut self, adam: Adam);

    /// Quantizes and packs all weights, once and for all forwards from now on.
    fn pack(&mut self) -> Result<()>;

    /// The layers with weights: name, number of weights, bytes they take when packed.
    fn sizes(&self) -> Vec<(&'static str, usize, usize)>;

    /// The bits of all latent weights.
    fn weight_bits(&self) -> Vec<u32>;
}

fn help<N: Network>() -> String {
    format!(
        "\
Trains {} on MNIST and runs it on packed weights.

Usage: {} [OPTIONS]

Options:
  --data DIR   directory of MNIST's four IDX files, gzipped or not
               [default: the part of MNIST that comes with the repository]
  --epochs N   how often to go through the training images [default: {}]
  --batch N    images in a training step, 2 or more [default: 50]
  --seed N     of the initial weights and the order of the images [default: 0]
  --help       print this",
        N::ABOUT,
        N::EXAMPLE,
        N::EPOCHS
    )
}

/// The learning rate of the first step; it falls to 0 along a half cosine.
const RATE: f32 = 0.003;

/// Images that inference takes at a time.
const TEST_BATCH: usize = 100;

struct Options {
    data: Option<PathBuf>,
    epochs: usize,
    batch: usize,
    seed: u64,
}

/// The whole of an example.
pub(crate) fn run<N: Network>() -> ExitCode {
    match train_and_pack::<N>() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn train_and_pack<N: Network>() -> Result<()> {
    let args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    let Some(options) = Options::parse::<N>(args.skip(1))? else {
        println!("{}", help::<N>());
        return Ok(());
    };
    let (train, test) = read_data(options.data.as_deref())?;
    let counts = (train.len(), test.len());
    println!("{} training images, {} test images", counts.0, counts.1);
    let mut network: N = fit(&options, &train, &test)?;
    report(&mut network, &test)
}

impl Options {
    /// `None` if help is asked for.
    fn parse<N: Network>(mut args: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut options = Options { data: None, epochs: N::EPOCHS, batch: 50, seed: 0 };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg}: expected a value"));
            match arg.as_str() {
                "--help" | "-h" => return Ok(None),
                "--data" => options.data = Some(value()?.into()),
                "--epochs" => options.epochs = number(&arg, &value()?, 1)? as usize,
                "--batch" => options.batch = number(&arg, &value()?, 2)? as usize,
                "--seed" => options.seed = number(&arg, &value()?, 0)?,
                _ => return Err(format!("unknown option {arg}\n\n{}", help::<N>()).into()),
            }
        }
        Ok(Some(options))
    }
}

fn number(option: &str, text: &str, least: u64) -> Result<u64> {
    match text.parse() {
        Ok(number) if number >= least => Ok(number),
        _ => Err(format!("{option}: expected a number from {least} on, got {text}").into()),
    }
}

/// The training and the test images.
fn read_data(directory: Option<&Path>) -> Result<(Dataset, Dataset)> {
    let own = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/mnist"));
    if directory.is_none() && !own.exists() {
        let own = own.display();
        return Err(format!("{own} is not there: pass MNIST's files with --data DIR").into());
    }
    let read = |name| Dataset::read(directory.unwrap_or(own), name);
    Ok((read("train")?, read("t10k")?))
}

/// Trains a network.
fn fit<N: Network>(options: &Options, train: &Dataset, test: &Dataset) -> Result<N> {
    let (batch, available) = (options.batch, train.len());
    if batch > available {
        return Err(format!("--batch: expected at most {available} images, got {batch}").into());
    }
    let steps = available / batch;
    let total_steps = options.epochs as f32 * steps as f32;
    let mut rng = Rng(options.seed);
    let mut network = N::new(&mut rng);
    let mut order: Vec<usize> = (0..available).collect();
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len}  loss {msg}  {eta}")?;
    let mut step = 0;
    for epoch in 1..=options.epochs {
        let start = Instant::now();
        let bar = ProgressBar::new(steps as u64).with_style(style.clone());
        bar.set_prefix(format!("epoch {epoch:2}"));
        let mut loss_sum = 0.0;
        rng.shuffle(&mut order);
        for images in order.chunks_exact(batch) {
            let x = train.images.select(Axis(0), images);
            let labels: Vec<u8> = images.iter().map(|&i| train.labels[i]).collect();
            let before = (step == 0).then(|| network.weight_bits());

            let logits = network.forward(x, Mode::Training)?;
            let (loss, d_logits) = cross_entropy(&logits, &labels);
            network.backward(d_logits)?;

            if before.is_some_and(|before| before != network.weight_bits()) {
                return Err("forward and backward changed the latent weights".into());
            }
            let rate = RATE * 0.5 * (1.0 + (PI * step as f32 / total_steps).cos());
            step += 1;
            network.update(Adam { rate, step });
            loss_sum += loss;
            bar.set_message(format!("{loss:.3}"));
            bar.inc(1);
        }
        bar.finish_and_clear();
        let loss = loss_sum / steps as f32;
        let time = start.elapsed().as_secs_f32();
        let accuracy = accuracy(&classify(&mut network, test)?, test);
        println!("epoch {epoch:2}  loss {loss:.4}  test accuracy {accuracy:.2} %  {time:.1} s");
    }
    Ok(network)
}

/// Packs the network, and compares it with what it was.
fn report(network: &mut impl Network, test: &Dataset) -> Result<()> {
    let start = Instant::now();
    let expected = classify(network, test)?;
    let unpacked_time = start.elapsed().as_secs_f32();
    network.pack()?;
    let start = Instant::now();
    let found = classify(network, test)?;
    let packed_time = start.elapsed().as_secs_f32();

    if predictions(&found) != predictions(&expected) {
        return Err("the packed network predicts other digits than the unpacked one".into());
    }
    if found.mapv(f32::to_bits) != expected.mapv(f32::to_bits) {
        return Err("the packed network computes other logits than the unpacked one".into());
    }
    let accuracy = accuracy(&found, test);
    println!("\npacked: test accuracy {accuracy:.2} %, and the same logits bit for bit");
    println!("test images: {unpacked_time:.3} s unpacked, {packed_time:.3} s packed\n");

    println!("layer        weights   float bytes  packed bytes");
    let line = |name, weights, bytes| {
        let float = weights * size_of::<f32>();
        let ratio = float as f32 / bytes as f32;
        println!("{name:8}{weights:>12}{float:>14}{bytes:>14}{ratio:>8.1}x");
    };
    let (mut total_weights, mut total_bytes) = (0, 0);
    for (name, weights, bytes) in network.sizes() {
        line(name, weights, bytes);
        total_weights += weights;
        total_bytes += bytes;
    }
    line("total", total_weights, total_bytes);
    Ok(())
}

/// The mean cross-entropy of softmax against labels, and its gradient.
fn cross_entropy(logits: &Array2<f32>, labels: &[u8]) -> (f32, Array2<f32>) {
    let count = labels.len() as f32;
    let mut loss = 0.0;
    let mut gradient = logits.clone();
    for (mut row, &label) in gradient.outer_iter_mut().zip(labels) {
        let max = row.fold(f32::NEG_INFINITY, |max, &x| max.max(x));
        row.mapv_inplace(|x| (x - max).exp());
        row /= row.sum();
        let label = usize::from(label);
        loss -= row[label].max(f32::MIN_POSITIVE).ln();
        row[label] -= 1.0;
    }
    (loss / count, gradient / count)
}

/// The logits of all images of a set.
fn classify(network: &mut impl Network, set: &Dataset) -> Result<Array2<f32>> {
    let mut logits = Array2::zeros((0, CLASSES));
    for x in set.images.axis_chunks_iter(Axis(0), TEST_BATCH) {
        let x = network.forward(x.to_owned(), Mode::Inference)?;
        logits.append(Axis(0), x.view())?;
    }
    Ok(logits)
}

fn predictions(logits: &Array2<f32>) -> Vec<usize> {
    let largest = |row: ArrayView1<f32>| (0..CLASSES).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    logits.outer_iter().filter_map(largest).collect()
}

/// In percent.
fn accuracy(logits: &Array2<f32>, set: &Dataset) -> f32 {
    let pairs = predictions(logits).into_iter().zip(&set.labels);
    let correct = pairs.filter(|&(found, &label)| found == usize::from(label));
    100.0 * correct.count() as f32 / set.len() as f32
}
