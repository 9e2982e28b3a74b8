//! The functions whose code is long, compiled here for both types of numbers.

use std::sync::Arc;

use costate_tape::{Function, Result, Scope, Var};

use crate::Real;
use crate::additive::PortionRef;
use crate::error::Error;
use crate::implicit::{Kind, implicit_of};
use crate::instrument::Probe;
use crate::integrator::Integrator;
use crate::mass::Mass;
use crate::method::Method;
use crate::ode::{Ode, Times};
use crate::ode_each::{All, SampleField};
use crate::ode_events::{OdeEvents, Piece};
use crate::options::Options;
use crate::root::RootFinder;
use crate::var_event::{EventSolution, RecordingRef};

costate_ops::compiled! {
    /// What the functions of the same names call.
    pub trait Compiled for Real {
        #[track_caller]
        fn solve_portions<'t>(
            ode: &Ode,
            f: &PortionRef<'_, 't, Self>,
            in_parts: bool,
            mass: Option<&Mass<Self>>,
            y0: Var<'t, Self>,
            ts: Times<'_, 't, Self>,
        ) -> Result<Var<'t, Self>> = Ode::solve_portions;
        #[track_caller]
        fn solve_recorded<'t>(
            ode: &Ode,
            field: Function<Self>,
            captured: &[Var<'t, Self>],
            y0: Var<'t, Self>,
            fixed: Option<Arc<[f64]>>,
            times: Option<Var<'t, Self>>,
            probe: Probe<Self>,
        ) -> Result<Var<'t, Self>> = Ode::solve_recorded;
        #[track_caller]
        fn solve_samples<'t>(
            ode: &Ode,
            f: &SampleField<'_, 't, Self>,
            y0: Var<'t, Self>,
            along: &[Var<'t, Self>],
            times: All<'_, 't, Self>,
        ) -> Result<Vec<Var<'t, Self>>> = Ode::solve_samples;
        #[track_caller]
        fn solve_events<'t>(
            events: &OdeEvents<'_, 't, Self>,
            f: &RecordingRef<'_, 't, Self>,
            y0: Var<'t, Self>,
            ts: Times<'_, 't, Self>,
            decided: Option<&[Piece]>,
            keep: Option<&mut Vec<Piece>>,
        ) -> Result<EventSolution<'t, Self>> = OdeEvents::run;
        #[track_caller]
        fn implicit<'t>(
            scope: Scope<'t, Self>,
            guess: Var<'t, Self>,
            finder: RootFinder,
            kind: Kind,
        ) -> Result<Var<'t, Self>> = implicit_of;
        fn integrator(
            method: Method,
            y0: &[Self],
            start: f64,
            end: f64,
            options: Options,
        ) -> std::result::Result<Integrator<Self>, Error> = Integrator::new_of;
    }
}
