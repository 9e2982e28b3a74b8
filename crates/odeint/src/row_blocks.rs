//! A batch in blocks of rows, each of which a thread takes through a whole step, or through the whole way
//! back.
//!
//! A field that treats the rows of its state alike is, for some of the rows, the same field of a smaller
//! batch. Nothing but the size of the steps joins the rows on the way there, and nothing at all on the way
//! back, but for the sums at its end. So threads seldom wait for each other, and what a block works on
//! stays in a near cache.
//!
//! How many blocks there are follows from the field and the method alone, so no bit depends on the threads.

use costate_tape::Function;
use smallvec::SmallVec;

use crate::Real;
use crate::error::FieldError;
use crate::field::Field;
use crate::in_parts::in_parts;
use crate::step::stage_state;
use crate::tableau::{Part, Tableau};
use crate::vector_field::{Replay, SolverMemory, VectorField};

/// Up to how many blocks and slopes need no memory of their own in each step.
const BLOCKS: usize = 32;
const SLOPES: usize = 20;

/// A range of entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn len(self) -> usize {
        self.end - self.start
    }

    /// Those of `x`.
    pub fn of<T>(self, x: &[T]) -> &[T] {
        &x[self.start..self.end]
    }
}

/// The entries of a block: of a state, and of what an evaluation keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub state: Span,
    pub kept: Span,
}

/// A field as fields of blocks of rows.
#[derive(Debug)]
pub(crate) struct RowBlocks<T: Real> {
    /// The field of a block, and that of the last one if it is shorter.
    block: VectorField<T>,
    last: Option<VectorField<T>>,
    rows: usize,
    per_block: usize,
    /// How many entries of a state a row has.
    width: usize,
    /// Which of the captured inputs are rows.
    over_rows: Vec<bool>,
}

/// What the field of a block captures.
pub(crate) type Captured<'a, T> = Vec<&'a [T]>;

impl<T: Real> RowBlocks<T> {
    /// Of a field, whose inputs are the time, the state and what it captures, for an explicit method; `None`
    /// if it does not treat the rows alike, or if that is not worth it. Backward passes may be with respect to
    /// the `time` as well.
    pub fn new(
        function: &Function<T>,
        tableau: &Tableau,
        time: bool,
    ) -> costate_tape::Result<Option<RowBlocks<T>>> {
        let Some(cut) = function.row_blocks(1, tableau.rows() - 1) else { return Ok(None) };
        let made = |function| VectorField::unsplit(function)?.keeping(time);
        Ok(Some(RowBlocks {
            block: made(cut.block)?,
            last: cut.last.map(made).transpose()?,
            rows: cut.rows,
            per_block: cut.per_block,
            width: function.input_shapes()[1].numel() / cut.rows,
            over_rows: cut.over_rows[2..].to_vec(),
        }))
    }

    /// How many blocks there are.
    pub fn count(&self) -> usize {
        self.rows.div_ceil(self.per_block)
    }

    /// How many entries of a state a block has; the last one may have fewer.
    pub fn entries(&self) -> usize {
        self.per_block * self.width
    }

    /// Whether block `i` is shorter than the others.
    fn is_short(&self, i: usize) -> bool {
        (i + 1) * self.per_block > self.rows
    }

    /// What belongs to block `i`, of what is there for a whole one and for the shorter one at the end.
    pub fn either<'a, X>(&self, i: usize, block: &'a X, last: &'a Option<X>) -> &'a X {
        last.as_ref().filter(|_| self.is_short(i)).unwrap_or(block)
    }

    /// The field of block `i`.
    pub fn field(&self, i: usize) -> &VectorField<T> {
        self.either(i, &self.block, &self.last)
    }

    /// The fields of a block, and of the last one if it is shorter.
    pub fn fields(&self) -> (&VectorField<T>, Option<&VectorField<T>>) {
        (&self.block, self.last.as_ref())
    }

    /// How much an evaluation of a block keeps.
    fn kept_len(&self, i: usize) -> usize {
        self.field(i).places().map_or(0, |places| places.len())
    }

    /// The entries of block `i`.
    pub fn block(&self, i: usize) -> Block {
        let start = i * self.kept_len(0);
        Block {
            state: self.rows_of(i, self.rows * self.width),
            kept: Span { start, end: start + self.kept_len(i) },
        }
    }

    /// Whether captured input `i` is rows.
    pub fn is_over_rows(&self, i: usize) -> bool {
        self.over_rows[i]
    }

    /// The part of an array that runs over the rows that is block `i`'s.
    pub fn rows_of(&self, i: usize, len: usize) -> Span {
        let (width, first) = (len / self.rows, i * self.per_block);
        Span { start: first * width, end: (first + self.per_block).min(self.rows) * width }
    }

    /// What the field of each block captures.
    pub fn captured<'a>(&self, captured: &[&'a [T]]) -> Vec<Captured<'a, T>> {
        let cut = |i: usize, (x, over): (&&'a [T], &bool)| -> &'a [T] {
            if *over { self.rows_of(i, x.len()).of(x) } else { x }
        };
        let of_block = |i| captured.iter().zip(&self.over_rows).map(|x| cut(i, x)).collect();
        (0..self.count()).map(of_block).collect()
    }

    /// Memory for a solver.
    pub fn memory(&self) -> Vec<SolverMemory<T>> {
        (0..self.count()).map(|i| self.field(i).memory()).collect()
    }

    /// The blocks at work, with what [each captures](Self::captured), for evaluations that keep something for
    /// a backward pass or none that does.
    pub fn at_work<'a>(
        &'a self,
        memory: &'a mut [SolverMemory<T>],
        captured: &'a [Captured<'a, T>],
        keep: bool,
    ) -> costate_tape::Result<RowsAtWork<'a, T>> {
        let all = memory.iter_mut().zip(captured).enumerate();
        let blocks = all.map(|(i, (memory, captured))| {
            let field = self.field(i);
            Ok(field.at_work(memory, captured)?.keeping(field.places().filter(|_| keep)))
        });
        let blocks = blocks.collect::<costate_tape::Result<Vec<_>>>()?;
        let kept = (0..self.count()).map(|i| if keep { self.kept_len(i) } else { 0 }).sum();
        Ok(RowsAtWork { blocks, entries: self.entries(), kept })
    }
}

/// The fields of blocks at work.
#[derive(Debug)]
pub(crate) struct RowsAtWork<'a, T: Real> {
    blocks: Vec<Replay<'a, T>>,
    /// How many entries of a state a block has.
    entries: usize,
    /// How much an evaluation of all keeps.
    kept: usize,
}

/// A block at work on a step, or on an evaluation.
struct Task<'t, 'a, T: Real> {
    field: &'t mut Replay<'a, T>,
    y0: &'t [T],
    y1: &'t mut [T],
    /// Its part of each slope, and of what each evaluation keeps.
    k: SmallVec<[&'t mut [T]; SLOPES]>,
    kept: SmallVec<[&'t mut [T]; SLOPES]>,
}

impl<'a, T: Real> RowsAtWork<'a, T> {
    /// How much an evaluation keeps.
    pub fn kept_len(&self) -> usize {
        self.kept
    }

    /// An evaluation at the state `y`, which may keep something.
    pub fn eval(
        &mut self,
        t: f64,
        y: &[T],
        dy: &mut [T],
        kept: &mut [T],
    ) -> Result<(), FieldError> {
        let mut kept = [kept];
        let kept = if kept[0].is_empty() { &mut [][..] } else { &mut kept[..] };
        let mut tasks = self.tasks(y, &mut [], dy, kept);
        in_parts(&mut tasks, 1, |task, _| {
            let dy = &mut *task.k[0];
            match task.kept.first_mut() {
                Some(kept) => task.field.eval_keeping(t, task.y0, dy, Part::All, kept),
                None => task.field.eval(t, task.y0, dy),
            }
        })
    }

    /// A step of an explicit method, the first slope of which is there: see
    /// [`rk_step`](crate::rk_step). `kept` has a place for each slope, or none.
    pub fn step(
        &mut self,
        tableau: &Tableau,
        [t0, t1]: [f64; 2],
        y0: &[T],
        k: &mut [T],
        y1: &mut [T],
        kept: &mut [&mut [T]],
    ) -> Result<(), FieldError> {
        let rows = tableau.rows() - usize::from(!tableau.error_needs_end());
        let mut tasks = self.tasks(y0, y1, k, kept);
        in_parts(&mut tasks, tableau.rows() - 1, |Task { field, y0, y1, k, kept }, part| {
            let i = part + 1;
            let (done, rest) = k.split_at_mut(i);
            let done: SmallVec<[&[T]; SLOPES]> = done.iter().map(|k| &**k).collect();
            stage_state(tableau, i, y0, t1 - t0, &done, y1);
            if i == rows {
                return Ok(());
            }
            let time = tableau.time(i, t0, t1);
            match kept.get_mut(i) {
                Some(kept) => field.eval_keeping(time, y1, rest[0], Part::All, kept),
                None => field.eval(time, y1, rest[0]),
            }
        })
    }

    /// The blocks with their parts of a state, of what becomes one, of slopes that follow each other, and of
    /// what evaluations keep.
    fn tasks<'t>(
        &'t mut self,
        y0: &'t [T],
        y1: &'t mut [T],
        k: &'t mut [T],
        kept: &'t mut [&mut [T]],
    ) -> SmallVec<[Task<'t, 'a, T>; BLOCKS]> {
        let mut after = y1.chunks_mut(self.entries);
        let mut tasks: SmallVec<[Task<'t, 'a, T>; BLOCKS]> = SmallVec::new();
        for (field, y0) in self.blocks.iter_mut().zip(y0.chunks(self.entries)) {
            let y1 = after.next().unwrap_or_default();
            tasks.push(Task { field, y0, y1, k: SmallVec::new(), kept: SmallVec::new() });
        }
        for slope in k.chunks_exact_mut(y0.len()) {
            let parts = slope.chunks_mut(self.entries);
            tasks.iter_mut().zip(parts).for_each(|(task, part)| task.k.push(part));
        }
        for kept in kept {
            let mut rest = &mut **kept;
            for task in &mut tasks {
                let own = rest.split_off_mut(..task.field.kept_len()).expect("there is room");
                task.kept.push(own);
            }
        }
        tasks
    }
}
