//! Linear functions with constant coefficients, whole powers, and choice.

use crate::Real;
use crate::elementwise::{check_len, map, map_in_place};
use crate::isa::{Isa, Kernel, dispatch_arithmetic};

struct Affine<'a, T>(T, T, &'a [T], &'a mut [T]);

impl<T: Real> Kernel for Affine<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Affine(mul, add, x, out) = self;
        map(x, out, |x| mul * x + add);
    }
}

/// `out_i = mul · x_i + add`, rounded twice.
///
/// # Panics
/// If the lengths differ.
#[track_caller]
pub fn affine<T: Real>(mul: T, add: T, x: &[T], out: &mut [T]) {
    check_len("affine", x.len(), out.len());
    dispatch_arithmetic(Isa::detect(), Affine(mul, add, x, out));
}

struct AffineInPlace<'a, T>(T, T, &'a mut [T]);

impl<T: Real> Kernel for AffineInPlace<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let AffineInPlace(mul, add, x) = self;
        map_in_place(x, |x| mul * x + add);
    }
}

/// `x_i = mul · x_i + add`, with the same bits as [`affine`].
pub fn affine_in_place<T: Real>(mul: T, add: T, x: &mut [T]) {
    dispatch_arithmetic(Isa::detect(), AffineInPlace(mul, add, x));
}

#[inline(always)]
fn power<T: Real>(n: u32, x: T) -> T {
    let (mut n, mut square, mut product) = (n, x, T::one());
    while n > 0 {
        if n & 1 == 1 {
            product *= square;
        }
        n >>= 1;
        if n > 0 {
            square *= square;
        }
    }
    product
}

/// `out_i = x_iⁿ` by repeated squaring; for negative `n`, `1 / x_i^|n|`; 1 for `n = 0`.
///
/// # Panics
/// If the lengths differ.
#[track_caller]
pub fn powi<T: Real>(n: i32, x: &[T], out: &mut [T]) {
    check_len("powi", x.len(), out.len());
    out.copy_from_slice(x);
    powi_in_place(n, out);
}

struct PowiInPlace<'a, T>(i32, &'a mut [T]);

impl<T: Real> Kernel for PowiInPlace<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let PowiInPlace(n, x) = self;
        match n {
            3 => map_in_place(x, |x| power(3, x)),
            4 => map_in_place(x, |x| power(4, x)),
            _ if n < 0 => map_in_place(x, |x| T::one() / power(n.unsigned_abs(), x)),
            _ => map_in_place(x, |x| power(n.unsigned_abs(), x)),
        }
    }
}

/// `x_i = x_iⁿ`, with the same bits as [`powi`].
pub fn powi_in_place<T: Real>(n: i32, x: &mut [T]) {
    dispatch_arithmetic(Isa::detect(), PowiInPlace(n, x));
}

/// Terms that [`lincomb`] adds in one pass; enough for the stages of most Runge–Kutta methods.
const TERMS: usize = 10;

struct LinComb<'a, 'x, T> {
    c: &'a [T],
    xs: &'a [&'x [T]],
    out: &'a mut [T],
}

impl<T: Real> LinComb<'_, '_, T> {
    #[inline(always)]
    fn pass<const N: usize>(self) {
        let n = self.out.len();
        let c: [T; N] = std::array::from_fn(|j| self.c[j]);
        let xs: [&[T]; N] = std::array::from_fn(|j| &self.xs[j][..n]);
        for (i, out) in self.out.iter_mut().enumerate() {
            let mut sum = c[0] * xs[0][i];
            for j in 1..N {
                sum += c[j] * xs[j][i];
            }
            *out = sum;
        }
    }
}

impl<T: Real> Kernel for LinComb<'_, '_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        match self.c.len() {
            0 => self.out.fill(T::zero()),
            1 => self.pass::<1>(),
            2 => self.pass::<2>(),
            3 => self.pass::<3>(),
            4 => self.pass::<4>(),
            5 => self.pass::<5>(),
            6 => self.pass::<6>(),
            7 => self.pass::<7>(),
            8 => self.pass::<8>(),
            9 => self.pass::<9>(),
            _ => {
                let LinComb { c, xs, out } = self;
                LinComb { c: &c[..TERMS], xs: &xs[..TERMS], out }.pass::<TERMS>();
                for (&c, x) in c.iter().zip(xs).skip(TERMS) {
                    for (out, &x) in out.iter_mut().zip(*x) {
                        *out += c * x;
                    }
                }
            }
        }
    }
}

/// `out_i = Σ_j c_j xs_j,i`, added from first to last; zeros for an empty sum.
///
/// This is the inner loop of a Runge–Kutta step: `y + h Σ a_j k_j` in one pass.
///
/// # Panics
/// If the numbers of coefficients and terms differ, or the length of a term from that of `out`.
#[track_caller]
pub fn lincomb<T: Real>(c: &[T], xs: &[&[T]], out: &mut [T]) {
    check_len("lincomb coefficients", c.len(), xs.len());
    for x in xs {
        check_len("lincomb", x.len(), out.len());
    }
    let kernel = LinComb { c, xs, out };
    // For the few entries of a small system the call costs more than the work.
    if kernel.out.len() < 16 {
        kernel.run::<false>();
    } else {
        dispatch_arithmetic(Isa::detect(), kernel);
    }
}

struct Axpy<'a, T>(T, &'a [T], &'a mut [T]);

impl<T: Real> Kernel for Axpy<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (y, &x) in self.2.iter_mut().zip(self.1) {
            *y += self.0 * x;
        }
    }
}

/// `y_i += c · x_i`.
///
/// # Panics
/// If the lengths differ.
#[track_caller]
pub fn axpy<T: Real>(c: T, x: &[T], y: &mut [T]) {
    check_len("axpy", x.len(), y.len());
    dispatch_arithmetic(Isa::detect(), Axpy(c, x, y));
}

struct Select<'a, T>(&'a [T], &'a [T], &'a [T], &'a mut [T]);

impl<T: Real> Kernel for Select<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Select(cond, a, b, out) = self;
        for (((out, &cond), &a), &b) in out.iter_mut().zip(cond).zip(a).zip(b) {
            *out = if cond != T::zero() { a } else { b };
        }
    }
}

/// `out_i = a_i` where `cond_i ≠ 0`, `b_i` elsewhere.
///
/// # Panics
/// If the lengths differ.
#[track_caller]
pub fn select<T: Real>(cond: &[T], a: &[T], b: &[T], out: &mut [T]) {
    for x in [cond, a, b] {
        check_len("select", x.len(), out.len());
    }
    dispatch_arithmetic(Isa::detect(), Select(cond, a, b, out));
}
