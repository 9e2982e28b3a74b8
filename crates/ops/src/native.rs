//! A small program on single numbers as machine code.
//!
//! Taking up an operation costs more than the operation, and a number that was just written is read
//! from memory again. Machine code has neither: it keeps results in the processor's registers. What
//! it computes is what [`run_scalars`](crate::run_scalars) does, to the same bits.
//!
//! Nor need it take its numbers from the registers of the program: some of them may lie in slices
//! that are handed over, so that nothing is copied to and fro.

mod assembler;
mod encoding;
mod lanes;

use std::fmt;
use std::marker::PhantomData;

use memmap2::{Mmap, MmapMut};

use self::assembler::Assembler;
use self::encoding::Width;
pub use self::lanes::NativeLanes;
use crate::Real;
use crate::lanes::{Apart, SCALAR_REGISTERS, SLICES, ScalarStep};

/// A program as machine code: see [`Native::compile`].
pub struct Native<T> {
    code: Mmap,
    /// What its calls point to.
    _steps: Box<[ScalarStep]>,
    /// How long each slice must be.
    lens: [usize; SLICES],
    of: PhantomData<fn(T)>,
}

impl<T> fmt::Debug for Native<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Native({} bytes)", self.code.len())
    }
}

impl<T: Real> Native<T> {
    /// Translates steps, which takes some microseconds; `None` if the machine has no AVX, or the
    /// system does not let a program make code. The first registers, `results` of them, are what is
    /// wanted: the others that steps write hold anything after a run.
    ///
    /// ```
    /// use costate_ops::{Native, SCALAR_REGISTERS, ScalarOp, ScalarStep};
    ///
    /// let steps = [ScalarStep { op: ScalarOp::MulAdd, args: [1, 2, 3], out: 0 }];
    /// if let Some(native) = Native::<f64>::compile(&steps, 1) {
    ///     let mut registers = [0.0; SCALAR_REGISTERS];
    ///     registers[1..4].copy_from_slice(&[2.0, 3.0, 4.0]);
    ///     native.run(&mut registers);
    ///     assert_eq!(registers[0], 10.0);
    /// }
    /// ```
    pub fn compile(steps: &[ScalarStep], results: usize) -> Option<Native<T>> {
        Native::compile_apart(steps, results, &[])
    }

    /// [`compile`](Native::compile), with some registers in the slices of
    /// [`run_on`](Native::run_on): the first two of these are only read.
    ///
    /// ```
    /// use costate_ops::{Apart, Native, SCALAR_REGISTERS, ScalarOp, ScalarStep};
    ///
    /// let steps = [ScalarStep { op: ScalarOp::Mul, args: [1, 2, 0], out: 0 }];
    /// let apart = [
    ///     Apart { registers: 0..1, slice: 2, offset: 1 },
    ///     Apart { registers: 1..2, slice: 0, offset: 0 },
    /// ];
    /// if let Some(native) = Native::<f64>::compile_apart(&steps, 1, &apart) {
    ///     let mut registers = [3.0; SCALAR_REGISTERS];
    ///     let mut found = [0.0; 2];
    ///     native.run_on(&mut registers, [&[2.0], &[]], [&mut found, &mut []]);
    ///     assert_eq!(found, [0.0, 6.0]);
    /// }
    /// ```
    ///
    /// # Panics
    /// If there are no such registers or slices, or a step writes a register that is only read.
    pub fn compile_apart(
        steps: &[ScalarStep],
        results: usize,
        apart: &[Apart],
    ) -> Option<Native<T>> {
        let lens = lens(steps, apart);
        if cfg!(miri) || !is_x86_feature_detected!("avx") {
            return None;
        }
        let steps: Box<[ScalarStep]> = steps.into();
        let code = executable::<T>(&steps, results, apart, Width::One)?;
        Some(Native { code, _steps: steps, lens, of: PhantomData })
    }

    /// Runs the program.
    ///
    /// # Panics
    /// If some of its registers lie [apart](Native::compile_apart).
    #[inline]
    pub fn run(&self, registers: &mut [T; SCALAR_REGISTERS]) {
        self.run_on(registers, [&[], &[]], [&mut [], &mut []]);
    }

    /// Runs the program with these slices.
    ///
    /// # Panics
    /// If one of them is too short.
    #[inline]
    pub fn run_on(
        &self,
        registers: &mut [T; SCALAR_REGISTERS],
        read: [&[T]; 2],
        write: [&mut [T]; 2],
    ) {
        let lens = [read[0].len(), read[1].len(), write[0].len(), write[1].len()];
        let long = (0..SLICES).all(|i| lens[i] >= self.lens[i]);
        assert!(long, "slices of {lens:?} entries, where {:?} are needed", self.lens);
        let entry = self.code.as_ptr();
        let [a, b] = read.map(<[T]>::as_ptr);
        let [c, d] = write.map(<[T]>::as_mut_ptr);
        // SAFETY: the code is a whole function of this signature, which the assembler wrote. An
        // operand's address is one of the five pointers plus a number of entries: eight bits for the
        // registers, and less than the length that was just checked for a slice. It writes to
        // registers and to the last two slices alone, which was checked when it was made. It uses
        // those of the processor's registers that the calling convention leaves to it, and puts back
        // the others. The steps that it points to live as long as it does.
        unsafe {
            let entry: unsafe extern "sysv64" fn(*mut T, *const T, *const T, *mut T, *mut T) =
                std::mem::transmute(entry);
            entry(registers.as_mut_ptr(), a, b, c, d);
        }
    }
}

/// How long each slice must be.
///
/// # Panics
/// If there are no such registers or slices, or a step writes a register that is only read.
#[track_caller]
fn lens(steps: &[ScalarStep], apart: &[Apart]) -> [usize; SLICES] {
    let mut lens = [0; SLICES];
    for Apart { registers, slice, offset } in apart {
        assert!(registers.end <= SCALAR_REGISTERS && *slice < SLICES, "no such place");
        lens[*slice] = lens[*slice].max(offset + registers.len());
        let is_read = *slice < SLICES / 2;
        let written = |step: &ScalarStep| registers.contains(&usize::from(step.out));
        assert!(!(is_read && steps.iter().any(written)), "slice {slice} is only read");
    }
    lens
}

/// The code of steps, which must live as long as it does.
fn executable<T: Real>(
    steps: &[ScalarStep],
    results: usize,
    apart: &[Apart],
    width: Width,
) -> Option<Mmap> {
    let assembled = Assembler::<T>::new(steps, results, apart, width).assemble();
    let mut code = MmapMut::map_anon(assembled.len()).ok()?;
    code.copy_from_slice(&assembled);
    // Never writable and executable at once.
    code.make_exec().ok()
}
