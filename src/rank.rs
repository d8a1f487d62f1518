//! Two to five axes of the user's tensors as five, (images, channels, depth, height, width), and back.

use crate::{Element, Error, Operand, Result};
use ndarray::{Array, Array5, ArrayBase, Axis, Dimension, Ix2, Ix3, Ix4, Ix5, RawData};

mod sealed {
    pub trait Sealed {}
}

/// Stands for a number of spatial dimensions: `Rank<1>`, `Rank<2>` or `Rank<3>`.
#[derive(Clone, Copy, Debug)]
pub struct Rank<const S: usize>;

/// A number of spatial dimensions, and the tensors that go with it. Sealed.
pub trait SpatialRank: sealed::Sealed {
    /// Dimension of activations (N, C, spatial...) and weights (F, C / groups, kernel...).
    #[allow(private_bounds)]
    type Tensor: Lift;
}

macro_rules! spatial_rank {
    ($($rank:literal => $tensor:ty),*) => {$(
        impl sealed::Sealed for Rank<$rank> {}
        impl SpatialRank for Rank<$rank> {
            type Tensor = $tensor;
        }
    )*};
}
spatial_rank!(1 => Ix3, 2 => Ix4, 3 => Ix5);

/// Dimension of the tensors of a convolution over `S` spatial dimensions.
pub type Tensor<const S: usize> = <Rank<S> as SpatialRank>::Tensor;

/// The activations of a dense layer, (batch, features), as one image of `batch` pixels.
pub(crate) fn lift_rows<S: RawData>(rows: ArrayBase<S, Ix2>) -> ArrayBase<S, Ix5> {
    rows.reversed_axes().insert_axis(Axis(0)).insert_axis(Axis(2)).insert_axis(Axis(2))
}

/// Undoes [`lift_rows`].
pub(crate) fn lower_rows<T: Element>(image: Array5<T>) -> Array<T, Ix2> {
    let drop = Axis(2);
    let rows = image.index_axis_move(drop, 0).index_axis_move(drop, 0).index_axis_move(Axis(0), 0);
    let rows = rows.reversed_axes();
    if rows.is_standard_layout() { rows } else { rows.as_standard_layout().into_owned() }
}

/// The weights of a dense layer, (filters, inputs), as pointwise kernels.
pub(crate) fn lift_weights<S: RawData>(weights: ArrayBase<S, Ix2>) -> ArrayBase<S, Ix5> {
    weights.insert_axis(Axis(2)).insert_axis(Axis(2)).insert_axis(Axis(2))
}

/// The activations of any operator, with two to five axes, as five.
pub(crate) fn lift_any<S: RawData, D: Dimension>(
    operand: Operand,
    tensor: ArrayBase<S, D>,
) -> Result<ArrayBase<S, Ix5>> {
    fn lift<S: RawData, D: Dimension, L: Lift>(
        tensor: ArrayBase<S, D>,
    ) -> Option<ArrayBase<S, Ix5>> {
        tensor.into_dimensionality().ok().map(L::lift)
    }
    let found = tensor.ndim();
    let lifted = match found {
        2 => tensor.into_dimensionality().ok().map(lift_rows),
        3 => lift::<S, D, Ix3>(tensor),
        4 => lift::<S, D, Ix4>(tensor),
        5 => lift::<S, D, Ix5>(tensor),
        _ => None,
    };
    lifted.ok_or(Error::Dimensions { operand, expected: "2 to 5", found })
}

/// What is given for each spatial axis of an operator, for all three.
pub(crate) fn lift_axes<V: Copy, const S: usize>(values: [V; S], default: V) -> [V; 3] {
    let mut all = [default; 3];
    all[3 - S..].copy_from_slice(&values);
    all
}

/// A tensor with one to three spatial axes.
#[allow(unreachable_pub)] // Reached as the bound of `SpatialRank::Tensor`.
pub trait Lift: Dimension {
    /// Adds the spatial axes that are missing, with length 1, before the others.
    fn lift<S: RawData>(tensor: ArrayBase<S, Self>) -> ArrayBase<S, Ix5>;
    /// Takes them away again.
    fn lower<T>(tensor: Array5<T>) -> Array<T, Self>;
}

impl Lift for Ix3 {
    fn lift<S: RawData>(tensor: ArrayBase<S, Ix3>) -> ArrayBase<S, Ix5> {
        tensor.insert_axis(Axis(2)).insert_axis(Axis(2))
    }

    fn lower<T>(tensor: Array5<T>) -> Array<T, Ix3> {
        tensor.index_axis_move(Axis(2), 0).index_axis_move(Axis(2), 0)
    }
}

impl Lift for Ix4 {
    fn lift<S: RawData>(tensor: ArrayBase<S, Ix4>) -> ArrayBase<S, Ix5> {
        tensor.insert_axis(Axis(2))
    }

    fn lower<T>(tensor: Array5<T>) -> Array<T, Ix4> {
        tensor.index_axis_move(Axis(2), 0)
    }
}

impl Lift for Ix5 {
    fn lift<S: RawData>(tensor: ArrayBase<S, Ix5>) -> ArrayBase<S, Ix5> {
        tensor
    }

    fn lower<T>(tensor: Array5<T>) -> Array5<T> {
        tensor
    }
}
