//! The one error type of the crate.

use std::fmt;

/// What an operator was given: names the argument that an [`Error`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operand {
    /// The activations, `x`.
    Input,
    /// The latent (full-precision) or packed weights, `w`.
    Weight,
    /// The bias, one value a filter.
    Bias,
    /// The array view that receives the result.
    Output,
    /// The gradient that comes from above, `dy`.
    OutputGradient,
    /// The scales of [`Scaling::Given`](crate::Scaling::Given), one value a filter, or of an
    /// [`Affine`](crate::Affine) (γ of a [`BatchNorm`](crate::BatchNorm)), one a channel.
    Scale,
    /// The shifts of an [`Affine`](crate::Affine) (β of a [`BatchNorm`](crate::BatchNorm)).
    Shift,
    /// The means of a [`BatchNorm`](crate::BatchNorm).
    Mean,
    /// The variances of a [`BatchNorm`](crate::BatchNorm).
    Variance,
    /// The words of a [`BitTensor`](crate::BitTensor).
    Words,
    /// What is added to the output of a layer.
    Residual,
    /// The [`SignThresholds`](crate::SignThresholds) behind a layer.
    Thresholds,
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operand::Input => "input",
            Operand::Weight => "weight",
            Operand::Bias => "bias",
            Operand::Output => "output",
            Operand::OutputGradient => "output gradient",
            Operand::Scale => "scale",
            Operand::Shift => "shift",
            Operand::Mean => "mean",
            Operand::Variance => "variance",
            Operand::Words => "words",
            Operand::Residual => "residual",
            Operand::Thresholds => "thresholds",
        })
    }
}

/// Why an operator refused its input. Nothing has been written when one of these comes back,
/// except that an `_into` call may already have used the caller's scratch.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operand as a whole has the wrong shape.
    #[error("{operand}: expected shape {expected:?}, got {found:?}")]
    Shape {
        /// The operand.
        operand: Operand,
        /// The shape it should have.
        expected: Vec<usize>,
        /// The shape it has.
        found: Vec<usize>,
    },
    /// One axis of an operand does not fit the others.
    #[error("{operand}: expected length {expected} along axis {axis}, got {found}")]
    AxisLength {
        /// The operand.
        operand: Operand,
        /// The axis, counted from 0.
        axis: usize,
        /// The length it should have.
        expected: usize,
        /// The length it has.
        found: usize,
    },
    /// An operand has a number of dimensions that the call does not know.
    #[error("{operand}: expected {expected} dimensions, got {found}")]
    Dimensions {
        /// The operand.
        operand: Operand,
        /// The numbers of dimensions there may be.
        expected: &'static str,
        /// The number it has.
        found: usize,
    },
    /// The number of groups is zero, or does not divide both channels and filters.
    #[error(
        "groups: expected a divisor of {channels} channels and {filters} filters, got {groups}"
    )]
    Groups {
        /// Groups asked for.
        groups: usize,
        /// Input channels.
        channels: usize,
        /// Filters (output channels).
        filters: usize,
    },
    /// A stride, dilation or kernel length is zero.
    #[error("{parameter}: expected at least 1 along spatial axis {axis}, got 0")]
    Zero {
        /// `"stride"`, `"dilation"` or `"kernel"`.
        parameter: &'static str,
        /// The spatial axis, counted from 0.
        axis: usize,
    },
    /// The dilated kernel does not fit into the padded input.
    #[error(
        "kernel: expected an extent of at most {padded_input} along spatial axis {axis} (the padded input), got {kernel}"
    )]
    KernelTooLarge {
        /// The spatial axis, counted from 0.
        axis: usize,
        /// Length of the kernel with its dilation: `dilation * (k - 1) + 1`.
        kernel: usize,
        /// Length of the input with its padding.
        padded_input: usize,
    },
    /// A pooling window could lie wholly in the padding, where there is nothing to pool.
    #[error(
        "padding: expected less than the kernel, {kernel}, on spatial axis {axis}, got {padding}"
    )]
    Padding {
        /// The spatial axis, counted from 0.
        axis: usize,
        /// Length of the kernel.
        kernel: usize,
        /// Positions padded on one side.
        padding: usize,
    },
    /// A bit width that the quantizer family does not have.
    #[error("{operand} bit width: expected {expected}, got {bits}")]
    BitWidth {
        /// Whether activations ([`Operand::Input`]) or weights were meant.
        operand: Operand,
        /// The widths there are.
        expected: &'static str,
        /// The width asked for.
        bits: u32,
    },
    /// A NaN among the values of an operand: it has no sign and no code.
    #[error("{operand}: expected numbers, got a NaN")]
    NaN {
        /// The operand.
        operand: Operand,
    },
    /// A scale or threshold (a mean or maximum of magnitudes, or a given one) is infinite or NaN.
    #[error("{operand} scale {index}: expected a finite number, got {value}")]
    NonFiniteScale {
        /// Where the scale comes from.
        operand: Operand,
        /// Which one: the filter, the sample of an input, or 0 where one scale serves the tensor.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// A number that configures a quantizer, its gradient or an affine function is out of its
    /// range.
    #[error("{parameter}: expected {expected}, got {value}")]
    Parameter {
        /// Its name.
        parameter: &'static str,
        /// Its range.
        expected: &'static str,
        /// Its value.
        value: f64,
    },
    /// An option that the call cannot do its work with.
    #[error("{option}: expected {expected}, got {found}")]
    Unsupported {
        /// The option.
        option: &'static str,
        /// What it could be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The words of a [`BitTensor`](crate::BitTensor) have bits set that stand for no channel.
    #[error("words: expected the unused bits of word {index} to be 0, got {word:#010x}")]
    UnusedBits {
        /// Which word.
        index: usize,
        /// Its value.
        word: u32,
    },
    /// Packed weights that were made for another quantizer, scaling or kind of operator.
    #[error("packed weights: expected {property} {expected}, got {found}")]
    PackedMismatch {
        /// What differs.
        property: &'static str,
        /// What the operator has.
        expected: String,
        /// What the packed weights have.
        found: String,
    },
    /// The sizes asked for do not fit into `usize`, or memory for them could not be had.
    #[error("{what}: expected a size that fits into memory, got {elements} elements")]
    TooLarge {
        /// What would have been allocated or counted.
        what: &'static str,
        /// The number of elements, saturated at `usize::MAX`.
        elements: usize,
    },
}

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
