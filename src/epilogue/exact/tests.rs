use super::*;

/// How often each pair of codes occurs in a row.
type Pairs = [(i64, [i64; 2]); 2];

fn sum_of(pairs: &Pairs, f: impl Fn(i64, i64) -> i64) -> i64 {
    pairs.iter().map(|&(times, [a, w])| times * f(a, w)).sum()
}

/// The numerator of a dot product, computed in an accumulator from what a kernel sums.
fn computed<A: Exact>(zero_points: &ZeroPoints, pairs: &Pairs, sum: i64) -> f64 {
    let row = A::of_twice(zero_points.row_factor * sum_of(pairs, |a, _| a));
    let offset = A::of_twice(zero_points.offset(sum_of(pairs, |_, w| w)));
    let product = A::of_twice(zero_points.sum_factor) * A::of_sum(sum as i32);
    (product + (offset + row)).to_float()
}

#[test]
fn the_longest_rows_of_each_accumulator_are_exact() {
    let mut levels = vec![Levels::SIGN, Levels::TERNARY];
    levels.extend([1, 2, 3, 8].into_iter().flat_map(|n| [Levels::unit(n), Levels::symmetric(n)]));
    for (activation, weight) in levels.iter().flat_map(|&a| levels.iter().map(move |&w| (a, w))) {
        for summed in [Summed::DifferingBits, Summed::CodeProducts { center: 1 }] {
            let of_length = |k| ZeroPoints::new(summed, activation, weight, k, OutputForm::Dot);
            for accumulator in [Accumulator::F32, Accumulator::I32] {
                let fits = |&k: &usize| {
                    let found = of_length(k).accumulator(activation, weight, k);
                    found == accumulator || found == Accumulator::F32
                };
                let mut longest = 1;
                for bit in (0..32).rev().map(|bit| 1 << bit) {
                    longest += Some(bit).filter(|bit| fits(&(longest + bit))).unwrap_or(0);
                }
                let zero_points = of_length(longest);
                for [a, w, other_a, other_w] in codes(activation, weight) {
                    let pairs = [(longest as i64 - 1, [a, w]), (1, [other_a, other_w])];
                    let value = |levels: Levels, code| levels.numerator(code as u32);
                    let expected = sum_of(&pairs, |a, w| value(activation, a) * value(weight, w));
                    let [all_a, all_w] = [activation, weight].map(|levels| levels.largest_code());
                    let sum = match summed {
                        Summed::DifferingBits => {
                            sum_of(&pairs, |a, w| all_w * a + all_a * w - 2 * a * w)
                        }
                        Summed::CodeProducts { center } => {
                            sum_of(&pairs, |a, w| a * (w - i64::from(center)))
                        }
                    };
                    let found = match accumulator {
                        Accumulator::F32 => computed::<f32>(&zero_points, &pairs, sum),
                        _ => computed::<i32>(&zero_points, &pairs, sum),
                    };
                    assert_eq!(found, expected as f64, "{activation:?} {weight:?} {summed:?}");
                }
            }
        }
    }
}

/// Codes of all but one element of a row and of a filter, and of that one.
fn codes(activation: Levels, weight: Levels) -> impl Iterator<Item = [i64; 4]> {
    let of = |levels: Levels, i: usize| [0, 1, levels.largest_code()][i % 3];
    (0..81).map(move |i| {
        let (a, w) = (of(activation, i), of(weight, i / 3));
        [a, w, of(activation, i / 9), of(weight, i / 27)]
    })
}
