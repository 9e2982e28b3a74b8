//! How a solve chooses its steps.

use crate::control::Controller;
use crate::error::{Error, ErrorKind};
use crate::tableau::Tableau;

/// Where the steps come from.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Stepping {
    /// From the error estimate of each step.
    Adaptive,
    /// As many equal steps over the whole time.
    Steps(usize),
    /// Equal steps of the given size, the last one shorter if it must be.
    Fixed(f64),
}

/// Options of a solve; see each for its default.
///
/// The error of a step is measured as the root mean square over the components of
/// `e_i / (atol + rtol · max(|y_i| before, |y_i| after))`; a step is taken if that is at most 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Relative tolerance, by default 1e-6.
    pub rtol: f64,
    /// Absolute tolerance, by default 1e-9.
    pub atol: f64,
    /// Where the steps come from; by default adaptive.
    pub stepping: Stepping,
    /// The size of the first adaptive step; by default chosen from the field (E. Hairer,
    /// S. P. Nørsett, G. Wanner, *Solving Ordinary Differential Equations I*, II.4).
    pub dt0: Option<f64>,
    /// The smallest size of an adaptive step, except to reach the end; by default 0. If the
    /// tolerance asks for less, the solve fails. Steps are never chosen below 16 units in the last
    /// place of the time.
    pub min_dt: f64,
    /// The largest size of an adaptive step; by default there is none.
    pub max_dt: f64,
    /// How the size of an adaptive step follows from the errors of the last ones.
    pub controller: Controller,
    /// Whether adaptive steps end at the times that are saved, by default not: states there are
    /// then as accurate as steps are. It is of use where an interpolant of lower order is the
    /// larger error, as for implicit methods at tight tolerances, and costs a part of a step for
    /// each time.
    pub stop_at_saves: bool,
    /// How many steps may be tried; by default a million.
    pub max_steps: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            rtol: 1e-6,
            atol: 1e-9,
            stepping: Stepping::Adaptive,
            dt0: None,
            min_dt: 0.0,
            max_dt: f64::INFINITY,
            controller: Controller::default(),
            stop_at_saves: false,
            max_steps: 1_000_000,
        }
    }
}

impl Options {
    /// The defaults with other tolerances.
    pub fn tolerance(rtol: f64, atol: f64) -> Options {
        Options { rtol, atol, ..Options::default() }
    }

    /// The defaults with equal steps.
    pub fn steps(n: usize) -> Options {
        Options { stepping: Stepping::Steps(n), ..Options::default() }
    }

    /// The smallest adaptive step at the time `t`: below 16 units in the last place of it, `t + h` has
    /// hardly a digit of `h`.
    #[inline]
    pub(crate) fn smallest_step(&self, t: f64) -> f64 {
        let digits = 8.0 * f64::EPSILON * t.abs().max(f64::MIN_POSITIVE);
        digits.max(self.min_dt)
    }

    pub(crate) fn check(&self, tableau: &Tableau) -> Result<(), Error> {
        let bad = |option, value, expected| {
            Err(Error::from(ErrorKind::BadOption { option, value, expected }))
        };
        if tableau.is_multistep() && self.stepping != Stepping::Adaptive {
            let what = "take equal steps, since it chooses them itself";
            return Err(ErrorKind::Unsupported { method: tableau.name, what }.into());
        }
        match self.stepping {
            Stepping::Adaptive => {
                if tableau.error.is_none() {
                    return Err(ErrorKind::NoErrorEstimate { method: tableau.name }.into());
                }
                // Written so that NaN fails.
                let valid = |x: f64| x >= 0.0 && x.is_finite();
                if !valid(self.rtol) {
                    return bad("rtol", self.rtol, "finite and not negative");
                }
                if !valid(self.atol) {
                    return bad("atol", self.atol, "finite and not negative");
                }
                if self.rtol + self.atol == 0.0 {
                    return bad("rtol", 0.0, "positive if `atol` is 0");
                }
                if self.max_dt.is_nan() || self.max_dt <= 0.0 {
                    return bad("max_dt", self.max_dt, "positive");
                }
                if !(self.min_dt >= 0.0 && self.min_dt <= self.max_dt && self.min_dt.is_finite()) {
                    return bad("min_dt", self.min_dt, "finite, not negative, at most `max_dt`");
                }
                let c = &self.controller;
                for (name, value) in [
                    ("controller.integral", c.integral),
                    ("controller.proportional", c.proportional),
                    ("controller.derivative", c.derivative),
                ] {
                    if !value.is_finite() {
                        return bad(name, value, "finite");
                    }
                }
                if !(c.safety > 0.0 && c.safety <= 1.0) {
                    return bad("controller.safety", c.safety, "above 0 and at most 1");
                }
                if !(c.min_factor > 0.0 && c.min_factor <= 0.9) {
                    return bad("controller.min_factor", c.min_factor, "above 0 and at most 0.9");
                }
                if !(c.max_factor >= 1.0 && c.max_factor.is_finite()) {
                    return bad("controller.max_factor", c.max_factor, "finite and at least 1");
                }
                match self.dt0 {
                    Some(dt) if !(dt > 0.0 && dt.is_finite()) => {
                        bad("dt0", dt, "finite and positive; the direction follows from the times")
                    }
                    _ => Ok(()),
                }
            }
            Stepping::Steps(0) => bad("steps", 0.0, "at least 1"),
            Stepping::Steps(_) => Ok(()),
            Stepping::Fixed(dt) if !(dt > 0.0 && dt.is_finite()) => {
                bad("dt", dt, "finite and positive; the direction follows from the times")
            }
            Stepping::Fixed(_) => Ok(()),
        }
    }
}
