//! A solve of which every stage is recorded.

use std::sync::Arc;

use costate_tape::{Result, Tape, Var};

use super::{Ode, Recorded};
use crate::Real;
use crate::additive::PortionRef;
use crate::auto::Methods;
use crate::error::Error;
use crate::field::Field;
use crate::grid::{Grid, StepEnd};
use crate::integrator::Integrator;
use crate::mass::{Mass, with_mass};
use crate::operation::solve_error;
use crate::solve::{check_times, drive_on};
use crate::unroll::{Frozen, unroll};

impl Ode {
    /// Finds the grid, then records every stage.
    #[expect(clippy::too_many_arguments, reason = "the parts of a solve")]
    pub(super) fn unrolled<'t, T: Real>(
        &self,
        tape: &'t Tape<T>,
        f: &PortionRef<'_, 't, T>,
        mass: Option<&Mass<T>>,
        y0: Var<'t, T>,
        fixed: Option<Arc<[f64]>>,
        times: Option<Var<'t, T>>,
        grid: Option<&[StepEnd]>,
    ) -> Result<Var<'t, T>> {
        let ts: Vec<f64> = match (fixed, times) {
            (Some(ts), _) => ts.to_vec(),
            (_, Some(ts)) => ts.to_vec().iter().map(|t| t.as_f64()).collect(),
            _ => unreachable!("times are fixed or a variable"),
        };
        check_times(&ts).map_err(solve_error)?;
        let shape = y0.shape();
        let start = y0.to_vec();
        let mut field = Recorded(|portion, t: f64, y: &[T]| {
            let (t, y) = (tape.scalar(T::from_f64(t)), tape.leaf(y, shape.clone()));
            Ok((t, y, f(portion, t, y)?))
        });
        let found = match mass {
            None => find_grid(self, &mut field, &start, &ts, grid),
            Some(mass) => {
                let mut field = with_mass(field, mass.clone());
                let found = find_grid(self, &mut field, &start, &ts, grid);
                let mass = Some(Arc::new(mass.clone()));
                found.map(|frozen| Frozen { mass, ..frozen })
            }
        };
        let frozen = found.map_err(solve_error)?;
        unroll(&frozen, y0, times, f)
    }
}

/// The steps of a solve.
fn find_grid<T: Real>(
    ode: &Ode,
    field: &mut impl Field<T>,
    y0: &[T],
    ts: &[f64],
    ends: Option<&[StepEnd]>,
) -> std::result::Result<Frozen<T>, Error> {
    let (start, end) = (ts[0], ts[ts.len() - 1]);
    let integrator = Integrator::new(ode.method, y0, start, end, ode.options)?;
    let mut integrator = integrator.with_atol(&ode.atol)?;
    let mut grid = Grid::default();
    grid.start(y0, Methods::new(ode.method, &ode.options));
    let mut ys = vec![T::zero(); ts.len() * y0.len()];
    integrator.stand_alone();
    let keep = ode.method.needs_jacobian();
    let record = |integrator: &mut Integrator<T>, saves| {
        grid.push(&integrator.last_step(), saves, keep);
        if let Some(differences) = integrator.differences() {
            grid.push_differences(differences);
        }
    };
    drive_on(&mut integrator, field, ts, &mut ys, ends, false, record)?;
    Ok(grid.frozen(ts))
}
