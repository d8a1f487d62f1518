//! Trains the binary LeNet of the BMXNet paper (Yang et al. 2017,
//! <https://arxiv.org/abs/1705.09864>) on MNIST, and runs it on packed weights.
//!
//! ```text
//! cargo run --release --example mnist_lenet
//! ```
//!
//! Every convolution and dense layer is one of this crate's operators, those in full precision at
//! the two ends of the network too; what is around them lives in this example. It shows
//!
//! - training with straight-through gradients, and that forward and backward leave the latent
//!   weights as they are, bit for bit;
//! - that the packed network computes the same logits as the unpacked one, bit for bit;
//! - how much smaller it is, and how fast.
//!
//! The images in `examples/data/mnist` are a part of MNIST; `--data` takes all of it.

mod adam;
mod data;
mod layers;
mod network;
mod rng;

use adam::Adam;
use data::{CLASSES, Dataset};
use indicatif::{ProgressBar, ProgressStyle};
use layers::{Mode, cross_entropy};
use ndarray::{Array2, ArrayView1, Axis};
use network::LeNet;
use rng::Rng;
use std::f32::consts::PI;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const HELP: &str = "\
Trains a binary LeNet on MNIST and runs it on packed weights.

Usage: mnist_lenet [OPTIONS]

Options:
  --data DIR   directory of MNIST's four IDX files, gzipped or not
               [default: the part of MNIST that comes with the repository]
  --epochs N   how often to go through the training images [default: 4]
  --batch N    images in a training step, 2 or more [default: 50]
  --seed N     of the initial weights and the order of the images [default: 0]
  --help       print this";

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

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<()> {
    let args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    let Some(options) = Options::parse(args.skip(1))? else {
        println!("{HELP}");
        return Ok(());
    };
    let (train, test) = read_data(options.data.as_deref())?;
    let counts = (train.len(), test.len());
    println!("{} training images, {} test images", counts.0, counts.1);
    let mut network = fit(&options, &train, &test)?;
    report(&mut network, &test)
}

impl Options {
    /// `None` if help is asked for.
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut options = Options { data: None, epochs: 4, batch: 50, seed: 0 };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg}: expected a value"));
            match arg.as_str() {
                "--help" | "-h" => return Ok(None),
                "--data" => options.data = Some(value()?.into()),
                "--epochs" => options.epochs = number(&arg, &value()?, 1)? as usize,
                "--batch" => options.batch = number(&arg, &value()?, 2)? as usize,
                "--seed" => options.seed = number(&arg, &value()?, 0)?,
                _ => return Err(format!("unknown option {arg}\n\n{HELP}").into()),
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
fn fit(options: &Options, train: &Dataset, test: &Dataset) -> Result<LeNet> {
    let (batch, available) = (options.batch, train.len());
    if batch > available {
        return Err(format!("--batch: expected at most {available} images, got {batch}").into());
    }
    let steps = available / batch;
    let total_steps = options.epochs as f32 * steps as f32;
    let mut rng = Rng(options.seed);
    let mut network = LeNet::new(&mut rng);
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
fn report(network: &mut LeNet, test: &Dataset) -> Result<()> {
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
    println!("\npacked: same predictions, and the same logits bit for bit");
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

/// The logits of all images of a set.
fn classify(network: &mut LeNet, set: &Dataset) -> Result<Array2<f32>> {
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
