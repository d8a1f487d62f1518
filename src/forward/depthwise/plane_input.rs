//! A plane of the input on its way into lanes.

use crate::Element;
use crate::forward::depthwise::input::expand_row;
use crate::forward::depthwise::product::Product;
use crate::geometry::Geometry;
use crate::kernel::{Code, Kernel};
use crate::packed::codes::RUN;
use crate::quantizer::ActivationCoder;
use ndarray::{ArrayView5, Axis};
use std::marker::PhantomData;

/// Where the numbers of planes come from.
pub(crate) trait PlaneSource<L>: Sync {
    /// Writes those of a channel of an image, one after the other.
    fn write(&self, image: usize, channel: usize, plane: &mut [L]);
}

/// The plane of a channel, where it is a slice.
#[inline(always)]
pub(crate) fn plane<'a, T>(x: &ArrayView5<'a, T>, image: usize, channel: usize) -> &'a [T] {
    let plane = x.index_axis_move(Axis(0), image).index_axis_move(Axis(0), channel);
    plane.to_slice().unwrap_or_default()
}

/// Bits, whose numbers are looked up.
pub(crate) struct PlaneBits<'a, L> {
    pub(crate) geometry: &'a Geometry,
    /// `[image][channel][word]`.
    pub(crate) words: &'a [u32],
    /// The numbers that eight bits stand for.
    pub(crate) numbers: [[L; 8]; 256],
}

impl<L: Copy + Send + Sync> PlaneSource<L> for PlaneBits<'_, L> {
    fn write(&self, image: usize, channel: usize, plane: &mut [L]) {
        let plane_words = self.geometry.pixels().div_ceil(32);
        let first = (image * self.geometry.channels + channel) * plane_words;
        expand_row(&self.numbers, &self.words[first..][..plane_words], plane);
    }
}

/// Numbers that are turned to codes by the coder of their image.
pub(crate) struct PlaneCodes<'a, T, P: Product, C> {
    pub(crate) kernel: Kernel,
    pub(crate) x: &'a ArrayView5<'a, T>,
    pub(crate) coder: C,
    /// The numbers of the codes 0 and 1.
    pub(crate) numbers: [P::Lane; 2],
}

impl<T, P, C> PlaneSource<P::Lane> for PlaneCodes<'_, T, P, C>
where
    T: Element,
    P: Product + Sync,
    C: Fn(usize) -> ActivationCoder<T> + Sync,
{
    fn write(&self, image: usize, channel: usize, lanes: &mut [P::Lane]) {
        let (x, coder) = (plane(self.x, image, channel), (self.coder)(image));
        let product = PhantomData::<P>;
        self.kernel.vectorize(PackPlane { x, coder, numbers: self.numbers, lanes, product });
    }
}

struct PackPlane<'a, T, P: Product> {
    x: &'a [T],
    coder: ActivationCoder<T>,
    numbers: [P::Lane; 2],
    lanes: &'a mut [P::Lane],
    product: PhantomData<P>,
}

impl<T: Element, P: Product> Code for PackPlane<'_, T, P> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let PackPlane { x, coder, numbers, lanes, .. } = self;
        for (x, lanes) in x.chunks(RUN).zip(lanes.chunks_mut(RUN)) {
            let mut codes = [0; RUN];
            coder.write_codes(x, &mut codes);
            let codes = lanes.iter_mut().zip(codes);
            codes.for_each(|(lane, code)| *lane = P::number(code, numbers));
        }
    }
}
