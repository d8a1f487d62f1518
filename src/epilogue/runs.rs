//! Short lines by whole vectors.

/// Writes `f` of each of as many numbers to `to`. The last vector begins within the one before it,
/// so that nothing is left over to be done one by one.
///
/// # Panics
/// If there are fewer numbers.
#[inline(always)]
pub(crate) fn map_runs<A: Copy, B: Copy + Default>(from: &[A], to: &mut [B], f: impl Fn(A) -> B) {
    let from = &from[..to.len()];
    match to.len() {
        16.. => runs::<16, _, _>(from, to, f),
        8.. => runs::<8, _, _>(from, to, f),
        4.. => runs::<4, _, _>(from, to, f),
        _ => to.iter_mut().zip(from).for_each(|(to, &from)| *to = f(from)),
    }
}

#[inline(always)]
fn runs<const N: usize, A: Copy, B: Copy + Default>(from: &[A], to: &mut [B], f: impl Fn(A) -> B) {
    let last = from.len() - N;
    let mut start = 0;
    loop {
        let run = from[start..].first_chunk::<N>().zip(to[start..].first_chunk_mut::<N>());
        let Some((from, to)) = run else { return };
        let mut values = [B::default(); N];
        for i in 0..N {
            values[i] = f(from[i]);
        }
        *to = values;
        if start == last {
            return;
        }
        start = last.min(start + N);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_mapped() {
        for len in 0..70 {
            let from: Vec<i32> = (0..len).collect();
            let mut to = vec![0; from.len()];
            map_runs(&from, &mut to, |x| 3 * x + 1);
            assert!(to.into_iter().eq((0..len).map(|x| 3 * x + 1)), "{len}");
        }
    }
}
