//! Two to five axes of the user's tensors as five, (images, channels, depth, height, width), and back.

use crate::{Error, Operand, Result};
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

/// The dimension of an operator's tensors: (rows, features), or with one to three spatial axes.
#[allow(unreachable_pub)] // Reached as the bound of `SpatialRank::Tensor`.
pub trait Lift: Dimension {
    /// Activations with the spatial axes that are missing, with length 1, before the others.
    fn lift<S: RawData>(activations: ArrayBase<S, Self>) -> ArrayBase<S, Ix5>;
    /// Undoes [`lift`](Self::lift), in standard layout.
    fn lower<T: Clone>(activations: Array5<T>) -> Array<T, Self>;
    /// Weights with the axes of the kernel that are missing.
    fn lift_weights<S: RawData>(weights: ArrayBase<S, Self>) -> ArrayBase<S, Ix5> {
        Self::lift(weights)
    }
    /// Undoes [`lift_weights`](Self::lift_weights).
    fn lower_weights<T: Clone>(weights: Array5<T>) -> Array<T, Self> {
        Self::lower(weights)
    }
    /// The shape of activations.
    fn lower_shape(lifted: [usize; 5]) -> Self {
        let ndim = Self::NDIM.expect("of a fixed number of axes");
        let mut shape = Self::zeros(ndim);
        shape.slice_mut().copy_from_slice(&lower_shape(lifted, ndim - 2));
        shape
    }
}

macro_rules! lift {
    ($($tensor:ty: [$($missing:expr)*]),*) => {$(
        impl Lift for $tensor {
            fn lift<S: RawData>(tensor: ArrayBase<S, Self>) -> ArrayBase<S, Ix5> {
                tensor$(.insert_axis($missing))*
            }

            fn lower<T: Clone>(tensor: Array5<T>) -> Array<T, Self> {
                tensor$(.index_axis_move($missing, 0))*
            }
        }
    )*};
}
lift!(Ix3: [Axis(2) Axis(2)], Ix4: [Axis(2)], Ix5: []);

/// The rows of a dense layer are the pixels of one image, its weights pointwise kernels.
impl Lift for Ix2 {
    fn lift<S: RawData>(rows: ArrayBase<S, Ix2>) -> ArrayBase<S, Ix5> {
        rows.reversed_axes().insert_axis(Axis(0)).insert_axis(Axis(2)).insert_axis(Axis(2))
    }

    fn lower<T: Clone>(image: Array5<T>) -> Array<T, Ix2> {
        let rows = <Ix4 as Lift>::lower(image).index_axis_move(Axis(2), 0);
        let rows = rows.index_axis_move(Axis(0), 0).reversed_axes();
        if rows.is_standard_layout() { rows } else { rows.as_standard_layout().into_owned() }
    }

    fn lift_weights<S: RawData>(weights: ArrayBase<S, Ix2>) -> ArrayBase<S, Ix5> {
        <Ix3 as Lift>::lift(weights.insert_axis(Axis(2)))
    }

    fn lower_weights<T: Clone>(weights: Array5<T>) -> Array<T, Ix2> {
        <Ix3 as Lift>::lower(weights).index_axis_move(Axis(2), 0)
    }
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
        2 => lift::<S, D, Ix2>(tensor),
        3 => lift::<S, D, Ix3>(tensor),
        4 => lift::<S, D, Ix4>(tensor),
        5 => lift::<S, D, Ix5>(tensor),
        _ => None,
    };
    lifted.ok_or(Error::Dimensions { operand, expected: "2 to 5", found })
}

/// The shape of activations with two to five axes as five.
pub(crate) fn lift_shape(shape: &[usize]) -> Option<[usize; 5]> {
    match *shape {
        [rows, features] => Some([1, features, 1, 1, rows]),
        [n, c, w] => Some([n, c, 1, 1, w]),
        [n, c, h, w] => Some([n, c, 1, h, w]),
        [n, c, d, h, w] => Some([n, c, d, h, w]),
        _ => None,
    }
}

/// The shape of activations as the user sees it, who has `spatial_dims` spatial axes, or 0 for
/// (rows, features).
pub(crate) fn lower_shape(lifted: [usize; 5], spatial_dims: usize) -> Vec<usize> {
    let [images, channels, .., width] = lifted;
    match spatial_dims {
        0 => vec![width, channels],
        dims => [&[images, channels], &lifted[5 - dims..]].concat(),
    }
}

/// The dimensions that activations with `spatial_dims` spatial axes have, for an error to name.
pub(crate) fn dimensions(spatial_dims: usize) -> &'static str {
    ["2", "3", "4", "5"][spatial_dims.min(3)]
}

/// What is given for each spatial axis of an operator, for all three.
pub(crate) fn lift_axes<V: Copy, const S: usize>(values: [V; S], default: V) -> [V; 3] {
    let mut all = [default; 3];
    all[3 - S..].copy_from_slice(&values);
    all
}
