//! The clock of the core while it works, which no counter gives without privileges.

use super::Contestant;

/// Additions in a row, and how many such rows a call has.
const CHAIN: usize = 64;
const LINKS: usize = 1000;

/// A chain of dependent additions of registers: one a cycle on any CPU. (Additions of constants
/// would not do: some CPUs have several of them done while renaming registers.)
pub(crate) fn clock() -> Option<Contestant<'static>> {
    let known = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
    known.then(|| {
        Contestant::new("clock", (CHAIN * LINKS) as f64, || {
            let mut sum = 0;
            for _ in 0..LINKS {
                sum = add_repeatedly(sum, 1);
            }
            assert_eq!(sum, CHAIN * LINKS);
        })
    })
}

/// `sum + CHAIN * x`, an addition at a time.
#[inline(always)]
#[allow(unsafe_code)]
fn add_repeatedly(mut sum: usize, x: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: arithmetic on registers.
    unsafe {
        std::arch::asm!(
            ".rept {chain}", "add {sum}, {x}", ".endr",
            chain = const CHAIN, sum = inout(reg) sum, x = in(reg) x, options(nomem, nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: arithmetic on registers.
    unsafe {
        std::arch::asm!(
            ".rept {chain}", "add {sum}, {sum}, {x}", ".endr",
            chain = const CHAIN, sum = inout(reg) sum, x = in(reg) x, options(nomem, nostack),
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        sum += CHAIN * x;
    }
    sum
}
