//! Checks of what must not change a bit: a batch, its order, what is kept.

use costate_tape::{Result, Tape, Var};

use super::setup::{Checked, Setup};
use crate::Real;
use crate::memory::Memory;
use crate::ode::Ode;

/// How many samples a batch has.
const SAMPLES: usize = 3;

impl<T, F> Setup<'_, T, F>
where
    T: Real,
    F: for<'t> Fn(&[Var<'t, T>], Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
{
    /// Initial states near the given one.
    fn samples<'t>(&self, y0: Var<'t, T>) -> Vec<Var<'t, T>> {
        let mut numbers = self.numbers();
        let near = |_| (y0 + numbers.like(y0).scale(T::from_f64(0.05))).fresh();
        (0..SAMPLES).map(near).collect()
    }

    /// The states of a batch of solves, `[samples, times, …]`, and the gradients of a sum of them
    /// with respect to each initial state, and then to what is shared.
    fn batched<'t>(
        &self,
        x: &[Var<'t, T>],
        starts: &[Var<'t, T>],
        seeds: &[Var<'t, T>],
    ) -> Result<(Var<'t, T>, Vec<Var<'t, T>>)> {
        let tape = x[0].tape();
        let stacked = Var::stack(0, starts);
        let ys = tape.vmap(&[stacked], |y0| {
            let inputs: Vec<_> = y0.iter().chain(&x[1..]).copied().collect();
            Ok(vec![self.solve(&self.ode, &inputs)?])
        })?[0];
        let wrt: Vec<_> = starts.iter().chain(&x[1..]).copied().collect();
        let bars = tape.vjp(&[ys], &[Var::stack(0, seeds)], &wrt)?;
        Ok((ys, bars))
    }

    /// One seed for each sample.
    fn seeds<'t>(&self, y0: Var<'t, T>) -> Vec<Var<'t, T>> {
        let mut numbers = self.numbers();
        let shape: Vec<usize> = [self.ts.len()].iter().chain(y0.shape().iter()).copied().collect();
        let like = y0.broadcast_to(shape);
        (0..SAMPLES).map(|_| numbers.like(like)).collect()
    }

    pub fn batch(&self) -> Checked {
        let tape = Tape::new();
        let x = self.leaves(&tape);
        let (starts, seeds) = (self.samples(x[0]), self.seeds(x[0]));
        let (ys, bars) = self.batched(&x, &starts, &seeds)?;
        let mut shared: Vec<Option<Var<'_, T>>> = vec![None; x.len() - 1];
        for (i, (&start, &seed)) in starts.iter().zip(&seeds).enumerate() {
            let inputs: Vec<_> = [start].iter().chain(&x[1..]).copied().collect();
            let alone = self.solve(&self.ode, &inputs)?;
            let found = ys.index_axis(0, i).to_vec();
            self.close(&format!("states of sample {i}"), &found, &alone.to_vec(), 0.0)?;
            let alone = tape.vjp(&[alone], &[seed], &inputs)?;
            let what = format!("gradient of sample {i}");
            self.close(&what, &bars[i].to_vec(), &alone[0].to_vec(), 0.0)?;
            for (sum, &g) in shared.iter_mut().zip(&alone[1..]) {
                *sum = Some(sum.map_or(g, |sum| sum + g));
            }
        }
        let shared: Vec<_> = shared.into_iter().flatten().collect();
        self.all_close("gradient of what is shared", &bars[SAMPLES..], &shared, self.rounding())
    }

    pub fn permutation(&self) -> Checked {
        let tape = Tape::new();
        let x = self.leaves(&tape);
        let (mut starts, mut seeds) = (self.samples(x[0]), self.seeds(x[0]));
        let (ys, bars) = self.batched(&x, &starts, &seeds)?;
        starts.rotate_left(1);
        seeds.rotate_left(1);
        let (other, other_bars) = self.batched(&x, &starts, &seeds)?;
        for (i, bar) in bars[..SAMPLES].iter().enumerate() {
            let j = (i + SAMPLES - 1) % SAMPLES;
            let (found, expected) = (other.index_axis(0, j), ys.index_axis(0, i));
            let what = format!("states of sample {i} at place {j}");
            self.close(&what, &found.to_vec(), &expected.to_vec(), 0.0)?;
            let what = format!("gradient of sample {i} at place {j}");
            self.close(&what, &other_bars[j].to_vec(), &bar.to_vec(), 0.0)?;
        }
        let (found, expected) = (&other_bars[SAMPLES..], &bars[SAMPLES..]);
        self.all_close("gradient of what is shared", found, expected, self.rounding())
    }

    /// The states, and the gradient of a sum of them with respect to each input.
    fn numbers_of(&self, ode: &Ode) -> Result<(Vec<T>, Vec<Vec<T>>)> {
        let tape = Tape::new();
        let x = self.leaves(&tape);
        let ys = self.solve(ode, &x)?;
        let g = self.numbers().like(ys);
        let bars = tape.vjp(&[ys], &[g], &x)?;
        Ok((ys.to_vec(), bars.iter().map(|g| g.to_vec()).collect()))
    }

    pub fn again(&self) -> Checked {
        let (states, bars) = self.numbers_of(&self.ode)?;
        let (states_again, bars_again) = self.numbers_of(&self.ode)?;
        self.close("states", &states_again, &states, 0.0)?;
        for (i, (a, b)) in bars_again.iter().zip(&bars).enumerate() {
            self.close(&format!("gradient, input {i}"), a, b, 0.0)?;
        }
        Ok(())
    }

    pub fn memory(&self) -> Checked {
        let gradient = |ode: &Ode| self.numbers_of(ode).map(|(_, bars)| bars);
        let expected = gradient(&self.ode.clone().memory(Memory::Stages))?;
        let policies = [
            ("without activations", self.ode.clone().activations(0)),
            ("with states kept", self.ode.clone().memory(Memory::Steps)),
            ("with one checkpoint", self.ode.clone().memory(Memory::Checkpoints(1))),
            ("with three checkpoints", self.ode.clone().memory(Memory::Checkpoints(3))),
        ];
        for (what, ode) in policies {
            for (i, (a, b)) in gradient(&ode)?.iter().zip(&expected).enumerate() {
                self.close(&format!("gradient {what}, input {i}"), a, b, 0.0)?;
            }
        }
        Ok(())
    }
}
