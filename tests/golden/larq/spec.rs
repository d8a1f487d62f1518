//! Larq's quantizers by name.

use crate::quantizer::Quantizer;
use crate::report::{Check, failed, unsupported};
use crate::values::{bits, number};
use ndarray_qnn::{
    ActivationQuantizer, DorefaGradient, Rounding, Ste, TernaryThreshold, WeightQuantizer,
};
use serde_json::{Value, json};

/// What a Larq quantizer is as one of activations and as one of weights, where we have both.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spec {
    activation: Option<ActivationQuantizer>,
    weight: Option<WeightQuantizer>,
}

impl Spec {
    /// Reads a name and parameters; parameters that are not there have Larq's defaults.
    pub(crate) fn new(name: &str, params: &Value) -> Check<Self> {
        let both = |activation: ActivationQuantizer, weight: WeightQuantizer, ste| Spec {
            activation: Some(activation.ste(ste)),
            weight: Some(weight.ste(ste)),
        };
        let only_weight =
            |weight: WeightQuantizer, ste| Spec { activation: None, weight: Some(weight.ste(ste)) };
        let sign = (ActivationQuantizer::sign(), WeightQuantizer::sign());
        Ok(match name {
            "ste_sign" => both(sign.0, sign.1, clip(params)?),
            "approx_sign" => both(sign.0, sign.1, Ste::ApproxSign { threshold: 1.0 }),
            "swish_sign" => {
                let beta = params.get("beta").map_or(Ok(5.0), number)?;
                both(sign.0, sign.1, Ste::SwishSign { beta })
            }
            "ste_heaviside" => {
                both(ActivationQuantizer::heaviside(), WeightQuantizer::heaviside(), clip(params)?)
            }
            "ste_tern" => only_weight(WeightQuantizer::ternary(threshold(params)?), clip(params)?),
            "magnitude_aware_sign" => {
                only_weight(WeightQuantizer::magnitude_aware_sign(), clip(params)?)
            }
            "dorefa" | "dorefa_quantizer" | "do_re_fa" => Self::dorefa(params)?,
            _ => return unsupported(format!("quantizer {name}")),
        })
    }

    /// Either kind, if the parameters do not tell which is meant.
    fn dorefa(params: &Value) -> Check<Self> {
        let width = params.get("k_bit").map_or(Ok(2), bits)?;
        let activation =
            ActivationQuantizer::dorefa(width)?.rounding(Rounding::HalfToEven).ste(Ste::unit());
        let weight = WeightQuantizer::dorefa(width)?
            .rounding(Rounding::HalfToEven)
            .dorefa_gradient(DorefaGradient::StopMax);
        let mode = params.get("mode").and_then(Value::as_str);
        Ok(Spec {
            activation: Some(activation).filter(|_| mode != Some("weights")),
            weight: Some(weight).filter(|_| mode != Some("activations")),
        })
    }

    /// Reads a description of a layer's quantizer: nothing, a name, or an object with parameters.
    /// Keras numbers the names it makes up (`ste_sign_12`).
    fn of_layer(value: &Value) -> Check<Option<Self>> {
        let (name, params) = match value {
            Value::Null => return Ok(None),
            Value::String(name) => (name.as_str(), &json!({})),
            Value::Object(params) => match params.get("name").and_then(Value::as_str) {
                Some(name) => (name, value),
                None => return failed(format!("a quantizer without a name: {value}")),
            },
            _ => return failed(format!("not a quantizer: {value}")),
        };
        let name = match name.rsplit_once('_') {
            Some((base, number)) if number.parse::<u32>().is_ok() => base,
            _ => name,
        };
        Self::new(name, params).map(Some)
    }

    pub(crate) fn input(value: &Value) -> Check<ActivationQuantizer> {
        match Self::of_layer(value)?.map(|spec| spec.activation) {
            None => Ok(ActivationQuantizer::identity()),
            Some(Some(quantizer)) => Ok(quantizer),
            Some(None) => unsupported(format!("input quantizer {value}")),
        }
    }

    pub(crate) fn kernel(value: &Value) -> Check<WeightQuantizer> {
        match Self::of_layer(value)?.map(|spec| spec.weight) {
            None => Ok(WeightQuantizer::identity()),
            Some(Some(quantizer)) => Ok(quantizer),
            Some(None) => unsupported(format!("kernel quantizer {value}")),
        }
    }

    pub(crate) fn quantizers(&self) -> impl Iterator<Item = Quantizer> {
        let activation = self.activation.map(Quantizer::Activation);
        activation.into_iter().chain(self.weight.map(Quantizer::Weight))
    }
}

fn clip(params: &Value) -> Check<Ste> {
    Ok(match params.get("clip_value") {
        None => Ste::clip(1.0),
        Some(Value::Null) => Ste::Identity,
        Some(value) => Ste::clip(number(value)?),
    })
}

fn threshold(params: &Value) -> Check<TernaryThreshold> {
    if params.get("ternary_weight_networks") == Some(&Value::Bool(true)) {
        return Ok(TernaryThreshold::MeanMagnitude);
    }
    let value = params.get("threshold_value").map_or(Ok(0.05), number)?;
    Ok(TernaryThreshold::Fixed(value))
}
