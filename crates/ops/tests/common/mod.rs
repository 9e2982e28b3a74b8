//! What several tests share: lengths worth trying, and awkward numbers.

pub mod double_double;

use costate_ops::Real;

/// Lengths around the widths of vectors and of the blocks of kernels.
pub const LENGTHS: &[usize] =
    &[0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 257, 1000];

/// Numbers at which kernels tend to go wrong.
pub fn awkward<T: Real>() -> Vec<T> {
    let tiny = T::min_positive_value();
    let (one, two) = (T::one(), T::one() + T::one());
    let positive = [
        T::zero(),
        one,
        two,
        one / (two + one),
        tiny,
        tiny / two,
        tiny * T::EPSILON,
        T::max_value(),
        T::max_value() / two,
        T::EPSILON,
        one + T::EPSILON,
        one - T::EPSILON / two,
        T::from_f64(0.346_573_590_279_972_6),
        T::from_f64(std::f64::consts::LN_2),
        T::from_f64(std::f64::consts::SQRT_2),
        T::from_f64(std::f64::consts::FRAC_1_SQRT_2),
        T::from_f64(10.0),
        T::from_f64(20.0),
        T::from_f64(88.5),
        T::from_f64(103.5),
        T::from_f64(709.5),
        T::from_f64(745.0),
        T::infinity(),
        T::nan(),
    ];
    positive.iter().flat_map(|&x| [x, -x]).collect()
}

/// `n` numbers that depend on `seed` alone: mostly of moderate size, with awkward ones among them.
pub fn numbers<T: Real>(n: usize, seed: u64) -> Vec<T> {
    let awkward = awkward::<T>();
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    (0..n)
        .map(|_| {
            let bits = next(&mut state);
            if bits.is_multiple_of(16) {
                awkward[(bits >> 8) as usize % awkward.len()]
            } else {
                T::from_f64(unit(bits) * 8.0 - 4.0)
            }
        })
        .collect()
}

/// `n` numbers in `[-1, 1)` that depend on `seed` alone.
pub fn moderate<T: Real>(n: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    (0..n).map(|_| T::from_f64(unit(next(&mut state)) * 2.0 - 1.0)).collect()
}

/// The generator splitmix64 of Steele, Lea and Flood (OOPSLA 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number in `[0, 1)`.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// Whether two numbers have the same bits; all NaN count as one.
pub fn same<T: Real>(a: T, b: T) -> bool {
    (a.is_nan() && b.is_nan()) || (a == b && a.is_sign_negative() == b.is_sign_negative())
}

/// Panics unless two arrays have the same bits.
#[track_caller]
pub fn assert_same<T: Real>(found: &[T], expected: &[T], what: &dyn std::fmt::Debug) {
    assert_eq!(found.len(), expected.len(), "{what:?}");
    for (i, (&f, &e)) in found.iter().zip(expected).enumerate() {
        assert!(same(f, e), "{what:?}: entry {i} is {f:e} and should be {e:e}");
    }
}
