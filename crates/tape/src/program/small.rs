//! Programs on a few numbers at work: where their inputs lie, on several sets at once, as machine code.

use costate_ops::{self as ops, LaneRegisters, Native, NativeLanes};

use super::scalar::Scalars;
use super::{Operand, Outputs, Program, Workspace};
use crate::Real;

/// An input or an output of a program, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// An input.
    Input(usize),
    /// An output.
    Output(usize),
}

/// A program on a few numbers at work: see [`Program::small`].
#[derive(Debug)]
pub struct Small<'a, T: Real> {
    program: &'a Program<T>,
    scalars: &'a Scalars<T>,
    native: Option<&'a Native<T>>,
    native_apart: Option<&'a Native<T>>,
    registers: &'a mut [T],
}

impl<T: Real> Program<T> {
    /// Whether the program is unfolded to single numbers: see [`small`](Program::small).
    pub fn is_small(&self) -> bool {
        self.inner.scalars.is_some()
    }

    /// Has a [small](Program::small) program run as machine code, to the same bits, from the next call
    /// of [`small`](Program::small) on, and says whether it does: it does not if the program is not
    /// small, the processor is no x86-64 with AVX, or the system does not let a program make code.
    /// It takes some microseconds, and is done once.
    pub fn make_native(&self) -> bool {
        let make = || Native::compile(&self.inner.scalars.as_ref()?.steps, self.results());
        self.inner.native.get_or_init(make).is_some()
    }

    /// [`make_native`](Program::make_native) for [`Small::run_on`], with inputs and outputs in the slices
    /// of it: each of `places` is what lies there, the number of the slice, of which the first two are
    /// only read, and where in it.
    ///
    /// ```
    /// use costate_tape::{Numbers, Port, Workspace};
    ///
    /// let mut numbers = Numbers::new();
    /// let x = numbers.input(2);
    /// let sum = numbers.add(x[0], x[1]);
    /// let program = numbers.compile(&[vec![sum]]).expect("few numbers");
    /// if program.make_native_apart(&[(Port::Input(0), 0, 0), (Port::Output(0), 2, 1)]) {
    ///     let mut workspace = Workspace::new(&program);
    ///     let mut found = [0.0; 2];
    ///     let mut small = program.small(&mut workspace).expect("few numbers");
    ///     small.run_on([&[3.0, 4.0], &[]], [&mut found, &mut []]);
    ///     assert_eq!(found, [0.0, 7.0]);
    /// }
    /// ```
    ///
    /// # Panics
    /// If there is no such input, output or slice, or an output is in a slice that is only read.
    pub fn make_native_apart(&self, places: &[(Port, usize, usize)]) -> bool {
        let make = || {
            let scalars = self.inner.scalars.as_ref()?;
            Native::compile_apart(&scalars.steps, self.results(), &self.apart(places)?)
        };
        self.inner.native_apart.get_or_init(make).is_some()
    }

    /// [`make_native_apart`](Program::make_native_apart) for [`Small::run_passing`]: `passed` are the input,
    /// of one entry, whose number is passed, and the output whose number is returned.
    ///
    /// ```
    /// use costate_tape::{Numbers, Workspace};
    ///
    /// let mut numbers = Numbers::new();
    /// let x = numbers.input(1);
    /// let square = numbers.mul(x[0], x[0]);
    /// let program = numbers.compile(&[vec![square]]).expect("few numbers");
    /// if program.make_native_passing(&[], [0, 0]) {
    ///     let mut workspace = Workspace::new(&program);
    ///     let mut small = program.small(&mut workspace).expect("few numbers");
    ///     assert_eq!(small.run_passing(3.0, [&[], &[]], [&mut [], &mut []]), 9.0);
    /// }
    /// ```
    ///
    /// # Panics
    /// As for [`make_native_apart`](Program::make_native_apart), and if the input lies in a slice.
    pub fn make_native_passing(
        &self,
        places: &[(Port, usize, usize)],
        [input, output]: [usize; 2],
    ) -> bool {
        let make = || {
            let scalars = self.inner.scalars.as_ref()?;
            let passed = [scalars.inputs[input].0, self.inner.outputs[output].offset as u8];
            Native::compile_passing(&scalars.steps, self.results(), &self.apart(places)?, passed)
        };
        self.inner.native_apart.get_or_init(make).is_some()
    }

    /// [`make_native_apart`](Program::make_native_apart) for [`Lanes::run_on`].
    ///
    /// ```
    /// use costate_tape::{Numbers, Port};
    ///
    /// let mut numbers = Numbers::new();
    /// let x = numbers.input(2);
    /// let sum = numbers.add(x[0], x[1]);
    /// let program = numbers.compile(&[vec![sum]]).expect("few numbers");
    /// if program.make_native_lanes(&[(Port::Input(0), 0, 0), (Port::Output(0), 2, 1)]) {
    ///     let mut lanes = program.lanes().expect("few numbers");
    ///     let mut found = [[0.0; 8]; 2];
    ///     lanes.run_on([&[[3.0; 8], [4.0; 8]], &[]], [&mut found, &mut []]);
    ///     assert_eq!(found, [[0.0; 8], [7.0; 8]]);
    /// }
    /// ```
    ///
    /// # Panics
    /// As for [`make_native_apart`](Program::make_native_apart).
    pub fn make_native_lanes(&self, places: &[(Port, usize, usize)]) -> bool {
        let make = || {
            let scalars = self.inner.scalars.as_ref()?;
            let apart = self.apart(places)?;
            NativeLanes::compile_apart(&scalars.steps, self.results(), &apart)
        };
        self.inner.native_lanes.get_or_init(make).is_some()
    }

    /// The registers of inputs and outputs, with the slices in which they lie.
    fn apart(&self, places: &[(Port, usize, usize)]) -> Option<Vec<ops::Apart>> {
        let scalars = self.inner.scalars.as_ref()?;
        let apart = |&(port, slice, offset): &(Port, usize, usize)| {
            let registers = match port {
                Port::Input(i) => scalars.input(i),
                Port::Output(i) => {
                    let Operand { offset, len, .. } = self.inner.outputs[i];
                    offset..offset + len
                }
            };
            ops::Apart { registers, slice, offset }
        };
        Some(places.iter().map(apart).collect())
    }

    /// Whether anything in a [small](Program::small) program depends on input `i`; of others it is not
    /// known.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn reads(&self, i: usize) -> bool {
        let Some(scalars) = &self.inner.scalars else { return true };
        let places = scalars.input(i);
        let read = |arg: &u8| places.contains(&usize::from(*arg));
        scalars.steps.iter().any(|step| step.args[..step.op.arguments()].iter().any(read))
    }

    /// How many registers a small program has its outputs in, the first ones.
    fn results(&self) -> usize {
        self.inner.outputs.iter().map(|output| output.len).sum()
    }

    /// If the program is unfolded to single numbers, the means to run it where its inputs lie: they
    /// stay in the workspace, so that only those that change need be written before a run.
    ///
    /// ```
    /// use costate_tape::{Function, Program, Tape, Workspace};
    /// use ndarray::arr0;
    ///
    /// let inputs = [arr0(2.0).into_dyn(), arr0(3.0).into_dyn()];
    /// let f = Function::trace(&inputs, |_, x| Ok::<_, costate_tape::Error>(vec![x[0] * x[1]]))?;
    /// let program = Program::compile(&f)?;
    /// let mut workspace = Workspace::new(&program);
    /// let mut small = program.small(&mut workspace).expect("one operation on numbers");
    /// small.input(0)[0] = 2.0;
    /// for x in [1.0, 5.0] {
    ///     small.input(1)[0] = x;
    ///     small.run();
    ///     assert_eq!(small.outputs().get(0), [2.0 * x]);
    /// }
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Panics
    /// If the workspace was made for another program.
    #[inline]
    pub fn small<'a>(&'a self, workspace: &'a mut Workspace<T>) -> Option<Small<'a, T>> {
        let scalars = self.inner.scalars.as_ref()?;
        assert_eq!(self.inner.id, workspace.program, "the workspace was made for another program");
        let [native, native_apart] = [&self.inner.native, &self.inner.native_apart]
            .map(|made| made.get().and_then(Option::as_ref));
        let registers = &mut workspace.arena;
        Some(Small { program: self, scalars, native, native_apart, registers })
    }
}

impl<T: Real> Small<'_, T> {
    /// The entries of input `i`, row-major.
    ///
    /// # Panics
    /// If there is no such input.
    #[inline]
    pub fn input(&mut self, i: usize) -> &mut [T] {
        &mut self.registers[self.scalars.input(i)]
    }

    /// Where in [`registers`](Small::registers) the entries of input `i` begin.
    ///
    /// # Panics
    /// If there is no such input.
    #[inline]
    pub fn place(&self, i: usize) -> u8 {
        self.scalars.inputs[i].0
    }

    /// All numbers that the program works on: the entries of the outputs, one output after another,
    /// those of the inputs, and others. What is neither must not be changed.
    #[inline(always)]
    pub fn registers(&mut self) -> &mut [T; ops::SCALAR_REGISTERS] {
        (&mut *self.registers).try_into().expect("a register file")
    }

    /// Runs the program.
    #[inline]
    pub fn run(&mut self) {
        match self.native {
            Some(native) => native.run(self.registers()),
            None => self.scalars.run(self.registers),
        }
    }

    /// Runs the program with inputs and outputs where
    /// [`make_native_apart`](Program::make_native_apart) was told that they lie.
    ///
    /// # Panics
    /// If that was not called, or could not make a program, or a slice is too short.
    #[inline]
    pub fn run_on(&mut self, read: [&[T]; 2], write: [&mut [T]; 2]) {
        let native = self.native_apart.expect("a program that was made to run apart");
        native.run_on(self.registers(), read, write);
    }

    /// [`run_on`](Small::run_on) with a number that is passed and one that is returned, as
    /// [`make_native_passing`](Program::make_native_passing) was told.
    ///
    /// # Panics
    /// If that was not called, or could not make a program, or a slice is too short.
    #[inline]
    pub fn run_passing(&mut self, x: T, read: [&[T]; 2], write: [&mut [T]; 2]) -> T {
        let native = self.native_apart.expect("a program that was made to run apart");
        native.run_passing(x, self.registers(), read, write)
    }

    /// The results of the last run.
    #[inline]
    pub fn outputs(&self) -> Outputs<'_, T> {
        Outputs::of_numbers(self.program, self.registers)
    }
}

/// A program on a few numbers, run on [`LANES`](ops::LANES) sets of inputs at once: see
/// [`Program::lanes`].
#[derive(Clone, Debug)]
pub struct Lanes<T: Real> {
    program: Program<T>,
    registers: LaneRegisters<T>,
}

impl<T: Real> Program<T> {
    /// If the program is unfolded to single numbers, the means to run it on several sets of inputs
    /// at once, which costs little more than to run it on one. Each gets the bits that it would get
    /// alone.
    ///
    /// ```
    /// use costate_tape::{Function, Program};
    /// use ndarray::arr0;
    ///
    /// let inputs = [arr0(2.0).into_dyn(), arr0(3.0).into_dyn()];
    /// let f = Function::trace(&inputs, |_, x| Ok::<_, costate_tape::Error>(vec![x[0] * x[1]]))?;
    /// let mut lanes = Program::compile(&f)?.lanes().expect("one operation on numbers");
    /// lanes.input(0)[0] = [2.0; 8];
    /// lanes.input(1)[0] = std::array::from_fn(|i| i as f64);
    /// lanes.run();
    /// assert_eq!(lanes.outputs()[0][3], 6.0);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    pub fn lanes(&self) -> Option<Lanes<T>> {
        let scalars = self.inner.scalars.as_ref()?;
        let mut registers = LaneRegisters::new();
        scalars.prepare_lanes(&mut registers);
        Some(Lanes { program: self.clone(), registers })
    }
}

impl<T: Real> Lanes<T> {
    fn scalars(&self) -> &Scalars<T> {
        self.program.inner.scalars.as_ref().expect("checked when it was made")
    }

    /// The entries of input `i`, row-major, each of all sets. They stay from one run to the next.
    ///
    /// # Panics
    /// If there is no such input.
    #[inline]
    pub fn input(&mut self, i: usize) -> &mut [[T; ops::LANES]] {
        let range = self.scalars().input(i);
        &mut self.registers.all_mut()[range]
    }

    /// Where in [`registers`](Lanes::registers) the entries of input `i` begin.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn place(&self, i: usize) -> u8 {
        self.scalars().inputs[i].0
    }

    /// All numbers that the program works on; see [`Small::registers`].
    #[inline(always)]
    pub fn registers(&mut self) -> &mut [[T; ops::LANES]; ops::SCALAR_REGISTERS] {
        self.registers.all_mut().try_into().expect("as many as there are")
    }

    /// Runs the program.
    #[inline]
    pub fn run(&mut self) {
        let scalars = self.program.inner.scalars.as_ref().expect("checked when it was made");
        ops::run_lanes(&scalars.steps, &mut self.registers);
    }

    /// Runs the program with inputs and outputs where
    /// [`make_native_lanes`](Program::make_native_lanes) was told that they lie.
    ///
    /// # Panics
    /// If that was not called, or could not make a program, or a slice is too short.
    #[inline]
    pub fn run_on(&mut self, read: [&[[T; ops::LANES]]; 2], write: [&mut [[T; ops::LANES]]; 2]) {
        let native = self.program.inner.native_lanes.get().and_then(Option::as_ref);
        native.expect("a program that was made to run apart").run_on(
            &mut self.registers,
            read,
            write,
        );
    }

    /// The entries of all outputs, one after another, each of all sets.
    #[inline]
    pub fn outputs(&self) -> &[[T; ops::LANES]] {
        let len = self.program.inner.outputs.last().map_or(0, |o| o.offset + o.len);
        &self.registers.all()[..len]
    }
}
