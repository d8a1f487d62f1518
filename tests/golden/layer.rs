//! Both operators at every rank behind one trait, with the laws that every call obeys.

use crate::compare::same_bits;
use crate::report::{Check, failed};
use ndarray::{Array1, ArrayD, ArrayView1, ArrayViewD, Ix2, Ix3, Ix4, Ix5};
use ndarray_qnn::{
    ActivationQuantizer, Element, QConvolution, QFullyConnected, Scaling, WeightQuantizer,
};

/// The operands of a forward.
#[derive(Clone, Debug)]
pub(crate) struct Operands<'a, T> {
    pub(crate) x: ArrayViewD<'a, T>,
    pub(crate) w: ArrayViewD<'a, T>,
    pub(crate) bias: Option<ArrayView1<'a, T>>,
}

/// The gradients of the operands.
#[derive(Debug)]
pub(crate) struct Gradients<T> {
    pub(crate) x: ArrayD<T>,
    pub(crate) w: ArrayD<T>,
    pub(crate) bias: Array1<T>,
}

/// An operator over arrays of dynamic dimension.
pub(crate) trait Layer: Clone {
    fn activation(&self) -> &ActivationQuantizer;
    fn weight(&self) -> &WeightQuantizer;
    fn scaling(self, scaling: Scaling) -> Self;
    fn forward<T: Element>(&self, operands: &Operands<'_, T>) -> Check<ArrayD<T>>;
    fn forward_packed<T: Element>(&self, operands: &Operands<'_, T>) -> Check<ArrayD<T>>;
    fn backward<T: Element>(
        &self,
        operands: &Operands<'_, T>,
        dy: ArrayViewD<'_, T>,
    ) -> Check<Gradients<T>>;
}

macro_rules! layer {
    ($operator:ty, $dimension:ty) => {
        impl Layer for $operator {
            fn activation(&self) -> &ActivationQuantizer {
                self.activation()
            }

            fn weight(&self) -> &WeightQuantizer {
                self.weight()
            }

            fn scaling(self, scaling: Scaling) -> Self {
                self.scaling(scaling)
            }

            fn forward<T: Element>(&self, operands: &Operands<'_, T>) -> Check<ArrayD<T>> {
                let x = operands.x.view().into_dimensionality::<$dimension>()?;
                let w = operands.w.view().into_dimensionality::<$dimension>()?;
                Ok(self.forward(x, w, operands.bias)?.into_dyn())
            }

            fn forward_packed<T: Element>(&self, operands: &Operands<'_, T>) -> Check<ArrayD<T>> {
                let x = operands.x.view().into_dimensionality::<$dimension>()?;
                let w = operands.w.view().into_dimensionality::<$dimension>()?;
                let packed = self.pack(w)?;
                Ok(self.forward_packed(x, &packed, operands.bias)?.into_dyn())
            }

            fn backward<T: Element>(
                &self,
                operands: &Operands<'_, T>,
                dy: ArrayViewD<'_, T>,
            ) -> Check<Gradients<T>> {
                let x = operands.x.view().into_dimensionality::<$dimension>()?;
                let w = operands.w.view().into_dimensionality::<$dimension>()?;
                let gradients = self.backward(dy.into_dimensionality::<$dimension>()?, x, w)?;
                Ok(Gradients {
                    x: gradients.input.into_dyn(),
                    w: gradients.weight.into_dyn(),
                    bias: gradients.bias,
                })
            }
        }
    };
}
layer!(QFullyConnected, Ix2);
layer!(QConvolution<1>, Ix3);
layer!(QConvolution<2>, Ix4);
layer!(QConvolution<3>, Ix5);

/// The output, after checking that a second call and packed weights give the same bits, and that
/// the operands are as they were.
pub(crate) fn forward<T: Element>(
    layer: &impl Layer,
    operands: &Operands<'_, T>,
) -> Check<ArrayD<T>> {
    unchanged(operands, || {
        let y = layer.forward(operands)?;
        same_bits("second forward", &layer.forward(operands)?, &y)?;
        same_bits("forward_packed", &layer.forward_packed(operands)?, &y)?;
        Ok(y)
    })
}

/// The gradients, after checking that the operands are as they were.
pub(crate) fn backward<T: Element>(
    layer: &impl Layer,
    operands: &Operands<'_, T>,
    dy: ArrayViewD<'_, T>,
) -> Check<Gradients<T>> {
    let before = dy.to_owned();
    let gradients = unchanged(operands, || layer.backward(operands, dy.view()))?;
    same_bits("dy after the call", &dy, &before)?;
    Ok(gradients)
}

fn unchanged<T: Element, R>(
    operands: &Operands<'_, T>,
    call: impl FnOnce() -> Check<R>,
) -> Check<R> {
    let (x, w) = (operands.x.to_owned(), operands.w.to_owned());
    let bias = operands.bias.map(|bias| bias.to_owned());
    let result = call()?;
    same_bits("x after the call", &operands.x, &x)?;
    same_bits("w after the call", &operands.w, &w)?;
    match (operands.bias, &bias) {
        (Some(after), Some(before)) => same_bits("bias after the call", &after, before)?,
        (None, None) => {}
        _ => return failed("bias came or went"),
    }
    Ok(result)
}
