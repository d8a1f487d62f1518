//! Checks at the door: of operands, options and packed weights against each other.

use crate::forward::input::Input;
use crate::forward::problem::FloatTarget;
use crate::forward::too_wide;
use crate::geometry::{Geometry, LONGEST_ROW};
use crate::layers::operator::{Operator, Weights};
use crate::options::InputScaling;
use crate::packed::bit_tensor::{BitTensor, sign_threshold};
use crate::quantizer::{Levels, check_same_shape};
use crate::rank::{dimensions, lower_shape};
use crate::{Element, Error, Operand, PackedWeights, Result};

impl Operator<'_> {
    /// Checks that an input and weights go with the operator, and their sizes with each other.
    pub(crate) fn operands<T: Element>(
        &self,
        x: &Input<'_, T>,
        w: &Weights<'_, T>,
    ) -> Result<Geometry> {
        if let Weights::Packed(packed) = w {
            self.check_packed(packed)?;
        }
        if let Input::Signs(signs) = x {
            self.check_signs::<T>(signs)?;
        }
        let w = match w {
            Weights::Latent(w) => w.dim().into(),
            Weights::Packed(packed) => packed.dims(),
        };
        self.geometry(x.dims(), w)
    }

    /// Checks that signs are what the operator would make of floats.
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
            let expected = dimensions(self.spatial_dims);
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

    /// Checks options and what a forward adds and writes.
    pub(crate) fn check<T: Element>(
        &self,
        geometry: &Geometry,
        target: &FloatTarget<'_, T>,
    ) -> Result<()> {
        self.check_options(geometry)?;
        if let Some(bias) = &target.bias {
            check_same_shape(Operand::Bias, &[geometry.filters], bias.shape())?;
        }
        if let Some(residual) = &target.residual {
            self.check_output(Operand::Residual, geometry, residual.dim().into())?;
        }
        self.check_output(Operand::Output, geometry, target.out.dim().into())
    }

    pub(crate) fn check_options(&self, geometry: &Geometry) -> Result<()> {
        self.options.activation.validate()?;
        self.options.scaling.validate(geometry.filters)
    }

    pub(crate) fn check_output(
        &self,
        operand: Operand,
        geometry: &Geometry,
        found: [usize; 5],
    ) -> Result<()> {
        let expected = geometry.output_shape();
        if found == expected {
            return Ok(());
        }
        let user_shape = |shape| lower_shape(shape, self.spatial_dims);
        let (expected, found) = (user_shape(expected), user_shape(found));
        Err(Error::Shape { operand, expected, found })
    }

    /// The levels of both operands, if their products are exact integers and their scales those of
    /// a filter.
    pub(crate) fn check_foldable<T: Element>(
        &self,
        w: &PackedWeights<T>,
    ) -> Result<(Levels, Levels)> {
        let activation = &self.options.activation;
        let activation_levels = activation.levels().filter(Levels::fit_a_byte);
        let (Some(activation_levels), Some(weight_levels)) = (activation_levels, w.levels()) else {
            return Err(too_wide(activation, w));
        };
        if w.row_len() as u64 > LONGEST_ROW {
            return Err(Error::TooLarge { what: "kernel", elements: w.row_len() });
        }
        if activation.scales_samples() {
            return Err(Error::Unsupported {
                option: "activation quantizer",
                expected: "one without a scale of its own for each sample",
                found: format!("{activation:?}"),
            });
        }
        match self.options.input_scaling {
            InputScaling::None => Ok((activation_levels, weight_levels)),
            scaling => Err(Error::Unsupported {
                option: "input scaling",
                expected: "none, as K differs from place to place",
                found: format!("{scaling:?}"),
            }),
        }
    }
}
