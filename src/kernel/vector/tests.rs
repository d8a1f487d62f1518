//! Every instruction set, lane by lane.

use super::*;
use crate::kernel::testing::{Random, Sums, available};
use crate::kernel::{vectorized, with_vectors};
use std::array::from_fn;

/// Runs a check with the vectors of each instruction set.
macro_rules! on_each {
    (|$v:ident, $random:ident| $check:expr) => {
        for kernel in available() {
            let mut random = Random::new(31);
            let $random = &mut random;
            println!("{kernel:?}");
            with_vectors!(kernel, |$v| $check);
        }
    };
}

/// Extremes, small ones and any.
fn some_ints(random: &mut Random) -> [i32; PANEL] {
    let words = random.words(PANEL);
    from_fn(|f| match f % 5 {
        0 => [i32::MIN, i32::MAX, -1, 0, 1 << 24][words[f] as usize % 5],
        1 => words[f] as i32 % 5,
        _ => words[f] as i32 >> (words[f] % 29),
    })
}

fn some_floats(random: &mut Random) -> [f32; PANEL] {
    some_ints(random).map(|x| x as f32 / 8.0)
}

fn ints_of<V: Vector>(v: V, ints: V::Ints) -> [i32; PANEL] {
    let mut to = [7; PANEL];
    v.store_ints(ints, &mut to);
    to
}

fn bits_of<V: Vector>(v: V, floats: V::Floats) -> [u32; PANEL] {
    let mut to = [7.0; PANEL];
    v.store(floats, &mut to);
    to.map(f32::to_bits)
}

fn mask(lane: impl Fn(usize) -> bool) -> u16 {
    (0..PANEL).map(|f| u16::from(lane(f)) << f).sum()
}

fn check_ints<V: Vector>(v: V, random: &mut Random) {
    for bits in (0..32).chain(0..32) {
        let (a, mut b) = (some_ints(random), some_ints(random));
        b[3] = a[3];
        b[12] = a[12];
        let [x, y] = [&a, &b].map(|ints| v.load_ints(ints));
        assert_eq!(ints_of(v, x), a);
        assert_eq!(ints_of(v, v.ints(a[0])), [a[0]; PANEL]);
        assert_eq!(ints_of(v, v.add_ints(x, y)), from_fn(|f| a[f].wrapping_add(b[f])));
        assert_eq!(ints_of(v, v.mul_ints(x, y)), from_fn(|f| a[f].wrapping_mul(b[f])));
        assert_eq!(ints_of(v, v.shift_left(x, bits)), a.map(|a| a << bits));
        assert_eq!(ints_of(v, v.shift_right_1(x)), a.map(|a| a >> 1));
        assert_eq!(v.ints_at_least(x, y), mask(|f| a[f] >= b[f]));
        assert_eq!(bits_of(v, v.to_floats(x)), a.map(|a| (a as f32).to_bits()));
    }
}

fn check_floats<V: Vector>(v: V, random: &mut Random) {
    for _ in 0..50 {
        let (a, mut b) = (some_floats(random), some_floats(random));
        (b[3], b[12]) = (a[3], a[12]);
        let [x, y] = [&a, &b].map(|floats| v.load(floats));
        assert_eq!(bits_of(v, x), a.map(f32::to_bits));
        assert_eq!(bits_of(v, v.floats(a[0])), [a[0].to_bits(); PANEL]);
        assert_eq!(bits_of(v, v.add(x, y)), from_fn(|f| (a[f] + b[f]).to_bits()));
        assert_eq!(bits_of(v, v.mul(x, y)), from_fn(|f| (a[f] * b[f]).to_bits()));
        assert_eq!(v.at_least(x, y), mask(|f| a[f] >= b[f]));
        let not_a_number = v.floats(f32::NAN);
        assert_eq!(v.at_least(x, not_a_number) | v.at_least(not_a_number, x), 0);
        let [zero, minus_zero] = [v.floats(0.0), v.floats(-0.0)];
        assert_eq!(v.at_least(zero, minus_zero) & v.at_least(minus_zero, zero), u16::MAX);
        let small = |a: [f32; PANEL]| a.map(|a| a % 512.0);
        let (a, b, c) = (small(a).map(f32::round), small(b), small(some_floats(random)));
        let found = v.mul_add_exact(v.load(&a), v.load(&b), v.load(&c));
        assert_eq!(bits_of(v, found), from_fn(|f| (a[f] * b[f] + c[f]).to_bits()));
    }
}

fn check_any_number_of_lanes<V: Vector>(v: V, random: &mut Random) {
    for len in 0..=PANEL + 1 {
        let from: Vec<f32> = random.words(len).iter().map(|&word| word as f32).collect();
        let loaded = v.load(&from);
        let expected = from_fn(|f| from.get(f).copied().unwrap_or(0.0).to_bits());
        assert_eq!(bits_of(v, loaded), expected, "{len} are loaded");
        let mut to = [-1.0; PANEL + 2];
        v.store(v.floats(2.0), &mut to[..len]);
        let expected = |f| if f < len.min(PANEL) { 2.0 } else { -1.0 };
        assert!(to.iter().enumerate().all(|(f, &to)| to == expected(f)), "{len} are stored");
    }
}

fn check_quotients<V: Vector>(v: V, random: &mut Random) {
    let levels = [1, 2, 3, 7, 15, 31, 63, 127, 255];
    let denominators = levels.iter().flat_map(|a| levels.iter().map(move |b| a * b));
    for d in denominators.flat_map(|d| [d, 2 * d]) {
        for i in 0..60 {
            // Small ones, multiples and their neighbours, and any.
            let words = random.words(PANEL);
            let n: [f32; PANEL] = from_fn(|f| match f % 3 {
                0 => (i * PANEL + f) as f32 - 480.0,
                1 => (d * (words[f] as i32 >> 18) + f as i32 - 7) as f32,
                _ => (words[f] as i32 >> (words[f] % 30)) as f32,
            });
            let d = d as f32;
            let found = bits_of(v, v.quotient(v.load(&n), d, d.recip()));
            assert_eq!(found, n.map(|n| (n / d).to_bits()), "{n:?} / {d}");
        }
    }
}

fn check_sums<V: Vector>(v: V, random: &mut Random) {
    let lanes: [[[i32; PANEL]; 2]; 3] = from_fn(|_| from_fn(|_| some_ints(random)));
    let mut sums = vec![-1; 5 * 50];
    let mut epilogue = Sums { sums: &mut sums, stride: 50 };
    epilogue.block(v, 1, 1, &lanes.map(|row| row.map(|lanes| v.load_ints(&lanes))));
    for (i, &sum) in sums.iter().enumerate() {
        let (row, filter) = (i / 50, i % 50);
        let is_within = (1..4).contains(&row) && (PANEL..3 * PANEL).contains(&filter);
        let expected = || lanes[row - 1][filter / PANEL - 1][filter % PANEL];
        assert_eq!(sum, if is_within { expected() } else { -1 });
    }
}

#[test]
fn ints_are_those_of_each_lane() {
    on_each!(|v, random| check_ints(v, random));
}

#[test]
fn floats_are_those_of_each_lane() {
    on_each!(|v, random| check_floats(v, random));
}

#[test]
fn any_number_of_lanes_is_loaded_and_stored() {
    on_each!(|v, random| check_any_number_of_lanes(v, random));
}

#[test]
fn quotients_are_those_of_divisions() {
    on_each!(|v, random| check_quotients(v, random));
}

#[test]
fn sums_are_written_where_they_belong() {
    on_each!(|v, random| check_sums(v, random));
}

vectorized! {
    /// The sum of some numbers and one more.
    fn add_up[T: Copy + Into<i64>](numbers: &[T], more: i64) -> i64 {
        numbers.iter().fold(more, |sum, &number| sum + number.into())
    }
}

#[test]
fn functions_are_vectorized() {
    for kernel in available() {
        assert_eq!(add_up(kernel, &[1_i32, 2, 3], 4), 10, "{kernel:?}");
    }
}
