//! Models whose gradients are hard for one way or another.

use costate::prelude::*;
use ndarray::ArrayD;

use crate::{V, field};

/// A model, and the method that suits it.
pub struct Problem {
    pub name: &'static str,
    pub ode: Ode,
    pub y0: ArrayD<f64>,
    pub ts: Vec<f64>,
    pub parameters: Vec<ArrayD<f64>>,
    pub field: for<'t> fn(&[V<'t>], V<'t>, V<'t>) -> V<'t>,
    pub loss: for<'t> fn(V<'t>) -> V<'t>,
}

pub fn problems() -> Vec<Problem> {
    let vector = |x: &[f64]| ArrayD::from_shape_vec(vec![x.len()], x.to_vec()).expect("one axis");
    let classical = |name, y0: &[f64], end: f64, parameters: &[f64], field| Problem {
        name,
        ode: Ode::new(Tsit5).tolerance(1e-6, 1e-6),
        y0: vector(y0),
        ts: vec![0.0, end],
        parameters: vec![vector(parameters)],
        field,
        loss: end_sum,
    };
    vec![
        Problem {
            name: "own",
            ode: Ode::new(Tsit5).tolerance(1e-6, 1e-6),
            y0: field::y0(),
            ts: field::times(),
            parameters: field::parameters(),
            field: field::field,
            loss: field::loss,
        },
        classical("lotka_volterra", &[1.0, 1.0], 10.0, &[1.5, 1.0, 1.0, 3.0], lotka_volterra),
        // It contracts: backward, it blows up.
        classical("van_der_pol", &[2.0, 0.0], 10.0, &[30.0], van_der_pol),
        // It is chaotic: forward, the gradient blows up.
        classical("lorenz", &[1.0, 0.0, 0.0], 15.0, &[10.0, 28.0, 8.0 / 3.0], lorenz),
    ]
}

fn end_sum(ys: V<'_>) -> V<'_> {
    ys.index_axis(0, ys.shape()[0] - 1).sum()
}

fn lotka_volterra<'t>(w: &[V<'t>], _: V<'t>, y: V<'t>) -> V<'t> {
    let (k, y) = (|i| w[0].index_axis(0, i), |i| y.index_axis(0, i));
    Var::stack(0, &[y(0) * (k(0) - k(1) * y(1)), y(1) * (k(2) * y(0) - k(3))])
}

fn van_der_pol<'t>(w: &[V<'t>], _: V<'t>, y: V<'t>) -> V<'t> {
    let (x, v) = (y.index_axis(0, 0), y.index_axis(0, 1));
    Var::stack(0, &[v, w[0].index_axis(0, 0) * (1.0 - x * x) * v - x])
}

fn lorenz<'t>(w: &[V<'t>], _: V<'t>, y: V<'t>) -> V<'t> {
    let (k, y) = (|i| w[0].index_axis(0, i), |i| y.index_axis(0, i));
    Var::stack(0, &[k(0) * (y(1) - y(0)), y(0) * (k(1) - y(2)) - y(1), y(0) * y(1) - k(2) * y(2)])
}
