//! An absolute tolerance for each component of a solve on the tape.

use costate_odeint::Real;
use costate_odeint::{
    Bdf, Dopri5, Error, ErrorKind, Gradient, Kvaerno5, Mass, Memory, Method, Ode, Rodas5P, Solver,
    Stats, Tsit5, VarEvent,
};
use costate_tape::{Result, Tape, Var};

/// How much smaller the predators are than the prey.
const SMALL: f64 = 1e-5;
const TS: [f64; 5] = [0.0, 0.7, 2.1, 4.9, 6.0];

/// Pairs of prey and few predators: as a field of `[2, pairs]` on the tape.
fn field<'t, T: Real>(p: Var<'t, T>, y: Var<'t, T>) -> Var<'t, T> {
    let (prey, predators) = (y.index_axis(0, 0), y.index_axis(0, 1));
    let meet = prey * predators;
    let [born, eaten, die, fed] = [0, 1, 2, 3].map(|i| p.index_axis(0, i));
    Var::stack(0, &[prey * born - meet * eaten, meet * fed - predators * die])
}

/// The same with the same operations on slices.
fn on_slices<T: Real>(p: [T; 4]) -> impl FnMut(f64, &[T], &mut [T]) {
    move |_, y, dy| {
        let n = y.len() / 2;
        for i in 0..n {
            let meet = y[i] * y[n + i];
            dy[i] = y[i] * p[0] - meet * p[1];
            dy[n + i] = meet * p[3] - y[n + i] * p[2];
        }
    }
}

fn parameters<T: Real>() -> [T; 4] {
    [1.1, 0.4 / SMALL, 0.4, 0.1].map(T::from_f64)
}

fn start<T: Real>(pairs: usize) -> Vec<T> {
    let of = |i: usize| if i < pairs { 10.0 - 0.3 * i as f64 } else { 5.0 * SMALL };
    (0..2 * pairs).map(|i| T::from_f64(of(i))).collect()
}

/// Such that the few predators count for more than the prey.
fn tolerances(pairs: usize, atol: f64) -> Vec<f64> {
    (0..2 * pairs).map(|i| if i < pairs { atol } else { 0.01 * SMALL * atol }).collect()
}

/// The states, what the solve did, and the cotangents of the start and the parameters.
fn solve<T: Real>(ode: &Ode, pairs: usize) -> Result<(Vec<T>, Stats, Vec<f64>)> {
    let tape = Tape::<T>::new();
    let (y0, p) = (tape.leaf(&start(pairs), [2, pairs]), tape.leaf(&parameters(), [4]));
    let ys = ode.solve(|_, y| field(p, y), y0, TS)?;
    let sizes = tape.leaf(&[1.0, 1.0 / SMALL].map(T::from_f64), [2, 1]);
    let bars = (ys * sizes).sin().sum().grad(&[y0, p])?;
    // In units of the sizes of what they are for.
    let of_start = bars[0].to_vec().into_iter().zip(start::<T>(pairs));
    let of_p = bars[1].to_vec().into_iter().zip(parameters::<T>());
    let bars = of_start.chain(of_p).map(|(g, x)| g.as_f64() * x.as_f64()).collect();
    Ok((ys.to_vec(), Ode::stats(ys).unwrap_or_default(), bars))
}

fn close(a: &[f64], b: &[f64], tolerance: f64, what: &str) {
    let size = b.iter().map(|x| x.abs()).fold(0.0, f64::max);
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= tolerance * size, "{what}: {a} and {b}, of {size}");
    }
}

/// The steps are those of the plain solver with the same tolerances, and others than with one for all.
fn steps_are_those_of_the_solver<T: Real>(methods: &[Method], rtol: f64, atol: f64) {
    for &method in methods {
        // In registers, on slices.
        for pairs in [1, 4] {
            let one = Ode::new(method).tolerance(rtol, atol);
            let each = one.clone().atol_each(tolerances(pairs, atol));
            let (ys, stats, _) = solve::<T>(&each, pairs).unwrap();
            let solver = Solver::new(method).tolerance(rtol, atol);
            let solver = solver.atol_each(tolerances(pairs, atol));
            let found = solver.solve(on_slices(parameters::<T>()), &start(pairs), &TS).unwrap();
            let (name, plain) = (method.tableau().name, found.solution.stats);
            assert_eq!(
                (stats.accepted, stats.rejected),
                (plain.accepted, plain.rejected),
                "{name}, {pairs}"
            );
            if matches!(method, Method::Explicit(_)) {
                assert!(ys == found.solution.ys, "{name}, {pairs}");
            }
            let other = solve::<T>(&one, pairs).unwrap().1;
            assert!(stats.accepted > other.accepted, "{name}: {stats} and {other}");
            // As many for all as for each is the same as one for all.
            let same = each.atol_each(vec![atol; 2 * pairs]);
            assert!(solve::<T>(&same, pairs).unwrap().0 == solve::<T>(&one, pairs).unwrap().0);
        }
    }
}

#[test]
fn steps_are_those_of_the_solver_in_double_precision() {
    let methods = [Tsit5.into(), Dopri5.into(), Kvaerno5.into(), Rodas5P.into()];
    steps_are_those_of_the_solver::<f64>(&methods, 1e-9, 1e-5);
}

#[test]
fn steps_are_those_of_the_solver_in_single_precision() {
    let methods = [Tsit5.into(), Dopri5.into()];
    steps_are_those_of_the_solver::<f32>(&methods, 1e-5, 1e-2);
}

#[test]
fn every_way_to_the_gradient_takes_them() {
    for method in [Method::from(Tsit5), Kvaerno5.into(), Bdf.into()] {
        for pairs in [1, 4] {
            let ode = Ode::new(method).tolerance(1e-7, 1e-4);
            let ode = ode.atol_each(tolerances(pairs, 1e-6));
            let (ys, stats, exact) = solve::<f64>(&ode, pairs).unwrap();
            let name = method.tableau().name;
            for (way, tolerance) in [
                (Gradient::Unrolled, 1e-10),
                (Gradient::Forward, 1e-10),
                (Gradient::Interpolated, 1e-3),
                (Gradient::Continuous, 1e-3),
            ] {
                let other = ode.clone().gradient(way);
                let (found, other, bars) = solve::<f64>(&other, pairs).unwrap();
                close(&bars, &exact, tolerance, &format!("{name}, {way:?}, {pairs}"));
                // BDF steps otherwise where each step need not stand alone.
                if tolerance < 1e-9 {
                    close(&found, &ys, 1e-11, name);
                    assert!([0, stats.accepted].contains(&other.accepted), "{name}, {way:?}");
                }
            }
            for memory in [Memory::Steps, Memory::Checkpoints(3)] {
                let (found, _, bars) = solve::<f64>(&ode.clone().memory(memory), pairs).unwrap();
                assert!(found == ys && bars == exact, "{name}, {memory:?}");
            }
        }
    }
}

/// The gradient is that of the states as functions of their inputs.
#[test]
fn gradients_are_differences() {
    let ode = Ode::new(Tsit5).tolerance(1e-12, 1e-9).atol_each(tolerances(1, 1e-12));
    let value = |rate: f64| {
        let tape = Tape::<f64>::new();
        let p = parameters::<f64>();
        let p = [tape.scalar(rate)].into_iter().chain(p[1..].iter().map(|&p| tape.scalar(p)));
        let p: Vec<_> = p.collect();
        let y0 = tape.leaf(&start(1), [2, 1]);
        let ys = ode.solve(|_, y| field(Var::stack(0, &p), y), y0, [0.0, 3.0]).unwrap();
        let end = ys.index_axis(0, 1).index_axis(0, 1).sum() * (1.0 / SMALL);
        (end.item(), end.grad(&[p[0]]).unwrap()[0].item())
    };
    let h = 1e-4;
    let difference = (value(1.1 + h).0 - value(1.1 - h).0) / (2.0 * h);
    let derivative = value(1.1).1;
    assert!((derivative / difference - 1.0).abs() < 1e-6, "{derivative} and {difference}");
}

/// From the third solve on steps are taken by machine code, where it can be made.
#[test]
fn many_solves_have_the_same_bits() {
    for method in [Method::from(Tsit5), Kvaerno5.into()] {
        let ode = Ode::new(method).tolerance(1e-7, 1e-4).atol_each(tolerances(1, 1e-6));
        let tape = Tape::<f64>::new();
        let p = tape.leaf(&parameters(), [4]);
        let y0 = tape.leaf(&start(1), [2, 1]);
        let function = tape
            .scope(&[y0, p], |x| {
                let ys = ode.solve(|_, y| field(x[1], y), x[0], TS)?;
                let bars = ys.sin().sum().grad(&[x[0], x[1]])?;
                Ok::<_, costate_tape::Error>(vec![ys, bars[0], bars[1]])
            })
            .unwrap()
            .function;
        let program = costate_tape::Program::compile(&function).unwrap();
        let mut workspace = costate_tape::Workspace::new(&program);
        let (y0, p) = (start::<f64>(1), parameters::<f64>());
        let mut run = || {
            let mut found = [vec![0.0; 2 * TS.len()], vec![0.0; 2], vec![0.0; 4]];
            let mut outputs = found.each_mut().map(|x| &mut x[..]);
            program.run(&mut workspace, &[&y0[..], &p], &mut outputs).unwrap();
            found
        };
        let first = run();
        for _ in 0..5 {
            assert!(run() == first, "{method:?}");
        }
    }
}

#[test]
fn samples_of_a_batch_have_them_each() {
    let ode = Ode::new(Tsit5).tolerance(1e-8, 1e-4).atol_each(tolerances(1, 1e-6));
    let tape = Tape::<f64>::new();
    let p = tape.leaf(&parameters(), [4]);
    let starts: Vec<f64> = (0..3).flat_map(|i| [8.0 + i as f64, 4.0 * SMALL]).collect();
    let y0 = tape.leaf(&starts, [3, 2, 1]);
    let ys = ode.solve_each(|_, y| field(p, y), y0, TS).unwrap();
    let bars = ys.square().sum().grad(&[y0]).unwrap()[0];
    for i in 0..3 {
        let alone = y0.index_axis(0, i);
        let found = ode.solve(|_, y| field(p, y), alone, TS).unwrap();
        assert!(found.to_vec() == ys.index_axis(0, i).to_vec());
        let bar = found.square().sum().grad(&[alone]).unwrap()[0];
        assert!(bar.to_vec() == bars.index_axis(0, i).to_vec());
    }
    let e = ode.atol_each([1e-6; 6]).solve_each(|_, y| field(p, y), y0, TS).unwrap_err();
    is_wrong(&e, 6, 2);
}

#[test]
fn masses_and_events_take_them() {
    let tape = Tape::<f64>::new();
    let (p, y0) = (tape.leaf(&parameters(), [4]), tape.leaf(&start(1), [2, 1]));
    let one = Ode::new(Bdf).tolerance(1e-8, 1e-4);
    let each = one.clone().atol_each(tolerances(1, 1e-6));
    let mass = Mass::diagonal([1.0, 1.0]);
    let with = each.solve_mass(|_, y| field(p, y), &mass, y0, TS).unwrap();
    let plain = each.solve(|_, y| field(p, y), y0, TS).unwrap();
    close(&with.to_vec(), &plain.to_vec(), 1e-6, "mass");
    let other = one.solve_mass(|_, y| field(p, y), &mass, y0, TS).unwrap();
    assert!(Ode::stats(with).unwrap().accepted > Ode::stats(other).unwrap().accepted);

    // When the predators are half of what they were.
    let half = || {
        VarEvent::new(|_, y: Var<'_, f64>| y.index_axis(0, 1).sum() - 2.5 * SMALL)
            .falling()
            .terminal()
    };
    let time = |ode: Ode| {
        let solved = ode.event(half()).solve(|_, y| field(p, y), y0, [0.0, 20.0])?;
        let t = solved.events[0].t;
        Ok::<_, costate_tape::Error>((t.item(), t.grad(&[p])?[0].to_vec()))
    };
    let tight = time(Ode::new(Tsit5).tolerance(1e-12, 1e-18)).unwrap();
    let loose = Ode::new(Tsit5).tolerance(1e-8, 1e-4);
    let one = time(loose.clone()).unwrap();
    let each = time(loose.clone().atol_each(tolerances(1, 1e-7))).unwrap();
    let [near, far] = [each.0, one.0].map(|t| (t - tight.0).abs());
    assert!(near < 1e-6 && near < 0.1 * far, "{near:e} and {far:e}");
    let sizes = parameters::<f64>();
    let scaled = |g: &[f64]| g.iter().zip(sizes).map(|(g, p)| g * p).collect::<Vec<_>>();
    close(&scaled(&each.1), &scaled(&tight.1), 1e-5, "the derivative of the time");

    is_wrong(&time(loose.atol_each([1e-6])).unwrap_err(), 1, 2);
}

fn is_wrong(e: &costate_tape::Error, given: usize, wanted: usize) {
    let kind = e.call_error().and_then(|e| e.downcast_ref::<Error>()).expect("a solver's").kind();
    assert!(
        matches!(kind, ErrorKind::WrongTolerances { tolerances, components }
            if (*tolerances, *components) == (given, wanted)),
        "{e}"
    );
}

#[test]
fn tolerances_that_make_no_sense_are_errors() {
    for way in [Gradient::Exact, Gradient::Unrolled, Gradient::Continuous] {
        let ode = Ode::new(Tsit5).gradient(way);
        let fails = |atol: &[f64]| solve::<f64>(&ode.clone().atol_each(atol), 1).unwrap_err();
        is_wrong(&fails(&[1e-6]), 1, 2);
        is_wrong(&fails(&[1e-6; 3]), 3, 2);
        for bad in [[-1.0, 1.0], [f64::NAN, 1.0], [f64::INFINITY, 1.0]] {
            assert!(fails(&bad).to_string().contains("atol"), "{bad:?}");
        }
        let none = ode.clone().tolerance(0.0, 1e-6).atol_each([0.0, 1e-6]);
        assert!(solve::<f64>(&none, 1).unwrap_err().to_string().contains("positive"));
    }
}
