//! A program of a field, and what it runs in.

use costate_ops::LANES;
use costate_tape::{Function, Lanes, Program, Result, Shape, Small, Workspace};
use smallvec::SmallVec;

use crate::Real;

/// A program on the time, the state, what the field captures, and perhaps more. What follows from
/// what is captured alone is computed once for a pass.
#[derive(Debug)]
pub(crate) struct FieldProgram<T: Real> {
    pub(super) once: Option<Program<T>>,
    pub(super) each: Program<T>,
}

impl<T: Real> FieldProgram<T> {
    /// Compiles a function of a field that captures so many arrays; [in one
    /// piece](Program::compile_unsplit) if `unsplit`.
    pub(super) fn compile(
        function: &Function<T>,
        captured: usize,
        unsplit: bool,
    ) -> Result<FieldProgram<T>> {
        let compile = if unsplit { Program::compile_unsplit } else { Program::compile };
        match function.hoist(2..2 + captured) {
            None => Ok(FieldProgram { once: None, each: compile(function)? }),
            Some(parts) => {
                Ok(FieldProgram { once: Some(compile(&parts.once)?), each: compile(&parts.each)? })
            }
        }
    }

    /// What runs each time.
    pub fn each(&self) -> &Program<T> {
        &self.each
    }

    /// How many entries the inputs have: the time, the state, what is captured, what follows from it,
    /// and the cotangent if there is one.
    pub fn input_lens(&self) -> Vec<usize> {
        self.each.input_shapes().iter().map(Shape::numel).collect()
    }

    /// Another program on what is captured and what follows from it.
    pub fn with_each(&self, each: Program<T>) -> FieldProgram<T> {
        FieldProgram { once: self.once.clone(), each }
    }

    /// Has it run as machine code if it is small, and the machine can.
    pub fn make_native(&self) {
        self.each.make_native();
    }

    /// Whether it is [small](Program::small).
    pub fn is_small(&self) -> bool {
        self.each.is_small()
    }

    /// The program at work with what is captured, which are its inputs from number `first` on; `None`
    /// if it is not small.
    pub fn small<'a>(
        &'a self,
        memory: &'a mut FieldMemory<T>,
        first: usize,
        captured: &'a [&'a [T]],
    ) -> Result<Option<(Small<'a, T>, usize)>> {
        if !self.is_small() {
            return Ok(None);
        }
        let fixed = fixed(&self.once, &mut memory.once, captured)?;
        let mut small = self.each.small(&mut memory.each).expect("it is small");
        for (i, fixed) in fixed.iter().enumerate() {
            small.input(i + first).copy_from_slice(fixed);
        }
        Ok(Some((small, fixed.len())))
    }
}

/// What is captured, and what follows from it alone.
pub(super) type Fixed<'a, T> = SmallVec<[&'a [T]; 32]>;

/// What is captured, and what follows from it alone.
pub(super) fn fixed<'a, T: Real>(
    once: &'a Option<Program<T>>,
    memory: &'a mut Option<Workspace<T>>,
    captured: &'a [&'a [T]],
) -> Result<Fixed<'a, T>> {
    let mut fixed = Fixed::from_slice(captured);
    if let Some((once, workspace)) = once.as_ref().zip(memory.as_mut()) {
        let found = once.evaluate(workspace, captured)?;
        fixed.extend((0..once.output_shapes().len()).map(|i| found.get(i)));
    }
    Ok(fixed)
}

/// The memory that a [`FieldProgram`] runs in.
#[derive(Debug)]
pub(crate) struct FieldMemory<T: Real> {
    pub(super) once: Option<Workspace<T>>,
    pub(super) each: Workspace<T>,
}

impl<T: Real> FieldMemory<T> {
    pub fn new(program: &FieldProgram<T>) -> FieldMemory<T> {
        let once = program.once.as_ref().map(Workspace::new);
        FieldMemory { once, each: Workspace::new(&program.each) }
    }
}

/// A small program at work on several times and states at once.
#[derive(Debug)]
pub(crate) struct LaneMemory<T: Real> {
    once: Option<Workspace<T>>,
    pub lanes: Lanes<T>,
    /// The registers of the time, the state, and the last input, which may be a cotangent.
    time: u8,
    state: u8,
    last: u8,
}

impl<T: Real> LaneMemory<T> {
    /// # Panics
    /// If the program is not small.
    pub fn new(program: &FieldProgram<T>) -> LaneMemory<T> {
        let lanes = program.each.lanes().expect("a small program");
        let once = program.once.as_ref().map(Workspace::new);
        let (time, state) = (lanes.place(0), lanes.place(1));
        let last = lanes.place(program.each.input_shapes().len() - 1);
        LaneMemory { once, lanes, time, state, last }
    }

    /// Sets what is captured.
    pub fn begin(&mut self, program: &FieldProgram<T>, captured: &[&[T]]) -> Result<()> {
        self.begin_from(program, 2, captured)
    }

    /// Sets what is captured, which are the program's inputs from number `first` on.
    pub fn begin_from(
        &mut self,
        program: &FieldProgram<T>,
        first: usize,
        captured: &[&[T]],
    ) -> Result<()> {
        let mut set = |i: usize, x: &[T]| {
            for (place, &x) in self.lanes.input(first + i).iter_mut().zip(x) {
                *place = [x; LANES];
            }
        };
        captured.iter().enumerate().for_each(|(i, x)| set(i, x));
        if let Some((once, workspace)) = program.once.as_ref().zip(self.once.as_mut()) {
            let found = once.evaluate(workspace, captured)?;
            for i in 0..once.output_shapes().len() {
                set(captured.len() + i, found.get(i));
            }
        }
        Ok(())
    }

    /// Sets the time and the state of one lane.
    #[inline(always)]
    pub fn set<const D: usize>(&mut self, lane: usize, t: T, y: &[T; D]) {
        self.lanes.registers()[usize::from(self.time)][lane] = t;
        self.set_from(self.state, lane, y);
    }

    /// Sets the cotangent, which is the last input, of one lane.
    #[inline(always)]
    pub fn set_cotangent<const D: usize>(&mut self, lane: usize, cotangent: &[T; D]) {
        self.set_from(self.last, lane, cotangent);
    }

    #[inline(always)]
    fn set_from<const D: usize>(&mut self, first: u8, lane: usize, x: &[T; D]) {
        let registers = self.lanes.registers();
        for (i, &x) in x.iter().enumerate() {
            registers[usize::from(first) + i][lane] = x;
        }
    }

    /// Gives the lanes from `first` on the time and the state of lane 0, and cotangents of 0.
    pub fn fill(&mut self, first: usize) {
        for i in 0..2 {
            for place in self.lanes.input(i) {
                let x = place[0];
                place[first..].fill(x);
            }
        }
        let components = self.lanes.input(1).len();
        let last = usize::from(self.last);
        for place in &mut self.lanes.registers()[last..last + components] {
            place[first..].fill(T::zero());
        }
    }
}
