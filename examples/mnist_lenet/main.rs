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
use data::Dataset;
use indicatif::{ProgressBar, ProgressStyle};
use layers::cross_entropy;
use ndarray::{Array2, ArrayView1, Axis, concatenate};
use ndarray_qnn::Scratch;
use network::{LeNet, PackedLeNet};
use rng::Rng;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const HELP: &str = "\
Trains a binary LeNet on MNIST and runs it on packed weights.

Usage: mnist_lenet [OPTIONS]

Options:
  --data DIR   directory of MNIST's four IDX files, gzipped or not
               [default: the part of MNIST that comes with the repository]
  --epochs N   how often to go through the training images [default: 10]
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

fn run() -> Result<(), Box<dyn Error>> {
    let Some(options) = Options::parse(std::env::args().skip(1))? else {
        println!("{HELP}");
        return Ok(());
    };
    let (train, test) = read_data(options.data.as_deref())?;
    println!(
        "{} training images, {} test images",
        train.len(),
        test.len()
    );
    let network = fit(&options, &train, &test)?;
    report(&network, &test)
}

impl Options {
    /// `None` if help is asked for.
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Options {
            data: None,
            epochs: 10,
            batch: 50,
            seed: 0,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg}: expected a value"));
            match arg.as_str() {
                "--help" | "-h" => return Ok(None),
                "--data" => options.data = Some(value()?.into()),
                "--epochs" => options.epochs = number(&arg, &value()?, 1)? as usize,
                "--batch" => options.batch = number(&arg, &value()?, 2)? as usize,
                "--seed" => options.seed = number(&arg, &value()?, 0)?,
                _ => return Err(format!("unknown option {arg:?}\n\n{HELP}")),
            }
        }
        Ok(Some(options))
    }
}

fn number(option: &str, text: &str, least: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|&number| number >= least);
    number.ok_or(format!(
        "{option}: expected a number from {least} on, got {text:?}"
    ))
}

fn read_data(directory: Option<&Path>) -> Result<(Dataset, Dataset), Box<dyn Error>> {
    let own = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/mnist"));
    if directory.is_none() && !own.exists() {
        let own = own.display();
        return Err(format!("there is no {own}: pass --data DIR with MNIST's IDX files").into());
    }
    let directory = directory.unwrap_or(own);
    Ok((
        Dataset::read(directory, "train")?,
        Dataset::read(directory, "t10k")?,
    ))
}

/// Trains a network.
fn fit(options: &Options, train: &Dataset, test: &Dataset) -> Result<LeNet, Box<dyn Error>> {
    let steps = train.len() / options.batch;
    if steps == 0 {
        let (batch, len) = (options.batch, train.len());
        return Err(
            format!("--batch: expected at most {len} (training images), got {batch}").into(),
        );
    }
    let mut rng = Rng::new(options.seed);
    let mut network = LeNet::new(&mut rng);
    let mut scratch = Scratch::new();
    let mut order: Vec<usize> = (0..train.len()).collect();
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len}  loss {msg}  {eta}")?;
    let mut step = 0;
    for epoch in 1..=options.epochs {
        let start = Instant::now();
        let bar = ProgressBar::new(steps as u64).with_style(style.clone());
        bar.set_prefix(format!("epoch {epoch:2}"));
        let mut loss_sum = 0.0;
        rng.shuffle(&mut order);
        for batch in order.chunks_exact(options.batch) {
            let x = train.images.select(Axis(0), batch);
            let labels: Vec<u8> = batch.iter().map(|&i| train.labels[i]).collect();
            let before = (step == 0).then(|| network.weight_bits());

            let trace = network.forward(x.view(), &mut scratch)?;
            let (loss, d_logits) = cross_entropy(&trace.logits, &labels);
            let gradients = network.backward(&trace, &d_logits, x.view())?;

            if before.is_some_and(|before| before != network.weight_bits()) {
                return Err("forward and backward changed the latent weights".into());
            }
            let progress = step as f32 / (options.epochs * steps) as f32;
            step += 1;
            let rate = RATE * 0.5 * (1.0 + (std::f32::consts::PI * progress).cos());
            network.update(&trace, &gradients, Adam { rate, step });
            loss_sum += loss;
            bar.set_message(format!("{loss:.3}"));
            bar.inc(1);
        }
        bar.finish_and_clear();
        let time = start.elapsed().as_secs_f32();
        let accuracy = accuracy(&logits(&network, test, None, &mut scratch)?, test);
        let loss = loss_sum / steps as f32;
        println!("epoch {epoch:2}  loss {loss:.4}  test accuracy {accuracy:.2} %  {time:.1} s");
    }
    Ok(network)
}

/// Packs the network, and compares it with what it was packed from.
fn report(network: &LeNet, test: &Dataset) -> Result<(), Box<dyn Error>> {
    let packed = network.pack()?;
    let mut scratch = Scratch::new();
    let mut timed = |packed| -> Result<_, Box<dyn Error>> {
        // The first run finds no memory yet.
        logits(network, test, packed, &mut scratch)?;
        let start = Instant::now();
        let logits = logits(network, test, packed, &mut scratch)?;
        Ok((logits, start.elapsed().as_secs_f32()))
    };
    let (expected, unpacked_time) = timed(None)?;
    let (found, packed_time) = timed(Some(&packed))?;

    if predictions(&found) != predictions(&expected) {
        return Err("the packed network predicts other digits".into());
    }
    let bits = |logits: &Array2<f32>| logits.mapv(f32::to_bits);
    if bits(&found) != bits(&expected) {
        return Err("the packed network computes other logits".into());
    }
    println!();
    println!(
        "packed: same predictions, and same logits bit for bit, on {} images",
        test.len()
    );
    println!("packed: test accuracy {:.2} %", accuracy(&found, test));
    println!(
        "inference of the test images: unpacked {unpacked_time:.3} s, packed {packed_time:.3} s"
    );
    println!();
    println!(
        "{:8}{:>12}{:>14}{:>14}",
        "layer", "weights", "float bytes", "packed bytes"
    );
    let line = |name, weights, bytes| {
        let float = weights * size_of::<f32>();
        let ratio = float as f32 / bytes as f32;
        println!("{name:8}{weights:>12}{float:>14}{bytes:>14}{ratio:>8.1}x");
    };
    let (mut weights, mut bytes) = (0, 0);
    for (name, layer) in ["conv1", "conv2", "dense1", "dense2"]
        .into_iter()
        .zip(&packed)
    {
        let count = layer.shape().iter().product::<usize>();
        line(name, count, layer.size_in_bytes());
        weights += count;
        bytes += layer.size_in_bytes();
    }
    line("total", weights, bytes);
    Ok(())
}

/// The logits of all images of a set.
fn logits(
    network: &LeNet,
    set: &Dataset,
    packed: Option<&PackedLeNet>,
    scratch: &mut Scratch,
) -> ndarray_qnn::Result<Array2<f32>> {
    let batches = set.images.axis_chunks_iter(Axis(0), TEST_BATCH);
    let logits = batches.map(|x| network.infer(x, packed, scratch));
    let logits = logits.collect::<ndarray_qnn::Result<Vec<_>>>()?;
    let views: Vec<_> = logits.iter().map(|logits| logits.view()).collect();
    Ok(concatenate(Axis(0), &views).expect("batches of equal width"))
}

fn predictions(logits: &Array2<f32>) -> Vec<usize> {
    let largest = |row: ArrayView1<f32>| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    logits.outer_iter().filter_map(largest).collect()
}

/// In percent.
fn accuracy(logits: &Array2<f32>, set: &Dataset) -> f32 {
    let pairs = predictions(logits).into_iter().zip(&set.labels);
    let correct = pairs.filter(|&(found, &label)| found == usize::from(label));
    100.0 * correct.count() as f32 / set.len() as f32
}
