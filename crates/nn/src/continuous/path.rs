//! Paths through data: what drives a controlled equation.

use costate_odeint::Real;
use costate_tape::Var;

/// How a path goes from one observation to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathKind {
    /// Straight.
    Linear,
    /// Cubic, with the slope at an observation that of the line from the one before, so that it
    /// depends on nothing later (J. Morrill et al., arXiv 2106.11028). Its slope is continuous.
    CubicHermite,
    /// The natural cubic spline: slope and curvature are continuous, curvature 0 at the ends. It
    /// depends on all observations.
    Natural,
}

/// A path through observations: cubic on each interval.
#[derive(Clone, Debug)]
pub struct Path<'t, T: Real> {
    pub(crate) ts: Vec<f64>,
    /// For each interval the value at its start, and the coefficients of `s`, `s²` and `s³` with
    /// `s` the time since then.
    pub(crate) pieces: Vec<[Var<'t, T>; 4]>,
}

impl<'t, T: Real> Path<'t, T> {
    /// Through observations `[times, rows, channels]` at times that increase.
    ///
    /// # Panics
    /// If there is not one for each of at least two times, or the times do not increase.
    #[track_caller]
    pub fn new(kind: PathKind, ts: &[f64], xs: Var<'t, T>) -> Path<'t, T> {
        let shape = xs.shape();
        assert!(
            shape.ndim() == 3 && shape[0] == ts.len() && ts.len() > 1,
            "Path: observations of shape {shape} at {} times, not [times, rows, channels] at two \
             times or more",
            ts.len()
        );
        assert!(ts.windows(2).all(|w| w[1] > w[0]), "Path: times {ts:?} do not increase");
        let mut x = Vec::with_capacity(ts.len());
        for i in 0..ts.len() {
            x.push(xs.index_axis(0, i));
        }
        let h = |i: usize| ts[i + 1] - ts[i];
        let slope = |i: usize| (x[i + 1] - x[i]).scale(T::from_f64(1.0 / h(i)));
        let n = ts.len() - 1;
        let lines: Vec<Var<'t, T>> = (0..n).map(slope).collect();
        let pieces = match kind {
            PathKind::Linear => {
                let zero = x[0].zeros_like();
                (0..n).map(|i| [x[i], lines[i], zero, zero]).collect()
            }
            PathKind::CubicHermite => {
                let slopes: Vec<_> = (0..=n).map(|i| lines[i.saturating_sub(1)]).collect();
                (0..n).map(|i| hermite(x[i], lines[i], slopes[i], slopes[i + 1], h(i))).collect()
            }
            PathKind::Natural => {
                let slopes = natural_slopes(ts, &lines);
                (0..n).map(|i| hermite(x[i], lines[i], slopes[i], slopes[i + 1], h(i))).collect()
            }
        };
        Path { ts: ts.to_vec(), pieces }
    }

    /// The times of the observations.
    pub fn times(&self) -> &[f64] {
        &self.ts
    }

    /// The value at a time, `[rows, channels]`.
    pub fn value(&self, t: f64) -> Var<'t, T> {
        let ([a, b, c, d], s) = self.piece(t);
        let s = T::from_f64(s);
        a + (b + (c + d.scale(s)).scale(s)).scale(s)
    }

    /// The slope at a time, `[rows, channels]`; at an observation, that of what follows.
    pub fn slope(&self, t: f64) -> Var<'t, T> {
        let (piece, s) = self.piece(t);
        slope(&piece, self.pieces[0][0].tape().scalar(T::from_f64(s)))
    }

    fn piece(&self, t: f64) -> ([Var<'t, T>; 4], f64) {
        let i = self.ts.partition_point(|&x| x <= t).saturating_sub(1).min(self.pieces.len() - 1);
        (self.pieces[i], t - self.ts[i])
    }
}

/// The slope of a piece at `s`, 0-d, after its start.
pub(crate) fn slope<'t, T: Real>(piece: &[Var<'t, T>; 4], s: Var<'t, T>) -> Var<'t, T> {
    let two = T::from_f64(2.0);
    piece[1] + s * (piece[2].scale(two) + s * piece[3].scale(T::from_f64(3.0)))
}

/// The cubic from `x` along a line of the given slope, with slopes `a` and `b` at its ends.
fn hermite<'t, T: Real>(
    x: Var<'t, T>,
    line: Var<'t, T>,
    a: Var<'t, T>,
    b: Var<'t, T>,
    h: f64,
) -> [Var<'t, T>; 4] {
    let c =
        (line.scale(T::from_f64(3.0)) - a.scale(T::from_f64(2.0)) - b).scale(T::from_f64(1.0 / h));
    let d = (a + b - line.scale(T::from_f64(2.0))).scale(T::from_f64(1.0 / (h * h)));
    [x, a, c, d]
}

/// The slopes of the natural spline at the observations: the system with one row
/// `m_{i-1}/h_{i-1} + 2 (1/h_{i-1} + 1/h_i) m_i + m_{i+1}/h_i = 3 (l_{i-1}/h_{i-1} + l_i/h_i)` for
/// each, with `l` the slopes of the lines, solved by elimination down and up.
fn natural_slopes<'t, T: Real>(ts: &[f64], lines: &[Var<'t, T>]) -> Vec<Var<'t, T>> {
    let n = lines.len();
    let inverse: Vec<f64> = ts.windows(2).map(|w| 1.0 / (w[1] - w[0])).collect();
    let mut diagonals = Vec::with_capacity(n + 1);
    let mut rights: Vec<Var<'t, T>> = Vec::with_capacity(n + 1);
    for i in 0..=n {
        let mut diagonal = 0.0;
        let mut right: Option<Var<'t, T>> = None;
        for k in [i.checked_sub(1), (i < n).then_some(i)].into_iter().flatten() {
            diagonal += 2.0 * inverse[k];
            let term = lines[k].scale(T::from_f64(3.0 * inverse[k]));
            right = Some(right.map_or(term, |r| r + term));
        }
        let mut right = right.expect("at least one line");
        if i > 0 {
            let factor: f64 = inverse[i - 1] / diagonals[i - 1];
            diagonal -= factor * inverse[i - 1];
            right = right - rights[i - 1].scale(T::from_f64(factor));
        }
        diagonals.push(diagonal);
        rights.push(right);
    }
    let mut slopes = rights;
    for i in (0..=n).rev() {
        if i < n {
            slopes[i] = slopes[i] - slopes[i + 1].scale(T::from_f64(inverse[i]));
        }
        slopes[i] = slopes[i].scale(T::from_f64(1.0 / diagonals[i]));
    }
    slopes
}
