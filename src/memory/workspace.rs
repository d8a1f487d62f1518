//! Memory that one thread computes a block of an output in: slices of any plain type, one after the
//! other, each beginning a cache line.

use crate::memory::{LINE, product};
use crate::{Error, Result};
use bytemuck::Pod;

/// What workspaces are made of.
type Unit = u64;

const LINE_UNITS: usize = LINE / size_of::<Unit>();

/// How much memory a workspace takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WorkspaceSize {
    units: usize,
}

impl WorkspaceSize {
    /// The same and a slice of as many elements as the product of sizes.
    pub(crate) fn and<V: Pod>(self, sizes: &[usize], what: &'static str) -> Result<Self> {
        let elements = product(sizes, what)?;
        let bytes = elements.checked_mul(size_of::<V>()).and_then(|b| b.checked_add(LINE - 1));
        let units = bytes.and_then(|bytes| self.units.checked_add(bytes / LINE * LINE_UNITS));
        let units = units.ok_or(Error::TooLarge { what, elements })?;
        Ok(WorkspaceSize { units })
    }

    /// Units that a buffer for `count` workspaces has.
    pub(crate) fn units(self, count: usize) -> Result<usize> {
        product(&[count, self.units], "workspaces")
    }
}

/// See the module. What slices hold is what the last block left there.
#[derive(Debug)]
pub(crate) struct Workspace<'a> {
    units: &'a mut [Unit],
}

impl<'a> Workspace<'a> {
    /// The memory of one or several workspaces, which begins a cache line.
    pub(crate) fn new(units: &'a mut [Unit]) -> Self {
        Workspace { units }
    }

    /// The first of several workspaces of a size, and the others.
    pub(crate) fn split(self, size: WorkspaceSize, count: usize) -> (Self, Self) {
        let (first, others) = self.units.split_at_mut(size.units * count);
        (Workspace::new(first), Workspace::new(others))
    }

    /// The next slice, in the order in which the size was made.
    ///
    /// # Panics
    /// If that has no room for it.
    #[inline]
    pub(crate) fn take<V: Pod>(&mut self, len: usize) -> &'a mut [V] {
        let units = (len * size_of::<V>()).div_ceil(LINE) * LINE_UNITS;
        let (slice, rest) = std::mem::take(&mut self.units).split_at_mut(units);
        self.units = rest;
        &mut bytemuck::cast_slice_mut(slice)[..len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::take_aligned;

    #[test]
    fn slices_begin_lines_and_share_nothing() {
        let size = WorkspaceSize::default();
        let size = size.and::<u8>(&[3, 7], "bytes").and_then(|s| s.and::<i32>(&[0], "none"));
        let size = size.and_then(|s| s.and::<f64>(&[9], "floats")).expect("a size");
        let mut buffer = Vec::new();
        let units = take_aligned(&mut buffer, size.units(3).expect("a size"), "workspaces");
        let (first, others) = Workspace::new(units.expect("memory")).split(size, 1);
        for (i, mut workspace) in [first, others].into_iter().enumerate() {
            let bytes = workspace.take::<u8>(21);
            bytes.fill(i as u8);
            assert!(workspace.take::<i32>(0).is_empty());
            let floats = workspace.take::<f64>(9);
            floats.fill(-1.0);
            assert!((floats.as_ptr() as usize).is_multiple_of(LINE));
            assert!((bytes.as_ptr() as usize).is_multiple_of(LINE));
            assert!(bytes.iter().all(|&byte| byte == i as u8));
        }
    }

    #[test]
    fn sizes_that_overflow_are_errors() {
        let size = WorkspaceSize::default().and::<f64>(&[usize::MAX / 4], "floats");
        assert!(matches!(size, Err(Error::TooLarge { what: "floats", .. })));
        let size = WorkspaceSize::default().and::<u8>(&[isize::MAX as usize], "bytes");
        assert!(size.expect("a size").units(64).is_err());
    }
}
