//! The discrete adjoint of a system of a few numbers, several steps at once: see
//! [`StepsBack`](crate::whole_step::StepsBack).
//!
//! Steps are taken in groups, counted from the last one: of as many windows of the grid as it takes, so
//! that what is kept of a solve does not change the bits.

use std::sync::Arc;

use costate_ops::{Buffer, LANES};

use super::few::add;
use super::of_few::ReverseOfFew;
use super::{Backward, Cotangents};
use crate::Real;
use crate::error::FieldError;
use crate::grid::GridStep;
use crate::solve::position;
use crate::stats::Stats;
use crate::weights::WEIGHTS;
use crate::whole_step::{StepsBack, StepsBackMemory};

/// The memory of a pass.
#[derive(Debug)]
pub(crate) struct SideBySide<T: Real> {
    programs: Arc<StepsBack<T>>,
    memory: StepsBackMemory<T>,
    /// The rows of a group of steps.
    rows: Buffer<T>,
    /// Whether states lie within its steps.
    has_inside: bool,
    /// For each step the place and the cotangent of a state within it.
    arrivals: Buffer<T>,
    /// The matrix of each step, row by row, then what is to be added.
    map: Buffer<T>,
    /// The cotangents of the states at the ends of the steps.
    ends: Buffer<T>,
    /// The sums of cotangents of what is captured.
    sums: Buffer<T>,
    p: Buffer<T>,
    waiting: Waiting<T>,
    evaluations: usize,
}

/// Steps that are too few for a group, those that come last at the end.
#[derive(Debug)]
struct Waiting<T: Real> {
    steps: Vec<GridStep>,
    /// The states at their starts, and that at the end.
    y: Buffer<T>,
    /// Their slopes.
    k: Buffer<T>,
    /// How many there are.
    count: usize,
}

/// The numbers of all lanes.
#[inline(always)]
fn lanes<T: Real>(buffer: &mut Buffer<T>) -> &mut [[T; LANES]] {
    buffer.as_chunks_mut().0
}

impl<T: Real> Waiting<T> {
    fn new(dim: usize, stride: usize) -> Waiting<T> {
        let none = GridStep::default();
        Waiting {
            steps: vec![none; LANES],
            y: Buffer::zeros((LANES + 1) * dim),
            k: Buffer::zeros(LANES * stride),
            count: 0,
        }
    }

    /// Adds the step before those that wait.
    fn push(&mut self, step: &GridStep, y0: &[T], k: &[T], y1: &[T]) {
        let (dim, stride) = (y0.len(), self.k.len() / LANES);
        let place = LANES - 1 - self.count;
        self.steps[place] = step.clone();
        self.y[place * dim..][..dim].copy_from_slice(y0);
        self.y[(place + 1) * dim..][..dim].copy_from_slice(y1);
        self.k[place * stride..][..stride].copy_from_slice(&k[..stride]);
        self.count += 1;
    }

    /// Has the places that are left be the first step.
    fn fill(&mut self) {
        let (first, stride) = (LANES - self.count, self.k.len() / LANES);
        let dim = self.y.len() / (LANES + 1);
        for place in 0..first {
            self.steps[place] = self.steps[first].clone();
            self.y.copy_within(first * dim..(first + 1) * dim, place * dim);
            self.k.copy_within(first * stride..(first + 1) * stride, place * stride);
        }
    }
}

impl<T: Real> SideBySide<T> {
    pub fn new(programs: &Arc<StepsBack<T>>) -> SideBySide<T> {
        let at = &programs.rows;
        let dim = at.y1 - at.y0;
        let rows = |count: usize| Buffer::zeros(count * LANES);
        SideBySide {
            memory: programs.memory(),
            rows: rows(at.len),
            has_inside: false,
            arrivals: rows(1 + dim),
            map: rows(dim * dim + dim),
            ends: rows(dim),
            sums: rows(programs.count),
            p: Buffer::zeros(dim),
            waiting: Waiting::new(dim, at.coefficients - at.slopes),
            evaluations: 0,
            programs: Arc::clone(programs),
        }
    }

    /// Sets what is captured.
    pub fn begin(&mut self, captured: &[&[T]]) -> costate_tape::Result<()> {
        self.programs.begin(&mut self.memory, captured)
    }

    /// The steps of a grid in reverse.
    fn all_steps<const D: usize>(&mut self, from: &Backward<'_, T>) {
        let grid = from.grid;
        self.evaluations += grid.steps.len() * (self.programs.times.len() - 1);
        let mut left = grid.steps.len();
        if left == from.steps {
            let (y, k) = (grid.all_y(), grid.all_k());
            let stride = self.waiting.k.len() / LANES;
            while left >= LANES {
                left -= LANES;
                let steps = grid.steps[left..].first_chunk().expect("as many as lanes");
                self.group::<D>(from, 0, steps, &y[left * D..], &k[left * stride..]);
            }
        }
        for i in (0..left).rev() {
            let n = grid.first + i;
            self.waiting.push(&grid.steps[i], grid.y(n), grid.k(n), grid.y(n + 1));
            if self.waiting.count == LANES {
                self.waited::<D>(from);
            }
        }
    }

    /// The steps that wait.
    fn waited<const D: usize>(&mut self, from: &Backward<'_, T>) {
        let none =
            Waiting { steps: Vec::new(), y: Buffer::default(), k: Buffer::default(), count: 0 };
        let mut waiting = std::mem::replace(&mut self.waiting, none);
        waiting.fill();
        let steps = waiting.steps.first_chunk().expect("as many as lanes");
        self.group::<D>(from, LANES - waiting.count, steps, &waiting.y, &waiting.k);
        self.waiting = Waiting { count: 0, ..waiting };
    }

    /// Steps from number `first` of these on, with the states at their starts and at the last one's end,
    /// and their slopes. Those before are only there for the lanes.
    fn group<const D: usize>(
        &mut self,
        from: &Backward<'_, T>,
        first: usize,
        steps: &[GridStep; LANES],
        y: &[T],
        k: &[T],
    ) {
        self.set::<D>(from, first, steps, y, k);
        self.arrive::<D>(from, first, steps);
        let (rows, map, ends) =
            (lanes(&mut self.rows), lanes(&mut self.map), lanes(&mut self.ends));
        self.memory.map(rows, map);
        let p: &mut [T; D] = self.p.first_chunk_mut().expect("a state");
        let (matrix, added) = map.split_at(D * D);
        for lane in (first..LANES).rev() {
            for d in 0..D {
                p[d] += ends[d][lane];
                ends[d][lane] = p[d];
            }
            *p = std::array::from_fn(|i| {
                let mut sum = added[i][lane];
                for j in 0..D {
                    sum += matrix[i * D + j][lane] * p[j];
                }
                sum
            });
        }
        self.memory.captured(rows, ends, lanes(&mut self.sums));
    }

    /// Sets the rows of a group but for what comes from states within its steps.
    fn set<const D: usize>(
        &mut self,
        from: &Backward<'_, T>,
        first: usize,
        steps: &[GridStep; LANES],
        y: &[T],
        k: &[T],
    ) {
        let (programs, rows) = (&*self.programs, lanes(&mut self.rows));
        let at = &programs.rows;
        let y: &[[T; D]; LANES + 1] = y.as_chunks().0.first_chunk().expect("states");
        for d in 0..D {
            rows[at.y0 + d] = std::array::from_fn(|lane| y[lane][d]);
            rows[at.y1 + d] = std::array::from_fn(|lane| y[lane + 1][d]);
        }
        let slopes = &mut rows[at.slopes..at.coefficients];
        let stride = slopes.len();
        let k: [&[T]; LANES] = std::array::from_fn(|lane| &k[lane * stride..][..stride]);
        for (i, row) in slopes.iter_mut().enumerate() {
            *row = std::array::from_fn(|lane| k[lane][i]);
        }
        // With a size of 0, a lane changes nothing.
        let size = |lane: usize| if lane < first { 0.0 } else { steps[lane].t1 - steps[lane].t0 };
        let h: [f64; LANES] = std::array::from_fn(size);
        for (row, &c) in rows[at.coefficients..at.inside].iter_mut().zip(&programs.coefficients) {
            *row = h.map(|h| T::from_f64(h * c));
        }
        if programs.timed {
            for (row, &c) in rows[at.times..at.y0].iter_mut().zip(&programs.times) {
                let time = |lane: usize| match c {
                    1.0 => steps[lane].t1,
                    c => steps[lane].t0 + c * h[lane],
                };
                *row = std::array::from_fn(|lane| T::from_f64(time(lane)));
            }
        }
        let last = &steps[LANES - 1];
        let has_inside =
            last.saves.clone().any(|i| position(from.ts[i], last.t0, last.h, last.t1) < 1.0);
        if last.t1 == from.ts[from.ts.len() - 1] && !has_inside {
            // Nothing comes from the end slope, and the field need not have a derivative there.
            for d in 0..D {
                rows[at.y1 + d][LANES - 1] = rows[at.y0 + d][LANES - 1];
            }
            if programs.timed {
                rows[at.y0 - 1][LANES - 1] = rows[at.times][LANES - 1];
            }
        }
    }

    /// Sets what comes from the states at and within the steps of a group.
    fn arrive<const D: usize>(
        &mut self,
        from: &Backward<'_, T>,
        first: usize,
        steps: &[GridStep; LANES],
    ) {
        let (programs, rows, ends) =
            (&*self.programs, lanes(&mut self.rows), lanes(&mut self.ends));
        let at = &programs.rows;
        if std::mem::take(&mut self.has_inside) {
            rows[at.inside..].as_flattened_mut().fill(T::zero());
        }
        ends.as_flattened_mut().fill(T::zero());
        let states = lanes(&mut self.arrivals);
        // A state of each step after the other.
        for round in 0.. {
            let (mut any_left, mut any_inside) = (false, false);
            states.as_flattened_mut().fill(T::zero());
            for (lane, step) in steps.iter().enumerate().skip(first) {
                let i = step.saves.start + round;
                if i >= step.saves.end {
                    continue;
                }
                any_left = true;
                let (theta, g) = (position(from.ts[i], step.t0, step.h, step.t1), from.g(i));
                let g: &[T; D] = g.first_chunk().expect("a state");
                if theta >= 1.0 {
                    for d in 0..D {
                        ends[d][lane] += g[d];
                    }
                    continue;
                }
                any_inside = true;
                if size_of::<T>() == size_of::<f64>() {
                    states[0][lane] = T::from_f64(theta);
                    for d in 0..D {
                        states[1 + d][lane] = g[d];
                    }
                    continue;
                }
                let (inside, added) = rows[at.inside..].split_at_mut(at.added - at.inside);
                let bars = inside.as_chunks_mut::<D>().0;
                for (bars, weights) in bars.chunks_mut(WEIGHTS).zip(programs.weights.at(theta)) {
                    for (bar, weight) in bars.iter_mut().zip(weights) {
                        let weight = T::from_f64(step.h * weight);
                        for d in 0..D {
                            bar[d][lane] += weight * g[d];
                        }
                    }
                }
                for d in 0..D {
                    added[d][lane] += g[d];
                }
            }
            if any_inside {
                self.has_inside = true;
                self.memory.arrive(states, rows);
            }
            if !any_left {
                break;
            }
        }
    }
}

impl<T: Real> ReverseOfFew<T> for SideBySide<T> {
    fn start(&mut self, _: &Backward<'_, T>) {
        (self.waiting.count, self.evaluations, self.has_inside) = (0, 0, true);
        for buffer in [&mut self.sums, &mut self.p] {
            buffer.fill(T::zero());
        }
    }

    fn steps<const D: usize>(&mut self, from: &Backward<'_, T>) -> Result<(), FieldError> {
        self.all_steps::<D>(from);
        Ok(())
    }

    fn finish<const D: usize>(&mut self, from: &Backward<'_, T>, to: &mut Cotangents<'_, T>) {
        if self.waiting.count > 0 {
            self.waited::<D>(from);
        }
        for (to, sum) in to.captured.iter_mut().zip(lanes(&mut self.sums)) {
            let [a, b, c, d, e, f, g, h] = *sum;
            *to += ((a + e) + (c + g)) + ((b + f) + (d + h));
        }
        add(&mut self.p, from.g(0));
        to.y0.copy_from_slice(&self.p);
    }

    fn stats(&self, steps: usize) -> Stats {
        Stats { accepted: steps, vjp_evals: self.evaluations, ..Stats::default() }
    }
}
