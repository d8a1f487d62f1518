//! What QFullyConnected and QConvolution share: their options, and the checks at their door.

use crate::backward::{Gradients, backward};
use crate::element::compiled_once;
use crate::forward::input::Input;
use crate::forward::plan::CostModel;
use crate::forward::scratch::Scratch;
use crate::forward::{Numbers, Output, Task, forward};
use crate::geometry::{Geometry, Window};
use crate::kernel::Isa;
use crate::options::{InputScaling, OutputForm, PadValue, ScaleGradient, Scaling};
use crate::packed::bit_tensor::{BitTensor, sign_threshold};
use crate::quantizer::check_same_shape;
use crate::{
    ActivationQuantizer, Element, Error, Operand, PackedWeights, Result, SignThresholds,
    WeightQuantizer,
};
use ndarray::{ArrayView5, Ix5};

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

/// An operator as one call sees it: all spatial axes there, sizes not yet checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operator<'a> {
    pub(crate) options: &'a Options,
    pub(crate) window: Window,
    pub(crate) pad: PadValue,
    /// Spatial dimensions that the user sees, 0 for a dense layer.
    pub(crate) spatial_dims: usize,
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

impl<'a> Operator<'a> {
    pub(crate) fn geometry(&self, x: [usize; 5], w: [usize; 5]) -> Result<Geometry> {
        Geometry::new(self.window, x, w)
    }

    fn task(self, geometry: Geometry) -> Task<'a> {
        Task {
            geometry,
            activation: &self.options.activation,
            form: self.options.form,
            input_scaling: self.options.input_scaling,
            pad: self.pad,
            dense: self.spatial_dims == 0,
        }
    }

    pub(crate) fn pack<T: Element>(&self, w: ArrayView5<'_, T>) -> Result<PackedWeights<T>> {
        let mut packed = PackedWeights::default();
        pack_into(*self, w, &mut packed)?;
        Ok(packed)
    }

    pub(crate) fn forward_into<T: Element>(
        &self,
        x: ArrayView5<'_, T>,
        w: ArrayView5<'_, T>,
        scratch: &mut Scratch,
        numbers: Numbers<'_, T>,
    ) -> Result<()> {
        forward_into(*self, x, w, scratch, numbers)
    }

    pub(crate) fn forward_packed_into<T: Element>(
        &self,
        x: Input<'_, T>,
        packed: &PackedWeights<T>,
        scratch: &mut Scratch,
        numbers: Numbers<'_, T>,
    ) -> Result<()> {
        forward_packed_into(*self, x, packed, scratch, numbers)
    }

    /// Forward to the signs of what comes behind the operator.
    pub(crate) fn forward_signs_into<T: Element>(
        &self,
        x: Input<'_, T>,
        packed: &PackedWeights<T>,
        thresholds: &SignThresholds,
        scratch: &mut Scratch,
        out: &mut BitTensor,
    ) -> Result<()> {
        forward_signs_into(*self, x, packed, thresholds, scratch, out)
    }

    pub(crate) fn backward<T: Element>(
        &self,
        dy: ArrayView5<'_, T>,
        x: ArrayView5<'_, T>,
        w: ArrayView5<'_, T>,
    ) -> Result<Gradients<T, Ix5>> {
        let geometry = self.geometry(x.dim().into(), w.dim().into())?;
        let mut gradients = None;
        backward_into(*self, geometry, dy, x, w, &mut gradients)?;
        Ok(gradients.expect("written by a call without error"))
    }

    /// Checks packed weights against the operator, and sizes against each other.
    pub(crate) fn packed_geometry<T: Element>(
        &self,
        x: &Input<'_, T>,
        packed: &PackedWeights<T>,
    ) -> Result<Geometry> {
        self.check_packed(packed)?;
        if let Input::Signs(signs) = x {
            self.check_signs::<T>(signs)?;
        }
        self.geometry(x.dims(), packed.dims())
    }

    /// Checks that signs are what the operator would make of numbers.
    fn check_signs<T: Element>(&self, signs: &BitTensor) -> Result<()> {
        sign_threshold::<T>(&self.options.activation)?;
        if self.options.input_scaling != InputScaling::None {
            return Err(Error::Unsupported {
                option: "input scaling",
                expected: "none, as signs have lost their magnitudes",
                found: format!("{:?}", self.options.input_scaling),
            });
        }
        if signs.spatial_dims() != self.spatial_dims {
            let expected = ["2", "3", "4", "5"][self.spatial_dims.min(3)];
            let found = signs.shape().len();
            return Err(Error::Dimensions { operand: Operand::Input, expected, found });
        }
        Ok(())
    }

    /// Checks packed weights against the operator.
    pub(crate) fn check_packed<T: Element>(&self, packed: &PackedWeights<T>) -> Result<()> {
        let mismatch =
            |property, expected, found| Err(Error::PackedMismatch { property, expected, found });
        let (own, other) = (&self.options.weight, packed.quantizer());
        if !own.same_forward(other) {
            return mismatch("quantizer", format!("{own:?}"), format!("{other:?}"));
        }
        let (own, other) = (&self.options.scaling, packed.scaling());
        if own != other {
            return mismatch("scaling", format!("{own:?}"), format!("{other:?}"));
        }
        let (own, other) = (self.spatial_dims, packed.spatial_dims());
        if own != other {
            return mismatch("spatial dimensions", own.to_string(), other.to_string());
        }
        Ok(())
    }

    fn check<T: Element>(&self, geometry: &Geometry, numbers: &Numbers<'_, T>) -> Result<()> {
        self.check_options(geometry)?;
        if let Some(bias) = &numbers.bias {
            check_same_shape(Operand::Bias, &[geometry.filters], bias.shape())?;
        }
        if let Some(residual) = &numbers.residual {
            self.check_output(Operand::Residual, geometry, residual.dim().into())?;
        }
        self.check_output(Operand::Output, geometry, numbers.out.dim().into())
    }

    fn check_options(&self, geometry: &Geometry) -> Result<()> {
        self.options.activation.validate()?;
        self.options.scaling.validate(geometry.filters)
    }

    fn check_output(&self, operand: Operand, geometry: &Geometry, found: [usize; 5]) -> Result<()> {
        let expected = geometry.output_shape();
        if found == expected {
            return Ok(());
        }
        let (expected, found) = (self.user_shape(expected), self.user_shape(found));
        Err(Error::Shape { operand, expected, found })
    }

    /// The shape of an activation tensor as the user sees it.
    fn user_shape(&self, shape: [usize; 5]) -> Vec<usize> {
        let [images, channels, .., width] = shape;
        match self.spatial_dims {
            0 => vec![width, channels],
            dims => [&[images, channels], &shape[5 - dims..]].concat(),
        }
    }
}

compiled_once! {
    fn pack_into<'a, 'w; T>(
        operator: Operator<'a>,
        w: ArrayView5<'w, T>,
        packed: &'a mut PackedWeights<T>,
    ) -> Result<()> {
        let Options { activation, weight, scaling, .. } = &operator.options;
        let form = CostModel::of(Isa::current()).weight_form(activation.bits(), weight.bits());
        packed.assign(weight, scaling, operator.spatial_dims, form, w)
    }

    /// From latent weights: packs them in the scratch, then goes the packed way.
    fn forward_into<'a, 'x, 'w, 'n; T>(
        operator: Operator<'a>,
        x: ArrayView5<'x, T>,
        w: ArrayView5<'w, T>,
        scratch: &'a mut Scratch,
        numbers: Numbers<'n, T>,
    ) -> Result<()> {
        let geometry = operator.geometry(x.dim().into(), w.dim().into())?;
        operator.check(&geometry, &numbers)?;
        let mut packed = std::mem::take(&mut scratch.floats::<T>().packed);
        let (x, output) = (Input::Numbers(x), Output::Numbers(numbers));
        let result = pack_into(operator, w, &mut packed)
            .and_then(|()| forward(operator.task(geometry), x, &packed, scratch, output));
        scratch.floats::<T>().packed = packed;
        result
    }

    fn forward_packed_into<'a, 'x, 'n; T>(
        operator: Operator<'a>,
        x: Input<'x, T>,
        packed: &'a PackedWeights<T>,
        scratch: &'a mut Scratch,
        numbers: Numbers<'n, T>,
    ) -> Result<()> {
        let geometry = operator.packed_geometry(&x, packed)?;
        operator.check(&geometry, &numbers)?;
        forward(operator.task(geometry), x, packed, scratch, Output::Numbers(numbers))
    }

    fn forward_signs_into<'a, 'x; T>(
        operator: Operator<'a>,
        x: Input<'x, T>,
        packed: &'a PackedWeights<T>,
        thresholds: &'a SignThresholds,
        scratch: &'a mut Scratch,
        out: &'a mut BitTensor,
    ) -> Result<()> {
        let geometry = operator.packed_geometry(&x, packed)?;
        operator.check_options(&geometry)?;
        operator.check_foldable(packed)?;
        let (expected, found) = ([geometry.filters], [thresholds.filters()]);
        check_same_shape(Operand::Thresholds, &expected, &found)?;
        // Written to only at the end: an error leaves it as it was.
        let mut signs = std::mem::take(&mut scratch.signs);
        let result = signs.reset(geometry.output_shape(), operator.spatial_dims).and_then(|()| {
            let output = Output::Signs { thresholds, out: signs.words_mut() };
            forward(operator.task(geometry), x, packed, scratch, output)
        });
        if result.is_ok() {
            std::mem::swap(&mut signs, out);
        }
        scratch.signs = signs;
        result
    }

    fn backward_into<'a, 'y, 'x, 'w; T>(
        operator: Operator<'a>,
        geometry: Geometry,
        dy: ArrayView5<'y, T>,
        x: ArrayView5<'x, T>,
        w: ArrayView5<'w, T>,
        gradients: &'a mut Option<Gradients<T, Ix5>>,
    ) -> Result<()> {
        operator.check_options(&geometry)?;
        operator.check_output(Operand::OutputGradient, &geometry, dy.dim().into())?;
        let mut packed = PackedWeights::default();
        pack_into(operator, w, &mut packed)?;
        let scale_gradient = operator.options.scale_gradient;
        let task = operator.task(geometry);
        *gradients = Some(backward(task, scale_gradient, &packed, dy, x, w)?);
        Ok(())
    }
}

/// The setters of the options that both operators have.
macro_rules! option_setters {
    () => {
        /// Sets the factor on the output of each filter.
        pub fn scaling(mut self, scaling: Scaling) -> Self {
            self.options.scaling = scaling;
            self
        }

        /// Sets whether the latent weights get a gradient through their scale.
        pub fn scale_gradient(mut self, gradient: ScaleGradient) -> Self {
            self.options.scale_gradient = gradient;
            self
        }

        /// Sets the factor on every output position.
        pub fn input_scaling(mut self, scaling: InputScaling) -> Self {
            self.options.input_scaling = scaling;
            self
        }

        /// Sets what is made of the dot product.
        pub fn output_form(mut self, form: OutputForm) -> Self {
            self.options.form = form;
            self
        }

        /// How activations are quantized.
        pub fn activation(&self) -> &ActivationQuantizer {
            &self.options.activation
        }

        /// How weights are quantized.
        pub fn weight(&self) -> &WeightQuantizer {
            &self.options.weight
        }
    };
}
pub(crate) use option_setters;
