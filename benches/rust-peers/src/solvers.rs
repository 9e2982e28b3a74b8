//! One solve by each library: from the start to the end, only the last state asked for.

use std::marker::PhantomData;

use costate_odeint::{Field, FieldError, Options};
use differential_equations::linalg::Matrix;
use differential_equations::prelude::{
    BackwardDifferentiationFormula, DiagonallyImplicitRungeKutta, ExplicitRungeKutta, IVP,
    ImplicitRungeKutta, ODE,
};
use diffsol::{
    FaerLU, FaerMat, NalgebraLU, NalgebraMat, OdeBuilder, OdeSolverMethod, OdeSolverStopReason,
    Vector,
};
use ode_solvers::dop_shared::OutputType;
use ode_solvers::{DVector, Dop853, Dopri5, SVector, System};

use crate::problems::Problem;

/// A method of a library, on one problem.
pub struct Contender {
    pub library: &'static str,
    pub method: &'static str,
    /// The exponents of the tolerances at which it is of use.
    pub exponents: std::ops::RangeInclusive<i32>,
    /// Solves with a tolerance; `None` if it fails.
    pub solve: Box<dyn Fn(f64) -> Option<Vec<f64>>>,
}

/// The name of this library.
pub const COSTATE: &str = "costate";

const MOST: usize = 10_000_000;

/// What all libraries are asked for.
pub fn contenders<const N: usize, P: Problem<N>>() -> Vec<Contender> {
    let mut all = Vec::new();
    costate::<N, P>(&mut all);
    diffsol::<N, P>(&mut all);
    ode_solvers::<N, P>(&mut all);
    differential_equations::<N, P>(&mut all);
    all
}

/// The field of a problem whose `N` is known.
struct Fields<const N: usize, P>(PhantomData<P>);

impl<const N: usize, P: Problem<N>> Field<f64> for Fields<N, P> {
    fn eval(&mut self, _: f64, y: &[f64], dy: &mut [f64]) -> Result<(), FieldError> {
        P::field(y, dy);
        Ok(())
    }

    fn jacobian(
        &mut self,
        _: f64,
        y: &[f64],
        _: &[f64],
        jacobian: &mut [f64],
    ) -> Result<(), FieldError> {
        P::jacobian(y, jacobian);
        Ok(())
    }
}

pub fn options(rtol: f64, atol: f64) -> Options {
    Options { max_steps: MOST, ..Options::tolerance(rtol, atol) }
}

fn costate<const N: usize, P: Problem<N>>(all: &mut Vec<Contender>) {
    use costate_odeint::*;
    let methods: Vec<(Method, _)> = if P::STIFF {
        vec![
            (Kvaerno3.into(), 3..=6),
            (KenCarp4.into(), 3..=8),
            (Kvaerno5.into(), 3..=10),
            (Rodas5P.into(), 3..=10),
            (Auto.into(), 3..=10),
        ]
    } else {
        vec![
            (Dopri5.into(), 3..=9),
            (Tsit5.into(), 3..=9),
            (Verner6.into(), 3..=10),
            (Verner7.into(), 3..=11),
            (Dop853.into(), 3..=11),
            (Verner9.into(), 3..=12),
        ]
    };
    for (method, exponents) in methods {
        let name = match method {
            Method::Auto => "Auto",
            _ => method.tableau().name,
        };
        let solve = move |rtol: f64| {
            let field = Fields::<N, P>(PhantomData);
            let options = options(rtol, rtol * P::ATOL);
            let found = solve(method, field, &P::y0(), &[0.0, P::END], &options).ok()?;
            Some(found.y(1).to_vec())
        };
        all.push(Contender { library: COSTATE, method: name, exponents, solve: Box::new(solve) });
    }
}

/// Steps a solver of diffsol to the end, or to a failure.
macro_rules! step_to_end {
    ($solver:expr, $end:expr) => {{
        let mut solver = $solver.ok()?;
        solver.set_stop_time($end).ok()?;
        loop {
            match solver.step().ok()? {
                OdeSolverStopReason::TstopReached => break,
                _ => {}
            }
        }
        Some(solver.state().y.clone_as_vec())
    }};
}

/// A problem of diffsol, with its Jacobian if it is stiff.
macro_rules! diffsol_problem {
    ($matrix:ty, $rtol:expr) => {
        OdeBuilder::<$matrix>::new()
            .rtol($rtol)
            .atol(vec![$rtol * P::ATOL; N])
            .rhs_implicit(
                |y: &[f64], _: &[f64], _: f64, dy: &mut [f64]| P::field(y, dy),
                |y: &[f64], _: &[f64], _: f64, v: &[f64], jv: &mut [f64]| {
                    let mut jacobian = [[0.0; N]; N];
                    P::jacobian(y, jacobian.as_flattened_mut());
                    for (jv, row) in jv.iter_mut().zip(&jacobian) {
                        *jv = row.iter().zip(v).map(|(j, v)| j * v).sum();
                    }
                },
            )
            .init(|_: &[f64], _: f64, y: &mut [f64]| y.copy_from_slice(&P::y0()), N)
            .build()
            .ok()?
    };
}

fn diffsol<const N: usize, P: Problem<N>>(all: &mut Vec<Contender>) {
    let library = "diffsol";
    let mut add = |method, exponents, solve: Box<dyn Fn(f64) -> Option<Vec<f64>>>| {
        all.push(Contender { library, method, exponents, solve });
    };
    if P::STIFF {
        add(
            "BDF, nalgebra",
            3..=9,
            Box::new(|rtol| {
                let problem = diffsol_problem!(NalgebraMat<f64>, rtol);
                step_to_end!(problem.bdf::<NalgebraLU<f64>>(), P::END)
            }),
        );
        add(
            "BDF, faer",
            3..=9,
            Box::new(|rtol| {
                let problem = diffsol_problem!(FaerMat<f64>, rtol);
                step_to_end!(problem.bdf::<FaerLU<f64>>(), P::END)
            }),
        );
        add(
            "ESDIRK34",
            3..=7,
            Box::new(|rtol| {
                let problem = diffsol_problem!(NalgebraMat<f64>, rtol);
                step_to_end!(problem.esdirk34::<NalgebraLU<f64>>(), P::END)
            }),
        );
        add(
            "TR-BDF2",
            3..=5,
            Box::new(|rtol| {
                let problem = diffsol_problem!(NalgebraMat<f64>, rtol);
                step_to_end!(problem.tr_bdf2::<NalgebraLU<f64>>(), P::END)
            }),
        );
        return;
    }
    add(
        "Tsit45, nalgebra",
        3..=9,
        Box::new(|rtol| {
            let problem = OdeBuilder::<NalgebraMat<f64>>::new()
                .rtol(rtol)
                .atol(vec![rtol * P::ATOL; N])
                .rhs(|y: &[f64], _: &[f64], _: f64, dy: &mut [f64]| P::field(y, dy))
                .init(|_: &[f64], _: f64, y: &mut [f64]| y.copy_from_slice(&P::y0()), N)
                .build()
                .ok()?;
            step_to_end!(problem.tsit45(), P::END)
        }),
    );
    add(
        "Tsit45, faer",
        3..=9,
        Box::new(|rtol| {
            let problem = OdeBuilder::<FaerMat<f64>>::new()
                .rtol(rtol)
                .atol(vec![rtol * P::ATOL; N])
                .rhs(|y: &[f64], _: &[f64], _: f64, dy: &mut [f64]| P::field(y, dy))
                .init(|_: &[f64], _: f64, y: &mut [f64]| y.copy_from_slice(&P::y0()), N)
                .build()
                .ok()?;
            step_to_end!(problem.tsit45(), P::END)
        }),
    );
}

impl<const N: usize, P: Problem<N>> System<f64, SVector<f64, N>> for Fields<N, P> {
    fn system(&self, _: f64, y: &SVector<f64, N>, dy: &mut SVector<f64, N>) {
        P::field(y.as_slice(), dy.as_mut_slice());
    }
}

impl<const N: usize, P: Problem<N>> System<f64, DVector<f64>> for Fields<N, P> {
    fn system(&self, _: f64, y: &DVector<f64>, dy: &mut DVector<f64>) {
        P::field(y.as_slice(), dy.as_mut_slice());
    }
}

/// Above this size, states are on the heap.
const LARGE: usize = 64;

fn ode_solvers<const N: usize, P: Problem<N>>(all: &mut Vec<Contender>) {
    if P::STIFF {
        // It has explicit methods only.
        return;
    }
    /// A solve that keeps its steps, which evaluates no dense output.
    macro_rules! run {
        ($method:ident, $state:expr) => {
            Box::new(|rtol: f64| {
                let (field, atol) = (Fields::<N, P>(PhantomData), rtol * P::ATOL);
                // The defaults of `new`, but for the number of steps.
                let (beta, least, most) = stringify!($method)
                    .starts_with("Dopri5")
                    .then_some((0.04, 0.2, 10.0))
                    .unwrap_or((0.0, 0.333, 6.0));
                let mut stepper = $method::from_param(
                    field,
                    0.0,
                    P::END,
                    P::END,
                    $state,
                    rtol,
                    atol,
                    0.9,
                    beta,
                    least,
                    most,
                    P::END,
                    0.0,
                    MOST as u32,
                    1000,
                    OutputType::Sparse,
                );
                stepper.integrate().ok()?;
                Some(stepper.y_out().last()?.as_slice().to_vec())
            })
        };
    }
    let library = "ode_solvers";
    let mut add = |method, exponents, solve: Box<dyn Fn(f64) -> Option<Vec<f64>>>| {
        all.push(Contender { library, method, exponents, solve });
    };
    if N > LARGE {
        add("Dopri5", 3..=9, run!(Dopri5, DVector::from_row_slice(&P::y0())));
        add("Dop853", 3..=11, run!(Dop853, DVector::from_row_slice(&P::y0())));
    } else {
        add("Dopri5", 3..=9, run!(Dopri5, SVector::<f64, N>::from_row_slice(&P::y0())));
        add("Dop853", 3..=11, run!(Dop853, SVector::<f64, N>::from_row_slice(&P::y0())));
    }
}

impl<const N: usize, P: Problem<N>> ODE<f64, [f64; N]> for Fields<N, P> {
    fn diff(&self, _: f64, y: &[f64; N], dy: &mut [f64; N]) {
        P::field(y, dy);
    }

    fn jacobian(&self, _: f64, y: &[f64; N], to: &mut Matrix<f64>) {
        let mut jacobian = [[0.0; N]; N];
        P::jacobian(y, jacobian.as_flattened_mut());
        for (i, row) in jacobian.iter().enumerate() {
            for (j, &entry) in row.iter().enumerate() {
                to[(i, j)] = entry;
            }
        }
    }
}

impl<const N: usize, P: Problem<N>> ODE<f64, Vec<f64>> for Fields<N, P> {
    fn diff(&self, _: f64, y: &Vec<f64>, dy: &mut Vec<f64>) {
        P::field(y, dy);
    }
}

fn differential_equations<const N: usize, P: Problem<N>>(all: &mut Vec<Contender>) {
    let library = "differential-equations";
    let mut add = |method, exponents, solve: Box<dyn Fn(f64) -> Option<Vec<f64>>>| {
        all.push(Contender { library, method, exponents, solve });
    };
    macro_rules! run {
        ($method:expr, $state:expr) => {
            Box::new(|rtol: f64| {
                let field = Fields::<N, P>(PhantomData);
                let method = $method.rtol(rtol).atol(rtol * P::ATOL).max_steps(MOST);
                let found = IVP::ode(&field, 0.0, P::END, $state).method(method).solve().ok()?;
                Some(found.y.last()?.to_vec())
            })
        };
    }
    if P::STIFF {
        add("Radau5", 3..=10, run!(ImplicitRungeKutta::radau5(), P::y0()));
        add("BDF", 3..=8, run!(BackwardDifferentiationFormula::adaptive(), P::y0()));
        add("Kvaerno 7(4)5", 3..=9, run!(DiagonallyImplicitRungeKutta::kvaerno745(), P::y0()));
    } else if N > LARGE {
        add("Dopri5", 3..=9, run!(ExplicitRungeKutta::dopri5(), P::y0().to_vec()));
        add("Dop853", 3..=11, run!(ExplicitRungeKutta::dop853(), P::y0().to_vec()));
        add("Verner 7(6)", 3..=11, run!(ExplicitRungeKutta::rkv766e(), P::y0().to_vec()));
        add("Verner 9(8)", 3..=12, run!(ExplicitRungeKutta::rkv988e(), P::y0().to_vec()));
    } else {
        add("Dopri5", 3..=9, run!(ExplicitRungeKutta::dopri5(), P::y0()));
        add("Dop853", 3..=11, run!(ExplicitRungeKutta::dop853(), P::y0()));
        add("Verner 7(6)", 3..=11, run!(ExplicitRungeKutta::rkv766e(), P::y0()));
        add("Verner 9(8)", 3..=12, run!(ExplicitRungeKutta::rkv988e(), P::y0()));
    }
}
