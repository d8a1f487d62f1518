//! The most that the arithmetic of an instruction set can do: loops on registers alone, with
//! nothing to load, store or add up over lanes.

use super::Contestant;

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

/// The name of [`popcount`] among the contestants.
pub(crate) const POPCOUNT: &str = "popcount roofline";

/// The name of [`byte_dot`] among the contestants.
pub(crate) const BYTE_DOT: &str = "int8 roofline";

/// Vectors with a sum each, so that no addition waits for another. Instructions that multiply and
/// add take up to five cycles, of which two may start in one.
const VECTORS: usize = 8;
const FUSED_VECTORS: usize = 12;

/// How often each gets another vector. Counters of a byte take [`BYTE_ROUNDS`] of at most 8.
const ROUNDS: usize = 64 * BYTE_ROUNDS;
const BYTE_ROUNDS: usize = 31;

/// A loop of [`ROUNDS`]: the bytes of all vectors of a round, and the code. It returns the sum, so
/// that nothing can be left out.
struct Loop {
    bytes: usize,
    sum: fn() -> u64,
}

/// Operands of which the xor has half its bits set, three in one half of a byte, and factors of bytes.
const BITS: [u8; 2] = [0x55, 0x24];
const FACTORS: [u8; 2] = [3, 2];

/// The plain product of bits: xor, popcount and addition of vectors. A bit is a multiply-accumulate.
pub(crate) fn popcount(isa: &str) -> Contestant<'static> {
    let Loop { bytes, sum } = match isa {
        #[cfg(target_arch = "x86_64")]
        "amx" | "avx512" | "avxvnni" | "avx2" => {
            x86_64::popcount(isa).unwrap_or(portable::POPCOUNT)
        }
        #[cfg(target_arch = "aarch64")]
        "neon" | "dotprod" => neon::POPCOUNT,
        _ => portable::POPCOUNT,
    };
    let bits = 8 * bytes * ROUNDS;
    Contestant::new(POPCOUNT, bits as f64, move || assert_eq!(sum(), bits as u64 / 2))
}

/// The product of bytes with sums of 32 bits. A byte is a multiply-accumulate.
pub(crate) fn byte_dot(isa: &str) -> Contestant<'static> {
    let found = match isa {
        #[cfg(target_arch = "x86_64")]
        "avxvnni" => x86_64::byte_dot_avx_vnni().unwrap_or(portable::BYTE_DOT),
        #[cfg(target_arch = "x86_64")]
        "amx" | "avx512" | "avx2" => x86_64::byte_dot(isa).unwrap_or(portable::BYTE_DOT),
        #[cfg(target_arch = "aarch64")]
        "neon" | "dotprod" => neon::BYTE_DOT,
        _ => portable::BYTE_DOT,
    };
    byte_loop(BYTE_DOT, found)
}

/// The same on tiles and on vectors, if the instruction set has tiles, else on vectors alone.
pub(crate) fn byte_dots(isa: &str) -> Vec<Contestant<'static>> {
    let mut loops = vec![byte_dot(isa)];
    if isa == "amx" {
        let vectors = byte_dot("avx512");
        loops.push(Contestant { name: "int8 roofline, AVX-512", ..vectors });
    }
    loops
}

/// The same with AVX-VNNI, which some CPUs with AVX2 have.
pub(crate) fn byte_dot_avx_vnni() -> Option<Contestant<'static>> {
    #[cfg(target_arch = "x86_64")]
    let found = x86_64::byte_dot_avx_vnni();
    #[cfg(not(target_arch = "x86_64"))]
    let found = None;
    found.map(|found| byte_loop("int8 roofline, AVX-VNNI", found))
}

fn byte_loop(name: &'static str, Loop { bytes, sum }: Loop) -> Contestant<'static> {
    let bytes = bytes * ROUNDS;
    let product = u64::from(FACTORS[0] * FACTORS[1]);
    Contestant::new(name, bytes as f64, move || assert_eq!(sum(), bytes as u64 * product))
}
