//! BitNet's linear layer, and three of them on top of each other.

use crate::shared::Result;
use crate::shared::adam::{Adam, Parameter};
use crate::shared::data::CLASSES;
use crate::shared::rng::Rng;
use crate::shared::training::{Mode, Network};
use ndarray::{Array1, Array2, Array4, Axis, Ix2, Zip};
use ndarray_qnn::{PackedWeights, QFullyConnected, Scratch};

const PIXELS: usize = 28 * 28;
const HIDDEN: usize = 256;

/// RMSNorm (Zhang and Sennrich 2019, <https://arxiv.org/abs/1910.07467>) without a gain:
/// `y = x / sqrt(mean(x^2))` for every row.
#[derive(Default)]
struct RmsNorm {
    /// The last output, and what each row was divided by.
    y: Array2<f32>,
    rms: Array1<f32>,
}

impl RmsNorm {
    fn forward(&mut self, mut x: Array2<f32>) -> &Array2<f32> {
        let mean_square = x.map_axis(Axis(1), |row| row.dot(&row) / row.len() as f32);
        self.rms = mean_square.mapv(|mean| (mean + 1e-6).sqrt());
        for (mut row, rms) in x.outer_iter_mut().zip(&self.rms) {
            row /= *rms;
        }
        self.y = x;
        &self.y
    }

    /// `dx = (dy - y mean(dy y)) / rms`
    fn backward(&self, mut dy: Array2<f32>) -> Array2<f32> {
        for ((mut dy, y), &rms) in dy.outer_iter_mut().zip(self.y.outer_iter()).zip(&self.rms) {
            let mean = dy.dot(&y) / y.len() as f32;
            dy.zip_mut_with(&y, |dy, y| *dy = (*dy - mean * y) / rms);
        }
        dy
    }
}

/// BitNet's linear layer: normalizes, quantizes, multiplies.
struct BitLinear {
    norm: RmsNorm,
    operator: QFullyConnected,
    /// The latent weights.
    weight: Parameter<Ix2>,
    /// Once the layer is packed, its forward computes from these.
    packed: Option<PackedWeights<f32>>,
    scratch: Scratch,
}

impl BitLinear {
    fn new(inputs: usize, filters: usize, rng: &mut Rng) -> Self {
        let bound = (3.0 / inputs as f32).sqrt();
        BitLinear {
            norm: RmsNorm::default(),
            operator: QFullyConnected::bitnet_b158(),
            weight: Parameter::new(rng.uniform(Ix2(filters, inputs), bound)),
            packed: None,
            scratch: Scratch::new(),
        }
    }

    fn forward(&mut self, x: Array2<f32>) -> Result<Array2<f32>> {
        let x = self.norm.forward(x).view();
        let w = self.weight.value.view();
        let mut y = Array2::zeros((x.nrows(), w.nrows()));
        let (out, scratch) = (y.view_mut(), &mut self.scratch);
        match &self.packed {
            None => self.operator.forward_into(x, w, None, scratch, out)?,
            Some(packed) => self.operator.forward_packed_into(x, packed, None, scratch, out)?,
        }
        Ok(y)
    }

    fn backward(&mut self, dy: Array2<f32>) -> Result<Array2<f32>> {
        let (x, w) = (self.norm.y.view(), self.weight.value.view());
        let gradients = self.operator.backward(dy.view(), x, w)?;
        self.weight.gradient = gradients.weight;
        Ok(self.norm.backward(gradients.input))
    }

    fn pack(&mut self) -> Result<()> {
        self.packed = Some(self.operator.pack(self.weight.value.view())?);
        Ok(())
    }
}

/// `max(x, 0)`, which remembers where x was positive by its output.
#[derive(Default)]
struct Relu {
    y: Array2<f32>,
}

impl Relu {
    fn forward(&mut self, mut x: Array2<f32>) -> Array2<f32> {
        x.mapv_inplace(|x| x.max(0.0));
        self.y = x.clone();
        x
    }

    fn backward(&self, mut dy: Array2<f32>) -> Array2<f32> {
        Zip::from(&mut dy).and(&self.y).for_each(|dy, &y| {
            if y == 0.0 {
                *dy = 0.0;
            }
        });
        dy
    }
}

/// Three layers with a ReLU between each two.
pub(crate) struct Perceptron {
    layers: [BitLinear; 3],
    relus: [Relu; 2],
}

impl Network for Perceptron {
    const EXAMPLE: &'static str = "bitnet_mlp";
    const ABOUT: &'static str = "a perceptron of BitNet's layers";
    const EPOCHS: usize = 10;

    fn new(rng: &mut Rng) -> Self {
        let sizes = [(PIXELS, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, CLASSES)];
        Perceptron {
            layers: sizes.map(|(inputs, filters)| BitLinear::new(inputs, filters, rng)),
            relus: Default::default(),
        }
    }

    fn forward(&mut self, x: Array4<f32>, _: Mode) -> Result<Array2<f32>> {
        let images = x.len_of(Axis(0));
        let [first, second, third] = &mut self.layers;
        let [first_relu, second_relu] = &mut self.relus;
        let x = first_relu.forward(first.forward(x.into_shape_with_order((images, PIXELS))?)?);
        let x = second_relu.forward(second.forward(x)?);
        third.forward(x)
    }

    fn backward(&mut self, d_logits: Array2<f32>) -> Result<()> {
        let [first, second, third] = &mut self.layers;
        let [first_relu, second_relu] = &self.relus;
        let dy = second_relu.backward(third.backward(d_logits)?);
        let dy = first_relu.backward(second.backward(dy)?);
        first.backward(dy)?;
        Ok(())
    }

    fn update(&mut self, adam: Adam) {
        self.layers.iter_mut().for_each(|layer| layer.weight.update(adam));
    }

    fn pack(&mut self) -> Result<()> {
        self.layers.iter_mut().try_for_each(BitLinear::pack)
    }

    fn sizes(&self) -> Vec<(&'static str, usize, usize)> {
        let size = |(name, layer): (_, &BitLinear)| {
            let bytes = layer.packed.as_ref().map_or(0, PackedWeights::size_in_bytes);
            (name, layer.weight.value.len(), bytes)
        };
        ["first", "second", "third"].into_iter().zip(&self.layers).map(size).collect()
    }

    fn weight_bits(&self) -> Vec<u32> {
        let weights = self.layers.iter().flat_map(|layer| &layer.weight.value);
        weights.map(|w| w.to_bits()).collect()
    }
}
