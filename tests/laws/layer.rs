//! QFullyConnected and QConvolution of every rank behind one face, with dynamic dimensions.

use crate::number::Number;
use ndarray::{ArrayD, ArrayView, ArrayView1, ArrayViewD, ArrayViewMut, ArrayViewMutD, Dimension};
use ndarray_qnn::{
    ActivationQuantizer, Affine, BitTensor, PackedWeights, QConvolution, QFullyConnected, Result,
    Scratch, SignThresholds,
};

#[derive(Clone, Debug)]
pub(crate) enum Layer {
    Dense(QFullyConnected),
    Conv1(QConvolution<1>),
    Conv2(QConvolution<2>),
    Conv3(QConvolution<3>),
}

/// Gradients of input, weights and bias.
#[derive(Clone, Debug)]
pub(crate) struct Gradients<T> {
    pub(crate) input: ArrayD<T>,
    pub(crate) weight: ArrayD<T>,
    pub(crate) bias: ArrayD<T>,
}

macro_rules! each {
    ($layer:expr, $op:ident => $call:expr) => {
        match $layer {
            Layer::Dense($op) => $call,
            Layer::Conv1($op) => $call,
            Layer::Conv2($op) => $call,
            Layer::Conv3($op) => $call,
        }
    };
}

fn fixed<T, D: Dimension>(view: ArrayViewD<'_, T>) -> ArrayView<'_, T, D> {
    view.into_dimensionality().expect("the layer's rank")
}

fn fixed_mut<T, D: Dimension>(view: ArrayViewMutD<'_, T>) -> ArrayViewMut<'_, T, D> {
    view.into_dimensionality().expect("the layer's rank")
}

type Bias<'a, T> = Option<ArrayView1<'a, T>>;

impl Layer {
    pub(crate) fn forward<T: Number>(
        &self,
        x: ArrayViewD<'_, T>,
        w: ArrayViewD<'_, T>,
        bias: Bias<'_, T>,
    ) -> Result<ArrayD<T>> {
        each!(self, op => Ok(op.forward(fixed(x), fixed(w), bias)?.into_dyn()))
    }

    pub(crate) fn forward_into<T: Number>(
        &self,
        x: ArrayViewD<'_, T>,
        w: ArrayViewD<'_, T>,
        bias: Bias<'_, T>,
        scratch: &mut Scratch,
        out: ArrayViewMutD<'_, T>,
    ) -> Result<()> {
        each!(self, op => op.forward_into(fixed(x), fixed(w), bias, scratch, fixed_mut(out)))
    }

    pub(crate) fn pack<T: Number>(&self, w: ArrayViewD<'_, T>) -> Result<PackedWeights<T>> {
        each!(self, op => op.pack(fixed(w)))
    }

    pub(crate) fn fold<T: Number>(
        &self,
        w: &PackedWeights<T>,
        bias: Bias<'_, T>,
        affine: Option<&Affine<T>>,
        next: &ActivationQuantizer,
    ) -> Result<SignThresholds> {
        each!(self, op => op.fold(w, bias, affine, next))
    }

    pub(crate) fn forward_packed<T: Number>(
        &self,
        x: ArrayViewD<'_, T>,
        w: &PackedWeights<T>,
        bias: Bias<'_, T>,
    ) -> Result<ArrayD<T>> {
        each!(self, op => Ok(op.forward_packed(fixed(x), w, bias)?.into_dyn()))
    }

    pub(crate) fn forward_packed_into<T: Number>(
        &self,
        x: ArrayViewD<'_, T>,
        w: &PackedWeights<T>,
        bias: Bias<'_, T>,
        scratch: &mut Scratch,
        out: ArrayViewMutD<'_, T>,
    ) -> Result<()> {
        each!(self, op => op.forward_packed_into(fixed(x), w, bias, scratch, fixed_mut(out)))
    }

    pub(crate) fn forward_packed_bits<T: Number>(
        &self,
        x: &BitTensor,
        w: &PackedWeights<T>,
        bias: Bias<'_, T>,
    ) -> Result<ArrayD<T>> {
        each!(self, op => Ok(op.forward_packed(x, w, bias)?.into_dyn()))
    }

    pub(crate) fn forward_residual<T: Number>(
        &self,
        x: ArrayViewD<'_, T>,
        w: &PackedWeights<T>,
        bias: Bias<'_, T>,
        residual: ArrayViewD<'_, T>,
    ) -> Result<ArrayD<T>> {
        each!(self, op => Ok(op.forward_residual(fixed(x), w, bias, fixed(residual))?.into_dyn()))
    }

    pub(crate) fn forward_signs<T: Number>(
        &self,
        x: ArrayViewD<'_, T>,
        w: &PackedWeights<T>,
        thresholds: &SignThresholds,
    ) -> Result<BitTensor> {
        each!(self, op => op.forward_signs(fixed(x), w, thresholds))
    }

    pub(crate) fn forward_signs_of_bits_into<T: Number>(
        &self,
        x: &BitTensor,
        w: &PackedWeights<T>,
        thresholds: &SignThresholds,
        scratch: &mut Scratch,
        out: &mut BitTensor,
    ) -> Result<()> {
        each!(self, op => op.forward_signs_into(x, w, thresholds, scratch, out))
    }

    pub(crate) fn backward<T: Number>(
        &self,
        dy: ArrayViewD<'_, T>,
        x: ArrayViewD<'_, T>,
        w: ArrayViewD<'_, T>,
    ) -> Result<Gradients<T>> {
        each!(self, op => {
            let gradients = op.backward(fixed(dy), fixed(x), fixed(w))?;
            Ok(Gradients {
                input: gradients.input.into_dyn(),
                weight: gradients.weight.into_dyn(),
                bias: gradients.bias.into_dyn(),
            })
        })
    }
}
