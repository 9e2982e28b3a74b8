//! Additive Runge–Kutta methods as data, and their steps.

use costate_tape::{Result, Var};

use crate::Real;
use crate::error::FieldError;
use crate::field::Field;
use crate::newton::{Newton, Outcome};
use crate::options::Options;
use crate::split::StiffPart;
use crate::step::combine;
use crate::tableau::Tableau;

/// The coefficients of an additive Runge–Kutta method with `s` stages: a diagonally implicit one for
/// the stiff part `g` of a field `f = g + r`, and an explicit one for the rest `r`, with the same
/// times and weights:
///
/// ```text
/// Y_i = y + h Σ_{j≤i} â_ij g(t_j, Y_j) + h Σ_{j<i} a_ij r(t_j, Y_j)
/// y_1 = y + h Σ b_i (g(t_i, Y_i) + r(t_i, Y_i))
/// ```
///
/// The first stage is explicit, and all implicit ones have the same `â_ii`. (U. M. Ascher,
/// S. J. Ruuth, R. J. Spiteri, Appl. Numer. Math. 25 (1997) 151; C. A. Kennedy, M. H. Carpenter,
/// Appl. Numer. Math. 44 (2003) 139.)
#[derive(Debug)]
pub struct AdditiveTableau {
    /// The method as one tableau with `2s + 1` slopes: `f` at the start, `g` there, then `g` and `r`
    /// of each further stage, then `f` at the end. `r` at the start is the first less the second.
    pub tableau: Tableau,
    /// Row `i` holds `a_ij`, `j < i`.
    pub explicit: &'static [&'static [f64]],
    /// Row `i` holds `â_ij`, `j ≤ i`; the first row is empty.
    pub implicit: &'static [&'static [f64]],
    /// Row `i` holds the weights of the slopes of the tableau before slope `2i` in its first guess.
    pub predictor: &'static [&'static [f64]],
}

/// A portion of a field that may be given in two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Portion {
    All,
    Stiff,
    Rest,
}

/// A field that records a portion of itself.
pub(crate) type PortionRef<'a, 't, T> =
    dyn Fn(Portion, Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>> + 'a;

impl AdditiveTableau {
    /// The number of stages.
    pub fn stages(&self) -> usize {
        self.explicit.len()
    }

    /// Which portion of the field slope `i` of the tableau is.
    pub(crate) fn portion(&self, i: usize) -> Portion {
        match i {
            0 => Portion::All,
            _ if i + 1 == self.tableau.rows() => Portion::All,
            _ if i == 1 || i.is_multiple_of(2) => Portion::Stiff,
            _ => Portion::Rest,
        }
    }

    /// The `â_ii` of the implicit stages.
    pub fn diagonal(&self) -> f64 {
        self.implicit[1][1]
    }

    /// One step from `y0` at `t0` to `t1`: the slopes to `k`, the first of which is there, and the
    /// state to `y1`. The end slope is left as it is.
    #[expect(clippy::too_many_arguments, reason = "those of `rk_step`, and the iterations")]
    pub(crate) fn step<T: Real>(
        &self,
        newton: &mut Newton<T>,
        options: &Options,
        f: &mut dyn Field<T>,
        t0: f64,
        t1: f64,
        y0: &[T],
        k: &mut [T],
        y1: &mut [T],
    ) -> std::result::Result<Outcome, FieldError> {
        let (n, h) = (y0.len(), t1 - t0);
        let (tableau, hg) = (&self.tableau, h * self.diagonal());
        if newton.is_new() {
            f.eval_stiff(t0, y0, &mut k[n..2 * n])?;
        }
        if !newton.prepare(options, &mut StiffPart(f), t0, y0, &k[n..2 * n], hg)? {
            return Ok(Outcome::Diverged(2));
        }
        for stage in 1..self.stages() {
            let (stiff, rest) = (2 * stage, 2 * stage + 1);
            let t = tableau.time(stiff, t0, t1);
            let (done, after) = k.split_at_mut(stiff * n);
            let slope = &mut after[..n];
            combine(None, 1.0, self.predictor[stage], done, slope);
            combine(Some(y0), h, &tableau.a[stiff][..stiff], done, newton.base());
            if !newton.stage(&mut StiffPart(f), t, hg, slope, y1)? {
                return Ok(Outcome::Diverged(stiff));
            }
            combine(Some(y0), h, tableau.a[rest], &k[..rest * n], y1);
            f.eval_rest(t, y1, &mut k[rest * n..(rest + 1) * n])?;
        }
        combine(Some(y0), h, tableau.b, k, y1);
        Ok(Outcome::Converged)
    }
}
