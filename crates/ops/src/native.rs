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
mod lifetimes;

use std::fmt;
use std::marker::PhantomData;

use memmap2::{Mmap, MmapMut};

use self::assembler::Assembler;
use self::encoding::Width;
pub use self::lanes::NativeLanes;
use crate::Real;
use crate::lanes::{Apart, SCALAR_REGISTERS, ScalarStep};

/// How many slices machine code takes.
const SLICES: usize = 4;

/// A program as machine code: see [`Native::compile`].
pub struct Native<T> {
    code: Mmap,
    /// What its calls point to.
    _steps: Box<[ScalarStep]>,
    /// How long each slice must be.
    lens: [usize; SLICES],
    /// Whether a number is passed.
    passing: bool,
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
        Native::make(steps, results, apart, None)
    }

    /// [`compile_apart`](Native::compile_apart) for [`run_passing`](Native::run_passing): the first of
    /// `passed` is the register whose number is passed, the second one, of the `results`, that whose
    /// number is returned. So neither waits to be written and read.
    ///
    /// ```
    /// use costate_ops::{Native, SCALAR_REGISTERS, ScalarOp, ScalarStep};
    ///
    /// let steps = [ScalarStep { op: ScalarOp::Mul, args: [1, 2, 0], out: 0 }];
    /// if let Some(native) = Native::<f64>::compile_passing(&steps, 1, &[], [2, 0]) {
    ///     let mut registers = [3.0; SCALAR_REGISTERS];
    ///     let found = native.run_passing(5.0, &mut registers, [&[], &[]], [&mut [], &mut []]);
    ///     assert_eq!((found, registers[0]), (15.0, 15.0));
    /// }
    /// ```
    ///
    /// # Panics
    /// Those of [`compile_apart`](Native::compile_apart), and if the first of `passed` lies apart, or the
    /// second one is no result.
    pub fn compile_passing(
        steps: &[ScalarStep],
        results: usize,
        apart: &[Apart],
        passed: [u8; 2],
    ) -> Option<Native<T>> {
        let [from, to] = passed.map(usize::from);
        let is_apart = apart.iter().any(|apart| apart.registers.contains(&from));
        assert!(!is_apart && to < results, "no registers to be passed");
        Native::make(steps, results, apart, Some(passed))
    }

    fn make(
        steps: &[ScalarStep],
        results: usize,
        apart: &[Apart],
        passed: Option<[u8; 2]>,
    ) -> Option<Native<T>> {
        let lens = lens(steps, apart);
        if cfg!(miri) || !is_x86_feature_detected!("avx") {
            return None;
        }
        let steps: Box<[ScalarStep]> = steps.into();
        let code = Assembler::<T>::new(&steps, results, apart, Width::One).passing(passed);
        let code = executable(&code.assemble())?;
        Some(Native { code, _steps: steps, lens, passing: passed.is_some(), of: PhantomData })
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
    /// If one of them is too short, or a number is to be [passed](Native::compile_passing).
    #[inline]
    pub fn run_on(
        &self,
        registers: &mut [T; SCALAR_REGISTERS],
        read: [&[T]; 2],
        write: [&mut [T]; 2],
    ) {
        assert!(!self.passing, "a number is to be passed");
        self.call(T::zero(), registers, read, write);
    }

    /// Runs the program with a number and with these slices, and returns one: see
    /// [`compile_passing`](Native::compile_passing). What the register holds for which it is passed is
    /// unspecified afterwards.
    ///
    /// # Panics
    /// If one of them is too short, or no number is to be passed.
    #[inline]
    pub fn run_passing(
        &self,
        x: T,
        registers: &mut [T; SCALAR_REGISTERS],
        read: [&[T]; 2],
        write: [&mut [T]; 2],
    ) -> T {
        assert!(self.passing, "no number is to be passed");
        self.call(x, registers, read, write)
    }

    /// Calls the function; what it returns means nothing if no number is passed.
    #[inline(always)]
    fn call(
        &self,
        x: T,
        registers: &mut [T; SCALAR_REGISTERS],
        read: [&[T]; 2],
        write: [&mut [T]; 2],
    ) -> T {
        let lens = [read[0].len(), read[1].len(), write[0].len(), write[1].len()];
        let long = (0..SLICES).all(|i| lens[i] >= self.lens[i]);
        assert!(long, "slices of {lens:?} entries, where {:?} are needed", self.lens);
        let entry = self.code.as_ptr();
        let [a, b] = read.map(<[T]>::as_ptr);
        let [c, d] = write.map(<[T]>::as_mut_ptr);
        // SAFETY: the code is a whole function of this signature, which the assembler wrote; the register of
        // its last argument and of what it returns is the same one, so that it may leave both alone. An
        // operand's address is one of the five pointers plus a number of entries: eight bits for the
        // registers, and less than the length that was just checked for a slice. It writes to
        // registers and to the last two slices alone, which was checked when it was made. It uses
        // those of the processor's registers that the calling convention leaves to it, and puts back
        // the others. The steps that it points to live as long as it does.
        unsafe {
            let entry: Entry<T> = std::mem::transmute(entry);
            entry(registers.as_mut_ptr(), a, b, c, d, x)
        }
    }
}

/// What the code is.
type Entry<T> = unsafe extern "sysv64" fn(*mut T, *const T, *const T, *mut T, *mut T, T) -> T;

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

/// Code that can be run.
fn executable(assembled: &[u8]) -> Option<Mmap> {
    let mut code = MmapMut::map_anon(assembled.len()).ok()?;
    code.copy_from_slice(assembled);
    // Never writable and executable at once.
    code.make_exec().ok()
}
