//! A grouped correlation over three spatial axes, and its gradients.

use ndarray::{Array5, Axis, Slice, indices};

type Index = [usize; 5];

/// A window that slides over tensors of five axes: (N, C, D, H, W) and (F, C / groups, KD, KH, KW).
#[derive(Clone, Debug)]
pub(crate) struct Correlation {
    pub(crate) stride: [usize; 3],
    pub(crate) dilation: [usize; 3],
    pub(crate) padding: [[usize; 2]; 3],
    pub(crate) groups: usize,
}

impl Correlation {
    /// `y[n, f, o] = Σ x[n, c, stride o + dilation k] w[f, c, k]`, where `x` is padded with `pad`.
    pub(crate) fn forward(&self, x: &Array5<f64>, w: &Array5<f64>, pad: f64) -> Array5<f64> {
        let x = self.padded(x, pad);
        let mut y = Array5::zeros(self.output_shape(x.dim().into(), w.dim().into()));
        self.for_each_product(y.dim().into(), w.dim().into(), |i, j, k| y[i] += x[j] * w[k]);
        y
    }

    /// The gradients of `x` and `w` from `dy`.
    pub(crate) fn backward(
        &self,
        dy: &Array5<f64>,
        x: &Array5<f64>,
        w: &Array5<f64>,
        pad: f64,
    ) -> (Array5<f64>, Array5<f64>) {
        let shape = x.dim();
        let x = self.padded(x, pad);
        let (mut dx, mut dw) = (Array5::zeros(x.dim()), Array5::zeros(w.dim()));
        self.for_each_product(dy.dim().into(), w.dim().into(), |i, j, k| {
            dx[j] += dy[i] * w[k];
            dw[k] += dy[i] * x[j];
        });
        for (axis, len) in [(2, shape.2), (3, shape.3), (4, shape.4)] {
            let before = self.padding[axis - 2][0];
            dx.slice_axis_inplace(Axis(axis), Slice::from(before..before + len));
        }
        (dx.as_standard_layout().into_owned(), dw)
    }

    /// XNOR-Net's K of every output: the mean of `|x|` over what the filter sees of the zero-padded
    /// input.
    pub(crate) fn k_map(&self, x: &Array5<f64>, w: Index) -> Array5<f64> {
        let seen = w[1..].iter().product::<usize>() as f64;
        self.forward(&x.mapv(f64::abs), &Array5::from_elem(w, 1.0), 0.0) / seen
    }

    /// Calls `visit` with the places of an output and of the two factors of every product that it
    /// is the sum of.
    fn for_each_product(&self, y: Index, w: Index, mut visit: impl FnMut(Index, Index, Index)) {
        let [filters, group_channels, ..] = w;
        for (n, f, oz, oy, ox) in indices(y) {
            let group = f / (filters / self.groups);
            for (c, kz, ky, kx) in indices([group_channels, w[2], w[3], w[4]]) {
                let at = |axis, o, k| o * self.stride[axis] + k * self.dilation[axis];
                let x =
                    [n, group * group_channels + c, at(0, oz, kz), at(1, oy, ky), at(2, ox, kx)];
                visit([n, f, oz, oy, ox], x, [f, c, kz, ky, kx]);
            }
        }
    }

    fn padded(&self, x: &Array5<f64>, pad: f64) -> Array5<f64> {
        let [n, c, d, h, w]: Index = x.dim().into();
        let [[front, back], [top, bottom], [left, right]] = self.padding;
        let shape = [n, c, front + d + back, top + h + bottom, left + w + right];
        let mut padded = Array5::from_elem(shape, pad);
        for (n, c, z, y, x_) in indices(x.dim()) {
            padded[[n, c, front + z, top + y, left + x_]] = x[[n, c, z, y, x_]];
        }
        padded
    }

    /// Counts the places where the window still fits into the padded input.
    fn output_shape(&self, padded: Index, w: Index) -> Index {
        let count = |axis: usize| {
            let last = |o| o * self.stride[axis] + (w[axis + 2] - 1) * self.dilation[axis];
            (0..).take_while(|&o| last(o) < padded[axis + 2]).count()
        };
        [padded[0], w[0], count(0), count(1), count(2)]
    }
}
