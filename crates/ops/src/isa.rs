//! Instruction sets, found at run time.
//!
//! A kernel is written once as a plain loop ([`Kernel::run`]) and compiled once for each
//! instruction set, inside a function that enables it; the compiler vectorises the loop for it.

use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Isa {
    /// What every machine of the target has: SSE2 on x86-64, NEON on AArch64.
    Baseline = 1,
    /// AVX2 with fused multiply-add.
    Avx2 = 2,
    /// AVX-512 F, VL, DQ, BW.
    Avx512 = 3,
}

impl Isa {
    /// The best one that this machine has.
    #[inline(always)]
    pub fn detect() -> Isa {
        static FOUND: AtomicU8 = AtomicU8::new(0);
        match FOUND.load(Ordering::Relaxed) {
            1 => Isa::Baseline,
            2 => Isa::Avx2,
            3 => Isa::Avx512,
            _ => {
                let found = *Isa::available().last().expect("the baseline is always there");
                FOUND.store(found as u8, Ordering::Relaxed);
                found
            }
        }
    }

    /// All that this machine has, worst first.
    #[cold]
    pub fn available() -> Vec<Isa> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
            {
                return vec![Isa::Baseline, Isa::Avx2, Isa::Avx512];
            }
            return vec![Isa::Baseline, Isa::Avx2];
        }
        vec![Isa::Baseline]
    }
}

/// A loop that is compiled once for each instruction set.
///
/// The functions that enable them are methods, so that each is compiled with its kernel's module: as functions
/// of this one, all would be compiled in one piece, one after another.
pub(crate) trait Kernel: Sized {
    /// The loop. A register holds `VECTOR` bytes; there are 32 if they are 64, else at least 16. With `FMA`,
    /// multiply and add may be fused, and only then: without the instruction, `mul_add` is a slow function
    /// call.
    ///
    /// Implementations are `#[inline(always)]`, or they would not be compiled for the set.
    fn run<const FMA: bool, const VECTOR: usize>(self);

    /// The loop for what every machine has. A function of its own, so that the way to another one has no
    /// need of its stack.
    #[inline(never)]
    fn baseline(self) {
        self.run::<BASELINE_FMA, 16>();
    }

    /// The loop for AVX2.
    ///
    /// # Safety
    /// The machine has it.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2(self) {
        self.run::<true, 32>();
    }

    /// The loop for AVX-512.
    ///
    /// # Safety
    /// The machine has it.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
    unsafe fn avx512(self) {
        self.run::<true, 64>();
    }
}

/// Whether the baseline has fused multiply-add.
const BASELINE_FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// Runs a kernel for an instruction set, which the machine must have.
///
/// # Panics
/// If the machine lacks it.
#[inline(always)]
pub(crate) fn dispatch<K: Kernel>(isa: Isa, kernel: K) {
    if isa > Isa::detect() {
        lacks(isa);
    }
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detect` found these features, or better ones that include them.
        Isa::Avx512 => unsafe { kernel.avx512() },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { kernel.avx2() },
        _ => kernel.baseline(),
    }
}

#[cold]
#[inline(never)]
fn lacks(isa: Isa) -> ! {
    panic!("this machine has no {isa:?}");
}

/// Runs a kernel whose loop is plain arithmetic: registers of 512 bits gain nothing there, and
/// lose on short arrays.
#[inline(always)]
pub(crate) fn dispatch_arithmetic<K: Kernel>(isa: Isa, kernel: K) {
    dispatch(isa.min(Isa::Avx2), kernel);
}

/// Up to how many entries plain arithmetic is done where it is called: the way to another
/// instruction set costs more than the work.
const FEW: usize = 16;

/// [`dispatch_arithmetic`] to the best instruction set for a kernel on `len` entries, whose bits do
/// not depend on the set.
#[inline]
pub(crate) fn dispatch_len<K: Kernel>(len: usize, kernel: K) {
    if len <= FEW {
        kernel.baseline();
    } else {
        dispatch_arithmetic(Isa::detect(), kernel);
    }
}
