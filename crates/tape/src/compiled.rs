//! The functions whose code is long, compiled here for both types of numbers.

use smallvec::SmallVec;

use crate::Real;
use crate::error::Error;
use crate::function::Function;
use crate::graph::{Args, Graph, Loc, NodeId};
use crate::op::{Arg, Op, Result, eval};
use crate::program::{Outputs, Program, Workspace, simplify};
use crate::shape::Shape;
use crate::tape::{Scope, Tape};
use crate::var::Var;

costate_ops::compiled! {
    /// What the functions of the same names call.
    pub trait Compiled for Real {
        fn evaluate_op(op: &Op<Self>, args: &[Arg<'_, Self>], out: &mut [Self], shape: &[usize])
            = eval;
        fn push(
            graph: &mut Graph<Self>,
            op: Op<Self>,
            args: Args,
            shape: &Shape,
            loc: Loc,
        ) -> std::result::Result<NodeId, Error> = Graph::push;
        #[track_caller]
        fn vjp<'t>(
            tape: &'t Tape<Self>,
            outputs: &[Var<'t, Self>],
            cotangents: &[Var<'t, Self>],
            wrt: &[Var<'t, Self>],
        ) -> Result<Vec<Var<'t, Self>>> = Tape::vjp_of;
        #[track_caller]
        fn jvp<'t>(
            tape: &'t Tape<Self>,
            outputs: &[Var<'t, Self>],
            inputs: &[Var<'t, Self>],
            tangents: &[Var<'t, Self>],
        ) -> Result<Vec<Var<'t, Self>>> = Tape::jvp_of;
        #[track_caller]
        fn vmap<'t>(
            tape: &'t Tape<Self>,
            n: usize,
            inputs: &[Var<'t, Self>],
            scope: Scope<'t, Self>,
        ) -> Result<Vec<Var<'t, Self>>> = Tape::vmap_of;
        fn extract(
            graph: &Graph<Self>,
            start: NodeId,
            inputs: &[NodeId],
            outputs: &[NodeId],
            observed: Option<Loc>,
        ) -> (Function<Self>, SmallVec<[NodeId; 8]>) = Function::extract;
        #[track_caller]
        fn inline<'t>(
            function: &Function<Self>,
            tape: &'t Tape<Self>,
            args: &[Var<'t, Self>],
        ) -> Result<Vec<Var<'t, Self>>> = Function::inline_of;
        fn simplify(function: &Function<Self>) -> Function<Self> = simplify;
        fn compile(function: &Function<Self>) -> Result<Program<Self>> = Program::compile_of;
        fn compile_unsplit(function: &Function<Self>) -> Result<Program<Self>>
            = Program::compile_unsplit_of;
        fn workspace(program: &Program<Self>) -> Workspace<Self> = Workspace::new_of;
        fn evaluate<'a>(
            program: &'a Program<Self>,
            workspace: &'a mut Workspace<Self>,
            inputs: &'a [&'a [Self]],
            outputs: Option<&mut [&mut [Self]]>,
        ) -> Result<Outputs<'a, Self>> = Program::evaluate_of;
    }
}
