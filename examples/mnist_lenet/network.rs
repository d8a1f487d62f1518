//! The binary LeNet of BMXNet: its layers, forward, backward, and inference.

use crate::adam::{Adam, Parameter};
use crate::data::{CLASSES, SIDE};
use crate::layers::{BatchNorm, NormGradients, Normalized, Pooled, flatten, tanh_backward};
use crate::rng::Rng;
use ndarray::{Array1, Array2, Array4, ArrayView2, ArrayView4, Dimension, Ix1, Ix2, Ix4};
use ndarray_qnn::{
    ActivationQuantizer, Gradients, PackedWeights, QActivation, QConvolution, QFullyConnected,
    Result, Scratch, WeightQuantizer,
};

/// Filters of both convolutions.
const FILTERS: usize = 64;
const KERNEL: usize = 5;
/// Side of an image after both convolutions and poolings.
const LAST_SIDE: usize = ((SIDE - KERNEL + 1) / 2 - KERNEL + 1) / 2;
const HIDDEN: usize = 1000;

/// An operator with its latent weights.
struct Layer<O, D> {
    operator: O,
    weight: Parameter<D>,
    bias: Option<Parameter<Ix1>>,
    binary: bool,
}

impl<O, D: Dimension> Layer<O, D> {
    /// Binary layers have no bias: batch normalization would take it away again.
    fn new(
        make: impl Fn(ActivationQuantizer, WeightQuantizer) -> O,
        binary: bool,
        shape: D,
        rng: &mut Rng,
    ) -> Self {
        let filters = shape[0];
        let inputs = shape.size() / filters;
        let (activation, weight) = if binary {
            (ActivationQuantizer::sign(), WeightQuantizer::sign())
        } else {
            (ActivationQuantizer::identity(), WeightQuantizer::identity())
        };
        Layer {
            operator: make(activation, weight),
            weight: Parameter::new(rng.uniform(shape, (3.0 / inputs as f32).sqrt())),
            bias: (!binary).then(|| Parameter::new(Array1::zeros(filters))),
            binary,
        }
    }

    fn update(&mut self, gradients: &Gradients<f32, D>, adam: Adam) {
        self.weight.update(&gradients.weight, adam);
        if let Some(bias) = &mut self.bias {
            bias.update(&gradients.bias, adam);
        }
        if self.binary {
            // Beyond 1 a latent weight would only take longer to change its sign again.
            self.weight.clip();
        }
    }
}

impl Layer<QConvolution<2>, Ix4> {
    /// From packed weights, or from the latent ones.
    fn forward(
        &self,
        x: ArrayView4<'_, f32>,
        packed: Option<&PackedWeights<f32>>,
        scratch: &mut Scratch,
    ) -> Result<Array4<f32>> {
        let Layer {
            operator, weight, ..
        } = self;
        let shape = operator.output_shape(x.raw_dim(), weight.value.raw_dim())?;
        let mut out = Array4::zeros(shape);
        let (bias, y) = (self.bias.as_ref().map(|b| b.value.view()), out.view_mut());
        match packed {
            Some(packed) => operator.forward_packed_into(x, packed, bias, scratch, y)?,
            None => operator.forward_into(x, weight.value.view(), bias, scratch, y)?,
        }
        Ok(out)
    }

    fn backward(&self, dy: &Array4<f32>, x: ArrayView4<'_, f32>) -> Result<Gradients<f32, Ix4>> {
        self.operator
            .backward(dy.view(), x, self.weight.value.view())
    }
}

impl Layer<QFullyConnected, Ix2> {
    /// From packed weights, or from the latent ones.
    fn forward(
        &self,
        x: ArrayView2<'_, f32>,
        packed: Option<&PackedWeights<f32>>,
        scratch: &mut Scratch,
    ) -> Result<Array2<f32>> {
        let Layer {
            operator, weight, ..
        } = self;
        let mut out = Array2::zeros((x.nrows(), weight.value.nrows()));
        let (bias, y) = (self.bias.as_ref().map(|b| b.value.view()), out.view_mut());
        match packed {
            Some(packed) => operator.forward_packed_into(x, packed, bias, scratch, y)?,
            None => operator.forward_into(x, weight.value.view(), bias, scratch, y)?,
        }
        Ok(out)
    }

    fn backward(&self, dy: &Array2<f32>, x: ArrayView2<'_, f32>) -> Result<Gradients<f32, Ix2>> {
        self.operator
            .backward(dy.view(), x, self.weight.value.view())
    }
}

/// conv, tanh, pool, BN | sign, conv, BN, pool | sign, dense, BN, tanh | dense.
pub(crate) struct LeNet {
    conv1: Layer<QConvolution<2>, Ix4>,
    norm1: BatchNorm,
    conv2: Layer<QConvolution<2>, Ix4>,
    norm2: BatchNorm,
    dense1: Layer<QFullyConnected, Ix2>,
    norm3: BatchNorm,
    dense2: Layer<QFullyConnected, Ix2>,
    sign: QActivation,
}

/// What a training forward leaves for the backward, layer by layer.
pub(crate) struct Trace {
    pool1: Pooled,
    tanh1: Array4<f32>,
    norm1: Normalized<Ix4>,
    sign1: Array4<f32>,
    norm2: Normalized<Ix4>,
    pool2: Pooled,
    sign2: Array2<f32>,
    norm3: Normalized<Ix2>,
    tanh3: Array2<f32>,
    pub(crate) logits: Array2<f32>,
}

/// Gradients of every layer that is trained.
pub(crate) struct LeNetGradients {
    conv1: Gradients<f32, Ix4>,
    norm1: NormGradients,
    conv2: Gradients<f32, Ix4>,
    norm2: NormGradients,
    dense1: Gradients<f32, Ix2>,
    norm3: NormGradients,
    dense2: Gradients<f32, Ix2>,
}

/// The packed weights of the four operators, from input to output.
pub(crate) type PackedLeNet = [PackedWeights<f32>; 4];

impl LeNet {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let kernels = |channels| Ix4(FILTERS, channels, KERNEL, KERNEL);
        let features = FILTERS * LAST_SIDE * LAST_SIDE;
        let (conv, dense) = (QConvolution::new, QFullyConnected::new);
        LeNet {
            conv1: Layer::new(conv, false, kernels(1), rng),
            norm1: BatchNorm::new(FILTERS),
            conv2: Layer::new(conv, true, kernels(FILTERS), rng),
            norm2: BatchNorm::new(FILTERS),
            dense1: Layer::new(dense, true, Ix2(HIDDEN, features), rng),
            norm3: BatchNorm::new(HIDDEN),
            dense2: Layer::new(dense, false, Ix2(CLASSES, HIDDEN), rng),
            sign: QActivation::new(ActivationQuantizer::sign()),
        }
    }

    /// The forward of training: normalizes with the statistics of the batch.
    pub(crate) fn forward(&self, x: ArrayView4<'_, f32>, scratch: &mut Scratch) -> Result<Trace> {
        // tanh grows with its argument, so it may as well come after the maximum.
        let pool1 = Pooled::new(self.conv1.forward(x, None, scratch)?.view());
        let tanh1 = pool1.out.mapv(f32::tanh);
        let norm1 = self.norm1.forward(tanh1.clone());

        let sign1 = self.sign.forward(norm1.out.view())?;
        let norm2 = self
            .norm2
            .forward(self.conv2.forward(sign1.view(), None, scratch)?);
        let pool2 = Pooled::new(norm2.out.view());

        let sign2 = flatten(self.sign.forward(pool2.out.view())?);
        let norm3 = self
            .norm3
            .forward(self.dense1.forward(sign2.view(), None, scratch)?);
        let tanh3 = norm3.out.mapv(f32::tanh);

        let logits = self.dense2.forward(tanh3.view(), None, scratch)?;
        Ok(Trace {
            pool1,
            tanh1,
            norm1,
            sign1,
            norm2,
            pool2,
            sign2,
            norm3,
            tanh3,
            logits,
        })
    }

    /// All gradients from that of the logits.
    pub(crate) fn backward(
        &self,
        trace: &Trace,
        d_logits: &Array2<f32>,
        x: ArrayView4<'_, f32>,
    ) -> Result<LeNetGradients> {
        let dense2 = self.dense2.backward(d_logits, trace.tanh3.view())?;

        let dy = tanh_backward(&dense2.input, &trace.tanh3);
        let (dy, norm3) = self.norm3.backward(&trace.norm3, dy);
        let dense1 = self.dense1.backward(&dy, trace.sign2.view())?;
        let dy = dense1
            .input
            .to_shape(trace.pool2.out.raw_dim())
            .expect("as before flatten");
        let dy = self.sign.backward(dy.view(), trace.pool2.out.view())?;

        let (dy, norm2) = self.norm2.backward(&trace.norm2, trace.pool2.backward(&dy));
        let conv2 = self.conv2.backward(&dy, trace.sign1.view())?;
        let dy = self
            .sign
            .backward(conv2.input.view(), trace.norm1.out.view())?;

        let (dy, norm1) = self.norm1.backward(&trace.norm1, dy);
        let dy = trace.pool1.backward(&tanh_backward(&dy, &trace.tanh1));
        let conv1 = self.conv1.backward(&dy, x)?;
        Ok(LeNetGradients {
            conv1,
            norm1,
            conv2,
            norm2,
            dense1,
            norm3,
            dense2,
        })
    }

    /// One step of training.
    pub(crate) fn update(&mut self, trace: &Trace, gradients: &LeNetGradients, adam: Adam) {
        self.conv1.update(&gradients.conv1, adam);
        self.norm1.update(&trace.norm1, &gradients.norm1, adam);
        self.conv2.update(&gradients.conv2, adam);
        self.norm2.update(&trace.norm2, &gradients.norm2, adam);
        self.dense1.update(&gradients.dense1, adam);
        self.norm3.update(&trace.norm3, &gradients.norm3, adam);
        self.dense2.update(&gradients.dense2, adam);
    }

    /// The logits of images, from packed weights or from the latent ones.
    pub(crate) fn infer(
        &self,
        x: ArrayView4<'_, f32>,
        packed: Option<&PackedLeNet>,
        scratch: &mut Scratch,
    ) -> Result<Array2<f32>> {
        let [conv1, conv2, dense1, dense2] = match packed {
            Some(packed) => packed.each_ref().map(Some),
            None => [None; 4],
        };
        let pool1 = Pooled::new(self.conv1.forward(x, conv1, scratch)?.view());
        let norm1 = self.norm1.infer(pool1.out.mapv_into(f32::tanh));

        let sign1 = self.sign.forward(norm1.view())?;
        let norm2 = self
            .norm2
            .infer(self.conv2.forward(sign1.view(), conv2, scratch)?);
        let pool2 = Pooled::new(norm2.view());

        let sign2 = flatten(self.sign.forward(pool2.out.view())?);
        let norm3 = self
            .norm3
            .infer(self.dense1.forward(sign2.view(), dense1, scratch)?);

        self.dense2
            .forward(norm3.mapv_into(f32::tanh).view(), dense2, scratch)
    }

    /// Quantizes and packs the weights of all operators.
    pub(crate) fn pack(&self) -> Result<PackedLeNet> {
        Ok([
            self.conv1.operator.pack(self.conv1.weight.value.view())?,
            self.conv2.operator.pack(self.conv2.weight.value.view())?,
            self.dense1.operator.pack(self.dense1.weight.value.view())?,
            self.dense2.operator.pack(self.dense2.weight.value.view())?,
        ])
    }

    /// The bits of all latent weights.
    pub(crate) fn weight_bits(&self) -> Vec<u32> {
        let conv = [&self.conv1, &self.conv2].map(|layer| layer.weight.value.iter());
        let dense = [&self.dense1, &self.dense2].map(|layer| layer.weight.value.iter());
        let conv = conv.into_iter().flatten();
        conv.chain(dense.into_iter().flatten())
            .map(|w| w.to_bits())
            .collect()
    }
}
