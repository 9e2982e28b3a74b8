//! Two rings, told apart by an augmented block: as it comes, and with each regulariser; what that
//! does to its paths and to what a solve of them takes.

use std::path::Path;

use costate::nn::{
    Augmented, Integrand, JacobianNorm, KineticEnergy, TaylorNorm, solve_with_integrals, steer,
};
use costate::prelude::*;

use crate::blocks::{rings, trajectories};
use crate::picture::{BLUE, GREEN, GREY, ORANGE, Panel, RED, Series, draw};
use crate::{Outcome, level};

const STEPS: usize = 200;

#[derive(Clone, Copy, PartialEq)]
enum Regulariser {
    None,
    Kinetic,
    Jacobian,
    Taylor,
    Steer,
}

pub fn run(path: &Path, seed: u64) -> Outcome {
    let (x, labels) = rings(&mut Rng::seeded(seed), 128);
    let ode = Ode::new(Rk4).steps(8);
    let (mut curves, mut paths, mut plain) = (Vec::new(), Vec::new(), [0.0; 2]);
    for (name, regulariser, colour) in [
        ("none", Regulariser::None, GREY),
        ("kinetic energy", Regulariser::Kinetic, RED),
        ("and Jacobian norm", Regulariser::Jacobian, ORANGE),
        ("TayNODE", Regulariser::Taylor, BLUE),
        ("STEER", Regulariser::Steer, GREEN),
    ] {
        let mut rng = Rng::seeded(seed + 1);
        let mut params = Params::<f64>::seeded(seed);
        let (basis, tanh) = (Basis::Constant, Activation::Tanh);
        let body = Augmented::new(&mut params, "body", [2, 1], &[16], basis, tanh);
        let out = Linear::new(&mut params, "out", 3, 2);
        let mut adam = Adam::new(0.02);
        let (mut losses, mut right) = (Vec::new(), 0.0);
        for step in 0..STEPS {
            let end = match regulariser {
                Regulariser::Steer => steer(&mut rng, 0.0, 1.0, 0.5),
                _ => 1.0,
            };
            let probe = rng.signs([128, 3]);
            params.step(&mut adam, |tape, p| {
                let jacobian = JacobianNorm(tape.constant(&probe));
                let integrands: &[(f64, &dyn Integrand<'_, f64>)] = match regulariser {
                    Regulariser::None | Regulariser::Steer => &[],
                    Regulariser::Kinetic => &[(0.02, &KineticEnergy)],
                    Regulariser::Jacobian => &[(0.02, &KineticEnergy), (0.002, &jacobian)],
                    Regulariser::Taylor => &[(2e-4, &TaylorNorm(3))],
                };
                let each: Vec<_> = integrands.iter().map(|(_, integrand)| *integrand).collect();
                let field = |t, x| Ok(body.block.field(p, t, x));
                let start = tape.constant(&x).pad(1, 0, 1);
                let (xs, integrals) = solve_with_integrals(&ode, field, start, [0.0, end], &each)?;
                let logits = out.forward(p, xs.index_axis(0, 1));
                right = accuracy(logits, &labels);
                let fit = cross_entropy(logits, &labels);
                losses.push((step as f64, fit.item().max(1e-6).log10()));
                let sums = integrands.iter().zip(&integrals);
                Ok(sums.fold(fit, |loss, ((weight, _), sum)| loss + sum.mean() * *weight))
            })?;
        }
        let tape = Tape::new();
        let p = params.bind(&tape);
        let start = tape.constant(&x).pad(1, 0, 1);
        let field = |t, x| Ok(body.block.field(&p, t, x));
        let (_, energy) = solve_with_integrals(&ode, field, start, [0.0, 1.0], &[&KineticEnergy])?;
        let energy = energy[0].mean().item();
        let fine = Ode::new(Tsit5).tolerance(1e-6, 1e-6);
        let evaluations = Ode::stats(fine.try_solve(field, start, [0.0, 1.0])?)
            .map_or(0.0, |stats| stats.f_evals as f64);
        println!(
            "  {name:17} accuracy {right:.3}, loss {:.1e}, kinetic energy {energy:5.1}, {evaluations} \
             evaluations",
            10f64.powf(losses[STEPS - 1].1)
        );
        level(name, 1.0 - right, 0.02)?;
        match regulariser {
            Regulariser::None => plain = [energy, evaluations],
            Regulariser::Kinetic | Regulariser::Jacobian => {
                level("its kinetic energy beside that without", energy / plain[0], 0.5)?;
            }
            Regulariser::Taylor => {
                level("its evaluations beside those without", evaluations / plain[1], 0.8)?;
            }
            Regulariser::Steer => {}
        }
        curves.push(Series::line(name, colour, losses));
        if matches!(regulariser, Regulariser::None | Regulariser::Kinetic) {
            paths.push(trajectories(&body, &p, start, &labels, name)?);
        }
    }
    let mut panels = vec![Panel::new("two rings", "step", "log₁₀ of the loss", curves)];
    panels.extend(paths);
    draw(path, &panels)
}
