//! The instruments of a gradient as a user of the facade meets them, on a network that is a field.

use costate::prelude::*;
use ndarray::{ArrayD, arr2};

/// A neural ODE: its parameters, and an initial state.
fn model() -> (Params<f64>, Mlp, ArrayD<f64>) {
    let mut params = Params::seeded(3);
    let net = Mlp::new(&mut params, "field", &[2, 8, 2], Activation::Tanh);
    (params, net, arr2(&[[1.0, -0.5], [0.2, 0.8]]).into_dyn())
}

#[test]
fn a_gradient_and_its_instruments() {
    let (params, net, y0) = model();
    let tape = Tape::new();
    let (p, y0) = (params.bind(&tape), tape.constant(&y0));
    let weights: Vec<_> = p.vars().to_vec();
    let ode = Ode::new(Tsit5).tolerance(1e-4, 1e-6);
    let ts = [0.0, 0.5, 2.0];
    let field = |_, y| Ok(net.forward(&p, y));

    let ys = ode.solve(|_, y| net.forward(&p, y), y0, ts).unwrap();
    let gradient = ys.square().mean().grad(&weights).unwrap();

    let path =
        momentum_trajectory(&ode, field, y0, &ts, |ys| Ok(ys.square().mean()), &weights).unwrap();
    for (found, expected) in path.gradient.iter().zip(&gradient) {
        for (a, b) in found.iter().zip(expected.to_vec()) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
    }
    assert_eq!(path.rates.len(), weights.len());
    assert!(path.drift() > 0.0 && path.drift() < 1e-2);

    let found =
        gradient_with_error(&ode, field, y0, &ts, |ys| Ok(ys.square().mean()), &weights).unwrap();
    assert!(found.relative() > 1e-9 && found.relative() < 1e-2, "{:e}", found.relative());

    let g = tape.constant(&ys.value());
    let tangents: Vec<_> = weights.iter().map(|w| w.ones_like()).collect();
    let invariant = p_dot_delta(&ode, field, y0, &ts, g, &weights, &tangents).unwrap();
    assert!(invariant.holds(), "{:e}", invariant.deviation());

    let table = compare_gradients(&ode, field, y0, &ts, |ys| Ok(ys.square().mean()), &[1e-3, 1e-6])
        .unwrap();
    assert!(table.to_string().lines().count() > 6);
    assert!(table.rows.iter().all(|row| row.outcome.is_ok()), "{table}");
}

#[test]
fn a_field_passes_all_checks() {
    let (params, net, y0) = model();
    let weights = params.bind(&Tape::new()).vars().iter().map(|w| w.value()).collect::<Vec<_>>();
    let inputs: Vec<_> = [y0].into_iter().chain(weights).collect();
    let ode = Ode::new(Dopri5).tolerance(1e-3, 1e-5);
    check::solve(
        &ode,
        |w, t, y| Ok(net.forward(&params.bind_to(w), y) * t.cos()),
        &inputs,
        &[0.0, 0.4, 1.1],
    )
    .unwrap();
}
