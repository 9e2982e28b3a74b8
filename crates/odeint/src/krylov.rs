//! Linear systems by products with their matrix alone: restarted GMRES (Y. Saad, M. H. Schultz,
//! SIAM J. Sci. Stat. Comput. 7 (1986) 856).

use costate_ops::axpy;

use crate::Real;

/// Products between restarts.
const RESTART: usize = 50;

/// The memory of the iterations.
#[derive(Debug, Default)]
pub(crate) struct Gmres<T> {
    /// Orthonormal vectors, one after another.
    basis: Vec<T>,
    product: Vec<T>,
}

impl<T: Real> Gmres<T> {
    /// Solves `A x = b` from `x = 0`, with `apply(v, out)` writing `A v` to `out`, until the
    /// residual is at most `tolerance · ‖b‖` or as many products were taken. Returns the part of
    /// `‖b‖` that is left.
    ///
    /// # Errors
    /// Those of `apply`.
    pub fn solve<E>(
        &mut self,
        mut apply: impl FnMut(&[T], &mut [T]) -> Result<(), E>,
        b: &[T],
        x: &mut [T],
        tolerance: f64,
        products: usize,
    ) -> Result<f64, E> {
        let n = b.len();
        let norm_b = norm(b);
        x.fill(T::zero());
        if norm_b == 0.0 {
            return Ok(0.0);
        }
        self.product.resize(n, T::zero());
        let (mut left, mut best) = (1.0, f64::INFINITY);
        let mut used = 0;
        while left > tolerance && used < products && left < 0.5 * best {
            best = left;
            used += self.cycle(&mut apply, b, x, tolerance * norm_b)?;
            // What is left is computed, not taken from the recursion.
            apply(x, &mut self.product)?;
            left = distance(b, &self.product) / norm_b;
        }
        Ok(left)
    }

    /// Iterations from `x` up to a restart. Returns the number of products.
    fn cycle<E>(
        &mut self,
        apply: &mut impl FnMut(&[T], &mut [T]) -> Result<(), E>,
        b: &[T],
        x: &mut [T],
        target: f64,
    ) -> Result<usize, E> {
        let n = b.len();
        let steps = RESTART.min(n);
        apply(x, &mut self.product)?;
        self.basis.clear();
        self.basis.extend(b.iter().zip(&self.product).map(|(&b, &p)| b - p));
        let start = norm(&self.basis);
        if start <= target {
            return Ok(1);
        }
        scale(1.0 / start, &mut self.basis);
        // The Hessenberg matrix made triangular by rotations, column by column, and the right side.
        let mut columns: Vec<Vec<f64>> = Vec::new();
        let mut rotations: Vec<(f64, f64)> = Vec::new();
        let mut right = vec![start];
        for j in 0..steps {
            let (_, last) = self.basis.split_at(j * n);
            apply(last, &mut self.product)?;
            let mut column = vec![0.0; j + 2];
            // Twice is enough to be orthogonal to rounding.
            for _ in 0..2 {
                for (i, entry) in column[..=j].iter_mut().enumerate() {
                    let v = &self.basis[i * n..(i + 1) * n];
                    let c = dot(v, &self.product);
                    *entry += c;
                    axpy(T::from_f64(-c), v, &mut self.product);
                }
            }
            let rest = norm(&self.product);
            column[j + 1] = rest;
            for (i, &(c, s)) in rotations.iter().enumerate() {
                let (a, b) = (column[i], column[i + 1]);
                (column[i], column[i + 1]) = (c * a + s * b, c * b - s * a);
            }
            let size = column[j].hypot(column[j + 1]);
            let (c, s) = if size == 0.0 { (1.0, 0.0) } else { (column[j] / size, rest / size) };
            (column[j], column[j + 1]) = (size, 0.0);
            rotations.push((c, s));
            right.push(-s * right[j]);
            right[j] *= c;
            columns.push(column);
            if rest <= f64::EPSILON * size || right[j + 1].abs() <= target || j + 1 == steps {
                break;
            }
            let at = self.basis.len();
            self.basis.extend_from_slice(&self.product);
            scale(1.0 / rest, &mut self.basis[at..]);
        }
        for i in (0..columns.len()).rev() {
            let sum: f64 = (i + 1..columns.len()).map(|j| columns[j][i] * right[j]).sum();
            let pivot = columns[i][i];
            right[i] = if pivot == 0.0 { 0.0 } else { (right[i] - sum) / pivot };
            axpy(T::from_f64(right[i]), &self.basis[i * n..(i + 1) * n], x);
        }
        Ok(columns.len() + 2)
    }
}

pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> f64 {
    costate_ops::dot(a, b).as_f64()
}

pub(crate) fn norm<T: Real>(x: &[T]) -> f64 {
    dot(x, x).sqrt()
}

fn distance<T: Real>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a.as_f64() - b.as_f64()).powi(2)).sum::<f64>().sqrt()
}

fn scale<T: Real>(c: f64, x: &mut [T]) {
    let c = T::from_f64(c);
    x.iter_mut().for_each(|x| *x *= c);
}
