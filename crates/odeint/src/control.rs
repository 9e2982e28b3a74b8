//! The size of a step: from the error of the last one, and at the start.

use costate_ops::Real;

use crate::options::Options;

/// The new step divided by the old one, after an error measure `error` (1 is just accepted):
/// `0.9 error^(-1/k)`, between 0.2 and 10, where `k - 1` is the order of the embedded method.
pub(crate) fn factor(error: f64, embedded_order: u32) -> f64 {
    if error == 0.0 {
        return 10.0;
    }
    (0.9 * error.powf(-1.0 / f64::from(embedded_order + 1))).clamp(0.2, 10.0)
}

/// The root mean square of `e_i / (atol + rtol max(|a_i|, |b_i|))`; NaN if anything is.
pub(crate) fn error_norm<T: Real>(e: &[T], a: &[T], b: &[T], options: &Options) -> f64 {
    let (rtol, atol) = (options.rtol, options.atol);
    let term = |e: T, a: T, b: T| {
        let size = a.abs().max(b.abs()).as_f64();
        let ratio = e.as_f64() / (atol + rtol * size);
        // 0/0 where nothing happens to a component that is 0.
        if e == T::zero() { 0.0 } else { ratio * ratio }
    };
    const LANES: usize = 8;
    let mut lanes = [0.0; LANES];
    let (e_chunks, e_rest) = e.as_chunks::<LANES>();
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for ((e, a), b) in e_chunks.iter().zip(a_chunks).zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += term(e[i], a[i], b[i]);
        }
    }
    for (i, ((&e, &a), &b)) in e_rest.iter().zip(a_rest).zip(b_rest).enumerate() {
        lanes[i] += term(e, a, b);
    }
    (lanes.iter().sum::<f64>() / e.len() as f64).sqrt()
}

/// The component with the largest error.
pub(crate) fn worst<T: Real>(e: &[T], a: &[T], b: &[T], options: &Options) -> usize {
    let ratio = |i: usize| {
        let size = a[i].abs().max(b[i].abs()).as_f64();
        e[i].as_f64().abs() / (options.atol + options.rtol * size)
    };
    (0..e.len()).max_by(|&i, &j| ratio(i).total_cmp(&ratio(j))).unwrap_or(0)
}

/// The first guess of Hairer, Nørsett, Wanner, II.4, from the sizes of the state and its slope:
/// `0.01 ‖y‖/‖f‖`.
pub(crate) fn first_guess(d0: f64, d1: f64) -> f64 {
    if d0 < 1e-5 || d1 < 1e-5 { 1e-6 } else { 0.01 * d0 / d1 }
}

/// The first step, from the first guess and the size of the second derivative that a probe with
/// it found.
pub(crate) fn first_step(guess: f64, d1: f64, d2: f64, order: u32) -> f64 {
    let largest = d1.max(d2);
    let step = if largest <= 1e-15 {
        (1e-3 * guess).max(1e-6)
    } else {
        (0.01 / largest).powf(1.0 / f64::from(order))
    };
    step.min(100.0 * guess)
}
