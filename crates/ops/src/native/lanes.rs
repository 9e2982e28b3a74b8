//! A small program as machine code on several sets of numbers at once.

use std::fmt;
use std::marker::PhantomData;

use memmap2::Mmap;

use super::SLICES;
use super::assembler::Assembler;
use super::encoding::Width;
use super::{executable, lens};
use crate::lanes::{Apart, LANES, LaneRegisters, ScalarStep};
use crate::{Isa, Real};

/// A program as machine code on [`LANES`] sets of numbers: see [`NativeLanes::compile_apart`].
pub struct NativeLanes<T> {
    code: Mmap,
    /// What its calls point to.
    _steps: Box<[ScalarStep]>,
    /// How long each slice must be.
    lens: [usize; SLICES],
    /// How many lanes an instruction is on.
    lanes: usize,
    of: PhantomData<fn(T)>,
}

impl<T> fmt::Debug for NativeLanes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NativeLanes({} bytes)", self.code.len())
    }
}

impl<T: Real> NativeLanes<T> {
    /// [`Native::compile_apart`](crate::Native::compile_apart) for what
    /// [`run_lanes`](crate::run_lanes) does, to the same bits; `None` if the machine has no AVX2.
    ///
    /// ```
    /// use costate_ops::{Apart, LANES, LaneRegisters, NativeLanes, ScalarOp, ScalarStep};
    ///
    /// let steps = [ScalarStep { op: ScalarOp::Mul, args: [1, 2, 0], out: 0 }];
    /// let apart = [
    ///     Apart { registers: 0..1, slice: 2, offset: 1 },
    ///     Apart { registers: 1..2, slice: 0, offset: 0 },
    /// ];
    /// if let Some(native) = NativeLanes::<f64>::compile_apart(&steps, 1, &apart) {
    ///     let mut registers = LaneRegisters::new();
    ///     registers.all_mut()[2] = [3.0; LANES];
    ///     let numbers = std::array::from_fn(|i| i as f64);
    ///     let mut found = [[0.0; LANES]; 2];
    ///     native.run_on(&mut registers, [&[numbers], &[]], [&mut found, &mut []]);
    ///     assert_eq!(found, [[0.0; LANES], numbers.map(|x| 3.0 * x)]);
    /// }
    /// ```
    ///
    /// # Panics
    /// If there are no such registers or slices, or a step writes a register that is only read.
    pub fn compile_apart(
        steps: &[ScalarStep],
        results: usize,
        apart: &[Apart],
    ) -> Option<NativeLanes<T>> {
        NativeLanes::compile_on(Isa::detect(), steps, results, apart)
    }

    /// [`compile_apart`](NativeLanes::compile_apart) with the given instruction set.
    ///
    /// # Panics
    /// Those of [`compile_apart`](NativeLanes::compile_apart), and if the machine lacks the
    /// instruction set.
    pub fn compile_on(
        isa: Isa,
        steps: &[ScalarStep],
        results: usize,
        apart: &[Apart],
    ) -> Option<NativeLanes<T>> {
        assert!(isa <= Isa::detect(), "this machine has no {isa:?}");
        let lens = lens(steps, apart);
        if cfg!(miri) || isa == Isa::Baseline {
            return None;
        }
        let bytes = LANES * size_of::<T>();
        let (width, lanes) = match isa {
            _ if bytes == 32 => (Width::Ymm, LANES),
            Isa::Avx512 => (Width::Zmm, LANES),
            _ => (Width::Ymm, LANES / 2),
        };
        let steps: Box<[ScalarStep]> = steps.into();
        let code = executable(&Assembler::<T>::new(&steps, results, apart, width).assemble())?;
        Some(NativeLanes { code, _steps: steps, lens, lanes, of: PhantomData })
    }

    /// Runs the program with these slices.
    ///
    /// # Panics
    /// If one of them is too short.
    #[inline]
    pub fn run_on(
        &self,
        registers: &mut LaneRegisters<T>,
        read: [&[[T; LANES]]; 2],
        write: [&mut [[T; LANES]]; 2],
    ) {
        let lens = [read[0].len(), read[1].len(), write[0].len(), write[1].len()];
        let long = (0..SLICES).all(|i| lens[i] >= self.lens[i]);
        assert!(long, "slices of {lens:?} entries, where {:?} are needed", self.lens);
        let entry = self.code.as_ptr();
        let registers = registers.all_mut().as_mut_ptr().cast::<T>();
        let [a, b] = read.map(|slice| slice.as_ptr().cast::<T>());
        let [c, d] = write.map(|slice| slice.as_mut_ptr().cast::<T>());
        for lane in (0..LANES).step_by(self.lanes) {
            // SAFETY: as for `Native::run_on`, but that each entry is `LANES` numbers, of which an
            // instruction takes so many as are in an entry after `lane`, or fewer.
            unsafe {
                let entry: unsafe extern "sysv64" fn(*mut T, *const T, *const T, *mut T, *mut T) =
                    std::mem::transmute(entry);
                let [a, b] = [a, b].map(|slice| slice.wrapping_add(lane));
                let [c, d] = [c, d].map(|slice| slice.wrapping_add(lane));
                entry(registers.wrapping_add(lane), a, b, c, d);
            }
        }
    }
}
