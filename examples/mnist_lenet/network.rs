//! The binary LeNet of BMXNet, on the operators of this crate.

use crate::layers::{BatchNorm, MaxPool, Tanh};
use crate::shared::Result;
use crate::shared::adam::{Adam, Parameter};
use crate::shared::data::CLASSES;
use crate::shared::rng::Rng;
use crate::shared::training::{Mode, Network};
use ndarray::{Array, Array1, Array2, Array4, Axis, Dimension, Ix1, Ix2, Ix4};
use ndarray_qnn::{
    ActivationQuantizer, Gradients, PackedWeights, QActivation, QConvolution, QFullyConnected,
    Scratch, WeightQuantizer,
};

/// Filters of both convolutions.
const FILTERS: usize = 64;
const KERNEL: usize = 5;
/// What the second pooling leaves of an image: sides go from 28 to 24, 12, 8 and 4.
const FEATURES: usize = FILTERS * 4 * 4;
const HIDDEN: usize = 1000;

/// An operator with its weights; `D` is the dimension of these and of activations.
struct Layer<O, D: Dimension> {
    operator: O,
    binary: bool,
    /// The latent weights.
    weight: Parameter<D>,
    /// Binary layers have none: the batch normalization that follows would take it away.
    bias: Option<Parameter<Ix1>>,
    /// Once the layer is packed, its forward computes from these.
    packed: Option<PackedWeights<f32>>,
    /// The last input.
    x: Array<f32, D>,
    scratch: Scratch,
}

impl<O, D: Dimension> Layer<O, D> {
    fn new(
        make: impl Fn(ActivationQuantizer, WeightQuantizer) -> O,
        binary: bool,
        shape: D,
        rng: &mut Rng,
    ) -> Self {
        let filters = shape[0];
        let inputs = shape.size() / filters;
        let (activation, weight) = match binary {
            true => (ActivationQuantizer::sign(), WeightQuantizer::sign()),
            false => (ActivationQuantizer::identity(), WeightQuantizer::identity()),
        };
        Layer {
            operator: make(activation, weight),
            binary,
            weight: Parameter::new(rng.uniform(shape, (3.0 / inputs as f32).sqrt())),
            bias: (!binary).then(|| Parameter::new(Array1::zeros(filters))),
            packed: None,
            x: Array::default(D::default()),
            scratch: Scratch::new(),
        }
    }

    /// Keeps the gradients of the parameters, and hands down that of the input.
    fn keep(&mut self, gradients: Gradients<f32, D>) -> Array<f32, D> {
        self.weight.gradient = gradients.weight;
        if let Some(bias) = &mut self.bias {
            bias.gradient = gradients.bias;
        }
        gradients.input
    }

    fn update(&mut self, adam: Adam) {
        self.weight.update(adam);
        if let Some(bias) = &mut self.bias {
            bias.update(adam);
        }
        if self.binary {
            // Beyond 1 a latent weight would only take longer to change its sign again.
            self.weight.value.mapv_inplace(|w| w.clamp(-1.0, 1.0));
        }
    }

    fn weight_bits(&self) -> impl Iterator<Item = u32> {
        self.weight.value.iter().map(|w| w.to_bits())
    }

    fn size(&self, name: &'static str) -> (&'static str, usize, usize) {
        let bytes = self.packed.as_ref().map_or(0, PackedWeights::size_in_bytes);
        (name, self.weight.value.len(), bytes)
    }
}

/// The methods that both operators have, on arrays of a dimension of their own.
macro_rules! operator_layer {
    ($operator:ty, $dimension:ty, |$op:ident, $x:ident, $w:ident| $output_shape:expr) => {
        impl Layer<$operator, $dimension> {
            fn forward(&mut self, x: Array<f32, $dimension>) -> Result<Array<f32, $dimension>> {
                self.x = x;
                let ($op, $x, $w) = (&self.operator, self.x.view(), self.weight.value.view());
                let bias = self.bias.as_ref().map(|bias| bias.value.view());
                let mut y = Array::zeros($output_shape);
                let (out, scratch) = (y.view_mut(), &mut self.scratch);
                match &self.packed {
                    None => $op.forward_into($x, $w, bias, scratch, out)?,
                    Some(packed) => $op.forward_packed_into($x, packed, bias, scratch, out)?,
                }
                Ok(y)
            }

            fn backward(&mut self, dy: Array<f32, $dimension>) -> Result<Array<f32, $dimension>> {
                let (x, w) = (self.x.view(), self.weight.value.view());
                let gradients = self.operator.backward(dy.view(), x, w)?;
                Ok(self.keep(gradients))
            }

            fn pack(&mut self) -> Result<()> {
                self.packed = Some(self.operator.pack(self.weight.value.view())?);
                Ok(())
            }
        }
    };
}
operator_layer!(QConvolution<2>, Ix4, |op, x, w| op.output_shape(x.raw_dim(), w.raw_dim())?);
operator_layer!(QFullyConnected, Ix2, |op, x, w| (x.nrows(), w.nrows()));

/// A QActivation with its last input.
struct Sign {
    operator: QActivation,
    x: Array4<f32>,
}

impl Sign {
    fn new() -> Self {
        Sign {
            operator: QActivation::new(ActivationQuantizer::sign()),
            x: Array4::default(Ix4::default()),
        }
    }

    fn forward(&mut self, x: Array4<f32>) -> Result<Array4<f32>> {
        self.x = x;
        Ok(self.operator.forward(self.x.view())?)
    }

    fn backward(&self, dy: Array4<f32>) -> Result<Array4<f32>> {
        Ok(self.operator.backward(dy.view(), self.x.view())?)
    }
}

/// conv, tanh, pool, BN | sign, conv, BN, pool | sign, dense, BN, tanh | dense.
pub(crate) struct LeNet {
    conv1: Layer<QConvolution<2>, Ix4>,
    pool1: MaxPool,
    tanh1: Tanh<Ix4>,
    norm1: BatchNorm<Ix4>,

    sign2: Sign,
    conv2: Layer<QConvolution<2>, Ix4>,
    norm2: BatchNorm<Ix4>,
    pool2: MaxPool,

    sign3: Sign,
    dense3: Layer<QFullyConnected, Ix2>,
    norm3: BatchNorm<Ix2>,
    tanh3: Tanh<Ix2>,

    dense4: Layer<QFullyConnected, Ix2>,
}

impl Network for LeNet {
    const EXAMPLE: &'static str = "mnist_lenet";
    const ABOUT: &'static str = "a binary LeNet";
    const EPOCHS: usize = 4;

    fn new(rng: &mut Rng) -> Self {
        let kernels = |channels| Ix4(FILTERS, channels, KERNEL, KERNEL);
        let (conv, dense) = (QConvolution::new, QFullyConnected::new);
        LeNet {
            conv1: Layer::new(conv, false, kernels(1), rng),
            pool1: MaxPool::default(),
            tanh1: Tanh::default(),
            norm1: BatchNorm::new(FILTERS),
            sign2: Sign::new(),
            conv2: Layer::new(conv, true, kernels(FILTERS), rng),
            norm2: BatchNorm::new(FILTERS),
            pool2: MaxPool::default(),
            sign3: Sign::new(),
            dense3: Layer::new(dense, true, Ix2(HIDDEN, FEATURES), rng),
            norm3: BatchNorm::new(HIDDEN),
            tanh3: Tanh::default(),
            dense4: Layer::new(dense, false, Ix2(CLASSES, HIDDEN), rng),
        }
    }

    fn forward(&mut self, x: Array4<f32>, mode: Mode) -> Result<Array2<f32>> {
        let images = x.len_of(Axis(0));
        let x = self.conv1.forward(x)?;
        // tanh grows with its argument, so it may as well come after the maximum.
        let x = self.tanh1.forward(self.pool1.forward(x));
        let x = self.norm1.forward(x, mode);

        let x = self.conv2.forward(self.sign2.forward(x)?)?;
        let x = self.pool2.forward(self.norm2.forward(x, mode));

        let x = self.sign3.forward(x)?;
        let features = x.len() / images;
        let x = self.dense3.forward(x.into_shape_with_order((images, features))?)?;
        let x = self.tanh3.forward(self.norm3.forward(x, mode));

        self.dense4.forward(x)
    }

    fn backward(&mut self, d_logits: Array2<f32>) -> Result<()> {
        let dy = self.dense4.backward(d_logits)?;

        let dy = self.norm3.backward(self.tanh3.backward(dy));
        let dy = self.dense3.backward(dy)?;
        let dy = dy.into_shape_with_order(self.sign3.x.raw_dim())?;
        let dy = self.sign3.backward(dy)?;

        let dy = self.norm2.backward(self.pool2.backward(dy));
        let dy = self.sign2.backward(self.conv2.backward(dy)?)?;

        let dy = self.tanh1.backward(self.norm1.backward(dy));
        self.conv1.backward(self.pool1.backward(dy))?;
        Ok(())
    }

    fn update(&mut self, adam: Adam) {
        self.conv1.update(adam);
        self.norm1.update(adam);
        self.conv2.update(adam);
        self.norm2.update(adam);
        self.dense3.update(adam);
        self.norm3.update(adam);
        self.dense4.update(adam);
    }

    fn pack(&mut self) -> Result<()> {
        self.conv1.pack()?;
        self.conv2.pack()?;
        self.dense3.pack()?;
        self.dense4.pack()
    }

    fn sizes(&self) -> Vec<(&'static str, usize, usize)> {
        vec![
            self.conv1.size("conv1"),
            self.conv2.size("conv2"),
            self.dense3.size("dense3"),
            self.dense4.size("dense4"),
        ]
    }

    fn weight_bits(&self) -> Vec<u32> {
        let conv = self.conv1.weight_bits().chain(self.conv2.weight_bits());
        let dense = self.dense3.weight_bits().chain(self.dense4.weight_bits());
        conv.chain(dense).collect()
    }
}
