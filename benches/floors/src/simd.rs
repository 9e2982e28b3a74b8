//! Vectors of the processor that is compiled for, and small things that registers lack.

use std::arch::x86_64::{__m128d, _mm_cvtsd_f64, _mm_unpackhi_pd};

#[cfg(not(all(target_feature = "avx2", target_feature = "fma")))]
compile_error!(
    "the floors need AVX-512, or AVX2 and multiply-add: compile in this folder, whose .cargo/config.toml asks \
     for all that the processor has, or with RUSTFLAGS=\"-C target-cpu=native\""
);

#[cfg_attr(target_feature = "avx512dq", path = "simd/avx512.rs")]
#[cfg_attr(not(target_feature = "avx512dq"), path = "simd/avx2.rs")]
mod vectors;

pub use vectors::{F32x16, F64x8, Softplus, TILE, Tanh, TanhF32, sum_of_pairs, sums, transpose};

/// Numbers in registers.
pub trait Vector: Copy {
    type Real;
    /// As many numbers.
    type Lanes;
    fn set(x: Self::Real) -> Self;
    fn load(x: &Self::Lanes) -> Self;
    fn array(self) -> Self::Lanes;
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    /// `a b + c`.
    fn fma(self, b: Self, c: Self) -> Self;
    /// `c - a b`.
    fn fnma(self, b: Self, c: Self) -> Self;
    /// The sum of all.
    fn sum(self) -> Self::Real;
}

#[inline(always)]
pub fn set<V: Vector>(x: V::Real) -> V {
    V::set(x)
}

#[inline(always)]
pub fn add<V: Vector>(a: V, b: V) -> V {
    a.add(b)
}

#[inline(always)]
pub fn sub<V: Vector>(a: V, b: V) -> V {
    a.sub(b)
}

#[inline(always)]
pub fn mul<V: Vector>(a: V, b: V) -> V {
    a.mul(b)
}

/// `a b + c`.
#[inline(always)]
pub fn fma<V: Vector>(a: V, b: V, c: V) -> V {
    a.fma(b, c)
}

/// `c - a b`.
#[inline(always)]
pub fn fnma<V: Vector>(a: V, b: V, c: V) -> V {
    a.fnma(b, c)
}

#[inline(always)]
pub fn pair(x: __m128d) -> [f64; 2] {
    // SAFETY: every processor of this architecture has these instructions.
    unsafe { [_mm_cvtsd_f64(x), _mm_cvtsd_f64(_mm_unpackhi_pd(x, x))] }
}

/// The weights of the slopes at the place `theta` of a step, the eighth is 0.
#[inline(always)]
pub fn weights(coefficients: &[[f64; 8]; 4], theta: f64) -> F64x8 {
    let t = set(theta);
    let [one, two, three, four] = coefficients.each_ref().map(F64x8::load);
    mul(t, fma(t, fma(t, fma(t, four, three), two), one))
}

/// 64 numbers.
pub type Row = [F32x16; 4];

#[inline(always)]
pub fn row(x: &[f32; 64]) -> Row {
    let (parts, _) = x.as_chunks::<16>();
    std::array::from_fn(|i| F32x16::load(&parts[i]))
}

/// The row of the number 0.
#[inline(always)]
pub fn zero_row() -> Row {
    [set(0.0); 4]
}

/// The numbers of a row.
#[inline(always)]
pub fn floats(row: &Row) -> &[f32; 64] {
    // SAFETY: a row is 64 floats, and needs more alignment than they do.
    unsafe { &*std::ptr::from_ref(row).cast() }
}

/// A matrix of 64 rows, turned.
pub fn transpose_64(from: &[Row], to: &mut [Row]) {
    let mut turned = [[0.0; 64]; 64];
    for (i, from) in from.iter().enumerate() {
        for (j, &x) in floats(from).iter().enumerate() {
            turned[j][i] = x;
        }
    }
    for (to, turned) in to.iter_mut().zip(&turned) {
        *to = row(turned);
    }
}

/// Calls `each` with the number and the entries of each of the sixteen rows of `start + a b`.
#[inline(always)]
pub fn product(a: &[Row], b: &[Row], start: Row, mut each: impl FnMut(usize, Row)) {
    let a: &[Row; 16] = a.try_into().expect("sixteen rows");
    let b: &[Row; 64] = b.try_into().expect("64 rows");
    for (i, a) in a.as_chunks().0.iter().enumerate() {
        for (r, sums) in four_rows_of_product(a, b, start).into_iter().enumerate() {
            each(4 * i + r, sums);
        }
    }
}

/// By itself, since among other code not all sums would stay in registers.
#[inline(never)]
fn four_rows_of_product(a: &[Row; 4], b: &[Row; 64], start: Row) -> [Row; 4] {
    let mut out = [start; 4];
    for first in (0..4).step_by(TILE) {
        let mut sums: [[F32x16; TILE]; 4] = [std::array::from_fn(|v| start[first + v]); 4];
        for k in 0..64 {
            for r in 0..4 {
                let factor = set(floats(&a[r])[k]);
                for v in 0..TILE {
                    sums[r][v] = fma(factor, b[k][first + v], sums[r][v]);
                }
            }
        }
        for r in 0..4 {
            out[r][first..first + TILE].copy_from_slice(&sums[r]);
        }
    }
    out
}

/// Adds `aᵀ b` to `sums`.
pub fn add_outer(a: &[Row], b: &[Row], sums: &mut [Row]) {
    for (i, sums) in sums.as_chunks_mut().0.iter_mut().enumerate() {
        add_four_rows_of_outer(a, 4 * i, b, sums);
    }
}

#[inline(never)]
fn add_four_rows_of_outer(a: &[Row], i: usize, b: &[Row], sums: &mut [Row; 4]) {
    for first in (0..4).step_by(TILE) {
        let mut found: [[F32x16; TILE]; 4] =
            std::array::from_fn(|r| std::array::from_fn(|v| sums[r][first + v]));
        for (a, b) in a.iter().zip(b) {
            let a: &[f32; 4] = floats(a)[i..].first_chunk().expect("as many numbers");
            for r in 0..4 {
                let factor = set(a[r]);
                for v in 0..TILE {
                    found[r][v] = fma(factor, b[first + v], found[r][v]);
                }
            }
        }
        for r in 0..4 {
            sums[r][first..first + TILE].copy_from_slice(&found[r]);
        }
    }
}

/// The products of two rows, still to be added over the lanes.
#[inline(always)]
pub fn dot(a: &Row, b: &Row) -> F32x16 {
    let low = fma(a[1], b[1], mul(a[0], b[0]));
    let high = fma(a[3], b[3], mul(a[2], b[2]));
    add(low, high)
}

/// Rows to numbers in double precision.
pub fn widen(rows: &[Row], to: &mut [f64]) {
    for (to, row) in to.as_chunks_mut::<64>().0.iter_mut().zip(rows) {
        *to = floats(row).map(f64::from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the standard library: 800 k places, and far out.
    #[test]
    fn tanh_is_as_exact_as_is_said() {
        let places = (-400_000..400_000).map(|i| f64::from(i) * 6e-5).chain([-700.0, 700.0]);
        let (mut double, mut single) = (0.0f64, 0.0f64);
        for x in places {
            let d = Tanh::new().of(set(x)).array()[3];
            let s = TanhF32::new().of(set(x as f32)).array()[3];
            double = double.max((d - x.tanh()).abs());
            single = single.max((f64::from(s) - f64::from(x as f32).tanh()).abs());
        }
        assert!(double < 4e-15, "{double:e}");
        assert!(single < 4.0 * f64::from(f32::EPSILON), "{single:e}");
    }

    #[test]
    fn softplus_is_exact_to_a_few_units_of_rounding() {
        let (mut value_error, mut slope_error) = (0.0f64, 0.0f64);
        for i in -300_000..300_000 {
            let x = i as f32 * 1e-4;
            let (value, slope) = Softplus::new().of(set(x));
            let (value, slope) = (value.array()[3], slope.array()[3]);
            let x = f64::from(x);
            let right = x.max(0.0) + (-x.abs()).exp().ln_1p();
            value_error = value_error.max((f64::from(value) - right).abs() / right.max(1.0));
            let right = 1.0 / (1.0 + (-x).exp());
            slope_error = slope_error.max((f64::from(slope) / right - 1.0).abs());
        }
        assert!(value_error < 2.0 * f64::from(f32::EPSILON), "{value_error:e}");
        assert!(slope_error < 8.0 * f64::from(f32::EPSILON), "{slope_error:e}");
    }

    #[test]
    fn rows_become_columns() {
        let row = |i: usize| F64x8::load(&std::array::from_fn(|j| (10 * i + j) as f64));
        let turned = transpose(std::array::from_fn(row)).map(F64x8::array);
        for (i, row) in turned.iter().enumerate() {
            assert_eq!(*row, std::array::from_fn(|j| (10 * j + i) as f64));
        }
    }

    #[test]
    fn lanes_are_summed() {
        let vector = |i: usize| F32x16::load(&std::array::from_fn(|j| (i * i + 3 * j) as f32));
        let right: [f32; 16] = std::array::from_fn(|i| (16 * i * i + 360) as f32);
        assert_eq!(sums(vector).array(), right);
        assert_eq!(std::array::from_fn(|i| vector(i).sum()), right);
    }

    /// Products of small integers are exact in any order.
    #[test]
    fn products_are_those_of_the_formula() {
        let entry = |i: usize, j: usize, by: usize| ((i * by + 3 * j) % 11) as f32 - 5.0;
        let rows = |n: usize, by: usize| -> Vec<Row> {
            (0..n).map(|i| row(&std::array::from_fn(|j| entry(i, j, by)))).collect()
        };
        let (a, b) = (rows(16, 5), rows(64, 7));
        let mut seen = 0;
        product(&a, &b, [set(2.0); 4], |i, found| {
            seen |= 1 << i;
            for (j, &found) in floats(&found).iter().enumerate() {
                let right: f32 = (0..64).map(|k| entry(i, k, 5) * entry(k, j, 7)).sum();
                assert_eq!(found, right + 2.0, "{i} {j}");
            }
        });
        assert_eq!(seen, 0xffff);
        let mut sums = vec![[set(1.0); 4]; 64];
        add_outer(&a, &b[..16], &mut sums);
        for (i, sums) in sums.iter().enumerate() {
            for (j, &found) in floats(sums).iter().enumerate() {
                let right: f32 = (0..16).map(|k| entry(k, i, 5) * entry(k, j, 7)).sum();
                assert_eq!(found, right + 1.0, "{i} {j}");
            }
        }
    }

    #[test]
    fn pairs_are_weighted() {
        let w = F64x8::load(&std::array::from_fn(|i| (i + 1) as f64));
        let k = std::array::from_fn(|i| {
            // SAFETY: every processor of this architecture has this instruction.
            unsafe { std::arch::x86_64::_mm_setr_pd(i as f64, 10.0 - i as f64) }
        });
        assert_eq!(pair(sum_of_pairs(w, k)), [112.0, 168.0]);
    }
}
