//! Quantizers by their formulas.

use ndarray::{ArrayD, Axis};
use ndarray_qnn::{DorefaGradient, FullPrecision, Rounding, Ste, TernaryThreshold};

/// The kinds of activation quantizers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Activation {
    Sign,
    Heaviside,
    Unit(u32),
    AbsMax(u32),
    Float(FullPrecision),
}

/// The kinds of weight quantizers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Weight {
    Sign,
    MagnitudeAwareSign,
    Bwn,
    Heaviside,
    Ternary(TernaryThreshold),
    AbsMean,
    Dorefa(u32, DorefaGradient),
    Uniform(u32),
    Identity,
}

/// The largest code of so many bits.
fn levels(bits: u32) -> f64 {
    f64::from(bits).exp2() - 1.0
}

pub(crate) fn round(x: f64, rounding: Rounding) -> f64 {
    let (below, above) = (x.floor(), x.floor() + 1.0);
    let (to_below, to_above) = (x - below, above - x);
    if to_below != to_above {
        return if to_below < to_above { below } else { above };
    }
    let below_wins = match rounding {
        Rounding::HalfToEven => below % 2.0 == 0.0,
        _ => x < 0.0,
    };
    if below_wins { below } else { above }
}

fn sign(x: f64) -> f64 {
    if x >= 0.0 { 1.0 } else { -1.0 }
}

pub(crate) fn mean_magnitude<'a>(values: impl IntoIterator<Item = &'a f64>) -> f64 {
    let magnitudes: Vec<f64> = values.into_iter().map(|x| x.abs()).collect();
    if magnitudes.is_empty() {
        return 0.0;
    }
    magnitudes.iter().sum::<f64>() / magnitudes.len() as f64
}

fn max_tanh(w: &ArrayD<f64>) -> f64 {
    w.iter().map(|w| w.tanh().abs()).fold(0.0, f64::max)
}

pub(crate) fn ste_factor(ste: Ste, x: f64) -> f64 {
    match ste {
        Ste::Identity => 1.0,
        Ste::Interval { low, high } => f64::from(low <= x && x <= high),
        Ste::ApproxSign { threshold } => {
            if x.abs() <= threshold {
                2.0 - 2.0 * x.abs()
            } else {
                0.0
            }
        }
        Ste::SwishSign { beta } => {
            let bx = beta * x;
            if bx.abs() > 80.0 {
                return 0.0; // below 1e-30, and soon infinity over infinity
            }
            beta * (2.0 - bx * (bx / 2.0).tanh()) / (1.0 + bx.cosh())
        }
        other => panic!("no formula for {other:?}"),
    }
}

/// How large the terms of an STE are that may cancel, at inputs of a few units.
pub(crate) fn ste_size(ste: Ste) -> f64 {
    match ste {
        Ste::SwishSign { beta } => 4.0 * beta,
        _ => 4.0,
    }
}

impl Activation {
    /// What each sample, that is each index along axis 0, is scaled by.
    pub(crate) fn magnitudes(&self, x: &ArrayD<f64>) -> Vec<f64> {
        match *self {
            Activation::AbsMax(_) => x
                .outer_iter()
                .map(|sample| sample.iter().fold(1e-5, |max, x| x.abs().max(max)))
                .collect(),
            _ => vec![1.0; x.len_of(Axis(0))],
        }
    }

    /// Where `x` lies between the codes, before rounding; `None` if nothing is rounded. Here as
    /// below, `x` is what its sample's magnitude has been taken from.
    pub(crate) fn position(&self, x: f64) -> Option<f64> {
        match *self {
            Activation::Unit(bits) => Some(levels(bits) * x.clamp(0.0, 1.0)),
            Activation::AbsMax(bits) => Some(levels(bits - 1) * x),
            _ => None,
        }
    }

    /// The position that is code 0.
    pub(crate) fn first_position(&self) -> f64 {
        match *self {
            Activation::AbsMax(bits) => -levels(bits - 1),
            _ => 0.0,
        }
    }

    /// The number that a rounded position stands for.
    pub(crate) fn value_at(&self, code: f64) -> f64 {
        match *self {
            Activation::Unit(bits) => code / levels(bits),
            Activation::AbsMax(bits) => code / levels(bits - 1),
            other => panic!("{other:?} does not round"),
        }
    }

    /// What `x` becomes.
    pub(crate) fn value(&self, x: f64, rounding: Rounding) -> f64 {
        match *self {
            Activation::Sign => sign(x),
            Activation::Heaviside => f64::from(x > 0.0),
            Activation::Unit(bits) => {
                round(levels(bits) * x.clamp(0.0, 1.0), rounding) / levels(bits)
            }
            Activation::AbsMax(bits) => round(levels(bits - 1) * x, rounding) / levels(bits - 1),
            Activation::Float(function) => match function {
                FullPrecision::Identity => x,
                FullPrecision::Relu => x.max(0.0),
                FullPrecision::Clip => x.clamp(-1.0, 1.0),
                FullPrecision::UnitClip => x.clamp(0.0, 1.0),
                FullPrecision::LeakyClip => x * if x.abs() <= 1.0 { 1.0 } else { 0.1 },
                FullPrecision::ApproxSign if x.abs() <= 1.0 => {
                    sign(x) * (2.0 * x.abs() - x.powi(2))
                }
                FullPrecision::ApproxSign => sign(x),
                other => panic!("no formula for {other:?}"),
            },
        }
    }

    /// The slope of what is not quantized; 1 for a quantizer, which has its STE.
    pub(crate) fn slope(&self, x: f64) -> f64 {
        let within = x.abs() <= 1.0;
        match *self {
            Activation::Float(FullPrecision::Relu) => f64::from(x > 0.0),
            Activation::Float(FullPrecision::Clip) => f64::from(within),
            // BMXNet v1's backward has no clip.
            Activation::Float(FullPrecision::UnitClip) => 1.0,
            Activation::Float(FullPrecision::LeakyClip) => {
                if within {
                    1.0
                } else {
                    0.1
                }
            }
            Activation::Float(FullPrecision::ApproxSign) => {
                if within {
                    2.0 - 2.0 * x.abs()
                } else {
                    0.0
                }
            }
            _ => 1.0,
        }
    }
}

impl Weight {
    /// Where each weight lies between the codes, before rounding; `None` if nothing is rounded.
    pub(crate) fn positions(&self, w: &ArrayD<f64>) -> Option<ArrayD<f64>> {
        match *self {
            Weight::Dorefa(bits, _) => {
                let max = max_tanh(w);
                let unit = |w: f64| if max == 0.0 { 0.5 } else { w.tanh() / (2.0 * max) + 0.5 };
                Some(w.mapv(|w| levels(bits) * unit(w)))
            }
            Weight::Uniform(bits) => {
                Some(w.mapv(|w| levels(bits) * (w.clamp(-1.0, 1.0) + 1.0) / 2.0))
            }
            _ => None,
        }
    }

    /// The number that a rounded position stands for.
    pub(crate) fn value_at(&self, code: f64) -> f64 {
        match *self {
            Weight::Dorefa(bits, _) | Weight::Uniform(bits) => 2.0 * code / levels(bits) - 1.0,
            other => panic!("{other:?} does not round"),
        }
    }

    /// The magnitude at which ternary weights are no longer 0.
    pub(crate) fn threshold(&self, w: &ArrayD<f64>) -> Option<f64> {
        match *self {
            Weight::Ternary(TernaryThreshold::Fixed(t)) => Some(t),
            Weight::Ternary(TernaryThreshold::MeanMagnitude) => Some(0.7 * mean_magnitude(w)),
            Weight::AbsMean => Some(0.5 * mean_magnitude(w).max(1e-5)),
            _ => None,
        }
    }

    /// What the weights become, without the scale of their filter.
    pub(crate) fn values(&self, w: &ArrayD<f64>, rounding: Rounding) -> ArrayD<f64> {
        if let Some(positions) = self.positions(w) {
            return positions.mapv(|position| self.value_at(round(position, rounding)));
        }
        let (weights, threshold) = (w, self.threshold(w).unwrap_or(0.0));
        w.mapv(|w| match *self {
            Weight::Sign | Weight::MagnitudeAwareSign | Weight::Bwn => sign(w),
            Weight::Heaviside => f64::from(w > 0.0),
            Weight::AbsMean => {
                round(w / mean_magnitude(weights).max(1e-5), rounding).clamp(-1.0, 1.0)
            }
            Weight::Ternary(_) if w.abs() < threshold || w == 0.0 => 0.0,
            Weight::Ternary(_) => sign(w),
            _ => w,
        })
    }

    /// The quantizer's scale of each filter.
    pub(crate) fn scales(&self, w: &ArrayD<f64>) -> Vec<f64> {
        let filters = w.len_of(Axis(0));
        match *self {
            Weight::MagnitudeAwareSign => {
                (0..filters).map(|f| mean_magnitude(w.index_axis(Axis(0), f))).collect()
            }
            Weight::Bwn => vec![mean_magnitude(w); filters],
            Weight::AbsMean => vec![mean_magnitude(w).max(1e-5); filters],
            _ => vec![1.0; filters],
        }
    }

    /// The gradient of latent weights from that of the quantized ones.
    pub(crate) fn gradient(&self, dq: &ArrayD<f64>, w: &ArrayD<f64>, ste: Ste) -> ArrayD<f64> {
        let mut dw = dq.clone();
        match *self {
            Weight::MagnitudeAwareSign => {
                for (mut dw, scale) in dw.outer_iter_mut().zip(self.scales(w)) {
                    dw *= scale;
                }
            }
            Weight::Dorefa(_, gradient) => {
                dw = dorefa_sums(gradient, dq, w, |dq, [a, b]| dq * (a + b));
            }
            _ => {}
        }
        dw.zip_mut_with(w, |dw, &w| *dw *= ste_factor(ste, w));
        dw
    }

    /// How large the terms of the largest gradient are, which may cancel; without the STE.
    pub(crate) fn gradient_size(&self, dq: &ArrayD<f64>, w: &ArrayD<f64>) -> f64 {
        let dq = dq.mapv(f64::abs);
        let sizes = match *self {
            Weight::Dorefa(_, gradient) => {
                dorefa_sums(gradient, &dq, w, |dq, [a, b]| dq * (a.abs() + b.abs()))
            }
            _ => self.gradient(&dq, w, Ste::Identity),
        };
        sizes.into_iter().fold(0.0, f64::max)
    }
}

/// The derivatives of `t_i / max|t|` by `w_j`, where `t = tanh w`: through `t_i`, and through the
/// maximum, which is shared by those that reach it.
fn dorefa_jacobian(
    gradient: DorefaGradient,
    w: &ArrayD<f64>,
) -> impl Fn(usize, usize) -> [f64; 2] + use<> {
    let t: Vec<f64> = w.iter().map(|w| w.tanh()).collect();
    let max = max_tanh(w);
    let maxima = t.iter().filter(|t| t.abs() == max).count() as f64;
    move |i, j| {
        if gradient == DorefaGradient::Identity {
            return [f64::from(i == j), 0.0];
        }
        let slope = 1.0 - t[j].powi(2);
        let through_tanh = if i == j && max > 0.0 { slope / max } else { 0.0 };
        let moves_max = gradient == DorefaGradient::True && max > 0.0 && t[j].abs() == max;
        let through_max =
            if moves_max { -t[i] / max.powi(2) * sign(t[j]) * slope / maxima } else { 0.0 };
        [through_tanh, through_max]
    }
}

/// For every weight the sum over `i` of `term(dq_i, derivatives of i by the weight)`.
fn dorefa_sums(
    gradient: DorefaGradient,
    dq: &ArrayD<f64>,
    w: &ArrayD<f64>,
    term: impl Fn(f64, [f64; 2]) -> f64,
) -> ArrayD<f64> {
    let jacobian = dorefa_jacobian(gradient, w);
    let dq: Vec<f64> = dq.iter().copied().collect();
    let sum = |j| (0..dq.len()).map(|i| term(dq[i], jacobian(i, j))).sum();
    let dw = (0..dq.len()).map(sum).collect();
    ArrayD::from_shape_vec(w.shape(), dw).expect("as many as weights")
}
