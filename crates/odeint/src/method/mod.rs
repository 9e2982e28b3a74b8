//! The methods: each a file of data.

mod bdf;
mod bosh3;
mod dop853;
mod dopri5;
mod euler;
mod gauss_legendre;
mod hermite;
mod heun;
mod implicit_euler;
mod kencarp4;
mod kencarp4_imex;
mod kvaerno3;
mod kvaerno4;
mod kvaerno5;
mod midpoint;
mod ralston;
pub(crate) mod reversible;
mod rk4;
mod rodas5p;
mod ssprk3;
mod symplectic;
mod three_eighths;
mod tr_bdf2;
mod tsit5;
mod verner6;
mod verner7;
mod verner9;

pub use bdf::Bdf;
pub use bosh3::Bosh3;
pub use dop853::Dop853;
pub use dopri5::{Dopri5, Dopri5Shampine};
pub use euler::Euler;
pub use gauss_legendre::{GaussLegendre4, GaussLegendre6};
pub use heun::Heun;
pub use implicit_euler::ImplicitEuler;
pub use kencarp4::KenCarp4;
pub use kencarp4_imex::KenCarp4Imex;
pub use kvaerno3::Kvaerno3;
pub use kvaerno4::Kvaerno4;
pub use kvaerno5::Kvaerno5;
pub use midpoint::Midpoint;
pub use ralston::Ralston;
pub use rk4::Rk4;
pub use rodas5p::Rodas5P;
pub use ssprk3::Ssprk3;
pub use symplectic::{SymplecticEuler, VelocityVerlet, Yoshida4, Yoshida6};
pub use three_eighths::ThreeEighths;
pub use tr_bdf2::TrBdf2;
pub use tsit5::Tsit5;
pub use verner6::Verner6;
pub use verner7::Verner7;
pub use verner9::Verner9;

use crate::additive::{AdditiveTableau, Portion};
use crate::dirk::DirkTableau;
use crate::reversible::Scheme;
use crate::rosenbrock::RosenbrockTableau;
use crate::tableau::Tableau;

/// A method of integration.
///
/// | method | order | slopes a step | between steps | for |
/// | --- | --- | --- | --- | --- |
/// | [`Euler`] | 1 | 1 | 1 | residual networks |
/// | [`Midpoint`], [`Heun`], [`Ralston`] | 2 | 2 | 2 | fixed steps; Heun also adapts them |
/// | [`Ssprk3`] | 3 | 3 | 3 | fixed steps that must keep monotonicity |
/// | [`Rk4`], [`ThreeEighths`] | 4 | 4 | 4 | fixed steps |
/// | [`Bosh3`] | 3(2) | 3 | 3 | loose tolerances |
/// | [`Tsit5`], [`Dopri5`], [`Dopri5Shampine`] | 5(4) | 6 | 5 | most problems that are not stiff |
/// | [`Verner6`] | 6(5) | 8 | 6 | tolerances down to 1e-11 |
/// | [`Verner7`] | 7(6) | 10 | 7 | tight tolerances |
/// | [`Dop853`] | 8(5, 3) | 12 | 8 | tight tolerances |
/// | [`Verner9`] | 9(8) | 16 | 9 | the tightest tolerances |
/// | [`SymplecticEuler`] | 1 | 1 | 1 | separable Hamiltonians |
/// | [`VelocityVerlet`] | 2 | 1½ | 2 | separable Hamiltonians |
/// | [`Yoshida4`], [`Yoshida6`] | 4, 6 | 3½, 7½ | 4 | separable Hamiltonians |
/// | [`GaussLegendre4`], [`GaussLegendre6`] | 4, 6 | by iteration | 4 | any Hamiltonian |
/// | [`Rodas5P`] | 5(4) | 8 | 5 | stiff problems of moderate size |
/// | [`Bdf`] | 1 to 5 | 1 to 2 | as the step | large stiff problems |
/// | [`KenCarp4Imex`] | 4(3) | 6 of each part | 4 | fields with a stiff [part](crate::split) |
/// | [`Auto`](crate::Auto) | 5(4) | 6 | 5 | problems that may be stiff at times |
///
/// Orders are those of convergence, in brackets that of the error estimate. A kick or a drift counts
/// as half a slope. A [`Scheme`](crate::Scheme) of reversible steps is a method, too.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Method {
    /// A Runge–Kutta method whose stages are explicit, or found by fixed-point iteration.
    Explicit(&'static Tableau),
    /// A diagonally implicit Runge–Kutta method, for stiff problems.
    Implicit(&'static DirkTableau),
    /// A Rosenbrock method, for stiff problems: its stages solve linear systems.
    Rosenbrock(&'static RosenbrockTableau),
    /// A multistep method, for stiff problems. Its tableau has the weights of its interpolant only.
    Multistep(&'static Tableau),
    /// An additive Runge–Kutta method, for fields with a stiff part and another one.
    Additive(&'static AdditiveTableau),
    /// A scheme whose steps can be undone.
    Reversible(Scheme),
    /// The choice of [`Auto`](crate::Auto).
    Auto,
}

impl Method {
    /// Those for any equation that is not stiff.
    pub fn all() -> [Method; 17] {
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
            Dopri5Shampine.into(),
            Tsit5.into(),
            Verner6.into(),
            Verner7.into(),
            Dop853.into(),
            Verner9.into(),
            GaussLegendre4.into(),
            GaussLegendre6.into(),
        ]
    }

    /// Those for separable Hamiltonian systems, whose state is positions and then momenta.
    pub fn symplectic() -> [Method; 4] {
        [SymplecticEuler.into(), VelocityVerlet.into(), Yoshida4.into(), Yoshida6.into()]
    }

    /// The diagonally implicit ones.
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

    /// Whether it may take steps with stages that are solved for by Newton's method.
    pub fn is_implicit(self) -> bool {
        !matches!(self, Method::Explicit(_) | Method::Rosenbrock(_) | Method::Reversible(_))
    }

    /// Which portion of a field in parts slope `i` is.
    pub(crate) fn portion(self, i: usize) -> Portion {
        match self {
            Method::Additive(method) => method.portion(i),
            _ => Portion::All,
        }
    }

    /// Whether the last stage of a step, which is solved for, is its end.
    pub(crate) fn ends_in_stage(self) -> bool {
        matches!(self, Method::Implicit(_))
    }

    /// Whether it solves equations with a [mass matrix](crate::with_mass).
    pub fn takes_mass(self) -> bool {
        matches!(self, Method::Rosenbrock(_) | Method::Multistep(_))
    }

    /// Whether its steps need the field's Jacobian.
    pub fn needs_jacobian(self) -> bool {
        !matches!(self, Method::Explicit(_) | Method::Reversible(_))
    }

    /// The coefficients; of [`Auto`](crate::Auto) those of [`Tsit5`].
    pub fn tableau(self) -> &'static Tableau {
        match self {
            Method::Explicit(tableau) | Method::Multistep(tableau) => tableau,
            Method::Implicit(method) => &method.tableau,
            Method::Rosenbrock(method) => &method.tableau,
            Method::Additive(method) => &method.tableau,
            Method::Reversible(scheme) => scheme.tableau(),
            Method::Auto => &tsit5::TABLEAU,
        }
    }
}

impl From<Scheme> for Method {
    fn from(scheme: Scheme) -> Method {
        Method::Reversible(scheme)
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

impl From<Dopri5Shampine> for Method {
    fn from(_: Dopri5Shampine) -> Method {
        Method::Explicit(&dopri5::SHAMPINE)
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

impl From<Verner6> for Method {
    fn from(_: Verner6) -> Method {
        Method::Explicit(&verner6::TABLEAU)
    }
}

impl From<Verner7> for Method {
    fn from(_: Verner7) -> Method {
        Method::Explicit(&verner7::TABLEAU)
    }
}

impl From<Verner9> for Method {
    fn from(_: Verner9) -> Method {
        Method::Explicit(&verner9::TABLEAU)
    }
}

impl From<Dop853> for Method {
    fn from(_: Dop853) -> Method {
        Method::Explicit(&dop853::TABLEAU)
    }
}

impl From<SymplecticEuler> for Method {
    fn from(_: SymplecticEuler) -> Method {
        Method::Explicit(&symplectic::EULER)
    }
}

impl From<VelocityVerlet> for Method {
    fn from(_: VelocityVerlet) -> Method {
        Method::Explicit(&symplectic::VERLET)
    }
}

impl From<Yoshida4> for Method {
    fn from(_: Yoshida4) -> Method {
        Method::Explicit(&symplectic::FOUR)
    }
}

impl From<Yoshida6> for Method {
    fn from(_: Yoshida6) -> Method {
        Method::Explicit(&symplectic::SIX)
    }
}

impl From<GaussLegendre4> for Method {
    fn from(_: GaussLegendre4) -> Method {
        Method::Explicit(&gauss_legendre::FOUR)
    }
}

impl From<GaussLegendre6> for Method {
    fn from(_: GaussLegendre6) -> Method {
        Method::Explicit(&gauss_legendre::SIX)
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

impl From<KenCarp4Imex> for Method {
    fn from(_: KenCarp4Imex) -> Method {
        Method::Additive(&kencarp4_imex::METHOD)
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

impl From<Bdf> for Method {
    fn from(_: Bdf) -> Method {
        Method::Multistep(&bdf::TABLEAU)
    }
}

impl From<Rodas5P> for Method {
    fn from(_: Rodas5P) -> Method {
        Method::Rosenbrock(&rodas5p::METHOD)
    }
}

impl From<TrBdf2> for Method {
    fn from(_: TrBdf2) -> Method {
        Method::Implicit(&tr_bdf2::METHOD)
    }
}
