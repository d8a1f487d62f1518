//! Whatever the parameters, a call returns: with a result or an error, and soon.

use ndarray::{ArrayD, ArrayView, ArrayView1, ArrayViewD, Dimension, Ix1};
use ndarray_qnn::{
    ActivationQuantizer, FullPrecision, InputScaling, OutputForm, PadValue, QActivation,
    QConvolution, QFullyConnected, Rank, Result, Rounding, ScaleGradient, Scaling, Scratch,
    SpatialRank, Ste, Tensor, TernaryThreshold, WeightQuantizer,
};
use proptest::prelude::*;
use proptest::sample::select;

/// Mostly small, sometimes nothing, sometimes more than there is room for.
fn sizes() -> BoxedStrategy<usize> {
    let extremes = [1 << 53, 1 << 56, 1 << 62, isize::MAX as usize, usize::MAX - 1, usize::MAX];
    prop_oneof![1 => Just(0), 20 => 1usize..=4, 2 => select(extremes.to_vec())].boxed()
}

/// Numbers with all their extremes.
fn numbers() -> impl Strategy<Value = f64> {
    let extremes = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX, 5e-324, 1e39];
    prop_oneof![8 => -2.0..2.0, 1 => select(extremes.to_vec())]
}

fn stes() -> impl Strategy<Value = Ste> {
    prop_oneof![
        Just(Ste::Identity),
        (numbers(), numbers()).prop_map(|(low, high)| Ste::Interval { low, high }),
        numbers().prop_map(|threshold| Ste::ApproxSign { threshold }),
        numbers().prop_map(|beta| Ste::SwishSign { beta }),
    ]
}

fn activations() -> BoxedStrategy<ActivationQuantizer> {
    let kinds = prop_oneof![
        Just(ActivationQuantizer::sign()),
        Just(ActivationQuantizer::heaviside()),
        (1..=31u32).prop_map(|bits| ActivationQuantizer::dorefa(bits).expect("a width")),
        (2..=8u32).prop_map(|bits| ActivationQuantizer::absmax(bits).expect("a width")),
        Just(ActivationQuantizer::full_precision(FullPrecision::LeakyClip)),
    ];
    let rounding = select(vec![Rounding::HalfAwayFromZero, Rounding::HalfToEven]);
    (kinds, stes(), rounding)
        .prop_map(|(kind, ste, rounding)| kind.ste(ste).rounding(rounding))
        .boxed()
}

fn weights() -> BoxedStrategy<WeightQuantizer> {
    let kinds = prop_oneof![
        Just(WeightQuantizer::sign()),
        Just(WeightQuantizer::magnitude_aware_sign()),
        Just(WeightQuantizer::bwn()),
        numbers().prop_map(|t| WeightQuantizer::ternary(TernaryThreshold::Fixed(t))),
        Just(WeightQuantizer::ternary(TernaryThreshold::MeanMagnitude)),
        Just(WeightQuantizer::absmean()),
        (1..=31u32).prop_map(|bits| WeightQuantizer::dorefa(bits).expect("a width")),
        (1..=31u32).prop_map(|bits| WeightQuantizer::uniform(bits).expect("a width")),
        Just(WeightQuantizer::identity()),
    ];
    (kinds, stes()).prop_map(|(kind, ste)| kind.ste(ste)).boxed()
}

/// What is called, and with what.
#[derive(Clone, Debug)]
struct Call {
    activation: ActivationQuantizer,
    weight: WeightQuantizer,
    scaling: Scaling,
    scale_gradient: ScaleGradient,
    input_scaling: InputScaling,
    form: OutputForm,
    pad: PadValue,
    /// Shapes of input, weights, bias and output gradient; mostly such as fit.
    shapes: [Vec<usize>; 4],
    /// What they hold; the other numbers are 0.5.
    values: [f64; 4],
    stride: [usize; 3],
    dilation: [usize; 3],
    padding: [[usize; 2]; 3],
    groups: usize,
}

prop_compose! {
    fn calls()(
        quantizers in (activations(), weights()),
        given in prop::collection::vec(numbers(), 0..=4),
        scaling in 0..4,
        flags: (bool, bool, bool),
        pad in select(vec![PadValue::Zero, PadValue::PlusOne, PadValue::MinusOne]),
        axes in prop::collection::vec(sizes(), 13),
        fit in prop::bool::weighted(0.8),
        values in prop::array::uniform4(numbers()),
        stride in prop::array::uniform3(sizes()),
        dilation in prop::array::uniform3(sizes()),
        padding in prop::array::uniform3(prop::array::uniform2(sizes())),
        groups in sizes(),
    ) -> Call {
        let scaling = match scaling {
            0 => Scaling::None,
            1 => Scaling::PerTensor,
            2 => Scaling::PerFilter,
            _ => Scaling::Given(given),
        };
        let (mut x, mut w) = (axes[..5].to_vec(), axes[5..10].to_vec());
        let (mut bias, mut dy) = (axes[10], vec![axes[0], axes[5], axes[11], axes[12], axes[12]]);
        if fit {
            w[1] = x[1].checked_div(groups).unwrap_or(1);
            bias = w[0];
            for axis in 0..3 {
                let len = x[axis + 2].saturating_add(padding[axis][0]).saturating_add(padding[axis][1]);
                let extent = w[axis + 2].saturating_sub(1).saturating_mul(dilation[axis]);
                let free = len.saturating_sub(extent).saturating_sub(1);
                dy[axis + 2] = free.checked_div(stride[axis]).unwrap_or(0).saturating_add(1);
            }
            x[1] = w[1].saturating_mul(groups);
        }
        Call {
            activation: quantizers.0,
            weight: quantizers.1,
            scaling,
            scale_gradient: if flags.0 { ScaleGradient::Flow } else { ScaleGradient::Stopped },
            input_scaling: if flags.1 { InputScaling::KMap } else { InputScaling::None },
            form: if flags.2 { OutputForm::Offset { halve_gradient: true } } else { OutputForm::Dot },
            pad,
            shapes: [x, w, vec![bias], dy],
            values,
            stride,
            dilation,
            padding,
            groups,
        }
    }
}

/// A tensor of a given shape that is all one number, if `ndarray` can have it.
fn broadcast<'a, D: Dimension>(
    one: &'a ArrayD<f32>,
    shape: &[usize],
) -> Option<ArrayView<'a, f32, D>> {
    let view: ArrayViewD<'a, f32> = one.broadcast(shape)?;
    Some(view.into_dimensionality().expect("so many axes"))
}

/// The axes that a layer of so many spatial dimensions has.
fn cut(shape: &[usize], spatial: usize) -> Vec<usize> {
    [&shape[..2], &shape[5 - spatial..]].concat()
}

macro_rules! call_all {
    ($layer:expr, $x:expr, $w:expr, $bias:expr, $dy:expr) => {{
        let (layer, x, w, bias, dy) = ($layer, $x, $w, $bias, $dy);
        _ = layer.forward(x.view(), w.view(), bias);
        if let Ok(packed) = layer.pack(w.view()) {
            _ = packed.to_quantized();
            _ = layer.forward_packed(x.view(), &packed, bias);
        }
        _ = layer.backward(dy.view(), x.view(), w.view());
    }};
}

impl Call {
    fn convolution<const S: usize>(&self) -> Option<()>
    where
        Rank<S>: SpatialRank,
    {
        let ones = self.values.map(|value| ArrayD::from_elem(vec![], value as f32));
        let [x, w, bias, dy] = &self.shapes;
        let x: ArrayView<'_, f32, Tensor<S>> = broadcast(&ones[0], &cut(x, S))?;
        let w: ArrayView<'_, f32, Tensor<S>> = broadcast(&ones[1], &cut(w, S))?;
        let bias: Option<ArrayView1<'_, f32>> = broadcast::<Ix1>(&ones[2], bias);
        let dy: ArrayView<'_, f32, Tensor<S>> = broadcast(&ones[3], &cut(dy, S))?;
        let layer = QConvolution::<S>::new(self.activation, self.weight)
            .stride(std::array::from_fn(|axis| self.stride[axis + 3 - S]))
            .dilation(std::array::from_fn(|axis| self.dilation[axis + 3 - S]))
            .padding_sides(std::array::from_fn(|axis| self.padding[axis + 3 - S]))
            .pad_value(self.pad)
            .groups(self.groups)
            .scaling(self.scaling.clone())
            .scale_gradient(self.scale_gradient)
            .input_scaling(self.input_scaling)
            .output_form(self.form);
        _ = layer.output_shape(x.raw_dim(), w.raw_dim());
        call_all!(layer, x, w, bias, dy);
        Some(())
    }

    fn dense(&self) -> Option<()> {
        let ones = self.values.map(|value| ArrayD::from_elem(vec![], value as f32));
        let [x, w, bias, dy] = &self.shapes;
        let x: ArrayView<'_, f32, _> = broadcast(&ones[0], &x[..2])?;
        let w: ArrayView<'_, f32, _> = broadcast(&ones[1], &w[..2])?;
        let bias: Option<ArrayView1<'_, f32>> = broadcast::<Ix1>(&ones[2], bias);
        let dy: ArrayView<'_, f32, _> = broadcast(&ones[3], &dy[..2])?;
        let layer = QFullyConnected::new(self.activation, self.weight)
            .scaling(self.scaling.clone())
            .scale_gradient(self.scale_gradient)
            .input_scaling(self.input_scaling)
            .output_form(self.form);
        call_all!(layer, x, w, bias, dy);
        Some(())
    }

    fn quantizers(&self) -> Option<()> {
        let one = ArrayD::from_elem(vec![], self.values[0] as f32);
        let layer = QActivation::new(self.activation);
        for shape in &self.shapes {
            let x: ArrayViewD<'_, f32> = broadcast(&one, shape)?;
            let mut out = ArrayD::zeros(vec![2, 2]);
            let results: [Result<_>; 5] = [
                layer.forward(x.view()),
                layer.backward_only(true).forward(x.view()),
                layer.backward(x.view(), x.view()),
                self.weight.quantize(x.view()),
                self.weight.backward(x.view(), x.view()),
            ];
            for result in results.into_iter().flatten() {
                assert_eq!(result.shape(), shape);
            }
            _ = layer.forward_into(x.view(), out.view_mut());
            _ = self.activation.codes(x.view());
            _ = self.weight.codes(x.view());
        }
        Some(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn calls_return(call in calls()) {
        _ = call.convolution::<1>();
        _ = call.convolution::<2>();
        _ = call.convolution::<3>();
        _ = call.dense();
        _ = call.quantizers();
    }

    #[test]
    fn presets_return(activation: u32, weight in 0..=40u32, threshold in numbers()) {
        for bits in [activation, weight] {
            _ = QActivation::bmxnet_v1(bits);
            _ = QActivation::bmxnet_v2(bits, threshold);
            _ = QActivation::larq(bits);
        }
        _ = QFullyConnected::bmxnet_v1(activation, weight);
        _ = QFullyConnected::bmxnet_v2(activation, weight);
        _ = QConvolution::<2>::larq(weight, activation);
        _ = Scratch::new();
    }
}
