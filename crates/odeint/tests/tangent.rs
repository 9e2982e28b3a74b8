//! Tangents of a solve, and with them its second and higher derivatives.

use costate_odeint::{
    Dopri5, GaussLegendre4, Gradient, Kvaerno5, Method, Ode, Rk4, Rodas5P, Times, TrBdf2, Tsit5,
    VelocityVerlet, Verner7,
};
use costate_tape::{Function, Program, Result, Shape, Tape, Var, Workspace, check};
use ndarray::{Array1, ArrayD};

use crate::network::{array, close};

const TIMES: [f64; 4] = [0.1, 0.37, 0.9, 1.4];

/// A small network that depends on the time: `y0, w1, b, w2`.
fn inputs() -> Vec<ArrayD<f64>> {
    vec![
        array(&[2, 2], 0.3, 1.0),
        array(&[2, 4], 1.7, 0.9),
        array(&[4], 2.9, 0.4),
        array(&[4, 2], 4.1, 0.8),
    ]
}

fn solve<'t>(ode: &Ode, x: &[Var<'t, f64>], ts: Times<'_, 't, f64>) -> Result<Var<'t, f64>> {
    let field =
        |t: Var<'t, f64>, y: Var<'t, f64>| (y.matmul(x[1]) + x[2] * t.sin()).tanh().matmul(x[3]);
    ode.solve(|t, y| field(t, y) - y * 0.3, x[0], ts)
}

/// A loss that is nothing simple.
fn loss<'t>(ode: &Ode, x: &[Var<'t, f64>]) -> Result<Var<'t, f64>> {
    let ys = solve(ode, x, TIMES[..].into())?;
    Ok((ys.square() * ys.sin()).sum())
}

fn gradient<'t>(y: Var<'t, f64>, x: &[Var<'t, f64>]) -> Result<Vec<Var<'t, f64>>> {
    y.grad(x)
}

fn directions(seed: f64) -> Vec<ArrayD<f64>> {
    inputs().iter().map(|x| array(x.shape(), seed, 1.0)).collect()
}

fn dot(a: &[Vec<f64>], b: &[ArrayD<f64>]) -> f64 {
    a.iter().flatten().zip(b.iter().flat_map(|b| b.iter())).map(|(a, b)| a * b).sum()
}

/// The products of the Hessian with `u`: by reverse mode over reverse mode, and by forward mode.
fn products(ode: &Ode, u: &[ArrayD<f64>]) -> [Vec<Vec<f64>>; 2] {
    let tape = Tape::new();
    let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
    let u: Vec<_> = u.iter().map(|u| tape.constant(u)).collect();
    let bars = gradient(loss(ode, &x).unwrap(), &x).unwrap();
    let values = |vars: Vec<Var<'_, f64>>| vars.iter().map(|x| x.to_vec()).collect();
    [values(tape.vjp(&bars, &u, &x).unwrap()), values(tape.jvp(&bars, &x, &u).unwrap())]
}

/// Every method, with steps of its own choice where it can.
fn solvers() -> Vec<(Method, Ode)> {
    let all = Method::all().into_iter().chain(Method::symplectic()).chain(Method::implicit());
    let all = all.chain([Rodas5P.into()]);
    all.map(|method| match method.tableau().error {
        Some(_) if method.tableau().order >= 3 => (method, Ode::new(method).tolerance(1e-4, 1e-5)),
        _ => (method, Ode::new(method).steps(5)),
    })
    .collect()
}

/// What rounding may do, which the coefficients of a method multiply.
fn rounding(method: Method) -> f64 {
    let tableau = method.tableau();
    let largest =
        |rows: &[&[f64]]| rows.iter().copied().flatten().map(|x| x.abs()).fold(1.0, f64::max);
    let step = largest(tableau.a) * largest(&[tableau.b]);
    let dense = tableau.interpolant.degree() as f64 * largest(tableau.interpolant.weights);
    (1e-15 * step.max(dense)).max(1e-11)
}

#[test]
fn hessian_vector_products_are_those_of_unrolling_and_symmetric() {
    let (u, v) = (directions(0.77), directions(9.1));
    for (method, ode) in solvers() {
        let name = method.tableau().name;
        let [reverse, forward] = products(&ode, &u);
        let [unrolled, _] = products(&ode.clone().gradient(Gradient::Unrolled), &u);
        close(&reverse, &unrolled, rounding(method), &format!("{name}, reverse"));
        close(&forward, &unrolled, rounding(method), &format!("{name}, forward"));
        let [other, _] = products(&ode, &v);
        let (a, b) = (dot(&reverse, &v), dot(&other, &u));
        assert!((a - b).abs() <= rounding(method) * a.abs(), "{name}: {a:e} {b:e}");
    }
}

/// The grid that a continuous adjoint has is the same, but without states.
#[test]
fn other_ways_to_the_gradient_have_the_same_second_derivatives() {
    let u = directions(0.77);
    let methods = [
        Method::from(Tsit5),
        Verner7.into(),
        GaussLegendre4.into(),
        Kvaerno5.into(),
        Rodas5P.into(),
    ];
    for method in methods {
        let ode = match method.tableau().error {
            Some(_) => Ode::new(method).tolerance(1e-5, 1e-6),
            None => Ode::new(method).steps(5),
        };
        let [exact, _] = products(&ode, &u);
        // The gradient itself differs, and so does what is differentiated once more: only the
        // tangents are compared.
        let tangent = |ode: Ode| {
            let tape = Tape::new();
            let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
            let u: Vec<_> = u.iter().map(|u| tape.constant(u)).collect();
            let ys = solve(&ode, &x, TIMES[..].into()).unwrap();
            vec![tape.jvp(&[ys], &x, &u).unwrap()[0].to_vec()]
        };
        let name = method.tableau().name;
        for way in [Gradient::Continuous, Gradient::Forward] {
            close(&tangent(ode.clone()), &tangent(ode.clone().gradient(way)), 1e-13, name);
        }
        let [by_forward, _] = products(&ode.clone().gradient(Gradient::Forward), &u);
        close(&exact, &by_forward, 1e-11, name);
        let [continuous, _] = products(&ode.gradient(Gradient::Continuous), &u);
        close(&exact, &continuous, 1e-2, name);
    }
}

/// The derivative in a direction of the product of the Hessian with another.
#[test]
fn third_derivatives() {
    let (u, v) = (directions(0.77), directions(9.1));
    for (method, steps) in
        [(Method::from(Tsit5), 3), (TrBdf2.into(), 3), (VelocityVerlet.into(), 4)]
    {
        let found = |way: Gradient, modes: usize| {
            let ode = Ode::new(method).steps(steps).gradient(way);
            let tape = Tape::new();
            let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
            let u: Vec<_> = u.iter().map(|u| tape.constant(u)).collect();
            let v: Vec<_> = v.iter().map(|v| tape.constant(v)).collect();
            let bars = gradient(loss(&ode, &x).unwrap(), &x).unwrap();
            let product = match modes {
                0 => tape.vjp(&bars, &u, &x).unwrap(),
                _ => tape.jvp(&bars, &x, &u).unwrap(),
            };
            let third = match modes {
                2 => tape.jvp(&product, &x, &v).unwrap(),
                _ => tape.vjp(&product, &v, &x).unwrap(),
            };
            third.iter().map(|x| x.to_vec()).collect::<Vec<_>>()
        };
        let unrolled = found(Gradient::Unrolled, 0);
        let name = method.tableau().name;
        for modes in 0..3 {
            close(&found(Gradient::Exact, modes), &unrolled, 1e-10, &format!("{name} {modes}"));
        }
    }
}

/// Fields of the kind that physics has: the gradient of an energy.
fn hamiltonian<'t>(x: &[Var<'t, f64>]) -> Result<Var<'t, f64>> {
    let ode = Ode::new(VelocityVerlet).steps(4);
    ode.try_solve(
        |_, z| {
            let (q, p) = (z.slice_axis(0, 0..1), z.slice_axis(0, 1..2));
            let energy = q.reshape([1, 1]).matmul(x[1]).tanh().square().sum() + q.square().sum();
            let force = energy.grad(&[q])?[0];
            Ok(Var::concat(0, &[p, -force]))
        },
        x[0],
        [0.0, 0.7],
    )
}

/// A field that solves another equation.
fn nested_by<'t>(ode: Ode, x: &[Var<'t, f64>]) -> Result<Var<'t, f64>> {
    ode.steps(3).try_solve(
        |_, y| {
            let inner = Ode::new(Rk4).steps(3).solve(|_, z| (z * x[1]).sin() - z, y, [0.0, 0.5])?;
            Ok(inner.index_axis(0, 1))
        },
        x[0],
        [0.0, 1.0],
    )
}

fn nested<'t>(x: &[Var<'t, f64>]) -> Result<Var<'t, f64>> {
    nested_by(Ode::new(Rk4), x)
}

/// A field that is the gradient of what another solve gives: second derivatives of a solve inside
/// the field of another, already for its value.
fn gradient_of_a_solve<'t>(x: &[Var<'t, f64>]) -> Result<Var<'t, f64>> {
    let ode = Ode::new(Dopri5).steps(2);
    ode.try_solve(
        |_, y| {
            let inner = ode.solve(|_, z| (z * x[1]).sin() - z, y, [0.0, 0.5])?;
            let energy = inner.index_axis(0, 1).square().sum();
            Ok(-energy.grad(&[y])?[0])
        },
        x[0],
        [0.0, 1.0],
    )
}

fn flat<'t>(bars: Vec<Var<'t, f64>>) -> Vec<Var<'t, f64>> {
    bars.iter().map(|g| g.reshape([g.shape().numel()])).collect()
}

#[test]
fn fields_that_differentiate_and_solve() {
    let x = [array(&[2], 0.2, 1.0), array(&[1, 3], 0.9, 0.7)];
    check::gradient(|_, x| hamiltonian(x), &x).unwrap();
    check::gradient(|_, x| Ok(Var::concat(0, &flat(hamiltonian(x)?.sin().sum().grad(x)?))), &x)
        .unwrap();
    let x = [array(&[2], 0.2, 1.0), array(&[2], 0.9, 0.7)];
    for f in [nested, gradient_of_a_solve] {
        check::gradient(|_, x| f(x), &x).unwrap();
        check::gradient(|_, x| Ok(Var::concat(0, &flat(f(x)?.sin().sum().grad(x)?))), &x).unwrap();
    }
}

/// A batch of tangents of a solve inside the field.
#[test]
fn forward_sensitivities_through_a_nested_solve() {
    let bars = |way: Gradient| {
        let tape = Tape::new();
        let x = [array(&[2], 0.2, 1.0), array(&[2], 0.9, 0.7)].map(|x| tape.constant(&x));
        let ys = nested_by(Ode::new(TrBdf2).gradient(way), &x).unwrap();
        let bars = ys.sin().sum().grad(&x).unwrap();
        bars.iter().map(|g| g.to_vec()).collect::<Vec<_>>()
    };
    close(&bars(Gradient::Exact), &bars(Gradient::Forward), 1e-11, "nested");
}

/// Products with the Hessian as a program that was traced without numbers: on each input it finds
/// its own grid, and gives the bits of recording there.
#[test]
fn replay_is_recording() {
    for method in [Method::from(Tsit5), Kvaerno5.into(), Rodas5P.into(), GaussLegendre4.into()] {
        let ode = match method.tableau().error {
            Some(_) => Ode::new(method).tolerance(1e-6, 1e-8),
            None => Ode::new(method).steps(6),
        };
        let body = |tape: &Tape<f64>, x: &[Var<'_, f64>]| -> Result<Vec<Vec<f64>>> {
            let bars = gradient(loss(&ode, &x[..4])?, &x[..4])?;
            let found = tape.vjp(&bars, &x[4..], &x[..4])?;
            Ok(found.iter().map(|x| x.to_vec()).collect())
        };
        let shapes: Vec<Shape> =
            inputs().iter().chain(&inputs()).map(|x| x.shape().into()).collect();
        let function = Function::trace_shapes(&shapes, |tape, x| {
            let bars = gradient(loss(&ode, &x[..4])?, &x[..4])?;
            tape.vjp(&bars, &x[4..], &x[..4])
        })
        .unwrap();
        let program = Program::compile(&function).unwrap();
        let mut workspace = Workspace::new(&program);
        for scale in [1.0, 1.7, 0.4, 1.0] {
            let given: Vec<ArrayD<f64>> =
                inputs().iter().map(|x| x * scale).chain(directions(scale)).collect();
            let slices: Vec<_> = given.iter().map(|x| x.as_slice().unwrap()).collect();
            let outputs = program.evaluate(&mut workspace, &slices).unwrap();
            let replayed: Vec<Vec<f64>> = (0..4).map(|i| outputs.get(i).to_vec()).collect();
            let tape = Tape::new();
            let x: Vec<_> = given.iter().map(|x| tape.constant(x)).collect();
            assert_eq!(replayed, body(&tape, &x).unwrap(), "{}", method.tableau().name);
        }
    }
}

/// Forward sensitivities are the exact gradient, and a batch of directions is one by one.
#[test]
fn forward_is_exact() {
    for (method, ode) in solvers() {
        let found = |way: Gradient, times: bool| {
            let tape = Tape::new();
            let mut x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
            let ts = tape.constant(&Array1::from(TIMES.to_vec()));
            let ode = ode.clone().gradient(way);
            let times = if times { Times::Var(ts) } else { TIMES[..].into() };
            let ys = solve(&ode, &x, times).unwrap();
            x.push(ts);
            let g = tape.constant(&array(&[4, 2, 2], 5.5, 1.0));
            let bars = tape.vjp(&[ys], &[g], &x).unwrap();
            let bars: Vec<_> = bars.iter().map(|g| g.to_vec()).collect();
            if way == Gradient::Forward {
                for (i, bar) in bars[..4].iter().enumerate() {
                    for (j, &bar) in bar.iter().enumerate().step_by(3) {
                        let mut unit = vec![0.0; x[i].shape().numel()];
                        unit[j] = 1.0;
                        let unit = tape.leaf(&unit, x[i].shape());
                        let alone = tape.jvp(&[ys], &[x[i]], &[unit]).unwrap()[0].dot(g).item();
                        assert!((alone - bar).abs() <= 1e-13 * bar.abs().max(1.0));
                    }
                }
            }
            bars
        };
        let name = method.tableau().name;
        for times in [false, true] {
            let (a, b) = (found(Gradient::Exact, times), found(Gradient::Forward, times));
            close(&a, &b, rounding(method), name);
        }
    }
}

/// Where times are variables, second derivatives in directions without them are the same and the
/// others are unrolled.
#[test]
fn times_that_are_variables() {
    for (method, steps) in [(Method::from(Tsit5), 4), (Kvaerno5.into(), 3), (Rodas5P.into(), 3)] {
        let ode = Ode::new(method).steps(steps);
        let found = |way: Gradient, with: bool, forward: bool| {
            let tape = Tape::new();
            let mut x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
            let mut u: Vec<_> = directions(0.77).iter().map(|u| tape.constant(u)).collect();
            x.push(tape.constant(&Array1::from(TIMES.to_vec())));
            u.push(tape.constant(&array(&[4], 3.3, 1.0)));
            let ys = solve(&ode.clone().gradient(way), &x[..4], x[4].into()).unwrap();
            let bars = (ys.square() * ys.sin()).sum().grad(&x).unwrap();
            let n = if with { 5 } else { 4 };
            let found = match forward {
                false => tape.vjp(&bars[..n], &u[..n], &x).unwrap(),
                true => tape.jvp(&bars, &x[..n], &u[..n]).unwrap(),
            };
            found.iter().map(|x| x.to_vec()).collect::<Vec<_>>()
        };
        for with in [false, true] {
            let unrolled = found(Gradient::Unrolled, with, false);
            for forward in [false, true] {
                let exact = found(Gradient::Exact, with, forward);
                let name = method.tableau().name;
                close(&exact, &unrolled, 1e-10, &format!("{name} {with} {forward}"));
            }
        }
    }
}

/// A linear map keeps the solve whose grid it reads.
#[test]
fn linearized_solve() {
    let ode = Ode::new(Tsit5).tolerance(1e-5, 1e-6);
    let shapes: Vec<Shape> = inputs().iter().map(|x| x.shape().into()).collect();
    let f = Function::trace_shapes(&shapes, |_, x| Ok(vec![solve(&ode, x, TIMES[..].into())?]));
    let linear = f.unwrap().linearize(&inputs(), &[0, 1, 2, 3]).unwrap();
    let u = directions(0.77);
    let tape = Tape::new();
    let dots: Vec<_> = u.iter().map(|u| tape.constant(u)).collect();
    let found = linear.tangent.inline(&tape, &dots).unwrap()[0].to_vec();
    let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
    let ys = solve(&ode, &x, TIMES[..].into()).unwrap();
    assert_eq!(found, tape.jvp(&[ys], &x, &dots).unwrap()[0].to_vec());
}

/// A batch of solves, and of the products with their Hessians.
#[test]
fn a_batch_of_second_derivatives() {
    let tape = Tape::new();
    let ode = Ode::new(Tsit5).tolerance(1e-5, 1e-6);
    let y0 = tape.constant(&array(&[3, 2], 0.3, 1.0));
    let u = tape.constant(&array(&[3, 2], 2.3, 1.0));
    let w = tape.constant(&array(&[2], 1.2, 2.0));
    let all = tape
        .vmap(&[y0, u], |x| {
            let ys = ode.solve(|t, y| (y * w * t).sin() - y, x[0], [0.0, 0.3, 2.0])?;
            Ok(vec![(ys.square() * ys.sin()).sum().hvp(x[0], x[1])?])
        })
        .unwrap()[0];
    for i in 0..3 {
        let (y0, u) = (y0.index_axis(0, i), u.index_axis(0, i));
        let ys = ode.solve(|t, y| (y * w * t).sin() - y, y0, [0.0, 0.3, 2.0]).unwrap();
        let alone = (ys.square() * ys.sin()).sum().hvp(y0, u).unwrap();
        assert_eq!(all.index_axis(0, i).to_vec(), alone.to_vec());
    }
}
