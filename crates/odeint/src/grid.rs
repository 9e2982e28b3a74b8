//! The recorded grid: what the forward pass keeps for everything that comes after it.

use std::ops::Range;

use costate_ops::{Buffer, Real};

use crate::step::Step;
use crate::tableau::Tableau;
use crate::unroll::Frozen;

/// One accepted step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GridStep {
    pub t0: f64,
    pub h: f64,
    pub t1: f64,
    /// The save times in `(t0, t1]`.
    pub saves: Range<usize>,
    /// How often coupled stages were iterated.
    pub rounds: usize,
}

/// The accepted steps with their states and slopes.
#[derive(Clone, Debug)]
pub(crate) struct Grid<T: Real> {
    pub dim: usize,
    /// A state with tangents is blocks of so many components, the tangents after what they belong
    /// to.
    pub block: usize,
    /// How often tangents were added: 0 for a state, 1 for a state and its tangents, 2 for those and
    /// theirs.
    pub order: usize,
    pub rows: usize,
    pub steps: Vec<GridStep>,
    /// The state at the start of each step, then the last one.
    y: Vec<T>,
    /// The slopes of each step without its end slope, which is the first one of the next; then the
    /// last step's end slope.
    k: Vec<T>,
    /// The slopes of the interpolant's own of those steps that have them.
    own: Vec<T>,
    /// Where in `own` those of each step start.
    own_start: Vec<usize>,
    /// What the evaluations of each of the first steps left for the backward pass, without the end
    /// slope's, and that of the last of them.
    kept: Vec<Buffer<T>>,
    kept_end: Buffer<T>,
    /// How many steps have theirs in `kept`, and whether those after them have not.
    kept_steps: usize,
    kept_is_full: bool,
    /// How many numbers `kept` may hold.
    kept_limit: usize,
}

impl<T: Real> Default for Grid<T> {
    fn default() -> Self {
        Grid {
            dim: 0,
            block: 0,
            order: 0,
            rows: 0,
            steps: Vec::new(),
            y: Vec::new(),
            k: Vec::new(),
            own: Vec::new(),
            own_start: Vec::new(),
            kept: Vec::new(),
            kept_end: Buffer::default(),
            kept_steps: 0,
            kept_is_full: false,
            kept_limit: 0,
        }
    }
}

impl<T: Real> Grid<T> {
    /// Forgets everything, but keeps the memory.
    pub fn start(&mut self, y0: &[T], tableau: &Tableau) {
        self.dim = y0.len();
        (self.block, self.order) = (self.dim, 0);
        self.rows = tableau.rows();
        self.steps.clear();
        self.k.clear();
        self.own.clear();
        self.own_start.clear();
        (self.kept_steps, self.kept_is_full) = (0, false);
        self.y.clear();
        self.y.extend_from_slice(y0);
    }

    /// Keeps what evaluations leave for the backward pass, in no more than as many bytes.
    pub fn keep(&mut self, bytes: usize) {
        self.kept_limit = bytes / size_of::<T>();
    }

    /// Whether the states and slopes of all steps are there.
    pub fn is_whole(&self) -> bool {
        let n = self.steps.len();
        n == 0 || (self.own_start.len() == n && self.y.len() == (n + 1) * self.dim)
    }

    /// Adds a step, with its state and slopes if they are to be kept.
    pub fn push(&mut self, step: &Step<'_, T>, saves: Range<usize>, keep: bool) {
        if keep {
            self.k.truncate(self.steps.len() * (self.rows - 1) * self.dim);
            let (k, own) = step.k.split_at(self.rows * self.dim);
            self.k.extend_from_slice(k);
            self.own_start.push(self.own.len());
            self.own.extend_from_slice(own);
            self.y.extend_from_slice(step.y1);
            self.push_kept(step.kept);
        }
        self.steps.push(GridStep {
            t0: step.t0,
            h: step.h,
            t1: step.t1,
            saves,
            rounds: step.rounds,
        });
    }

    fn push_kept(&mut self, kept: &[T]) {
        let m = kept.len() / self.rows;
        if m == 0 || self.kept_is_full {
            return;
        }
        if (self.kept_steps + 1) * kept.len() > self.kept_limit {
            self.kept_is_full = true;
            return;
        }
        if self.kept.len() == self.kept_steps {
            self.kept.push(Buffer::default());
        }
        let (stages, end) = kept.split_at((self.rows - 1) * m);
        let to = &mut self.kept[self.kept_steps];
        to.resize(stages.len());
        to.copy_from_slice(stages);
        self.kept_end.resize(m);
        self.kept_end.copy_from_slice(end);
        self.kept_steps += 1;
    }

    /// What the evaluation of slope `i` of step `n` left, if it was kept.
    pub fn kept(&self, n: usize, i: usize) -> Option<&[T]> {
        let m = self.kept_end.len();
        if n >= self.kept_steps || i >= self.rows {
            None
        } else if i + 1 < self.rows {
            Some(&self.kept[n][i * m..(i + 1) * m])
        } else if n + 1 < self.kept_steps {
            Some(&self.kept[n + 1][..m])
        } else {
            // If there are later steps, it may have been evaluated only with the next one.
            (!self.kept_is_full).then_some(&self.kept_end)
        }
    }

    /// State number `n`.
    pub fn y(&self, n: usize) -> &[T] {
        &self.y[n * self.dim..(n + 1) * self.dim]
    }

    /// The slopes of step `n`, the end slope included.
    pub fn k(&self, n: usize) -> &[T] {
        let start = n * (self.rows - 1) * self.dim;
        &self.k[start..start + self.rows * self.dim]
    }

    /// The slopes of the interpolant's own of step `n`, if it has any.
    pub fn own(&self, n: usize) -> &[T] {
        let end = self.own_start.get(n + 1).copied().unwrap_or(self.own.len());
        &self.own[self.own_start[n]..end]
    }

    /// The grid and the slopes, to be unrolled with these times.
    pub fn frozen(&self, ts: &[f64]) -> Frozen<T> {
        let (steps, slopes, block) = (self.steps.clone(), self.k.clone(), self.block);
        Frozen { steps, ts: ts.to_vec(), block, slopes }
    }

    pub fn bytes(&self) -> usize {
        let kept: usize = self.kept[..self.kept_steps].iter().map(|kept| kept.len()).sum();
        (self.y.len() + self.k.len() + self.own.len() + kept) * size_of::<T>()
            + self.steps.len() * size_of::<GridStep>()
    }
}
