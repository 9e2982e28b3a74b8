//! The discrete adjoint of a system of a few numbers, by the same stages in reverse as
//! [`Exact`](super::Exact).
//!
//! There, taking up an operation costs more than the operation, and each vector-Jacobian product
//! has to wait for the one before it. But the Jacobians of the stages of a step do not depend on
//! cotangents, so they are found together, a stage a lane; what then waits is a product with a tiny
//! matrix. Nor does anything wait for the cotangents of parameters: stages are collected, of as many
//! steps as it takes, until there is one for every lane.

mod implicit;
mod inside;

use costate_ops::{Buffer, LANES};

use self::inside::Inside;
use super::of_few::{FEW, ReverseOfFew};
use super::{Backward, Cotangents};
use crate::Real;
use crate::dirk::DirkTableau;
use crate::error::FieldError;
use crate::method::Method;
use crate::stats::Stats;
use crate::step::sum_few;
use crate::vector_field::{FieldProgram, LaneMemory};

/// The most slopes of a step, those of its interpolant included.
const SLOPES: usize = 32;

/// The programs of a pass.
#[derive(Debug)]
pub(crate) struct FewPrograms<T: Real> {
    /// From time and state to the Jacobian.
    pub jacobian: FieldProgram<T>,
    /// From time, state and cotangent of the slope to the cotangents of captured inputs, if any are
    /// wanted.
    pub captured: Option<FieldProgram<T>>,
}

/// The memory of a pass.
#[derive(Debug)]
pub(crate) struct Few<T: Real> {
    jacobian: LaneMemory<T>,
    captured: Option<Queue<T>>,
    /// The columns of `a`: entry `i · slopes + j` is `a_ji`.
    columns: Vec<T>,
    p: Buffer<T>,
    /// The cotangent of the end slope of the step at hand, if something has been carried to it.
    end: Buffer<T>,
    carried: bool,
    evaluations: usize,
    /// How many stages were solved for.
    solved: usize,
}

/// Stages that wait for the cotangents of captured inputs.
#[derive(Debug)]
struct Queue<T: Real> {
    memory: LaneMemory<T>,
    waiting: usize,
    sums: Vec<[T; LANES]>,
}

impl<T: Real> Queue<T> {
    /// Adds a stage, and runs the program if there is one for every lane.
    #[inline]
    fn push<const D: usize>(&mut self, t: T, y: &[T; D], cotangent: &[T; D]) {
        self.memory.set(self.waiting, t, y);
        self.memory.set_cotangent(self.waiting, cotangent);
        self.waiting += 1;
        if self.waiting == LANES {
            self.run();
        }
    }

    fn run(&mut self) {
        self.memory.lanes.run();
        for (sum, x) in self.sums.iter_mut().zip(self.memory.lanes.outputs()) {
            for (sum, &x) in sum.iter_mut().zip(x) {
                *sum += x;
            }
        }
        self.waiting = 0;
    }

    /// Runs the program for what still waits, and adds up the lanes.
    fn finish(&mut self, to: &mut [T]) {
        if self.waiting > 0 {
            // The other lanes do the first one's work for a cotangent of 0.
            self.memory.fill(self.waiting);
            self.run();
        }
        for (to, sum) in to.iter_mut().zip(&self.sums) {
            let [a, b, c, d, e, f, g, h] = *sum;
            *to += ((a + e) + (c + g)) + ((b + f) + (d + h));
        }
    }
}

impl<T: Real> FewPrograms<T> {
    /// Whether a method and a system of so many components have such a pass.
    pub fn suit(method: Method, dim: usize) -> bool {
        let (Method::Explicit(tableau) | Method::Implicit(DirkTableau { tableau, .. })) = method
        else {
            return false;
        };
        let splits = tableau.coupled || tableau.is_partitioned();
        // Sums of Jacobians' entries round otherwise than products with them, which coefficients that
        // cancel would show.
        let cancels = !tableau.continues.is_empty();
        // Those of an interpolant's own would be explicit after others.
        let alone = tableau.is_explicit() || tableau.slopes() == tableau.rows();
        !splits && !cancels && alone && dim <= FEW && tableau.slopes() <= SLOPES
    }
}

impl<T: Real> Few<T> {
    pub fn new(programs: &FewPrograms<T>) -> Few<T> {
        let captured = programs.captured.as_ref().map(|program| {
            let memory = LaneMemory::new(program);
            let sums = vec![[T::zero(); LANES]; memory.lanes.outputs().len()];
            Queue { memory, waiting: 0, sums }
        });
        Few {
            jacobian: LaneMemory::new(&programs.jacobian),
            captured,
            columns: Vec::new(),
            p: Buffer::default(),
            end: Buffer::default(),
            carried: false,
            evaluations: 0,
            solved: 0,
        }
    }

    /// Sets what is captured.
    pub fn begin(
        &mut self,
        programs: &FewPrograms<T>,
        captured: &[&[T]],
    ) -> costate_tape::Result<()> {
        self.jacobian.begin(&programs.jacobian, captured)?;
        if let Some((queue, program)) = self.captured.as_mut().zip(programs.captured.as_ref()) {
            queue.memory.begin(program, captured)?;
        }
        Ok(())
    }

    /// The steps of a grid by an explicit method in reverse.
    fn explicit_steps<const D: usize>(&mut self, from: &Backward<'_, T>) {
        let tableau = from.method.tableau();
        let (rows, all) = (tableau.rows(), tableau.slopes());
        let zero = [T::zero(); D];
        let (mut p, mut end, mut carried) = (zero, zero, self.carried);
        p.copy_from_slice(&self.p);
        end.copy_from_slice(&self.end);
        let mut stages = [(T::zero(), zero); SLOPES];
        // `∂f/∂y` of the stages: a stage a lane.
        let mut jacobians = [[[[T::zero(); LANES]; D]; D]; SLOPES.div_ceil(LANES)];
        let mut bars = [zero; SLOPES];
        let mut inside = Inside::new(all);
        let mut evaluations = 0;
        for (i, step) in from.grid.steps.iter().enumerate().rev() {
            let (n, h) = (from.grid.first + i, T::from_f64(step.h));
            inside.begin(from, step, &tableau.interpolant, &mut p);
            let slopes = if inside.is_empty() { rows } else { all };
            let needs_end = !inside.is_empty() && tableau.interpolant.needs_end();
            let y0 = from.grid.y(n);
            let (k, own) = (from.grid.k(n).as_chunks().0, from.grid.own(n).as_chunks().0);
            let mut start = zero;
            start.copy_from_slice(y0);

            // The states of the stages, and the Jacobians there.
            let at_end = carried || needs_end;
            for (i, (t, y)) in stages.iter_mut().enumerate().take(slopes).skip(1) {
                *t = T::from_f64(tableau.time(i, step.t0, step.t1));
                if i == rows - 1 {
                    y.copy_from_slice(from.grid.y(n + 1));
                } else {
                    *y = sum_few(start, step.h, tableau.row(i), k);
                    if let Some(a) = tableau.row(i).get(rows..) {
                        *y = sum_few(*y, step.h, a, own);
                    }
                }
                let (chunk, lane) = ((i - 1) / LANES, (i - 1) % LANES);
                self.jacobian.set(lane, *t, y);
                if lane + 1 == LANES || i + 1 == slopes {
                    jacobians[chunk] = found(&mut self.jacobian);
                }
            }

            // The cotangent of slope `i` from those of the stages that use it.
            let slope = |i: usize, bars: &[[T; D]; SLOPES]| {
                let column = &self.columns[i * all + i + 1..i * all + slopes];
                inside.slope(i, column, &bars[i + 1..slopes], h)
            };
            // And through the field there.
            let queue = &mut self.captured;
            let mut back = |i: usize, slope: &[T; D]| {
                let (t, y) = &stages[i];
                if let Some(queue) = queue {
                    queue.push(*t, y, slope);
                }
                evaluations += 1;
                transposed(&jacobians[(i - 1) / LANES], (i - 1) % LANES, slope)
            };
            for i in (rows..slopes).rev() {
                bars[i] = back(i, &slope(i, &bars));
            }
            if !carried {
                end = zero;
            }
            if needs_end {
                add(&mut end, &slope(rows - 1, &bars));
            }
            if at_end {
                add(&mut p, &back(rows - 1, &end));
            }
            bars[rows - 1] = p;
            for i in (1..rows - 1).rev() {
                bars[i] = back(i, &slope(i, &bars));
            }
            end = slope(0, &bars);
            carried = true;
            for bar in bars[1..rows - 1].iter().chain(&bars[rows..slopes]) {
                add(&mut p, bar);
            }
            for g in &inside.cotangents {
                add(&mut p, g);
            }
        }
        self.p.copy_from_slice(&p);
        self.end.copy_from_slice(&end);
        self.carried = carried;
        self.evaluations += evaluations;
    }

    /// What goes through the first slope of the first step.
    fn first_slope<const D: usize>(&mut self, from: &Backward<'_, T>) {
        let (mut y, mut end) = ([T::zero(); D], [T::zero(); D]);
        y.copy_from_slice(from.grid.y(0));
        end.copy_from_slice(&self.end);
        let t = T::from_f64(from.ts[0]);
        self.jacobian.set(0, t, &y);
        let jacobian = found(&mut self.jacobian);
        if let Some(queue) = &mut self.captured {
            queue.push(t, &y, &end);
        }
        self.evaluations += 1;
        add(&mut self.p, &transposed(&jacobian, 0, &end));
    }
}

/// `∂f/∂y` at what the lanes were set to.
#[inline(always)]
fn found<T: Real, const D: usize>(memory: &mut LaneMemory<T>) -> [[[T; LANES]; D]; D] {
    memory.lanes.run();
    let mut jacobian = [[[T::zero(); LANES]; D]; D];
    let rows = memory.lanes.outputs().as_chunks::<D>().0;
    jacobian.copy_from_slice(&rows[..D]);
    jacobian
}

impl<T: Real> ReverseOfFew<T> for Few<T> {
    fn start(&mut self, from: &Backward<'_, T>) {
        let (tableau, dim) = (from.method.tableau(), from.dim());
        let all = tableau.slopes();
        let a = |i: usize, j: usize| tableau.row(i).get(j).copied().unwrap_or(0.0);
        self.columns.clear();
        self.columns.extend((0..all * all).map(|ij| T::from_f64(a(ij % all, ij / all))));
        if let Some(queue) = &mut self.captured {
            queue.waiting = 0;
            queue.sums.fill([T::zero(); LANES]);
        }
        for buffer in [&mut self.p, &mut self.end] {
            buffer.resize(dim);
            buffer.fill(T::zero());
        }
        (self.carried, self.evaluations, self.solved) = (false, 0, 0);
    }

    fn steps<const D: usize>(&mut self, from: &Backward<'_, T>) -> Result<(), FieldError> {
        if let Method::Implicit(method) = from.method {
            return self.implicit_steps::<D>(from, method);
        }
        self.explicit_steps::<D>(from);
        Ok(())
    }

    fn finish<const D: usize>(&mut self, from: &Backward<'_, T>, to: &mut Cotangents<'_, T>) {
        if self.carried {
            self.first_slope::<D>(from);
        }
        if let Some(queue) = &mut self.captured {
            queue.finish(to.captured);
        }
        add(&mut self.p, from.g(0));
        to.y0.copy_from_slice(&self.p);
    }

    fn stats(&self, steps: usize) -> Stats {
        Stats {
            accepted: steps,
            vjp_evals: self.evaluations,
            jacobian_evals: self.solved,
            factorisations: self.solved,
            ..Stats::default()
        }
    }
}

/// `Jᵀ x` with the matrix of a lane.
#[inline(always)]
fn transposed<T: Real, const D: usize>(
    jacobian: &[[[T; LANES]; D]; D],
    lane: usize,
    x: &[T; D],
) -> [T; D] {
    let mut result = [T::zero(); D];
    for (row, &x) in jacobian.iter().zip(x) {
        for (result, entry) in result.iter_mut().zip(row) {
            *result += entry[lane] * x;
        }
    }
    result
}

#[inline(always)]
pub(super) fn add<T: Real>(to: &mut [T], x: &[T]) {
    for (to, &x) in to.iter_mut().zip(x) {
        *to += x;
    }
}
