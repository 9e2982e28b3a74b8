//! A function that is given by an equation: `x` with `G(x, θ) = 0`, as an operation of the tape.
//!
//! By the implicit function theorem its derivatives follow from those of `G` at the root, however
//! the root was found:
//!
//! ```text
//! G_x ẋ = -G_θ θ̇          (forward)
//! G_xᵀ λ = -x̄,  θ̄ = G_θᵀ λ   (reverse)
//! ```
//!
//! For few unknowns both systems are solved on the tape with `G_x` as a matrix. For many they are
//! linear equations for an unknown, and so operations of the same kind: the rule of a root emits a
//! root. Either way derivatives of any order exist.

use std::any::Any;
use std::sync::Arc;

use costate_tape::{
    CallError, CallOp, CallRule, Evaluation, Function, Program, Result, Scope, Shape, Var,
};

use crate::Real;
use crate::krylov::Gmres;
use crate::root::{Equation, RootFinder, Unknown};

/// Systems with more unknowns than this are solved by products with the Jacobian alone.
const DENSE: usize = 128;

/// `guess, captured… ↦ x` with `G(x, captured…) = 0`.
#[derive(Debug)]
struct ImplicitOp<T: Real> {
    /// `x, captured… ↦ G`.
    equation: Function<T>,
    residual: Program<T>,
    derivative: Derivative<T>,
    finder: RootFinder,
    kind: Kind,
}

/// What is known of an equation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    General,
    /// It is linear in `x`, and the tolerance is that of rounding.
    Linear,
}

/// How the derivative of the equation is had.
#[derive(Debug)]
enum Derivative<T: Real> {
    /// `x, captured… ↦ G_x`, row-major.
    Dense(Function<T>, Program<T>),
    /// `x, captured…, ẋ ↦ G, G_x ẋ`.
    Products(Program<T>),
}

impl<T: Real> Derivative<T> {
    fn program(&self) -> &Program<T> {
        match self {
            Derivative::Dense(_, program) | Derivative::Products(program) => program,
        }
    }
}

/// Records the root of `equation`, a function of `x` that captures what it likes.
#[track_caller]
pub(crate) fn implicit<'t, T: Real>(
    what: &str,
    equation: impl FnOnce(Var<'t, T>) -> Result<Var<'t, T>>,
    guess: Var<'t, T>,
    finder: RootFinder,
    kind: Kind,
) -> Result<Var<'t, T>> {
    let tape = guess.tape();
    let shape = guess.shape();
    let scope = tape.scope(&[guess], |x| {
        let residual = equation(x[0])?;
        let found = residual.shape();
        assert!(
            found == shape,
            "{what}: the function returns shape {found} for an unknown of shape {shape}"
        );
        Ok::<_, costate_tape::Error>(vec![residual])
    })?;
    T::implicit(scope, guess, finder, kind)
}

/// The root of an equation that is recorded.
#[track_caller]
pub(crate) fn implicit_of<'t, T: Real>(
    scope: Scope<'t, T>,
    guess: Var<'t, T>,
    finder: RootFinder,
    kind: Kind,
) -> Result<Var<'t, T>> {
    let (tape, shape) = (guess.tape(), guess.shape());
    let equation = scope.function;
    let derivative = if shape.numel() <= DENSE {
        let jacobian = equation.transform(&[], |_, inputs, outputs, _| {
            Ok(vec![outputs[0].jacobian_reverse(inputs[0])?])
        })?;
        let program = Program::compile(&jacobian)?;
        Derivative::Dense(jacobian, program)
    } else {
        Derivative::Products(Program::compile(&equation.jvp(&[0])?)?)
    };
    let residual = Program::compile(&equation)?;
    let op = ImplicitOp { equation, residual, derivative, finder, kind };
    let inputs: Vec<_> = [guess].into_iter().chain(scope.captured).collect();
    Ok(tape.call(Arc::new(op), &inputs)?[0])
}

impl<T: Real> ImplicitOp<T> {
    /// `x` with `G_x x = -b`, or `G_xᵀ x = -b`, if the derivative is had as a matrix.
    fn dense<'t>(
        &self,
        at: &[Var<'t, T>],
        b: Var<'t, T>,
        transposed: bool,
    ) -> Result<Option<Var<'t, T>>> {
        let Derivative::Dense(jacobian, _) = &self.derivative else { return Ok(None) };
        let (shape, n) = (b.shape(), b.shape().numel());
        let matrix = jacobian.inline(b.tape(), at)?[0].reshape([n, n]);
        let matrix = if transposed { matrix.permute(&[1, 0]) } else { matrix };
        Ok(Some(matrix.solve(-b.reshape([n])).reshape(shape)))
    }

    /// The linear equation for `ẋ` or `λ`.
    fn linear<'t>(
        &self,
        of: Var<'t, T>,
        equation: impl FnOnce(Var<'t, T>) -> Result<Var<'t, T>>,
    ) -> Result<Var<'t, T>> {
        implicit("root", equation, of.zeros_like(), self.finder, Kind::Linear)
    }
}

impl<T: Real> CallOp<T> for ImplicitOp<T> {
    fn name(&self) -> &str {
        match self.kind {
            Kind::General => "root",
            Kind::Linear => "linear_root",
        }
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Vec<Shape> {
        vec![inputs[0].clone()]
    }

    fn new_state(&self) -> Box<dyn Any + Send> {
        let n = self.equation.input_shapes()[0].numel();
        Box::new(Unknown::<T>::new(n, &self.residual, self.derivative.program()))
    }

    fn eval(&self, e: &mut Evaluation<'_, T>) -> std::result::Result<(), CallError> {
        let unknown: &mut Unknown<T> = e.state.downcast_mut().expect("made by `new_state`");
        let captured: Vec<&[T]> = e.inputs[1..].iter().map(|a| a.data).collect();
        let mut equation = Equation {
            residual: &self.residual,
            derivative: self.derivative.program(),
            dense: matches!(self.derivative, Derivative::Dense(..)),
            captured: &captured,
            gmres: Gmres::default(),
        };
        e.output.copy_from_slice(e.inputs[0].data);
        match self.kind {
            Kind::General => self.finder.find(&mut equation, unknown, e.output)?,
            Kind::Linear => self.finder.find_linear(&mut equation, unknown, e.output)?,
        }
        Ok(())
    }

    fn vjp<'t>(
        &self,
        rule: &CallRule<'_, 't, T>,
        cts: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        let mut bars = vec![None; rule.inputs.len()];
        let wanted: Vec<usize> = (1..rule.inputs.len()).filter(|&i| rule.needs[i]).collect();
        let (Some(bar), false) = (cts[0], wanted.is_empty()) else { return Ok(bars) };
        let tape = bar.tape();
        // The equation at the root, each of its inputs by itself.
        let at = || {
            let root = rule.outputs[0];
            [root].iter().chain(&rule.inputs[1..]).map(|x| x.fresh()).collect::<Vec<_>>()
        };
        let lambda = match self.dense(&at(), bar, true)? {
            Some(lambda) => lambda,
            None => self.linear(bar, |lambda| {
                let x = at();
                let residual = self.equation.inline(tape, &x)?;
                Ok(tape.vjp(&residual, &[lambda], &x[..1])?[0] + bar)
            })?,
        };
        let x = at();
        let residual = self.equation.inline(tape, &x)?;
        let wrt: Vec<_> = wanted.iter().map(|&i| x[i]).collect();
        for (i, found) in wanted.into_iter().zip(tape.vjp(&residual, &[lambda], &wrt)?) {
            bars[i] = Some(found);
        }
        Ok(bars)
    }

    fn jvp<'t>(
        &self,
        rule: &CallRule<'_, 't, T>,
        dots: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        let root = rule.outputs[0];
        let tape = root.tape();
        let given: Vec<(usize, Var<'t, T>)> =
            (1..dots.len()).filter_map(|i| Some((i, dots[i]?))).collect();
        if given.is_empty() {
            return Ok(vec![None]);
        }
        let at =
            || -> Vec<_> { [root].iter().chain(&rule.inputs[1..]).map(|x| x.fresh()).collect() };
        let x = at();
        let residual = self.equation.inline(tape, &x)?;
        let (wrt, dots): (Vec<_>, Vec<_>) = given.iter().map(|&(i, dot)| (x[i], dot)).unzip();
        let rest = tape.jvp(&residual, &wrt, &dots)?[0];
        let dot = match self.dense(&x, rest, false)? {
            Some(dot) => dot,
            None => self.linear(root, |dot| {
                let x = at();
                let residual = self.equation.inline(tape, &x)?;
                Ok(tape.jvp(&residual, &x[..1], &[dot])?[0] + rest)
            })?,
        };
        Ok(vec![Some(dot)])
    }
}
