//! The discrete adjoint of a batch in [blocks of rows](crate::row_blocks): on the way back nothing joins them,
//! so each is a pass by itself. What they find for captured inputs that they share is added up at the end,
//! in the order of the blocks.

use std::ops::Range;

use costate_ops::{Buffer, axpy};
use costate_tape::Result;

use super::programs::ByPrograms;
use super::{Backward, Cotangents, Exact, Programs, Reverse, SumMemory, Sums};
use crate::Real;
use crate::error::FieldError;
use crate::in_parts::in_parts;
use crate::row_blocks::{Block, Captured, RowBlocks};
use crate::stats::Stats;
use crate::vector_field::{FieldMemory, Replay, VjpPrograms};

/// The programs of the pass.
#[derive(Debug)]
pub(crate) struct RowPrograms<T: Real> {
    block: VjpPrograms<T>,
    last: Option<VjpPrograms<T>>,
    /// Which captured inputs' cotangents are wanted.
    wrt: Vec<usize>,
    /// Whether the times' are.
    times: bool,
}

impl<T: Real> RowPrograms<T> {
    /// With respect to the time if asked for, and to the captured inputs of the given numbers.
    pub fn new(rows: &RowBlocks<T>, times: bool, wrt: &[usize]) -> Result<RowPrograms<T>> {
        let (block, last) = rows.fields();
        Ok(RowPrograms {
            block: block.vjp_programs(times, wrt, true)?,
            last: last.map(|last| last.vjp_programs(times, wrt, true)).transpose()?,
            wrt: wrt.to_vec(),
            times,
        })
    }
}

/// The memory of a block.
#[derive(Debug)]
struct Memory<T: Real> {
    vjp: FieldMemory<T>,
    backward: Option<FieldMemory<T>>,
    sums: SumMemory<T>,
    exact: Exact<T>,
    /// What it finds for the times, and for captured inputs, with what rounding took from that.
    times: Buffer<T>,
    captured: Buffer<T>,
    rest: Buffer<T>,
}

/// The memory of the pass.
#[derive(Debug)]
pub(crate) struct RowMemory<T: Real> {
    blocks: Vec<Memory<T>>,
}

impl<T: Real> RowMemory<T> {
    pub fn new(rows: &RowBlocks<T>, programs: &RowPrograms<T>) -> RowMemory<T> {
        let of_block = |i| {
            let programs = rows.either(i, &programs.block, &programs.last);
            Memory {
                vjp: FieldMemory::new(&programs.vjp),
                backward: programs.backward.as_ref().map(FieldMemory::new),
                sums: SumMemory::default(),
                exact: Exact::default(),
                times: Buffer::default(),
                captured: Buffer::default(),
                rest: Buffer::default(),
            }
        };
        RowMemory { blocks: (0..rows.count()).map(of_block).collect() }
    }

    /// The pass, given what is captured by all and by each block, and how many times there are.
    pub fn at_work<'a>(
        &'a mut self,
        rows: &'a RowBlocks<T>,
        programs: &'a RowPrograms<T>,
        all: &[&[T]],
        captured: &'a [Captured<'a, T>],
        times: usize,
    ) -> Result<ByRows<'a, T>> {
        let places = places(rows, &programs.wrt, all);
        let mut passes = Vec::with_capacity(self.blocks.len());
        for (i, (memory, given)) in self.blocks.iter_mut().zip(captured).enumerate() {
            let Memory { vjp, backward, sums, exact, times: found, captured, rest } = memory;
            let VjpPrograms { vjp: program, backward: from_kept, sums: plans } =
                rows.either(i, &programs.block, &programs.last);
            let kept = Replay::of(from_kept.as_ref(), backward, given)?;
            let len = programs.wrt.iter().map(|&i| given[i].len()).sum();
            for buffer in [&mut *captured, &mut *rest] {
                buffer.resize(len);
                buffer.fill(T::zero());
            }
            found.resize(if programs.times { times } else { 0 });
            found.fill(T::zero());
            passes.push(Pass {
                block: rows.block(i),
                programs: Programs {
                    vjp: Replay::new(program, vjp, given)?,
                    parts: None,
                    kept: kept.map(|kept| kept.keeping(rows.field(i).places())),
                    sums: plans.as_ref().map(|plans| Sums::new(plans, sums)),
                    jacobian: None,
                    second: None,
                    pass: None,
                },
                exact,
                times: found,
                captured,
                rest,
            });
        }
        Ok(ByRows { rows, passes, places })
    }
}

/// Where in the cotangents of all those of a captured input lie, and whether it is rows.
fn places<T: Real>(
    rows: &RowBlocks<T>,
    wrt: &[usize],
    captured: &[&[T]],
) -> Vec<(Range<usize>, bool)> {
    let mut at = 0;
    let place = |&i: &usize| {
        at += captured[i].len();
        (at - captured[i].len()..at, rows.is_over_rows(i))
    };
    wrt.iter().map(place).collect()
}

/// The way back of a block.
struct Pass<'a, T: Real> {
    block: Block,
    programs: Programs<'a, T>,
    exact: &'a mut Exact<T>,
    times: &'a mut [T],
    captured: &'a mut [T],
    rest: &'a mut [T],
}

impl<T: Real> Pass<'_, T> {
    /// Goes on, from the cotangents of all rows.
    fn go(
        &mut self,
        from: &Backward<'_, T>,
        y0: &mut [T],
        go: impl Fn(
            &mut Exact<T>,
            &Backward<'_, T>,
            &mut Programs<'_, T>,
            &mut Cotangents<'_, T>,
        ) -> std::result::Result<(), FieldError>,
    ) -> std::result::Result<(), FieldError> {
        let times = (!self.times.is_empty()).then_some(&mut *self.times);
        let mut to = Cotangents { y0, times, captured: self.captured, rest: self.rest };
        let from = Backward { block: Some(self.block), ..*from };
        go(self.exact, &from, &mut self.programs, &mut to)
    }
}

/// The pass at work.
pub(crate) struct ByRows<'a, T: Real> {
    rows: &'a RowBlocks<T>,
    passes: Vec<Pass<'a, T>>,
    places: Vec<(Range<usize>, bool)>,
}

impl<T: Real> Reverse<T> for ByRows<'_, T> {
    fn start(&mut self, from: &Backward<'_, T>) {
        for pass in &mut self.passes {
            pass.exact.start(&Backward { block: Some(pass.block), ..*from });
        }
    }

    fn steps(
        &mut self,
        from: &Backward<'_, T>,
        _: &mut Cotangents<'_, T>,
    ) -> std::result::Result<(), FieldError> {
        let steps = from.grid.steps.len();
        in_parts(&mut self.passes, steps, |pass, part| {
            let step = steps - 1 - part;
            pass.go(from, &mut [], |exact, from, programs, to| exact.step(from, step, programs, to))
        })
    }

    fn finish(
        &mut self,
        from: &Backward<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> std::result::Result<(), FieldError> {
        let parts = to.y0.chunks_mut(self.rows.entries());
        let mut tasks: Vec<_> = self.passes.iter_mut().zip(parts).collect();
        in_parts(&mut tasks, 1, |(pass, y0), _| {
            pass.go(from, y0, |exact, from, programs, to| {
                exact.finish(from, programs, to)?;
                to.finish();
                Ok(())
            })
        })?;
        for (i, pass) in self.passes.iter().enumerate() {
            if let Some(times) = &mut to.times {
                axpy(T::one(), pass.times, times);
            }
            let mut found = &*pass.captured;
            for (place, over_rows) in &self.places {
                let all = &mut to.captured[place.clone()];
                let to = match over_rows {
                    true => {
                        let own = self.rows.rows_of(i, all.len());
                        &mut all[own.start..own.end]
                    }
                    false => all,
                };
                let own = found.split_off(..to.len()).expect("as many as there are");
                match i {
                    0 => to.copy_from_slice(own),
                    _ => axpy(T::one(), own, to),
                }
            }
        }
        Ok(())
    }

    fn stats(&self, steps: usize) -> Stats {
        self.passes[0].programs.stats(steps)
    }
}
