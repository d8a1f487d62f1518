//! In plain Rust: the reference that every instruction set is tested against.

use super::{PANEL, Rows, Weights};

/// See [`Kernel::sum_products`](super::Kernel::sum_products).
pub(super) fn sum_products(rows: Rows<'_>, weights: Weights<'_>, sums: &mut [i32], stride: usize) {
    let Weights { panels, width, .. } = weights;
    let panel_len = width.panel_words(rows.offsets().len()) * PANEL;
    for i in 0..rows.count() {
        let sums = &mut sums[i * stride..];
        for (panel, sums) in panels.chunks(panel_len.max(1)).zip(sums.chunks_mut(PANEL)) {
            let mut totals = [0; PANEL];
            for (w, word) in rows.row(i).enumerate() {
                let codes = word.to_le_bytes();
                for (filter, total) in totals.iter_mut().enumerate() {
                    let weights = width.extract(panel, w, filter).to_le_bytes();
                    let products = codes.iter().zip(weights);
                    *total +=
                        products.map(|(&a, w)| i32::from(a) * i32::from(w as i8)).sum::<i32>();
                }
            }
            sums[..PANEL].copy_from_slice(&totals);
        }
    }
}
