//! Events of a solve on the tape, and their functions on numbers.

use costate_tape::{Program, Result, Shape, Tape, Var, Workspace};
use smallvec::SmallVec;

use crate::Real;
use crate::event::Direction;

/// A function of a time and a state that records.
type Recording<'a, 't, T> = Box<dyn Fn(Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>> + 'a>;

/// A reference to one.
pub(crate) type RecordingRef<'a, 't, T> = dyn Fn(Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>> + 'a;

/// An event of a solve on the tape: that a function `g(t, y)` passes through zero, and what happens
/// then. It is [`Event`](crate::Event) with functions on variables; they may capture parameters, and gradients
/// flow to those.
///
/// How passages are found, and which are missed, is said at [`Event`](crate::Event).
pub struct VarEvent<'a, 't, T: Real> {
    pub(crate) root: Recording<'a, 't, T>,
    pub(crate) change: Option<Recording<'a, 't, T>>,
    pub(crate) direction: Direction,
    pub(crate) terminal: bool,
    pub(crate) looks: usize,
}

impl<'a, 't, T: Real> VarEvent<'a, 't, T> {
    /// The event that `g(t, y)`, which returns one number, passes through zero, in either
    /// direction.
    pub fn new(g: impl Fn(Var<'t, T>, Var<'t, T>) -> Var<'t, T> + 'a) -> VarEvent<'a, 't, T> {
        VarEvent {
            root: Box::new(move |t, y| Ok(g(t, y))),
            change: None,
            direction: Direction::Either,
            terminal: false,
            looks: 4,
        }
    }

    /// Only passages in one direction, seen along the solve.
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// Only passages from below.
    pub fn rising(self) -> Self {
        self.direction(Direction::Rising)
    }

    /// Only passages from above.
    pub fn falling(self) -> Self {
        self.direction(Direction::Falling)
    }

    /// The solve ends there.
    pub fn terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    /// The solve goes on with the state `change(t, y)`, of the same shape.
    pub fn change(mut self, change: impl Fn(Var<'t, T>, Var<'t, T>) -> Var<'t, T> + 'a) -> Self {
        self.change = Some(Box::new(move |t, y| Ok(change(t, y))));
        self
    }

    /// At how many times of a step to look, its end included; 4 by default, at least 1.
    pub fn looks(mut self, looks: usize) -> Self {
        self.looks = looks.max(1);
        self
    }

    /// Whether a piece ends there.
    pub(crate) fn stops(&self) -> bool {
        self.terminal || self.change.is_some()
    }
}

impl<T: Real> std::fmt::Debug for VarEvent<'_, '_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VarEvent")
            .field("direction", &self.direction)
            .field("terminal", &self.terminal)
            .field("changes", &self.change.is_some())
            .finish_non_exhaustive()
    }
}

/// An event that happened; all of it can be differentiated.
#[derive(Clone, Copy, Debug)]
pub struct VarOccurrence<'t, T: Real> {
    /// The number of the event.
    pub event: usize,
    /// The time, 0-d.
    pub t: Var<'t, T>,
    /// The state, before the event changed it.
    pub before: Var<'t, T>,
    /// The state after it.
    pub after: Var<'t, T>,
}

/// What a solve with events finds; all of it can be differentiated.
#[derive(Clone, Debug)]
pub struct EventSolution<'t, T: Real> {
    /// The times that were asked for, as far as the solve went.
    pub ts: Vec<f64>,
    /// The states there, stacked along a new first axis. Where an event has changed the state at one
    /// of these times, it is the state before.
    pub ys: Var<'t, T>,
    /// The events that happened, in order; those at one time in the order of their numbers.
    pub events: Vec<VarOccurrence<'t, T>>,
    /// The time that was reached, 0-d: the last one, or that of a terminal event.
    pub t: Var<'t, T>,
    /// The state there; after the events at that time.
    pub y: Var<'t, T>,
}

/// A program with its memory and what it captures.
struct Compiled<T: Real> {
    program: Program<T>,
    workspace: Workspace<T>,
    captured: Vec<Vec<T>>,
}

/// The function of an event on numbers.
pub(crate) struct RootNumbers<'r, 'a, 't, T: Real> {
    event: &'r VarEvent<'a, 't, T>,
    tape: &'t Tape<T>,
    shape: Shape,
    /// Unless it reads numbers.
    program: Option<Compiled<T>>,
    /// Up to which value it is at zero when the next piece starts.
    pub near: f64,
    /// The largest value that was seen.
    pub largest: f64,
}

impl<'r, 'a, 't, T: Real> RootNumbers<'r, 'a, 't, T> {
    pub fn new(
        event: &'r VarEvent<'a, 't, T>,
        t: Var<'t, T>,
        y: Var<'t, T>,
    ) -> Result<RootNumbers<'r, 'a, 't, T>> {
        let tape = y.tape();
        let scope = tape.scope(&[t, y], |x| {
            let g = (event.root)(x[0], x[1])?;
            let shape = g.shape();
            assert!(
                shape.numel() == 1,
                "solve: the function of an event returns shape {shape}; it must be one number"
            );
            Ok::<_, costate_tape::Error>(vec![g])
        })?;
        let program = if scope.function.is_value_dependent() {
            None
        } else {
            let program = Program::compile(&scope.function)?;
            let workspace = Workspace::new(&program);
            let captured = scope.captured.iter().map(|x| x.to_vec()).collect();
            Some(Compiled { program, workspace, captured })
        };
        Ok(RootNumbers { event, tape, shape: y.shape(), program, near: 0.0, largest: 0.0 })
    }

    pub fn value(&mut self, t: f64, y: &[T]) -> Result<f64> {
        let t = T::from_f64(t);
        let value = match &mut self.program {
            Some(Compiled { program, workspace, captured }) => {
                let t = [t];
                let inputs: SmallVec<[&[T]; 8]> =
                    [&t[..], y].into_iter().chain(captured.iter().map(|x| &x[..])).collect();
                program.evaluate(workspace, &inputs)?.get(0)[0]
            }
            None => {
                let (t, y) = (self.tape.scalar(t), self.tape.leaf(y, self.shape.clone()));
                (self.event.root)(t, y)?.item()
            }
        };
        Ok(value.as_f64())
    }

    /// Notes that the event has happened, with this state: what the function is there, and what
    /// rounding makes of the values it had, is zero for it.
    pub fn passed(&mut self, t: f64, y: &[T]) -> Result<()> {
        let left = self.value(t, y)?.abs();
        self.near = 4.0 * left + 1024.0 * T::EPSILON.as_f64() * self.largest;
        self.largest = 0.0;
        Ok(())
    }
}
