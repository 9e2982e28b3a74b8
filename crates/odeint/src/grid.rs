//! The recorded grid: what the forward pass keeps for everything that comes after it.

use std::ops::Range;

use costate_ops::Buffer;
use smallvec::SmallVec;

use crate::Real;
use crate::auto::Methods;
use crate::differences::{Differences, Orders, ROWS};
use crate::integrator::Frame;
use crate::kept::KeptSteps;
use crate::method::Method;
use crate::step::{Step, combine};
use crate::unroll::Frozen;

/// One accepted step.
#[derive(Clone, Debug, Default)]
pub(crate) struct GridStep {
    pub t0: f64,
    pub h: f64,
    pub t1: f64,
    /// The save times in `(t0, t1]`.
    pub saves: Range<usize>,
    /// How often coupled stages were iterated.
    pub rounds: u32,
    /// Whether it is by the second of two methods.
    pub second: bool,
    /// Those of the step of a multistep method.
    pub order: u8,
    pub basis: u8,
}

impl GridStep {
    /// How the step of a multistep method follows from the one before it.
    pub fn orders(&self) -> Orders {
        Orders { order: usize::from(self.order), basis: usize::from(self.basis) }
    }
}

/// Where a step is to end, and the orders of one by a multistep method.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepEnd {
    pub t: f64,
    pub orders: Orders,
}

impl StepEnd {
    /// That of a step.
    pub fn of(step: &GridStep) -> StepEnd {
        StepEnd { t: step.t1, orders: step.orders() }
    }
}

/// The accepted steps with their states and slopes.
#[derive(Clone, Debug)]
pub(crate) struct Grid<T: Real> {
    /// The number of the first step: not 0 in a window of a longer solve.
    pub first: usize,
    pub dim: usize,
    /// A state with tangents is blocks of so many components, the tangents after what they belong
    /// to.
    pub block: usize,
    /// How often tangents were added: 0 for a state, 1 for a state and its tangents, 2 for those and
    /// theirs.
    pub order: usize,
    /// The methods of the steps.
    pub methods: Methods,
    pub steps: Vec<GridStep>,
    /// The state at the start of each step, then the last one.
    y: Buffer<T>,
    /// The slopes of each step without its end slope, which is the first one of the next; then the
    /// last step's end slope.
    k: Buffer<T>,
    /// How many numbers of `k` a step by the first method adds.
    stride: usize,
    /// Where in `k` those of each step end, if there are two methods.
    k_start: Vec<usize>,
    /// The slopes of the interpolant's own of those steps that have them.
    own: Vec<T>,
    /// Where in `own` those of each step start.
    own_start: Vec<usize>,
    /// What the evaluations of steps left for the backward pass.
    pub kept: KeptSteps<T>,
    /// Whether slopes are not kept.
    without_slopes: bool,
    /// The differences of a multistep method after each step, if they are kept.
    differences: Buffer<T>,
    /// The largest absolute value in all states, if it is asked for.
    largest: f64,
}

impl<T: Real> Default for Grid<T> {
    fn default() -> Self {
        Grid {
            first: 0,
            dim: 0,
            block: 0,
            order: 0,
            methods: Methods::default(),
            steps: Vec::new(),
            y: Buffer::default(),
            k: Buffer::default(),
            stride: 0,
            k_start: Vec::new(),
            own: Vec::new(),
            own_start: Vec::new(),
            kept: KeptSteps::default(),
            without_slopes: false,
            differences: Buffer::default(),
            largest: 0.0,
        }
    }
}

impl<T: Real> Grid<T> {
    /// Forgets everything, but keeps the memory.
    pub fn start(&mut self, y0: &[T], methods: Methods) {
        self.first = 0;
        self.dim = y0.len();
        (self.block, self.order) = (self.dim, 0);
        self.methods = methods;
        self.stride = (methods.first().tableau().rows() - 1) * self.dim;
        self.steps.clear();
        self.k.resize(0);
        self.differences.resize(0);
        self.without_slopes = false;
        self.k_start.clear();
        self.own.clear();
        self.own_start.clear();
        self.kept.clear();
        self.y.resize(0);
        self.y.extend_from_slice(y0);
        self.largest = size(y0);
    }

    /// Keeps no states, the first one neither.
    pub fn without_states(&mut self) {
        self.y.resize(0);
    }

    /// Keeps states, but no slopes.
    pub fn without_slopes(&mut self) {
        self.without_slopes = true;
    }

    /// Whether the states and slopes of all steps are there.
    pub fn is_whole(&self) -> bool {
        let n = self.steps.len();
        n == 0 || (self.own_start.len() == n && self.y.len() == (n + 1) * self.dim)
    }

    /// Adds a step, with its state and slopes if they are to be kept.
    pub fn push(&mut self, step: &Step<'_, T>, saves: Range<usize>, keep: bool) {
        if keep {
            let rows = step.tableau.rows();
            let (k, own) = step.k.split_at(step.k.len().min(rows * self.dim));
            if !self.without_slopes {
                let start = self.k_start(self.steps.len());
                // Without the end slope of the step before, which is the first one of this one.
                self.k.resize(start);
                self.k.extend_from_slice(k);
                if self.methods.are_two() {
                    self.k_start.push(start + (rows - 1) * self.dim);
                }
            }
            self.own_start.push(self.own.len());
            self.own.extend_from_slice(own);
            self.y.extend_from_slice(step.y1);
        }
        self.steps.push(GridStep {
            t0: step.t0,
            h: step.h,
            t1: step.t1,
            saves,
            rounds: step.rounds as u32,
            second: self.methods.is_second(step.tableau),
            order: step.orders.order as u8,
            basis: step.orders.basis as u8,
        });
    }

    /// [`push`](Self::push) of a step of few numbers, whose first slope is the end slope of the step
    /// before, if there is one.
    #[inline(always)]
    pub fn push_few(&mut self, frame: &Frame<T>, saves: Range<usize>) {
        let k = &frame.k[..self.stride + self.dim];
        self.k.extend_from_slice(if self.k.is_empty() { k } else { &k[self.dim..] });
        self.own_start.push(0);
        self.y.extend_from_slice(&frame.y1);
        let (t0, h, t1) = (frame.t0, frame.h, frame.t1);
        let step = GridStep { t0, h, t1, saves, rounds: 1, second: false, order: 0, basis: 0 };
        self.steps.push(step);
    }

    /// Room for the next step of [few numbers](crate::Integrator::record_few), which is not part of the grid until
    /// it is [pushed](Grid::push_next): the state at its start, which is there, and at its end; and its
    /// slopes, of which the first one is there.
    #[inline(always)]
    pub fn next_few(&mut self) -> (&mut [T], &mut [T]) {
        let (dim, steps) = (self.dim, self.steps.len());
        let (y, k) = (steps * dim, steps * self.stride);
        let (y_end, k_end) = (y + 2 * dim, k + self.stride + dim);
        if self.y.len() < y_end || self.k.len() < k_end {
            // More than one at a time: it is shortened in the end.
            self.y.resize(2 * y_end);
            self.k.resize(2 * k_end);
        }
        (&mut self.y[y..y_end], &mut self.k[k..k_end])
    }

    /// Adds the step.
    #[inline(always)]
    pub fn push_next(&mut self, (t0, h, t1): (f64, f64, f64), saves: Range<usize>) {
        let step = GridStep { t0, h, t1, saves, rounds: 1, second: false, order: 0, basis: 0 };
        self.steps.push(step);
    }

    /// Says that no more such steps come.
    pub fn end_few(&mut self) {
        let steps = self.steps.len();
        self.y.resize((steps + 1) * self.dim);
        self.k.resize(steps * self.stride + self.dim);
        self.own_start.resize(steps, 0);
    }

    /// The states at both ends of the last step, and its slopes.
    pub fn last_few(&self) -> (&[T], &[T]) {
        let (dim, stride) = (self.dim, self.stride);
        (&self.y[self.y.len() - 2 * dim..], &self.k[self.k.len() - stride - dim..])
    }

    /// Adds the differences of a multistep method after a step.
    pub fn push_differences(&mut self, differences: &Differences<T>) {
        self.differences.extend_from_slice(differences.first(ROWS + 1));
    }

    /// The differences of a multistep method after step `n`, up to the highest that it has made.
    pub fn differences(&self, n: usize) -> &[T] {
        let (n, len) = (n - self.first, (ROWS + 1) * self.dim);
        &self.differences[n * len..(n + 1) * len]
    }

    /// What the evaluation of slope `i` of step `n` left, if it was kept.
    pub fn kept(&self, n: usize, i: usize) -> Option<&[T]> {
        self.kept.get(n - self.first, i)
    }

    /// The method of a step.
    pub fn method(&self, step: &GridStep) -> Method {
        self.methods.of(step.second)
    }

    /// State number `n`.
    pub fn y(&self, n: usize) -> &[T] {
        let n = n - self.first;
        &self.y[n * self.dim..(n + 1) * self.dim]
    }

    /// Where in `k` the slopes of the step in place `n` of these start.
    fn k_start(&self, n: usize) -> usize {
        match (n.checked_sub(1), self.methods.are_two()) {
            (Some(before), true) => self.k_start[before],
            _ => n * self.stride,
        }
    }

    /// The slopes of step `n`, the end slope included.
    pub fn k(&self, n: usize) -> &[T] {
        let n = n - self.first;
        &self.k[self.k_start(n)..self.k_start(n + 1) + self.dim]
    }

    /// All states, one after another.
    pub fn all_y(&self) -> &[T] {
        &self.y
    }

    /// All slopes, one step after another, if there is one method.
    pub fn all_k(&self) -> &[T] {
        &self.k
    }

    /// The slopes of the interpolant's own of step `n`, if it has any.
    pub fn own(&self, n: usize) -> &[T] {
        let n = n - self.first;
        let end = self.own_start.get(n + 1).copied().unwrap_or(self.own.len());
        &self.own[self.own_start[n]..end]
    }

    /// The state at a time, from the interpolant of the step in which it lies. All slopes of all
    /// steps must be there.
    pub fn interpolate(&self, t: f64, out: &mut [T]) {
        let before = |step: &GridStep| if step.h > 0.0 { step.t1 < t } else { step.t1 > t };
        let n = self.steps.partition_point(before).min(self.steps.len() - 1);
        let step = &self.steps[n];
        let theta = (t - step.t0) / step.h;
        let tableau = self.method(step).tableau();
        let weights: SmallVec<[f64; 32]> =
            (0..tableau.slopes()).map(|i| tableau.interpolant.weight(i, theta)).collect();
        let (of_step, of_own) = weights.split_at(tableau.rows());
        combine(Some(self.y(n)), step.h, of_step, self.k(n), out);
        for (weight, own) in of_own.iter().zip(self.own(n).chunks_exact(self.dim)) {
            costate_ops::axpy(T::from_f64(step.h * weight), own, out);
        }
    }

    /// The grid and the slopes, to be unrolled with these times.
    pub fn frozen(&self, ts: &[f64]) -> Frozen<T> {
        let kept = if self.k.is_empty() { 0 } else { self.steps.len() };
        let starts = (0..=kept).map(|n| self.k_start(n)).collect();
        Frozen {
            methods: self.methods,
            steps: self.steps.clone(),
            ts: ts.to_vec(),
            block: self.block,
            slopes: self.k.to_vec(),
            starts,
            states: match self.methods.first() {
                Method::Multistep(_) => self.y.to_vec(),
                _ => Vec::new(),
            },
            differences: self.differences.to_vec(),
            mass: None,
        }
    }

    /// Takes note of the size of a state.
    pub fn measure(&mut self, y: &[T]) {
        self.largest = size(y).max(self.largest);
    }

    /// The largest absolute value in the states that were measured, the first one among them.
    pub fn largest(&self) -> f64 {
        self.largest
    }

    /// How many states are kept.
    pub fn states(&self) -> usize {
        self.y.len() / self.dim.max(1)
    }

    /// The bytes of the steps' times and places.
    pub fn step_bytes(&self) -> usize {
        self.steps.len() * size_of::<GridStep>()
    }

    /// All bytes.
    pub fn bytes(&self) -> usize {
        let kept = self.kept.numbers();
        (self.y.len() + self.k.len() + self.own.len() + self.differences.len() + kept)
            * size_of::<T>()
            + (self.own_start.len() + self.k_start.len()) * size_of::<usize>()
            + self.step_bytes()
    }
}

/// The largest absolute value; NaN if any entry is.
pub(crate) fn size<T: Real>(y: &[T]) -> f64 {
    y.iter().fold(0.0, |most, y| {
        let y = y.as_f64().abs();
        if y > most || y.is_nan() { y } else { most }
    })
}
