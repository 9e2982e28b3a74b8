//! The methods: each a file of data.

mod bosh3;
mod dopri5;
mod euler;
mod hermite;
mod heun;
mod implicit_euler;
mod kencarp4;
mod kvaerno3;
mod kvaerno4;
mod kvaerno5;
mod midpoint;
mod ralston;
mod rk4;
mod ssprk3;
mod three_eighths;
mod tr_bdf2;
mod tsit5;

pub use bosh3::Bosh3;
pub use dopri5::Dopri5;
pub use euler::Euler;
pub use heun::Heun;
pub use implicit_euler::ImplicitEuler;
pub use kencarp4::KenCarp4;
pub use kvaerno3::Kvaerno3;
pub use kvaerno4::Kvaerno4;
pub use kvaerno5::Kvaerno5;
pub use midpoint::Midpoint;
pub use ralston::Ralston;
pub use rk4::Rk4;
pub use ssprk3::Ssprk3;
pub use three_eighths::ThreeEighths;
pub use tr_bdf2::TrBdf2;
pub use tsit5::Tsit5;

use crate::dirk::DirkTableau;
use crate::tableau::Tableau;

/// A method of integration.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Method {
    /// An explicit Runge–Kutta method.
    Explicit(&'static Tableau),
    /// A diagonally implicit Runge–Kutta method, for stiff problems.
    Implicit(&'static DirkTableau),
}

impl Method {
    /// All explicit ones.
    pub fn all() -> [Method; 10] {
        [
            Euler.into(),
            Midpoint.into(),
            Heun.into(),
            Ralston.into(),
            Ssprk3.into(),
            Rk4.into(),
            ThreeEighths.into(),
            Bosh3.into(),
            Dopri5.into(),
            Tsit5.into(),
        ]
    }

    /// All implicit ones.
    pub fn implicit() -> [Method; 6] {
        [
            ImplicitEuler.into(),
            TrBdf2.into(),
            Kvaerno3.into(),
            Kvaerno4.into(),
            Kvaerno5.into(),
            KenCarp4.into(),
        ]
    }

    /// Whether its stages are solved for.
    pub fn is_implicit(self) -> bool {
        matches!(self, Method::Implicit(_))
    }

    /// The coefficients.
    pub fn tableau(self) -> &'static Tableau {
        match self {
            Method::Explicit(tableau) => tableau,
            Method::Implicit(method) => &method.tableau,
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

impl From<Midpoint> for Method {
    fn from(_: Midpoint) -> Method {
        Method::Explicit(&midpoint::TABLEAU)
    }
}

impl From<Heun> for Method {
    fn from(_: Heun) -> Method {
        Method::Explicit(&heun::TABLEAU)
    }
}

impl From<Ralston> for Method {
    fn from(_: Ralston) -> Method {
        Method::Explicit(&ralston::TABLEAU)
    }
}

impl From<Ssprk3> for Method {
    fn from(_: Ssprk3) -> Method {
        Method::Explicit(&ssprk3::TABLEAU)
    }
}

impl From<ThreeEighths> for Method {
    fn from(_: ThreeEighths) -> Method {
        Method::Explicit(&three_eighths::TABLEAU)
    }
}

impl From<Bosh3> for Method {
    fn from(_: Bosh3) -> Method {
        Method::Explicit(&bosh3::TABLEAU)
    }
}

impl From<ImplicitEuler> for Method {
    fn from(_: ImplicitEuler) -> Method {
        Method::Implicit(&implicit_euler::METHOD)
    }
}

impl From<KenCarp4> for Method {
    fn from(_: KenCarp4) -> Method {
        Method::Implicit(&kencarp4::METHOD)
    }
}

impl From<Kvaerno3> for Method {
    fn from(_: Kvaerno3) -> Method {
        Method::Implicit(&kvaerno3::METHOD)
    }
}

impl From<Kvaerno4> for Method {
    fn from(_: Kvaerno4) -> Method {
        Method::Implicit(&kvaerno4::METHOD)
    }
}

impl From<Kvaerno5> for Method {
    fn from(_: Kvaerno5) -> Method {
        Method::Implicit(&kvaerno5::METHOD)
    }
}

impl From<TrBdf2> for Method {
    fn from(_: TrBdf2) -> Method {
        Method::Implicit(&tr_bdf2::METHOD)
    }
}
