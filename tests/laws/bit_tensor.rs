//! Bits are the signs of the floats they were packed from, and what is done with them is what
//! would be done with those.

use crate::layout::{Layout, Stored, layouts};
use crate::number::{Number, Random, bits};
use crate::reference::max_pool;
use ndarray::{Array2, Array4, ArrayD, Axis, IxDyn, s};
use ndarray_qnn::{ActivationQuantizer, BitTensor, MaxPool, QActivation};
use proptest::array::uniform3;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;

const fn shared_between_threads<T: Send + Sync>() {}
const _: () = shared_between_threads::<BitTensor>();

#[derive(Clone, Debug)]
struct Tensor {
    shape: Vec<usize>,
    layout: Layout,
    seed: u64,
}

impl Tensor {
    fn stored<T: Number>(&self) -> Stored<T> {
        Stored::random(&self.shape, &self.layout, &mut Random(self.seed))
    }
}

/// Channels around whole words; batches of nothing too.
fn tensors(spatial: impl Strategy<Value = usize>) -> impl Strategy<Value = Tensor> {
    let channels = select(vec![1usize, 3, 31, 32, 33, 96]);
    // Around the 32 pixels of a block in one dimension, fewer in more.
    let sizes = (0usize..=3, channels, spatial, uniform3(1usize..=7), 0usize..=70);
    (sizes, layouts(), any::<u64>()).prop_map(|(sizes, layout, seed)| {
        let (batch, channels, spatial, mut lens, line) = sizes;
        if spatial == 1 {
            lens[0] = line;
        }
        Tensor { shape: [&[batch, channels], &lens[..spatial]].concat(), layout, seed }
    })
}

fn pack<T: Number>(x: &ArrayD<T>) -> BitTensor {
    BitTensor::pack(&ActivationQuantizer::sign(), x.view()).expect("bits")
}

fn signs<T: Number>(bits: &BitTensor) -> ArrayD<T> {
    bits.to_array().expect("signs")
}

fn bits_are_signs<T: Number>(tensor: &Tensor) -> TestCaseResult {
    let x = tensor.stored::<T>();
    let before = x.buffer.mapv(T::bits);
    let sign = ActivationQuantizer::sign();
    let packed = BitTensor::pack(&sign, x.view()).expect("bits");
    prop_assert_eq!(&packed.shape(), &tensor.shape);
    prop_assert_eq!(packed.size_in_bytes(), 4 * packed.words().len());
    let quantized = QActivation::new(sign).forward(x.view()).expect("signs");
    prop_assert_eq!(bits(&signs::<T>(&packed)), bits(&quantized));
    prop_assert_eq!(&pack(&quantized), &packed);
    prop_assert_eq!(&pack(&x.logical()), &packed);

    // Words as documented: [image][pixel][word], the first channel lowest, the rest 0.
    let mut last = quantized;
    let axes = last.ndim();
    (1..axes - 1).for_each(|axis| last.swap_axes(axis, axis + 1));
    let mut words = Vec::new();
    for pixel in last.lanes(Axis(axes - 1)) {
        for channels in pixel.to_vec().chunks(32) {
            let channels = channels.iter().enumerate();
            words.push(channels.map(|(i, &sign)| u32::from(sign > T::zero()) << i).sum::<u32>());
        }
    }
    prop_assert_eq!(packed.words(), words.as_slice());
    prop_assert_eq!(BitTensor::from_words(&packed.shape(), words), Ok(packed));
    prop_assert_eq!(x.buffer.mapv(T::bits), before);
    Ok(())
}

fn flattening_is_reshaping<T: Number>(tensor: &Tensor) -> TestCaseResult {
    let x = tensor.stored::<T>().logical();
    let packed = pack(&x);
    let before = packed.clone();
    let features = x.shape()[1..].iter().product::<usize>();
    let reshaped =
        x.to_shape(IxDyn(&[x.shape()[0], features])).expect("standard layout").to_owned();
    prop_assert_eq!(packed.flatten(), Ok(pack(&reshaped)));
    prop_assert_eq!(packed, before);
    Ok(())
}

/// Kernel, stride and padding along one axis, where the padding is shorter than the kernel.
fn windows() -> impl Strategy<Value = [[usize; 4]; 3]> {
    uniform3((1usize..=4, 1usize..=4, 0usize..4, 0usize..4).prop_map(
        |(kernel, stride, before, after)| [kernel, stride, before % kernel, after % kernel],
    ))
}

fn pool<const S: usize>(windows: &[[usize; 4]; 3], x: &BitTensor) -> BitTensor
where
    ndarray_qnn::Rank<S>: ndarray_qnn::SpatialRank,
{
    MaxPool::<S>::new(std::array::from_fn(|axis| windows[axis][0]))
        .stride(std::array::from_fn(|axis| windows[axis][1]))
        .padding_sides(std::array::from_fn(|axis| [windows[axis][2], windows[axis][3]]))
        .forward(x)
        .expect("a result")
}

fn pooling_is_that_of_floats<T: Number>(
    tensor: &Tensor,
    windows: &[[usize; 4]; 3],
) -> TestCaseResult {
    let x = tensor.stored::<T>().logical();
    // A kernel no longer than its padded axis.
    let mut windows = *windows;
    for (window, &len) in windows.iter_mut().zip(&x.shape()[2..]) {
        prop_assume!(len > 0);
        window[0] = window[0].min(len + window[2] + window[3]);
    }
    let packed = pack(&x);
    let before = packed.clone();
    let pooled = match x.ndim() {
        3 => pool::<1>(&windows, &packed),
        4 => pool::<2>(&windows, &packed),
        _ => pool::<3>(&windows, &packed),
    };
    let windows = &windows[..x.ndim() - 2];
    prop_assert_eq!(&pooled, &pack(&max_pool(&signs::<T>(&packed), windows)));
    // The sign of the greatest is the greatest sign.
    prop_assert_eq!(&pooled, &pack(&max_pool(&x, windows)));
    prop_assert_eq!(packed, before);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn bits_are_the_signs_of_floats(tensor in tensors(0usize..=3)) {
        bits_are_signs::<f32>(&tensor)?;
        bits_are_signs::<f64>(&tensor)?;
    }

    #[test]
    fn flattening_bits_is_reshaping_floats(tensor in tensors(0usize..=3)) {
        flattening_is_reshaping::<f32>(&tensor)?;
    }

    #[test]
    fn pooling_bits_is_pooling_floats(tensor in tensors(1usize..=3), windows in windows()) {
        pooling_is_that_of_floats::<f32>(&tensor, &windows)?;
        pooling_is_that_of_floats::<f64>(&tensor, &windows)?;
    }
}

/// Enough words to be shared among threads: each image comes out as it does alone.
#[test]
fn images_do_not_mix_across_threads() {
    let random = &mut Random(7);
    let x = Array4::<f32>::from_shape_simple_fn((150, 65, 18, 16), || random.number());
    let of = |x: ndarray::ArrayView4<'_, f32>| pack(&x.to_owned().into_dyn());
    let pool = MaxPool::new([2, 3]).stride([1, 1]).padding_sides([[0, 1], [1, 1]]);
    let (pooled, flat) = (pool.forward(&of(x.view())), of(x.view()).flatten());
    let pooled: Array4<f32> = pooled.expect("a result").to_array().expect("signs");
    let flat: Array2<f32> = flat.expect("a result").to_array().expect("signs");
    for image in [0, 1, 74, 149] {
        let alone = of(x.slice(s![image..=image, .., .., ..]));
        let expected: Array4<f32> = pool.forward(&alone).expect("bits").to_array().expect("signs");
        assert_eq!(pooled.index_axis(Axis(0), image), expected.index_axis(Axis(0), 0));
        let expected: Array2<f32> = alone.flatten().expect("bits").to_array().expect("signs");
        assert_eq!(flat.row(image), expected.row(0));
    }
}
