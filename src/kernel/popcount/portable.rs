//! In plain Rust: the reference that every instruction set is tested against.

use super::{PANEL, Rows};

/// See [`Kernel::count_differing`](super::Kernel::count_differing).
pub(super) fn count_differing(rows: Rows<'_>, panels: &[u32], sums: &mut [i32], stride: usize) {
    let panel_len = rows.offsets().len() * PANEL;
    for i in 0..rows.count() {
        let sums = &mut sums[i * stride..];
        for (panel, sums) in panels.chunks(panel_len.max(1)).zip(sums.chunks_mut(PANEL)) {
            let mut counts = [0; PANEL];
            for (word, filters) in rows.row(i).zip(panel.chunks(PANEL)) {
                for (count, filter) in counts.iter_mut().zip(filters) {
                    *count += (word ^ filter).count_ones();
                }
            }
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum = count as i32;
            }
        }
    }
}
