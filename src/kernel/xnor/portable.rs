//! In plain Rust: the reference that every instruction set is tested against.

use super::Xnor;
use crate::kernel::PANEL;
use crate::kernel::arch::Portable;

impl Xnor for Portable {
    #[inline(always)]
    unsafe fn differing<const M: usize, const P: usize>(
        self,
        offsets: &[u32],
        row: *const u32,
        step: usize,
        panel: *const u32,
    ) -> [[[i32; PANEL]; P]; M] {
        let mut counts = [[[0; PANEL]; P]; M];
        for (m, counts) in counts.iter_mut().enumerate() {
            for (p, counts) in counts.iter_mut().enumerate() {
                for (w, &offset) in offsets.iter().enumerate() {
                    // SAFETY: the caller vouches for all words.
                    let (word, filters) = unsafe {
                        let filters = panel.add((p * offsets.len() + w) * PANEL);
                        (*row.add(offset as usize + m * step), &*filters.cast::<[u32; PANEL]>())
                    };
                    for (count, filter) in counts.iter_mut().zip(filters) {
                        *count += (word ^ filter).count_ones() as i32;
                    }
                }
            }
        }
        counts
    }
}
