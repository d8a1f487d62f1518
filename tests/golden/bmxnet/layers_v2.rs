//! BMXNet-v2's QDense, QConv2D and ScaledBinaryConv, and the gradient of its weight quantizers.

use crate::compare::{Tolerance, close};
use crate::layer::{Layer, Operands, backward, forward};
use crate::quantizer::Quantizer;
use crate::report::{Check, Report, failed, unsupported};
use crate::values::{Tensors, bits, cast, flag, integer, list, number, read_json, spatial, text};
use ndarray::ArrayD;
use ndarray_qnn::{
    ActivationQuantizer, DorefaGradient, Element, InputScaling, OutputForm, PadValue, QActivation,
    QConvolution, QFullyConnected, ScaleGradient, Scaling, Ste, WeightQuantizer,
};
use serde_json::Value;
use std::path::Path;

const GRADIENT: Tolerance = Tolerance { rtol: 1e-5, atol: 1e-5 };

struct Case<'a> {
    json: &'a Value,
    tensors: &'a Tensors,
}

pub(crate) fn run(path: &Path, report: &mut Report) {
    let op = "bmxnet/layers_v2";
    let tensors = Tensors::read(&path.with_extension("safetensors"));
    let (Some(json), Some(tensors)) =
        (report.require(op, "index", read_json(path)), report.require(op, "tensors", tensors))
    else {
        return;
    };
    for json in list(&json["cases"]) {
        let case = Case { json, tensors: &tensors };
        let kind = json["kind"].as_str().unwrap_or("?");
        let outcome = case.check::<f32>().and_then(|()| case.check::<f64>());
        report.record(&format!("{op}/{kind}"), &json["i"].to_string(), outcome);
    }
}

impl Case<'_> {
    fn check<T: Element>(&self) -> Check {
        match text(&self.json["kind"])? {
            "qdense" => self.dense::<T>(),
            "qconv" => self.convolution::<T>(),
            "scaled_binary_conv_xnor" => self.scaled_binary_convolution::<T>(),
            "weight_quantizer_grad" => self.weight_quantizer::<T>(),
            kind => unsupported(kind),
        }
    }

    fn dense<T: Element>(&self) -> Check {
        let [a, w] = self.widths()?;
        let layer = QFullyConnected::bmxnet_v2(a, w)?;
        let layer = match flag(&self.json["no_offset"]) {
            true => layer.output_form(OutputForm::Dot),
            false => layer,
        };
        self.check_layer::<T, _>(&layer)?;
        match self.find("gw_ste") {
            Some(expected) => {
                let weight = layer.weight().dorefa_gradient(DorefaGradient::Identity);
                let plain = QFullyConnected::new(*layer.activation(), weight);
                let form = match flag(&self.json["no_offset"]) {
                    true => OutputForm::Dot,
                    false => OutputForm::Offset { halve_gradient: true },
                };
                let (x, w, dy) = (self.cast("x")?, self.cast("w")?, self.cast::<T>("gy")?);
                let operands = Operands { x: x.view(), w: w.view(), bias: None };
                let gradients = backward(&plain.output_form(form), &operands, dy.view())?;
                close("gw_ste", &gradients.w, expected, GRADIENT.of::<T>())
            }
            None => Ok(()),
        }
    }

    fn convolution<T: Element>(&self) -> Check {
        let [a, w] = self.widths()?;
        let mut layer = QConvolution::<2>::bmxnet_v2(a, w)?
            .stride(spatial(&self.json["stride"])?)
            .padding(spatial(&self.json["pad"])?)
            .dilation(spatial(&self.json["dil"])?)
            .groups(integer(&self.json["groups"])?);
        let scaled = flag(&self.json["apply_scaling"]);
        if scaled {
            let gradient = match flag(&self.json["stop_weight_scale_grad"]) {
                true => ScaleGradient::Stopped,
                false => ScaleGradient::Flow,
            };
            layer = layer.scaling(Scaling::PerFilter).scale_gradient(gradient);
        }
        if scaled || flag(&self.json["no_offset"]) {
            layer = layer.output_form(OutputForm::Dot);
        }
        self.check_layer::<T, _>(&layer)
    }

    /// A layer that passes the gradient straight to what a QActivation made of its input.
    fn check_layer<T: Element, L: Layer>(&self, layer: &L) -> Check {
        let [a, w] = self.widths()?;
        let qactivation = QActivation::bmxnet_v2(a, number(&self.json["threshold"])?)?;
        let (x, weights, dy) = (self.cast("x")?, self.cast("w")?, self.cast::<T>("gy")?);
        let xa = self.get("xa")?;
        let quantized = qactivation.forward(x.view())?;
        close("xa", &quantized, xa, Tolerance::absolute(2e-7).of::<T>())?;

        let scaled = flag(&self.json["apply_scaling"]);
        let exact = (a, w) == (1, 1) && !scaled;
        // The layer quantizes its input, of which quantized numbers are fixed points.
        for (name, x) in [("x", x.view()), ("xa", cast::<T>(xa).view())] {
            let operands = Operands { x, w: weights.view(), bias: None };
            let y = forward(layer, &operands)?;
            close(&format!("y of {name}"), &y, self.get("y")?, self.sums::<T>(&weights, exact))?;
            let gradients = backward(layer, &operands, dy.view())?;
            let tolerance = GRADIENT.of::<T>();
            close("gx", &gradients.x, self.get("gx")?, tolerance)?;
            close("gw", &gradients.w, self.get("gw")?, tolerance)?;
            if name == "x" {
                let raw = qactivation.backward(gradients.x.view(), operands.x.view())?;
                close("gx_raw", &raw, self.get("gx_raw")?, tolerance)?;
            }
        }
        Ok(())
    }

    /// XNOR-Net's convolution with both scales.
    fn scaled_binary_convolution<T: Element>(&self) -> Check {
        let threshold = number(&self.json["threshold"])?;
        let sign = ActivationQuantizer::sign().ste(Ste::clip(threshold));
        let unscaled = QConvolution::<2>::new(sign, WeightQuantizer::sign())
            .stride(spatial(&self.json["stride"])?)
            .padding(spatial(&self.json["pad"])?)
            .pad_value(PadValue::MinusOne);
        let with_k = unscaled.clone().input_scaling(InputScaling::KMap);
        let layer = with_k.clone().scaling(Scaling::PerFilter);

        let (x, weights, dy) = (self.cast("x")?, self.cast("w")?, self.cast::<T>("gy")?);
        let operands = Operands { x: x.view(), w: weights.view(), bias: None };
        let y = forward(&layer, &operands)?;
        let tolerance = self.sums::<T>(&weights, false);
        close("y", &y, self.get("y")?, tolerance)?;
        let gradients = backward(&layer, &operands, dy.view())?;
        close("gx_raw", &gradients.x, self.get("gx_raw")?, GRADIENT.of::<T>())?;
        close("gw", &gradients.w, self.get("gw")?, GRADIENT.of::<T>())?;

        let dot = forward(&unscaled, &operands)?.mapv(|y| y.as_f64());
        let k = self.get("k_map")?.broadcast(dot.raw_dim());
        match k {
            Some(k) => close("k_map", &forward(&with_k, &operands)?, &(&dot * &k), tolerance),
            None => failed("k_map does not fit the output"),
        }
    }

    fn weight_quantizer<T: Element>(&self) -> Check {
        let layer = QFullyConnected::bmxnet_v2(32, bits(&self.json["bits"])?)?;
        let (w, g) = (self.cast::<T>("w")?, self.cast("g")?);
        let quantizer = Quantizer::Weight(*layer.weight());
        let (wq, gw) = quantizer.both_ways(w.view(), g.view())?;
        let value = Tolerance::absolute(2e-7).of::<T>();
        close("wq", &wq, self.get("wq")?, value)?;
        close("gw", &gw, self.get("gw")?, GRADIENT.of::<T>())
    }

    fn widths(&self) -> Check<[u32; 2]> {
        Ok([bits(&self.json["bits_a"])?, bits(&self.json["bits"])?])
    }

    /// What BMXNet's sums of K products in f32 are good for.
    fn sums<T: Element>(&self, w: &ArrayD<T>, exact: bool) -> Tolerance {
        let inputs: usize = w.shape()[1..].iter().product();
        match exact {
            true => Tolerance::EXACT,
            false => Tolerance::absolute(4e-6 * (inputs as f64).sqrt()).of::<T>(),
        }
    }

    fn get(&self, name: &str) -> Check<&ArrayD<f64>> {
        self.tensors.get(&format!("v{}.{name}", self.json["i"]))
    }

    fn find(&self, name: &str) -> Option<&ArrayD<f64>> {
        self.tensors.find(&format!("v{}.{name}", self.json["i"]))
    }

    fn cast<T: Element>(&self, name: &str) -> Check<ArrayD<T>> {
        Ok(cast(self.get(name)?))
    }
}
