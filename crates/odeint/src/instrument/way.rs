//! The ways to a gradient that are compared: the one list of them.

use crate::memory::Memory;
use crate::method::{Kvaerno5, Method, Verner9};
use crate::ode::{Gradient, Ode};
use crate::options::{Options, Stepping};

/// A solver with its way to the gradient, under a name.
#[derive(Clone, Debug)]
pub struct Way {
    /// What tables and pictures call it.
    pub name: String,
    /// The solver.
    pub ode: Ode,
}

impl Way {
    /// A way under a name.
    pub fn new(name: impl Into<String>, ode: Ode) -> Way {
        Way { name: name.into(), ode }
    }

    /// Every way to the gradient of a solve by `ode`, whichever that has chosen.
    pub fn all(ode: &Ode) -> Vec<Way> {
        let exact = ode.clone().gradient(Gradient::Exact).memory(Memory::Stages);
        let ways = [
            ("exact", exact.clone()),
            ("exact, states kept", exact.clone().memory(Memory::Steps)),
            ("exact, 10 checkpoints", exact.memory(Memory::Checkpoints(10))),
            ("interpolated", ode.clone().gradient(Gradient::Interpolated)),
            ("continuous", ode.clone().gradient(Gradient::Continuous)),
            ("unrolled", ode.clone().gradient(Gradient::Unrolled)),
            ("forward", ode.clone().gradient(Gradient::Forward)),
        ];
        let undone = [("reversible", ode.clone().gradient(Gradient::Reversible))];
        let undone = undone.into_iter().filter(|_| matches!(ode.method(), Method::Reversible(_)));
        ways.into_iter().chain(undone).map(|(name, ode)| Way::new(name, ode)).collect()
    }

    /// What the ways of `ode` are compared with, for numbers with as many digits as `epsilon` says:
    /// [`Verner9`], or the method itself if it is for stiff problems ([`Kvaerno5`] for
    /// [`Bdf`](crate::Bdf)), at a tolerance near rounding;
    /// the method with sixteen times as many steps if it takes equal ones, unless it is a reversible
    /// scheme.
    pub fn reference(ode: &Ode, epsilon: f64) -> Ode {
        let exact = ode.clone().gradient(Gradient::Exact);
        let options = *ode.chosen_options();
        let reversible = matches!(ode.method(), Method::Reversible(_));
        match options.stepping {
            Stepping::Fixed(dt) if !reversible => {
                exact.options(Options { stepping: Stepping::Fixed(dt / 16.0), ..options })
            }
            Stepping::Steps(n) if !reversible => exact.steps(16 * n),
            _ => {
                let stiff = ode.method().needs_jacobian();
                let method: Method = match ode.method() {
                    // It takes very many steps to be that accurate.
                    Method::Multistep(_) => Kvaerno5.into(),
                    method if stiff => method,
                    _ => Verner9.into(),
                };
                let tolerance = if stiff { 5e4 * epsilon } else { 500.0 * epsilon };
                let stepping = Stepping::Adaptive;
                let tight = Options { rtol: tolerance, atol: tolerance, stepping, ..options };
                let each: Vec<f64> = ode.atol.iter().map(|a| a.min(tolerance)).collect();
                exact.with_method(method).options(tight).atol_each(each)
            }
        }
    }
}
