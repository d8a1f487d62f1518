//! Folded signs are those of the floats, at every count and of extreme parameters.

use super::*;
use crate::{QFullyConnected, Scaling, WeightQuantizer};
use ndarray::{Array1, Array2};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A finite number: plain, of any magnitude, or an extreme.
    fn number<T: Element>(&mut self) -> T {
        let r = self.next();
        let sign = if r & 1 == 0 { T::one() } else { -T::one() };
        let plain = T::of((r >> 11) as f64 / (1u64 << 53) as f64);
        let smallest = T::min_positive_value();
        sign * match r >> 1 & 15 {
            0 => T::zero(),
            1 => T::one(),
            2 => T::max_value(),
            3 => T::max_value() * plain,
            4 => smallest,
            5 => smallest * T::epsilon(), // the smallest denormal
            6 => smallest * plain,
            7..=9 => plain.powi((r >> 5 & 63) as i32),
            _ => plain * T::of(4.0),
        }
    }
}

#[test]
fn a_turn_is_found_wherever_it_is() {
    for (start, len) in [(-3, 1), (0, 1), (-5, 2), (-1, 7), (3, 12)] {
        for at in start..=start + len {
            for before in [0, 1] {
                let bit = |n| if n < at { before } else { 1 - before };
                let (threshold, flip) = turn(&(start..=start + len - 1), bit);
                for n in start..start + len {
                    assert_eq!(u32::from(n >= threshold) ^ flip, bit(n), "{n} of {at}");
                }
            }
        }
    }
}

/// Floats of numerators that they cannot tell apart.
#[test]
fn numerators_beyond_the_mantissa() {
    let random = &mut Random(2);
    let largest = 1i64 << 40;
    for _ in 0..2000 {
        let at = (random.next() % (2 << 40)) as i64 - largest;
        let scale = random.number::<f32>();
        let shift = -scale * at as f32;
        if shift.is_infinite() {
            continue;
        }
        let z = |n: i64| n as f32 * scale + shift;
        let sign = 0.0f32;
        let folded =
            super::thresholds(1, -largest..=largest, sign, |_, n| z(n)).expect("thresholds");
        let threshold = folded.thresholds()[0];
        let next = (threshold - 3..threshold + 3).chain(at - 3..at + 3);
        let far = (0..20).map(|_| (random.next() % (2 << 40)) as i64 - largest);
        for n in next.chain(far).chain([-largest, largest]) {
            if (-largest..=largest).contains(&n) {
                assert_eq!(folded.is_positive(0, n), Some(z(n) >= 0.0), "{n} * {scale} + {shift}");
            }
        }
    }
}

/// Parameters of one filter.
#[derive(Clone, Copy, Debug)]
struct Filter<T> {
    factor: T,
    bias: T,
    scale: T,
    shift: T,
}

impl<T: Element> Filter<T> {
    /// Every second one crosses 0 next to a dot product, or at it.
    fn random(random: &mut Random, inputs: usize) -> Self {
        let mut filter = Filter {
            factor: random.number(),
            bias: random.number(),
            scale: random.number(),
            shift: random.number::<T>(),
        };
        let dot = T::of_integer((random.next() % (2 * inputs as u64 + 1)) as i64);
        let z = filter.scale * (filter.factor * (dot - T::of(inputs as f64)) + filter.bias);
        let next_to_zero = random.next().is_multiple_of(2);
        if next_to_zero && z.abs() < T::max_value() / T::of(2.0) {
            let ulps = T::of((random.next() % 5) as f64 - 2.0) * T::epsilon();
            filter.shift = -z * (T::one() + ulps);
        }
        filter
    }
}

/// Compares with the float computation at every count of differing bits.
fn check<T: Element>(filters: &[Filter<T>], inputs: usize, offset: bool) -> [usize; 3] {
    let sign = ActivationQuantizer::sign();
    let column = |f: fn(&Filter<T>) -> T| filters.iter().map(f).collect::<Vec<T>>();
    let factors = column(|filter| filter.factor).into_iter().map(T::as_f64).collect();
    let form = OutputForm::Offset { halve_gradient: true };
    let layer = QFullyConnected::new(sign, WeightQuantizer::sign())
        .output_form(if offset { form } else { OutputForm::Dot })
        .scaling(Scaling::Given(factors));
    // Filters of +1, and rows of x that differ from them in 0..=K places.
    let packed = layer.pack(Array2::<T>::ones((filters.len(), inputs)).view()).unwrap();
    let x = Array2::from_shape_fn(
        (inputs + 1, inputs),
        |(row, i)| {
            if i < row { -T::one() } else { T::one() }
        },
    );
    let bias = Array1::from(column(|filter| filter.bias));
    let affine = Affine::new(column(|f| f.scale), column(|f| f.shift)).unwrap();

    let y = layer.forward_packed(x.view(), &packed, Some(bias.view())).unwrap();
    let z = affine.forward(y.view()).unwrap();
    let folded = layer.fold(&packed, Some(bias.view()), Some(&affine), &sign);
    let Ok(codes) = sign.codes(z.view()) else {
        assert_eq!(folded, Err(Error::NaN { operand: Operand::Output }));
        return [1, 0, 0];
    };
    let folded = folded.unwrap();
    let flips = folded.flips();
    assert_eq!(flips.len(), filters.len().div_ceil(32));
    for (count, codes) in codes.outer_iter().enumerate() {
        let numerator = inputs as i64 - 2 * count as i64;
        let numerator = numerator + if offset { inputs as i64 } else { 0 };
        for (f, &code) in codes.iter().enumerate() {
            let about = (count, inputs, filters[f]);
            assert_eq!(folded.is_positive(f, numerator), Some(code == 1), "{about:?}");
            let flip = flips[f / 32] >> (f % 32) & 1;
            let bit = u32::from(numerator >= folded.thresholds()[f]) ^ flip;
            assert_eq!(bit, code, "{about:?}");
        }
    }
    assert_eq!(folded.is_positive(filters.len(), 0), None);
    let turns = codes.columns().into_iter().filter(|bits| bits[0] != bits[inputs]).count();
    [0, turns, filters.len() - turns]
}

fn every_count_has_the_sign_of_the_floats<T: Element>() {
    let random = &mut Random(1);
    let mut seen = [0; 3];
    for inputs in [1, 2, 3, 31, 32, 33, 64, 100, 255] {
        for case in 0..40 {
            let len = if case % 2 == 0 { 1 } else { 1 + random.next() as usize % 70 };
            let filters: Vec<_> = (0..len).map(|_| Filter::<T>::random(random, inputs)).collect();
            // NaNs one at a time, the rest together.
            let largest = T::of(2.0 * inputs as f64);
            let overflows = |f: &Filter<T>| (f.factor * largest + f.bias).is_infinite();
            let (bad, good): (Vec<_>, Vec<_>) =
                filters.into_iter().partition(|f| f.scale == T::zero() && overflows(f));
            for filters in bad.iter().map(std::slice::from_ref).chain([&good[..]]) {
                for offset in [false, true] {
                    let counts = check(filters, inputs, offset);
                    seen.iter_mut().zip(counts).for_each(|(seen, count)| *seen += count);
                }
            }
        }
    }
    assert!(seen.iter().all(|&count| count >= 10), "NaN, turns, constants: {seen:?}");
}

#[test]
fn every_count_has_the_sign_of_the_floats_in_f32() {
    every_count_has_the_sign_of_the_floats::<f32>();
}

#[test]
fn every_count_has_the_sign_of_the_floats_in_f64() {
    every_count_has_the_sign_of_the_floats::<f64>();
}
