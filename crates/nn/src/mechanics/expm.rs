//! The exponential of a matrix.

use costate_odeint::Real;
use costate_tape::Var;

/// `eᴬ` of a square matrix, by scaling, a Padé approximant of degree 6 and squaring (C. Moler,
/// C. Van Loan, SIAM Rev. 45 (2003) 3, method 3). Its derivative is that of these operations.
///
/// How often to square follows from the entries, which are [read](Var::value): to use it in a field
/// or a function that is replayed, compute it outside.
///
/// ```
/// use costate_nn::mechanics::expm;
/// use costate_tape::Tape;
///
/// // A rotation by one radian.
/// let tape = Tape::<f64>::new();
/// let r = expm(tape.leaf(&[0.0, 1.0, -1.0, 0.0], [2, 2])).to_vec();
/// assert!((r[0] - 1f64.cos()).abs() < 1e-15 && (r[1] - 1f64.sin()).abs() < 1e-15);
/// ```
///
/// # Panics
/// If it is not a square matrix.
#[track_caller]
pub fn expm<T: Real>(a: Var<'_, T>) -> Var<'_, T> {
    expm_squared(a, squarings(a))
}

/// How often to square so that the scaled matrix has a norm of at most 1/2, where the approximant
/// is exact to double precision.
#[track_caller]
pub(crate) fn squarings<T: Real>(a: Var<'_, T>) -> u32 {
    let shape = a.shape();
    assert!(
        shape.ndim() == 2 && shape[0] == shape[1],
        "expm: shape {shape} is not that of a square matrix"
    );
    let entries = a.to_vec();
    let rows = entries.chunks(shape[1].max(1));
    let norm = rows.map(|r| r.iter().map(|x| x.as_f64().abs()).sum::<f64>()).fold(0.0, f64::max);
    // Not finite or huge entries give what they give.
    if norm.is_finite() && norm > 0.5 { ((2.0 * norm).log2().ceil() as u32).min(64) } else { 0 }
}

/// `eᴬ` with a given number of squarings.
#[track_caller]
pub(crate) fn expm_squared<T: Real>(a: Var<'_, T>, squarings: u32) -> Var<'_, T> {
    const DEGREE: i32 = 6;
    let n = a.shape()[0];
    let x = a.scale(T::from_f64(0.5f64.powi(squarings as i32)));
    let eye = a.tape().eye(n);
    let (mut power, mut c) = (eye, 1.0);
    let (mut above, mut below) = (eye, eye);
    for k in 1..=DEGREE {
        power = power.matmul(x);
        c *= f64::from(DEGREE - k + 1) / f64::from((2 * DEGREE - k + 1) * k);
        let sign = if k % 2 == 0 { c } else { -c };
        above = above + power.scale(T::from_f64(c));
        below = below + power.scale(T::from_f64(sign));
    }
    let mut e = below.solve(above);
    for _ in 0..squarings {
        e = e.matmul(e);
    }
    e
}
