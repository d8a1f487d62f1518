//! Which instruction set the kernels use.

#[cfg(target_arch = "x86_64")]
use super::cpu;
use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that there are kernels for. All give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust.
    Portable,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX2 and AVX-VNNI, as Alder Lake and its followers have.
    AvxVnni,
    /// x86-64 with AVX-512: F, BW, DQ, VL, VPOPCNTDQ and VNNI, as Ice Lake and Zen 4 have.
    Avx512,
    /// x86-64 Linux with AMX, tiles and their products of bytes, and all of [`Isa::Avx512`], as
    /// Sapphire Rapids has. The kernel must permit tiles, which it is asked for once, when this is
    /// first looked for. From then on it refuses alternate signal stacks, in the whole process,
    /// that tiles do not fit (see `AT_MINSIGSTKSZ`; those of Rust's threads are large enough).
    Amx,
    /// AArch64 with Advanced SIMD.
    Neon,
    /// AArch64 with Advanced SIMD and its dot products.
    Dotprod,
}

impl Isa {
    /// All there are, the slowest first.
    pub const ALL: &'static [Isa] =
        &[Isa::Portable, Isa::Avx2, Isa::AvxVnni, Isa::Avx512, Isa::Amx, Isa::Neon, Isa::Dotprod];

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vpopcntdq")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => Isa::Avx512.is_available() && cpu::has_tiles(),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "aarch64")]
            Isa::Dotprod => {
                std::arch::is_aarch64_feature_detected!("neon")
                    && std::arch::is_aarch64_feature_detected!("dotprod")
            }
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// The one that operators use now: the forced one, else that of `QNN_ISA`, else the fastest of
    /// this CPU.
    pub fn current() -> Isa {
        current()
    }

    /// Its name, as in the environment variable `QNN_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512 => "avx512",
            Isa::Amx => "amx",
            Isa::Neon => "neon",
            Isa::Dotprod => "dotprod",
        }
    }
}

/// Nothing chosen yet; any other value is 1 + an index into [`Isa::ALL`].
const UNSET: u8 = 0;
static CHOSEN: AtomicU8 = AtomicU8::new(UNSET);

/// Makes operators use an instruction set, in the whole process; `None` goes back to the choice
/// of the environment variable `QNN_ISA` or, without it, the fastest. Returns whether this CPU
/// has it: if not, nothing changes. For tests and measurements.
pub fn force_isa(isa: Option<Isa>) -> bool {
    let isa = isa.unwrap_or_else(default_isa);
    if isa.is_available() {
        choose(isa);
    }
    isa.is_available()
}

fn choose(isa: Isa) {
    let index = Isa::ALL.iter().position(|&other| other == isa).unwrap_or(0);
    CHOSEN.store(1 + index as u8, Ordering::Relaxed);
}

pub(super) fn current() -> Isa {
    match CHOSEN.load(Ordering::Relaxed) {
        UNSET => {
            let isa = default_isa();
            choose(isa);
            isa
        }
        index => Isa::ALL[usize::from(index) - 1],
    }
}

/// What `QNN_ISA` names, if this CPU has it, else the fastest there is.
fn default_isa() -> Isa {
    let mut available = Isa::ALL.iter().copied().rev().filter(|isa| isa.is_available());
    let named = std::env::var("QNN_ISA").unwrap_or_default();
    let found = available.clone().find(|isa| isa.name() == named);
    found.or_else(|| available.next()).unwrap_or(Isa::Portable)
}
