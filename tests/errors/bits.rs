//! Bit tensors and pooling that cannot be.

use ndarray::{Array, Array2, ArrayD, Ix4, IxDyn, array};
use ndarray_qnn::{ActivationQuantizer, BitTensor, Error, FullPrecision, MaxPool, Operand};

const SIGN: fn() -> ActivationQuantizer = ActivationQuantizer::sign;

fn bits(shape: &[usize]) -> BitTensor {
    BitTensor::pack(&SIGN(), ArrayD::<f32>::ones(shape).view()).expect("bits")
}

#[test]
fn only_signs_are_packed() {
    let x = array![[1.0f32, -1.0]];
    for quantizer in [
        ActivationQuantizer::heaviside(),
        ActivationQuantizer::dorefa(1).expect("a width"),
        ActivationQuantizer::dorefa(2).expect("a width"),
        ActivationQuantizer::identity(),
        ActivationQuantizer::full_precision(FullPrecision::ApproxSign),
    ] {
        let (option, expected) = ("activation quantizer", "one of signs, -1 and +1");
        let found = format!("{quantizer:?}");
        let refused = Error::Unsupported { option, expected, found };
        assert_eq!(BitTensor::pack(&quantizer, x.view()), Err(refused));
    }
    for place in 0..66 {
        for layout in [[2, 33], [33, 2]] {
            let mut x = Array2::<f64>::ones(layout);
            *x.iter_mut().nth(place).expect("a place") = f64::NAN;
            let nan = Err(Error::NaN { operand: Operand::Input });
            assert_eq!(BitTensor::pack(&SIGN(), x.view()), nan);
            assert_eq!(BitTensor::pack(&SIGN(), x.t()), nan);
        }
    }
    let x = array![[f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0]];
    assert_eq!(BitTensor::pack(&SIGN(), x.view()).expect("bits").words(), [0b1101]);
}

#[test]
fn dimensions() {
    for (dims, expected) in [(0, false), (1, false), (2, true), (5, true), (6, false)] {
        let shape = vec![1; dims];
        let of = |operand| Error::Dimensions { operand, expected: "2 to 5", found: dims };
        let x = ArrayD::<f32>::ones(IxDyn(&shape));
        let packed = BitTensor::pack(&SIGN(), x.view());
        let loaded = BitTensor::from_words(&shape, vec![1]);
        if expected {
            assert_eq!(packed, loaded);
            assert_eq!(packed.expect("bits").shape(), shape);
        } else {
            assert_eq!(packed, Err(of(Operand::Input)));
            assert_eq!(loaded, Err(of(Operand::Words)));
        }
    }
    let dimensions = |operand, expected, found| Error::Dimensions { operand, expected, found };
    let found: Result<Array<f32, Ix4>, _> = bits(&[1, 2, 3]).to_array();
    assert_eq!(found, Err(dimensions(Operand::Words, "4", 3)));
    let found = MaxPool::new([1, 1]).forward(&bits(&[1, 2]));
    assert_eq!(found, Err(dimensions(Operand::Input, "4", 2)));
    let found = MaxPool::new([1, 1, 1]).forward(&bits(&[1, 2, 3, 4]));
    assert_eq!(found, Err(dimensions(Operand::Input, "5", 4)));
}

#[test]
fn words_must_be_those_of_the_shape() {
    let count = |expected, found| {
        Err(Error::AxisLength { operand: Operand::Words, axis: 0, expected, found })
    };
    let load = |shape: &[usize], words: &[u32]| BitTensor::from_words(shape, words.to_vec());
    assert_eq!(load(&[2, 33], &[0; 3]), count(4, 3));
    assert_eq!(load(&[2, 33, 5, 7], &[0; 141]), count(140, 141));
    assert_eq!(load(&[0, 33], &[0; 1]), count(0, 1));
    assert_eq!(load(&[3, 0, 4], &[]).expect("bits").shape(), [3, 0, 4]);

    let unused = |index, word| Err(Error::UnusedBits { index, word });
    assert_eq!(load(&[2, 31], &[u32::MAX >> 1, 1 << 31]), unused(1, 1 << 31));
    assert_eq!(load(&[1, 33, 2], &[u32::MAX, 1, u32::MAX, 3]), unused(3, 3));
    assert!(load(&[2, 32], &[u32::MAX; 2]).is_ok());
    for shape in [&[usize::MAX, 2][..], &[1 << 40, 1 << 20, 1 << 4], &[0, usize::MAX, 2]] {
        assert!(matches!(load(shape, &[]), Err(Error::TooLarge { .. })));
    }
}

#[test]
fn more_signs_than_there_is_memory_for() {
    let one = array![[[1.0f32]]];
    let huge = one.broadcast((1 << 20, 1 << 20, 1 << 14)).expect("a shape");
    assert!(matches!(BitTensor::pack(&SIGN(), huge), Err(Error::TooLarge { .. })));
    // Nothing, but of many channels.
    let nothing = BitTensor::from_words(&[0, 1 << 40, 1 << 20], vec![]).expect("bits");
    assert_eq!(nothing.flatten().expect("bits").shape(), [0, 1 << 60]);
}

#[test]
fn windows_must_fit() {
    let x = bits(&[1, 3, 6, 5]);
    let pool = MaxPool::new([2, 3]);
    for axis in 0..2 {
        let of = |len| if axis == 0 { [len, 1] } else { [1, len] };
        let zero = |parameter| Err(Error::Zero { parameter, axis });
        assert_eq!(pool.stride(of(0)).forward(&x), zero("stride"));
        assert_eq!(MaxPool::new(of(0)).stride([1, 1]).forward(&x), zero("kernel"));
        let padded_input = [6, 5][axis];
        let too_large = Error::KernelTooLarge { axis, kernel: 7, padded_input };
        assert_eq!(MaxPool::new(of(7)).forward(&x), Err(too_large));
        for kernel in 1..5 {
            let padding = Err(Error::Padding { axis, kernel, padding: kernel });
            for sides in [[0, kernel], [kernel, 0], [kernel, kernel]] {
                let mut all = [[0; 2]; 2];
                all[axis] = sides;
                let pool = MaxPool::new(of(kernel)).padding_sides(all);
                assert_eq!(pool.forward(&x), padding, "{pool:?}");
            }
            assert!(
                MaxPool::new(of(kernel)).padding(of(kernel).map(|k| k - 1)).forward(&x).is_ok()
            );
        }
    }
    for huge in [1 << 40, isize::MAX as usize, usize::MAX] {
        let pool = MaxPool::new([1, huge]).padding_sides([[0, 0], [huge - 1, huge - 1]]);
        let result = pool.stride([1, 1]).forward(&x);
        assert!(matches!(result, Err(Error::TooLarge { .. })), "{result:?}");
    }
}

/// Along an axis of length 0 there are no windows, or only such that see nothing.
#[test]
fn pooling_nothing() {
    for shape in [[0, 3, 4, 4], [2, 0, 4, 4]] {
        let pooled = MaxPool::new([2, 2]).forward(&bits(&shape)).expect("bits");
        assert_eq!(pooled.shape(), [shape[0], shape[1], 2, 2]);
    }
    let x = bits(&[2, 3, 4, 0]);
    assert_eq!(MaxPool::new([1, 1]).forward(&x).expect("bits").shape(), [2, 3, 4, 0]);
    assert_eq!(
        MaxPool::new([1, 2]).padding([0, 1]).forward(&x),
        Err(Error::AxisLength { operand: Operand::Input, axis: 3, expected: 1, found: 0 })
    );
}
