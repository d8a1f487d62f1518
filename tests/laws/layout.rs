//! Tensors in memory of any order, with gaps, backwards, or broadcast.

use crate::number::{Number, Random};
use ndarray::{ArrayD, ArrayViewD, ArrayViewMutD, Axis, Slice};
use proptest::prelude::*;

/// How a tensor lies in memory. Axes that a tensor lacks are passed over.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The axes from the outermost in memory to the innermost.
    order: Vec<usize>,
    step: [usize; 5],
    reversed: [bool; 5],
    /// Axes along which one number stands for all.
    broadcast: [bool; 5],
}

impl Layout {
    pub(crate) fn standard() -> Self {
        let order = (0..5).collect();
        Layout { order, step: [1; 5], reversed: [false; 5], broadcast: [false; 5] }
    }

    /// The same without broadcasting, for what is written to.
    pub(crate) fn writable(mut self) -> Self {
        self.broadcast = [false; 5];
        self
    }
}

pub(crate) fn layouts() -> impl Strategy<Value = Layout> {
    let order = Just((0..5).collect::<Vec<_>>()).prop_shuffle();
    let mask = |p| prop::array::uniform5(prop::bool::weighted(p));
    let any = (order, prop::array::uniform5(1usize..=3), mask(0.4), mask(0.15));
    let any = any.prop_map(|(order, step, reversed, broadcast)| Layout {
        order,
        step,
        reversed,
        broadcast,
    });
    let plain = Layout::standard;
    prop_oneof![
        1 => Just(plain()),
        1 => Just(Layout { order: (0..5).rev().collect(), ..plain() }),
        1 => Just(Layout { reversed: [true; 5], ..plain() }),
        1 => Just(Layout { broadcast: [true, false, false, false, true], ..plain() }),
        4 => any,
    ]
}

/// A tensor in a buffer of its own. What the tensor does not use of the buffer is NaN: whoever
/// reads it will show.
#[derive(Clone, Debug)]
pub(crate) struct Stored<T> {
    pub(crate) buffer: ArrayD<T>,
    shape: Vec<usize>,
    layout: Layout,
}

impl<T: Number> Stored<T> {
    pub(crate) fn poisoned(shape: &[usize], layout: &Layout) -> Self {
        let mut layout = layout.clone();
        layout.order.retain(|&axis| axis < shape.len());
        for (broadcast, &len) in layout.broadcast.iter_mut().zip(shape) {
            *broadcast &= len > 0;
        }
        let margin = if layout.step == [1; 5] { 0 } else { 2 };
        let len = |&axis: &usize| match (layout.broadcast[axis], shape[axis]) {
            (true, _) => 1,
            (false, 0) => margin,
            (false, len) => (len - 1) * layout.step[axis] + 1 + margin,
        };
        let buffer_shape: Vec<usize> = layout.order.iter().map(len).collect();
        let buffer = ArrayD::from_elem(buffer_shape, T::nan());
        Stored { buffer, shape: shape.to_vec(), layout }
    }

    pub(crate) fn random(shape: &[usize], layout: &Layout, random: &mut Random) -> Self {
        let mut stored = Self::poisoned(shape, layout);
        stored.distinct_mut().mapv_inplace(|_| random.number());
        stored
    }

    pub(crate) fn view(&self) -> ArrayViewD<'_, T> {
        let Layout { order, broadcast, .. } = &self.layout;
        let mut shape = self.buffer.shape().to_vec();
        for (len, &axis) in shape.iter_mut().zip(order) {
            if broadcast[axis] {
                *len = self.shape[axis];
            }
        }
        let mut view = self.buffer.broadcast(shape).expect("axes of length 1 broadcast");
        for (place, &axis) in order.iter().enumerate().filter(|&(_, &axis)| !broadcast[axis]) {
            view.slice_axis_inplace(Axis(place), self.slice(axis));
        }
        view.permuted_axes(self.places())
    }

    /// The tensor with length 1 along the axes that are broadcast.
    pub(crate) fn distinct_mut(&mut self) -> ArrayViewMutD<'_, T> {
        let places = self.places();
        let slices: Vec<Slice> = self.layout.order.iter().map(|&axis| self.slice(axis)).collect();
        let mut view = self.buffer.view_mut();
        for (place, slice) in slices.into_iter().enumerate() {
            view.slice_axis_inplace(Axis(place), slice);
        }
        view.permuted_axes(places)
    }

    /// The same numbers in standard layout.
    pub(crate) fn logical(&self) -> ArrayD<T> {
        self.view().as_standard_layout().into_owned()
    }

    fn slice(&self, axis: usize) -> Slice {
        let Layout { step, reversed, broadcast, .. } = &self.layout;
        let first = if *step == [1; 5] || broadcast[axis] { 0 } else { 1 };
        let len = if broadcast[axis] { 1 } else { self.shape[axis] };
        let end = if len == 0 { first } else { first + (len - 1) * step[axis] + 1 };
        let step = step[axis] as isize;
        Slice::new(first as isize, Some(end as isize), if reversed[axis] { -step } else { step })
    }

    /// Where each axis of the tensor lies in the buffer.
    fn places(&self) -> Vec<usize> {
        let place = |axis| self.layout.order.iter().position(|&a| a == axis).expect("an axis");
        (0..self.shape.len()).map(place).collect()
    }
}
