//! What the standard library does not tell about the CPU.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
#[cfg(target_arch = "x86_64")]
use std::sync::LazyLock;

/// Whether a CPU with AVX-512 starts two dot products of bytes a cycle, as Intel's servers do; Zen 4
/// starts one.
#[cfg(target_arch = "x86_64")]
pub(crate) fn starts_two_byte_products() -> bool {
    // Where the CPU is virtual, asking is slow.
    static IS_INTEL: LazyLock<bool> = LazyLock::new(|| {
        #[allow(unused_unsafe)] // it is not `unsafe` in every version of Rust
        // SAFETY: every x86-64 CPU tells its vendor.
        let found = unsafe { __cpuid(0) };
        let vendor = [found.ebx, found.edx, found.ecx].map(u32::to_le_bytes);
        vendor.as_flattened() == b"GenuineIntel"
    });
    *IS_INTEL
}

/// No other CPU has AVX-512.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn starts_two_byte_products() -> bool {
    false
}

/// Whether tiles and their products of bytes can be used.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_tiles() -> bool {
    static HAS_TILES: LazyLock<bool> = LazyLock::new(|| {
        // SAFETY: there is XSAVE.
        let knows_tiles = is_x86_feature_detected!("xsave") && unsafe { knows_tiles() };
        knows_tiles && may_use_tiles()
    });
    *HAS_TILES
}

/// Whether the CPU has them, and the operating system keeps their state.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "xsave")]
#[allow(unused_unsafe)] // `cpuid` is not `unsafe` in every version of Rust
unsafe fn knows_tiles() -> bool {
    /// AMX-TILE and AMX-INT8, in EDX.
    const FEATURES: u32 = 1 << 24 | 1 << 25;
    /// The states of their shapes and of their data, in XCR0.
    const STATES: u64 = 1 << 17 | 1 << 18;
    // SAFETY: every x86-64 CPU has leaf 0, and says there how many there are; XCR0 can be read, as
    // there is XSAVE and the operating system uses it.
    unsafe {
        __cpuid(0).eax >= 7
            && __cpuid_count(7, 0).edx & FEATURES == FEATURES
            && _xgetbv(0) & STATES == STATES
    }
}

/// Asks Linux for the permission to use tiles, which holds for the whole process and lasts.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64"))]
fn may_use_tiles() -> bool {
    const ARCH_PRCTL: isize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const TILE_DATA: usize = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: a system call that reads and writes no memory of this process, and changes nothing
    // but what the kernel permits. It overwrites the two registers.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    result == 0
}

/// Tiles are new to others.
#[cfg(all(target_arch = "x86_64", not(all(target_os = "linux", target_pointer_width = "64"))))]
fn may_use_tiles() -> bool {
    false
}
