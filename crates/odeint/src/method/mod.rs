//! The methods: each a file of data.

mod dopri5;
mod euler;
mod rk4;
mod tsit5;

pub use dopri5::Dopri5;
pub use euler::Euler;
pub use rk4::Rk4;
pub use tsit5::Tsit5;

use crate::tableau::Tableau;

/// A method of integration.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Method {
    /// An explicit Runge–Kutta method.
    Explicit(&'static Tableau),
}

impl Method {
    /// All of them.
    pub fn all() -> [Method; 4] {
        [Euler.into(), Rk4.into(), Dopri5.into(), Tsit5.into()]
    }

    /// The coefficients.
    pub fn tableau(self) -> &'static Tableau {
        match self {
            Method::Explicit(tableau) => tableau,
        }
    }
}

impl From<Euler> for Method {
    fn from(_: Euler) -> Method {
        Method::Explicit(&euler::TABLEAU)
    }
}

impl From<Rk4> for Method {
    fn from(_: Rk4) -> Method {
        Method::Explicit(&rk4::TABLEAU)
    }
}

impl From<Dopri5> for Method {
    fn from(_: Dopri5) -> Method {
        Method::Explicit(&dopri5::TABLEAU)
    }
}

impl From<Tsit5> for Method {
    fn from(_: Tsit5) -> Method {
        Method::Explicit(&tsit5::TABLEAU)
    }
}
