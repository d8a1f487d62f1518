//! The `_into` operators allocate nothing once their scratch has grown, up to 8 x 8 bits, and of
//! few rows with weights of up to 8 bits. (Elsewhere the matrix product of `ndarray` has a buffer
//! of its own.)

use allocation_counter::measure;
use ndarray::{Array2, Array4};
use ndarray_qnn::{
    ActivationQuantizer, BitTensor, FullPrecision, InputScaling, QConvolution, QFullyConnected,
    Result, Scaling, Scratch, WeightQuantizer,
};

/// Quantizer pairs of the bit path and the byte path.
fn pairs() -> Result<[(ActivationQuantizer, WeightQuantizer); 5]> {
    Ok([
        (ActivationQuantizer::sign(), WeightQuantizer::sign()),
        (ActivationQuantizer::dorefa(4)?, WeightQuantizer::dorefa(3)?),
        (ActivationQuantizer::dorefa(8)?, WeightQuantizer::sign()),
        (ActivationQuantizer::heaviside(), WeightQuantizer::magnitude_aware_sign()),
        (ActivationQuantizer::absmax(8)?, WeightQuantizer::absmean()),
    ])
}

/// Runs on this thread alone, which is the one whose allocations are counted.
fn on_this_thread(test: impl FnOnce() + Send) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
    pool.build().expect("a pool of this thread").install(test);
}

#[test]
fn packed_forwards_allocate_nothing_after_the_first() {
    on_this_thread(|| {
        for (activation, weight) in pairs().expect("widths") {
            let mut scratch = Scratch::new();
            let fc = QFullyConnected::new(activation, weight).scaling(Scaling::PerFilter);
            let w = Array2::from_shape_fn((37, 300), |(f, i)| (f * i % 13) as f32 - 5.5);
            let x = Array2::from_shape_fn((20, 300), |(n, i)| (n * i % 11) as f32 / 10.0 - 0.2);
            let mut y = Array2::zeros((20, 37));
            let packed = fc.pack(w.view()).expect("packed weights");
            let mut dense = || {
                fc.forward_packed_into(x.view(), &packed, None, &mut scratch, y.view_mut())
                    .expect("an output");
            };
            dense();
            assert_eq!(measure(&mut dense).count_total, 0, "dense {activation:?} {weight:?}");

            let conv = QConvolution::new(activation, weight)
                .padding([1, 1])
                .input_scaling(InputScaling::KMap);
            let w =
                Array4::from_shape_fn((19, 5, 3, 3), |(f, c, i, j)| (f * c + i * j) as f32 - 9.5);
            let x =
                Array4::from_shape_fn((2, 5, 9, 9), |(n, c, i, j)| (n + c * i + j) as f32 / 9.0);
            let mut y = Array4::zeros((2, 19, 9, 9));
            let packed = conv.pack(w.view()).expect("packed weights");
            let mut convolve = || {
                conv.forward_packed_into(x.view(), &packed, None, &mut scratch, y.view_mut())
                    .expect("an output");
            };
            convolve();
            assert_eq!(measure(&mut convolve).count_total, 0, "conv {activation:?} {weight:?}");
        }
    });
}

/// Channels that fill words, so that windows are read from padded images.
#[test]
fn layers_in_bits_allocate_nothing_after_the_first() {
    on_this_thread(|| {
        let sign = ActivationQuantizer::sign();
        let conv = QConvolution::<2>::new(sign, WeightQuantizer::sign()).padding([1, 1]);
        let w = Array4::from_shape_fn((40, 64, 3, 3), |(f, c, i, j)| (f * c + i * j) as f32 - 9.5);
        let x = Array4::from_shape_fn((2, 64, 9, 9), |(n, c, i, j)| (n + c * i + j) as f32 - 20.0);
        let packed = conv.pack(w.view()).expect("packed weights");
        let thresholds = conv.fold(&packed, None, None, &sign).expect("thresholds");
        let x = BitTensor::pack(&sign, x.view()).expect("signs");
        let (mut scratch, mut y) = (Scratch::new(), BitTensor::default());
        let mut convolve = || {
            conv.forward_signs_into(&x, &packed, &thresholds, &mut scratch, &mut y)
                .expect("an output");
        };
        convolve();
        convolve(); // output and scratch change places
        assert_eq!(measure(&mut convolve).count_total, 0);
    });
}

#[test]
fn few_rows_with_narrow_weights_allocate_nothing_after_the_first() {
    on_this_thread(|| {
        let activation = ActivationQuantizer::full_precision(FullPrecision::Relu);
        for bits in [1, 2, 4, 8] {
            let mut scratch = Scratch::new();
            let weight = WeightQuantizer::uniform(bits).expect("a width");
            let fc = QFullyConnected::new(activation, weight).scaling(Scaling::PerFilter);
            let w = Array2::from_shape_fn((37, 300), |(f, i)| (f * i % 13) as f32 / 6.0 - 1.0);
            let x = Array2::from_shape_fn((7, 300), |(n, i)| (n * i % 11) as f32 - 4.5);
            let mut y = Array2::zeros((7, 37));
            let packed = fc.pack(w.view()).expect("packed weights");
            let mut forward = || {
                fc.forward_packed_into(x.view(), &packed, None, &mut scratch, y.view_mut())
                    .expect("an output");
            };
            forward();
            assert_eq!(measure(&mut forward).count_total, 0, "{bits} bits");
        }
    });
}
