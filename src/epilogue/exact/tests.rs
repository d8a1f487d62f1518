use super::*;

/// How often each pair of codes occurs in a row.
type Pairs = [(i64, [i64; 2]); 2];

fn sum_of(pairs: &Pairs, f: impl Fn(i64, i64) -> i64) -> i64 {
    pairs.iter().map(|&(times, [a, w])| times * f(a, w)).sum()
}

/// The numerator of a dot product, computed in a carrier from what a kernel sums.
fn computed<C: Carrier>(numerator: &Numerator, pairs: &Pairs, sum: i64) -> f64
where
    i32: SumIn<C>,
{
    let row = C::of_twice(numerator.row * sum_of(pairs, |a, _| a));
    let addend = C::of_twice(numerator.addend(sum_of(pairs, |_, w| w)));
    let product = C::of_twice(numerator.product) * (sum as i32).carried();
    (product + (row + addend)).to_float()
}

#[test]
fn the_longest_rows_of_each_precision_are_exact() {
    let mut levels = vec![Levels::SIGN, Levels::TERNARY];
    levels.extend([1, 2, 3, 8].into_iter().flat_map(|n| [Levels::unit(n), Levels::symmetric(n)]));
    for (activation, weight) in levels.iter().flat_map(|&a| levels.iter().map(move |&w| (a, w))) {
        for summed in [Summed::DifferingBits, Summed::CodeProducts { center: 1 }] {
            let of_length = |k| Numerator::new(summed, activation, weight, k, OutputForm::Dot);
            for precision in [Precision::Float, Precision::Narrow] {
                let fits = |&k: &usize| {
                    let found = of_length(k).precision(activation, weight, k);
                    found == precision || found == Precision::Float
                };
                let mut longest = 1;
                for bit in (0..32).rev().map(|bit| 1 << bit) {
                    longest += Some(bit).filter(|bit| fits(&(longest + bit))).unwrap_or(0);
                }
                let numerator = of_length(longest);
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
                    let found = match precision {
                        Precision::Float => computed::<f32>(&numerator, &pairs, sum),
                        _ => computed::<i32>(&numerator, &pairs, sum),
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
