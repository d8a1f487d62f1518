//! Rooflines of x86-64.

#![allow(unsafe_code)]

use super::{BITS, BYTE_ROUNDS, FACTORS, FUSED_VECTORS, Loop, ROUNDS, VECTORS};
use ndarray_qnn::Isa;
use std::arch::{asm, x86_64::*};
use std::mem::transmute;

/// Makes the compiler forget what a register holds, at no instruction, so that nothing computed
/// from it can be taken out of a loop.
macro_rules! forget {
    ($class:ident, $register:ident) => {
        // SAFETY: a comment.
        unsafe {
            asm!("/* {0} */", inout($class) $register, options(nomem, nostack, preserves_flags));
        }
    };
}

/// The loop of AVX-512 or AVX2, if the CPU has it.
pub(super) fn popcount(isa: &str) -> Option<Loop> {
    let avx512 = ["amx", "avx512"].contains(&isa)
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vpopcntdq");
    if avx512 {
        // SAFETY: the CPU has these extensions.
        return Some(Loop { bytes: 64 * VECTORS, sum: || unsafe { popcount_avx512() } });
    }
    let avx2 = is_x86_feature_detected!("avx2");
    // SAFETY: the CPU has AVX2.
    avx2.then_some(Loop { bytes: 32 * VECTORS, sum: || unsafe { popcount_avx2() } })
}

/// The loop of AMX, AVX-512 or AVX2, if the CPU has it.
pub(super) fn byte_dot(isa: &str) -> Option<Loop> {
    if isa == "amx" && Isa::Amx.is_available() {
        // SAFETY: the CPU has tiles, and they are permitted.
        return Some(Loop { bytes: TILES * 16 * 16 * 64, sum: || unsafe { byte_dot_amx() } });
    }
    let avx512 = isa == "avx512"
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vnni");
    if avx512 {
        // SAFETY: the CPU has these extensions.
        return Some(Loop { bytes: 64 * FUSED_VECTORS, sum: || unsafe { byte_dot_avx512() } });
    }
    let avx2 = is_x86_feature_detected!("avx2");
    // SAFETY: the CPU has AVX2.
    avx2.then_some(Loop { bytes: 32 * VECTORS, sum: || unsafe { byte_dot_avx2() } })
}

/// The loop of AVX-VNNI, if the CPU has it.
pub(super) fn byte_dot_avx_vnni() -> Option<Loop> {
    let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni");
    // SAFETY: the CPU has AVX-VNNI.
    found.then_some(Loop { bytes: 32 * FUSED_VECTORS, sum: || unsafe { byte_dot_vnni() } })
}

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn popcount_avx512() -> u64 {
    let [mut a, mut b] = BITS.map(|byte| _mm512_set1_epi8(byte as i8));
    forget!(zmm_reg, a);
    let mut sums = [_mm512_setzero_si512(); VECTORS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            forget!(zmm_reg, b);
            *sum = _mm512_add_epi32(*sum, _mm512_popcnt_epi32(_mm512_xor_si512(a, b)));
        }
    }
    sums.iter().map(|&sum| _mm512_reduce_add_epi32(sum) as u64).sum()
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn byte_dot_avx512() -> u64 {
    let [mut a, mut b] = FACTORS.map(|factor| _mm512_set1_epi8(factor as i8));
    forget!(zmm_reg, a);
    let mut sums = [_mm512_setzero_si512(); FUSED_VECTORS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            forget!(zmm_reg, b);
            *sum = _mm512_dpbusd_epi32(*sum, a, b);
        }
    }
    sums.iter().map(|&sum| _mm512_reduce_add_epi32(sum) as u64).sum()
}

/// Tiles with sums of their own: as many as two factors of each kind make.
const TILES: usize = 4;

/// A byte of each factor fills two tiles of it.
///
/// # Safety
/// The CPU must have AMX, and its use be permitted.
unsafe fn byte_dot_amx() -> u64 {
    #[repr(align(64))]
    struct Shapes([u8; 64]);
    let mut shapes = Shapes([0; 64]);
    shapes.0[0] = 1;
    for tile in 0..8 {
        shapes.0[16 + 2 * tile] = 64;
        shapes.0[48 + tile] = 16;
    }
    let factors = FACTORS.map(|factor| [factor; 16 * 64]);
    let mut sums = [[0_i32; 16 * 16]; TILES];
    // SAFETY: the CPU has tiles; what they are loaded from and stored to has their size.
    unsafe {
        asm!(
            "ldtilecfg [{shapes}]",
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "tileloadd tmm4, [{a} + {line}]", "tileloadd tmm5, [{a} + {line}]",
            "tileloadd tmm6, [{b} + {line}]", "tileloadd tmm7, [{b} + {line}]",
            "2:",
            "tdpbusd tmm0, tmm4, tmm6", "tdpbusd tmm1, tmm4, tmm7",
            "tdpbusd tmm2, tmm5, tmm6", "tdpbusd tmm3, tmm5, tmm7",
            "dec {rounds}",
            "jnz 2b",
            "tilestored [{sums} + {line}], tmm0", "tilestored [{sums} + {line} + 1024], tmm1",
            "tilestored [{sums} + {line} + 2048], tmm2", "tilestored [{sums} + {line} + 3072], tmm3",
            "tilerelease",
            shapes = in(reg) &shapes,
            a = in(reg) &factors[0],
            b = in(reg) &factors[1],
            sums = in(reg) &mut sums,
            line = in(reg) 64_usize,
            rounds = inout(reg) ROUNDS => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
    }
    sums.as_flattened().iter().map(|&sum| sum as u64).sum()
}

/// With the counts of four bits from a table, twice, and counters of bytes.
#[target_feature(enable = "avx2")]
fn popcount_avx2() -> u64 {
    let [mut a, mut b] = BITS.map(|byte| _mm256_set1_epi8(byte as i8));
    let counts = _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    let (mut table, mut low_half) = (_mm256_broadcastsi128_si256(counts), _mm256_set1_epi8(0x0f));
    forget!(ymm_reg, a);
    forget!(ymm_reg, table);
    forget!(ymm_reg, low_half);
    let zero = _mm256_setzero_si256();
    let mut total = zero;
    for _ in 0..ROUNDS / BYTE_ROUNDS {
        let mut counters = [zero; VECTORS];
        for _ in 0..BYTE_ROUNDS {
            for counter in &mut counters {
                forget!(ymm_reg, b);
                let bits = _mm256_xor_si256(a, b);
                let low = _mm256_and_si256(bits, low_half);
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bits), low_half);
                let (low, high) =
                    (_mm256_shuffle_epi8(table, low), _mm256_shuffle_epi8(table, high));
                *counter = _mm256_add_epi8(*counter, _mm256_add_epi8(low, high));
            }
        }
        for counter in counters {
            total = _mm256_add_epi64(total, _mm256_sad_epu8(counter, zero));
        }
    }
    // SAFETY: both are 32 bytes without a niche.
    let lanes: [u64; 4] = unsafe { transmute(total) };
    lanes.iter().sum()
}

#[target_feature(enable = "avx2")]
fn byte_dot_avx2() -> u64 {
    let [mut a, mut b] = FACTORS.map(|factor| _mm256_set1_epi8(factor as i8));
    let mut ones = _mm256_set1_epi16(1);
    forget!(ymm_reg, a);
    forget!(ymm_reg, ones);
    let mut sums = [_mm256_setzero_si256(); VECTORS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            forget!(ymm_reg, b);
            let products = _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones);
            *sum = _mm256_add_epi32(*sum, products);
        }
    }
    sums.iter().map(|&sum| add_lanes(sum)).sum()
}

#[target_feature(enable = "avx2,avxvnni")]
fn byte_dot_vnni() -> u64 {
    let [mut a, mut b] = FACTORS.map(|factor| _mm256_set1_epi8(factor as i8));
    forget!(ymm_reg, a);
    let mut sums = [_mm256_setzero_si256(); FUSED_VECTORS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            forget!(ymm_reg, b);
            *sum = _mm256_dpbusd_avx_epi32(*sum, a, b);
        }
    }
    sums.iter().map(|&sum| add_lanes(sum)).sum()
}

fn add_lanes(sum: __m256i) -> u64 {
    // SAFETY: both are 32 bytes without a niche.
    let lanes: [i32; 8] = unsafe { transmute(sum) };
    lanes.iter().map(|&lane| lane as u64).sum()
}
