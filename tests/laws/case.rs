//! A layer of any kind with operands of any layout.

use crate::layer::Layer;
use crate::layout::{Layout, Stored, layouts};
use crate::number::{Number, Random};
use crate::reference::{Activation, Correlation, Weight};
use ndarray::ArrayView1;
use ndarray_qnn::{
    ActivationQuantizer, DorefaGradient, FullPrecision, InputScaling, OutputForm, PadValue,
    QConvolution, QFullyConnected, Rounding, ScaleGradient, Scaling, Ste, TernaryThreshold,
    WeightQuantizer,
};
use proptest::array::uniform3;
use proptest::prelude::*;
use proptest::sample::select;

/// The quantizers of a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantizers {
    pub(crate) activation: Activation,
    pub(crate) activation_ste: Ste,
    pub(crate) weight: Weight,
    pub(crate) weight_ste: Ste,
    pub(crate) rounding: Rounding,
}

/// The options of a layer.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    scaling: ScalingKind,
    pub(crate) scale_gradient: ScaleGradient,
    pub(crate) input_scaling: InputScaling,
    pub(crate) form: OutputForm,
    pub(crate) pad: PadValue,
    bias: bool,
}

#[derive(Clone, Copy, Debug)]
enum ScalingKind {
    None,
    PerTensor,
    PerFilter,
    Given,
}

/// The sizes of a layer and its operands.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    /// Spatial dimensions; 0 for a dense layer.
    pub(crate) spatial: usize,
    pub(crate) batch: usize,
    pub(crate) group_channels: usize,
    pub(crate) group_filters: usize,
    pub(crate) kernel: [usize; 3],
    pub(crate) input: [usize; 3],
    pub(crate) window: Correlation,
}

#[derive(Clone, Debug)]
struct Layouts {
    x: Layout,
    w: Layout,
    bias: Layout,
    y: Layout,
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) quantizers: Quantizers,
    pub(crate) options: Options,
    pub(crate) sizes: Sizes,
    layouts: Layouts,
    seed: u64,
}

/// What a layer is called with.
#[derive(Clone, Debug)]
pub(crate) struct Operands<T> {
    pub(crate) x: Stored<T>,
    pub(crate) w: Stored<T>,
    pub(crate) bias: Option<Stored<T>>,
    pub(crate) dy: Stored<T>,
}

impl<T: Number> Operands<T> {
    pub(crate) fn bias(&self) -> Option<ArrayView1<'_, T>> {
        self.bias.as_ref().map(|bias| bias.view().into_dimensionality().expect("one axis"))
    }

    /// The buffers whole, gaps included, as bits.
    pub(crate) fn buffer_bits(&self) -> Vec<u64> {
        let buffers = [&self.x, &self.w, &self.dy].into_iter().chain(&self.bias);
        buffers.flat_map(|stored| stored.buffer.iter().map(|value| value.bits())).collect()
    }
}

impl Quantizers {
    pub(crate) fn build_activation(&self) -> ActivationQuantizer {
        let quantizer = match self.activation {
            Activation::Sign => ActivationQuantizer::sign(),
            Activation::Heaviside => ActivationQuantizer::heaviside(),
            Activation::Unit(bits) => ActivationQuantizer::dorefa(bits).expect("a width"),
            Activation::AbsMax(bits) => ActivationQuantizer::absmax(bits).expect("a width"),
            Activation::Float(function) => ActivationQuantizer::full_precision(function),
        };
        quantizer.rounding(self.rounding).ste(self.activation_ste)
    }

    pub(crate) fn build_weight(&self) -> WeightQuantizer {
        let quantizer = match self.weight {
            Weight::Sign => WeightQuantizer::sign(),
            Weight::MagnitudeAwareSign => WeightQuantizer::magnitude_aware_sign(),
            Weight::Bwn => WeightQuantizer::bwn(),
            Weight::Heaviside => WeightQuantizer::heaviside(),
            Weight::Ternary(threshold) => WeightQuantizer::ternary(threshold),
            Weight::AbsMean => WeightQuantizer::absmean(),
            Weight::Dorefa(bits, gradient) => {
                WeightQuantizer::dorefa(bits).expect("a width").dorefa_gradient(gradient)
            }
            Weight::Uniform(bits) => WeightQuantizer::uniform(bits).expect("a width"),
            Weight::Identity => WeightQuantizer::identity(),
        };
        quantizer.rounding(self.rounding).ste(self.weight_ste)
    }

    /// Whether both sides have codes of at most 8 bits, so that dot products are exact integers.
    pub(crate) fn are_exact(&self) -> bool {
        self.build_activation().bits() <= 8 && self.build_weight().bits() <= 8
    }

    /// Whether activations have a scale of their own for each sample.
    pub(crate) fn scale_samples(&self) -> bool {
        matches!(self.activation, Activation::AbsMax(_))
    }
}

impl Sizes {
    pub(crate) fn filters(&self) -> usize {
        self.group_filters * self.window.groups
    }

    /// Products in a dot product.
    pub(crate) fn row_len(&self) -> usize {
        self.group_channels * self.kernel.iter().product::<usize>()
    }

    pub(crate) fn x_shape(&self) -> Vec<usize> {
        let channels = self.group_channels * self.window.groups;
        [&[self.batch, channels], &self.input[3 - self.spatial..]].concat()
    }

    pub(crate) fn w_shape(&self) -> Vec<usize> {
        [&[self.filters(), self.group_channels], &self.kernel[3 - self.spatial..]].concat()
    }

    pub(crate) fn y_shape(&self) -> Vec<usize> {
        let Correlation { stride, dilation, padding, .. } = &self.window;
        let len = |axis: usize| {
            let padded = self.input[axis] + padding[axis][0] + padding[axis][1];
            (padded - dilation[axis] * (self.kernel[axis] - 1) - 1) / stride[axis] + 1
        };
        let output = [len(0), len(1), len(2)];
        [&[self.batch, self.filters()], &output[3 - self.spatial..]].concat()
    }
}

impl Case {
    pub(crate) fn operands<T: Number>(&self) -> Operands<T> {
        let Case { sizes, layouts, .. } = self;
        let random = &mut Random(self.seed);
        let filters = [sizes.filters()];
        Operands {
            x: Stored::random(&sizes.x_shape(), &layouts.x, random),
            w: Stored::random(&sizes.w_shape(), &layouts.w, random),
            bias: self.options.bias.then(|| Stored::random(&filters, &layouts.bias, random)),
            dy: Stored::random(&sizes.y_shape(), &layouts.y, random),
        }
    }

    /// An output that is not written to yet.
    pub(crate) fn output<T: Number>(&self) -> Stored<T> {
        Stored::poisoned(&self.sizes.y_shape(), &self.layouts.y.clone().writable())
    }

    /// The same without scales, offset and bias.
    pub(crate) fn plain(&self) -> Self {
        let pad = self.options.pad;
        let options = Options {
            scaling: ScalingKind::None,
            scale_gradient: ScaleGradient::Stopped,
            input_scaling: InputScaling::None,
            form: OutputForm::Dot,
            pad,
            bias: false,
        };
        Case { options, ..self.clone() }
    }

    pub(crate) fn scaling(&self) -> Scaling {
        match self.options.scaling {
            ScalingKind::None => Scaling::None,
            ScalingKind::PerTensor => Scaling::PerTensor,
            ScalingKind::PerFilter => Scaling::PerFilter,
            ScalingKind::Given => {
                Scaling::Given((0..self.sizes.filters()).map(|f| 0.3 * f as f64 - 0.7).collect())
            }
        }
    }

    pub(crate) fn layer(&self) -> Layer {
        match self.sizes.spatial {
            0 => {
                let (activation, weight) =
                    (self.quantizers.build_activation(), self.quantizers.build_weight());
                Layer::Dense(
                    QFullyConnected::new(activation, weight)
                        .scaling(self.scaling())
                        .scale_gradient(self.options.scale_gradient)
                        .input_scaling(self.options.input_scaling)
                        .output_form(self.options.form),
                )
            }
            1 => Layer::Conv1(self.convolution()),
            2 => Layer::Conv2(self.convolution()),
            _ => Layer::Conv3(self.convolution()),
        }
    }

    fn convolution<const S: usize>(&self) -> QConvolution<S>
    where
        ndarray_qnn::Rank<S>: ndarray_qnn::SpatialRank,
    {
        let Correlation { stride, dilation, padding, groups } = &self.sizes.window;
        let (activation, weight) =
            (self.quantizers.build_activation(), self.quantizers.build_weight());
        QConvolution::new(activation, weight)
            .stride(std::array::from_fn(|axis| stride[3 - S + axis]))
            .dilation(std::array::from_fn(|axis| dilation[3 - S + axis]))
            .padding_sides(std::array::from_fn(|axis| padding[3 - S + axis]))
            .groups(*groups)
            .pad_value(self.options.pad)
            .scaling(self.scaling())
            .scale_gradient(self.options.scale_gradient)
            .input_scaling(self.options.input_scaling)
            .output_form(self.options.form)
    }
}

fn stes() -> impl Strategy<Value = Ste> {
    prop_oneof![
        3 => Just(Ste::Identity),
        1 => Just(Ste::unit()),
        2 => select(vec![0.5, 1.0, 1.25]).prop_map(Ste::clip),
        1 => (-1.0..0.0, 0.0..1.0).prop_map(|(low, high)| Ste::Interval { low, high }),
        1 => select(vec![0.5, 1.0, 1.5]).prop_map(|threshold| Ste::ApproxSign { threshold }),
        1 => select(vec![0.5, 5.0]).prop_map(|beta| Ste::SwishSign { beta }),
    ]
}

/// Every width, but mostly those of exact arithmetic.
fn widths() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 1..=8u32, 1 => 9..=31u32]
}

pub(crate) fn activations() -> impl Strategy<Value = Activation> {
    let functions = vec![
        FullPrecision::Identity,
        FullPrecision::Relu,
        FullPrecision::Clip,
        FullPrecision::UnitClip,
        FullPrecision::LeakyClip,
        FullPrecision::ApproxSign,
    ];
    prop_oneof![
        3 => Just(Activation::Sign),
        1 => Just(Activation::Heaviside),
        4 => widths().prop_map(Activation::Unit),
        2 => (2..=8u32).prop_map(Activation::AbsMax),
        1 => select(functions).prop_map(Activation::Float),
    ]
}

pub(crate) fn weights() -> impl Strategy<Value = Weight> {
    let gradients = vec![DorefaGradient::Identity, DorefaGradient::True, DorefaGradient::StopMax];
    let thresholds = prop_oneof![
        select(vec![0.0, 0.05, 0.5, 1.0]).prop_map(TernaryThreshold::Fixed),
        Just(TernaryThreshold::MeanMagnitude),
    ];
    prop_oneof![
        2 => Just(Weight::Sign),
        1 => Just(Weight::MagnitudeAwareSign),
        1 => Just(Weight::Bwn),
        1 => Just(Weight::Heaviside),
        2 => thresholds.prop_map(Weight::Ternary),
        1 => Just(Weight::AbsMean),
        3 => (widths(), select(gradients)).prop_map(|(bits, gradient)| Weight::Dorefa(bits, gradient)),
        2 => widths().prop_map(Weight::Uniform),
        1 => Just(Weight::Identity),
    ]
}

pub(crate) fn quantizers() -> impl Strategy<Value = Quantizers> {
    let roundings = select(vec![Rounding::HalfAwayFromZero, Rounding::HalfToEven]);
    (activations(), stes(), weights(), stes(), roundings).prop_map(
        |(activation, activation_ste, weight, weight_ste, rounding)| Quantizers {
            activation,
            activation_ste,
            weight,
            weight_ste,
            rounding,
        },
    )
}

fn options() -> impl Strategy<Value = Options> {
    use ScalingKind::{Given, None, PerFilter, PerTensor};
    let forms = vec![
        OutputForm::Dot,
        OutputForm::Dot,
        OutputForm::Offset { halve_gradient: true },
        OutputForm::Offset { halve_gradient: false },
    ];
    (
        select(vec![None, None, PerTensor, PerFilter, Given]),
        select(vec![ScaleGradient::Stopped, ScaleGradient::Flow]),
        select(vec![InputScaling::None, InputScaling::None, InputScaling::KMap]),
        select(forms),
        select(vec![PadValue::Zero, PadValue::PlusOne, PadValue::MinusOne]),
        any::<bool>(),
    )
        .prop_map(|(scaling, scale_gradient, input_scaling, form, pad, bias)| Options {
            scaling,
            scale_gradient,
            input_scaling,
            form,
            pad,
            bias,
        })
}

fn dense_sizes() -> impl Strategy<Value = Sizes> {
    // Around whole words of activations, panels of 16 filters, and rows that are computed together.
    let filters = prop_oneof![1usize..=9, 15usize..=18, 31usize..=35];
    (1usize..=9, 1usize..=140, filters).prop_map(|(batch, features, filters)| Sizes {
        spatial: 0,
        batch,
        group_channels: features,
        group_filters: filters,
        kernel: [1; 3],
        input: [1; 3],
        window: Correlation { stride: [1; 3], dilation: [1; 3], padding: [[0; 2]; 3], groups: 1 },
    })
}

/// Convolutions whose kernel fits into the padded input.
fn convolution_sizes() -> impl Strategy<Value = Sizes> {
    // Few channels and filters, or about as many as go into words and panels.
    let few = || 1usize..=3;
    let whole = || select(vec![4usize, 8, 31, 32, 33, 64]);
    let channels = prop_oneof![2 => few().boxed(), 1 => whole().boxed()];
    let filters = prop_oneof![3 => few().boxed(), 1 => select(vec![16usize, 17, 33]).boxed()];
    let tensor = (1usize..=3, 1usize..=3, 1usize..=3, channels, filters);
    let padding = uniform3((0usize..=2, 0usize..=2).prop_map(<[usize; 2]>::from));
    let kernel = uniform3(1usize..=3);
    let window = (kernel, uniform3(1usize..=3), uniform3(1usize..=2), padding);
    (tensor, window, uniform3(prop_oneof![4 => 0usize..=3, 1 => 4usize..=6])).prop_map(
        |(tensor, window, spare)| {
            let (spatial, mut batch, mut groups, group_channels, group_filters) = tensor;
            if group_channels * group_filters > 9 {
                (batch, groups) = (batch.min(2), groups.min(2)); // for the sake of time
            }
            let (mut kernel, mut stride, mut dilation, mut padding) = window;
            for axis in 0..3 - spatial {
                (kernel[axis], stride[axis], dilation[axis], padding[axis]) = (1, 1, 1, [0; 2]);
            }
            if spatial == 3 {
                kernel = kernel.map(|len| len.min(2)); // for the sake of time
            }
            let input = std::array::from_fn(|axis| {
                let extent = dilation[axis] * (kernel[axis] - 1) + 1;
                let spare = if axis < 3 - spatial { 0 } else { spare[axis] };
                (extent + spare).saturating_sub(padding[axis].iter().sum()).max(1)
            });
            let window = Correlation { stride, dilation, padding, groups };
            Sizes { spatial, batch, group_channels, group_filters, kernel, input, window }
        },
    )
}

pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let sizes = prop_oneof![1 => dense_sizes(), 3 => convolution_sizes()];
    let layouts = (layouts(), layouts(), layouts(), layouts());
    let layouts = layouts.prop_map(|(x, w, bias, y)| Layouts { x, w, bias, y });
    (quantizers(), options(), sizes, layouts, any::<u64>()).prop_map(
        |(quantizers, options, sizes, layouts, seed)| Case {
            quantizers,
            options,
            sizes,
            layouts,
            seed,
        },
    )
}
