//! QFullyConnected and QConvolution as one call sees them: options, a window over three spatial
//! axes, and operands of five.

use crate::backward::{Gradients, backward};
use crate::element::compiled_once;
use crate::forward::forward;
use crate::forward::input::Input;
use crate::forward::plan::CostModel;
use crate::forward::problem::{FloatTarget, Problem, Target};
use crate::forward::scratch::Scratch;
use crate::geometry::{Geometry, Window};
use crate::kernel::Isa;
use crate::memory::{product, zeros};
use crate::options::{InputScaling, OutputForm, PadValue, ScaleGradient, Scaling};
use crate::packed::bit_tensor::BitTensor;
use crate::quantizer::check_same_shape;
use crate::rank::Lift;
use crate::{
    ActivationQuantizer, Element, Error, Operand, PackedWeights, Result, SignThresholds,
    WeightQuantizer,
};
use ndarray::{Array, ArrayView, ArrayView1, ArrayView5, ArrayViewMut2, ArrayViewMut5, Ix2, Ix5};

/// The options of an operator.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) activation: ActivationQuantizer,
    pub(crate) weight: WeightQuantizer,
    pub(crate) scaling: Scaling,
    pub(crate) scale_gradient: ScaleGradient,
    pub(crate) input_scaling: InputScaling,
    pub(crate) form: OutputForm,
}

impl Options {
    pub(crate) fn new(activation: ActivationQuantizer, weight: WeightQuantizer) -> Self {
        Options {
            activation,
            weight,
            scaling: Scaling::default(),
            scale_gradient: ScaleGradient::default(),
            input_scaling: InputScaling::default(),
            form: OutputForm::default(),
        }
    }
}

/// An operator as one call sees it: all spatial axes there, sizes not yet checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operator<'a> {
    pub(crate) options: &'a Options,
    pub(crate) window: Window,
    pub(crate) pad: PadValue,
    /// Spatial dimensions that the user sees, 0 for a dense layer.
    pub(crate) spatial_dims: usize,
}

/// The weights of a forward.
pub(crate) enum Weights<'a, T> {
    Latent(ArrayView5<'a, T>),
    Packed(&'a PackedWeights<T>),
}

impl<'a> Operator<'a> {
    pub(crate) fn geometry(&self, x: [usize; 5], w: [usize; 5]) -> Result<Geometry> {
        Geometry::new(self.window, x, w)
    }

    fn problem(self, geometry: Geometry) -> Problem<'a> {
        Problem {
            geometry,
            activation: &self.options.activation,
            form: self.options.form,
            input_scaling: self.options.input_scaling,
            pad: self.pad,
            dense: self.spatial_dims == 0,
        }
    }

    pub(crate) fn pack<T: Element>(self, w: ArrayView5<'_, T>) -> Result<PackedWeights<T>> {
        let mut packed = PackedWeights::default();
        pack_into(self, w, &mut packed)?;
        Ok(packed)
    }

    /// Forward to an array of the user's dimension.
    pub(crate) fn forward<T: Element, D: Lift>(
        self,
        x: Input<'_, T>,
        w: Weights<'_, T>,
        bias: Option<ArrayView1<'_, T>>,
        residual: Option<ArrayView<'_, T, D>>,
    ) -> Result<Array<T, D>> {
        let (mut values, mut shape) = (Vec::new(), [0; 5]);
        forward_to(self, x, w, bias, residual.map(D::lift), &mut values, &mut shape)?;
        let elements = values.len();
        Array::from_shape_vec(D::lower_shape(shape), values)
            .map_err(|_| Error::TooLarge { what: OUTPUT, elements })
    }

    pub(crate) fn backward<T: Element, D: Lift>(
        self,
        dy: ArrayView<'_, T, D>,
        x: ArrayView<'_, T, D>,
        w: ArrayView<'_, T, D>,
    ) -> Result<Gradients<T, D>> {
        let mut gradients = None;
        backward_into(self, D::lift(dy), D::lift(x), D::lift_weights(w), &mut gradients)?;
        let gradients = gradients.expect("written by a call without error");
        Ok(Gradients {
            input: D::lower(gradients.input),
            weight: D::lower_weights(gradients.weight),
            bias: gradients.bias,
        })
    }
}

const OUTPUT: &str = "output";

compiled_once! {
    fn pack_into<'a, 'w; T>(
        operator: Operator<'a>,
        w: ArrayView5<'w, T>,
        packed: &'a mut PackedWeights<T>,
    ) -> Result<()> {
        let Options { activation, weight, scaling, .. } = &operator.options;
        let form = CostModel::of(Isa::current()).weight_format(activation.bits(), weight.bits());
        packed.assign(weight, scaling, operator.spatial_dims, form, w)
    }

    /// To an output that is allocated here, in the standard layout of the user's dimension.
    fn forward_to<'a, 'x, 'w, 'n; T>(
        operator: Operator<'a>,
        x: Input<'x, T>,
        w: Weights<'w, T>,
        bias: Option<ArrayView1<'n, T>>,
        residual: Option<ArrayView5<'n, T>>,
        values: &'a mut Vec<T>,
        shape: &'a mut [usize; 5],
    ) -> Result<()> {
        let geometry = operator.operands(&x, &w)?;
        *shape = geometry.output_shape();
        let [images, filters, d, h, width] = *shape;
        let elements = product(shape, OUTPUT)?;
        *values = zeros(elements, OUTPUT)?;
        let out = match operator.spatial_dims {
            0 => ArrayViewMut2::from_shape((width, filters), values).map(Ix2::lift),
            _ => ArrayViewMut5::from_shape((images, filters, d, h, width), values),
        };
        let out = out.map_err(|_| Error::TooLarge { what: OUTPUT, elements })?;
        forward_into(operator, x, w, &mut Scratch::new(), FloatTarget { bias, residual, out })
    }

    /// Forward to an output of all axes.
    pub(crate) fn forward_into<'a, 'x, 'w, 'n; T>(
        operator: Operator<'a>,
        x: Input<'x, T>,
        w: Weights<'w, T>,
        scratch: &'a mut Scratch,
        target: FloatTarget<'n, T>,
    ) -> Result<()> {
        let geometry = operator.operands(&x, &w)?;
        operator.check(&geometry, &target)?;
        let (problem, output) = (operator.problem(geometry), Target::Floats(target));
        match w {
            Weights::Packed(packed) => forward(problem, x, packed, scratch, output),
            Weights::Latent(w) => {
                // Packed in the scratch, whose other buffers the forward needs meanwhile.
                let mut packed = std::mem::take(&mut scratch.floats::<T>().packed);
                let result = pack_into(operator, w, &mut packed)
                    .and_then(|()| forward(problem, x, &packed, scratch, output));
                scratch.floats::<T>().packed = packed;
                result
            }
        }
    }

    /// Forward to the signs of what comes behind the operator.
    pub(crate) fn forward_signs_into<'a, 'x; T>(
        operator: Operator<'a>,
        x: Input<'x, T>,
        packed: &'a PackedWeights<T>,
        thresholds: &'a SignThresholds,
        scratch: &'a mut Scratch,
        out: &'a mut BitTensor,
    ) -> Result<()> {
        let geometry = operator.operands(&x, &Weights::Packed(packed))?;
        operator.check_options(&geometry)?;
        operator.check_foldable(packed)?;
        let (expected, found) = ([geometry.filters], [thresholds.filters()]);
        check_same_shape(Operand::Thresholds, &expected, &found)?;
        // Written to only at the end: an error leaves it as it was.
        let mut signs = std::mem::take(&mut scratch.signs);
        let result = signs.reset(geometry.output_shape(), operator.spatial_dims).and_then(|()| {
            let output = Target::Signs { thresholds, out: signs.words_mut() };
            forward(operator.problem(geometry), x, packed, scratch, output)
        });
        if result.is_ok() {
            std::mem::swap(&mut signs, out);
        }
        scratch.signs = signs;
        result
    }

    fn backward_into<'a, 'y, 'x, 'w; T>(
        operator: Operator<'a>,
        dy: ArrayView5<'y, T>,
        x: ArrayView5<'x, T>,
        w: ArrayView5<'w, T>,
        gradients: &'a mut Option<Gradients<T, Ix5>>,
    ) -> Result<()> {
        let geometry = operator.geometry(x.dim().into(), w.dim().into())?;
        operator.check_options(&geometry)?;
        operator.check_output(Operand::OutputGradient, &geometry, dy.dim().into())?;
        let mut packed = PackedWeights::default();
        pack_into(operator, w, &mut packed)?;
        let scale_gradient = operator.options.scale_gradient;
        let problem = operator.problem(geometry);
        *gradients = Some(backward(problem, scale_gradient, &packed, dy, x, w)?);
        Ok(())
    }
}
