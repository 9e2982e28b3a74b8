//! Solves with events on the tape: the derivatives of event times, and of states after events.

use costate_odeint::{
    Error, ErrorKind, EventSolution, GaussLegendre4, Gradient, Kvaerno5, Ode, Rk4, Tsit5, VarEvent,
    Verner7,
};
use costate_tape::{Result, Tape, Var, check};
use ndarray::{ArrayD, arr1};

fn tight() -> Ode {
    Ode::new(Verner7).tolerance(1e-12, 1e-13)
}

fn at(y: Var<'_, f64>, i: usize) -> Var<'_, f64> {
    y.index_axis(0, i)
}

fn pair<'t>(a: Var<'t, f64>, b: Var<'t, f64>) -> Var<'t, f64> {
    Var::stack(0, &[a, b])
}

/// A ball from height `h` at rest, under gravity `g`, that keeps the part `r` of its speed.
fn ball<'t>(ode: Ode, [r, g, h]: [Var<'t, f64>; 3], ts: &[f64]) -> Result<EventSolution<'t, f64>> {
    let bounce =
        VarEvent::new(|_, y| at(y, 0)).falling().change(move |_, y| pair(at(y, 0), -r * at(y, 1)));
    ode.event(bounce).solve(|_, y| pair(at(y, 1), -g), pair(h, h.zeros_like()), ts)
}

/// The time of bounce number `n` in closed form, and the height at the time `t` after it.
fn closed_form<'t>([r, g, h]: [Var<'t, f64>; 3], n: i32, t: f64) -> [Var<'t, f64>; 2] {
    let falls = (1..n).fold(r.ones_like(), |sum, k| sum + 2.0 * r.powi(k));
    let time = (2.0 * h / g).sqrt() * falls;
    let speed = r.powi(n) * (2.0 * g * h).sqrt();
    [time, speed * (t - time) - 0.5 * g * (t - time).square()]
}

fn compare(found: Var<'_, f64>, right: Var<'_, f64>, tolerance: f64, what: &str) {
    for (a, b) in found.to_vec().iter().zip(right.to_vec()) {
        let distance = (a - b).abs() / b.abs().max(1.0);
        assert!(distance < tolerance, "{what}: {a} and {b}");
    }
}

#[test]
fn the_twentieth_bounce() {
    for (gradient, tolerance) in
        [(Gradient::Exact, 1e-9), (Gradient::Unrolled, 1e-9), (Gradient::Continuous, 1e-7)]
    {
        let tape = Tape::<f64>::new();
        let x = [0.9, 9.81, 1.0].map(|x| tape.scalar(x));
        // The twentieth bounce is at 7.48, the next one at 7.59.
        let solved = ball(tight().gradient(gradient), x, &[0.0, 7.53]).unwrap();
        assert_eq!(solved.events.len(), 20);
        let right = closed_form(x, 20, 7.53);
        for (found, right) in [solved.events[19].t, at(solved.y, 0)].into_iter().zip(right) {
            compare(found, right, 1e-11, "value");
            let both = [found, right].map(|y| y.grad(&x).unwrap());
            for (a, b) in both[0].iter().zip(&both[1]) {
                compare(*a, *b, tolerance, "gradient");
            }
            if gradient == Gradient::Exact {
                let both = both.map(|g| g[0].grad(&x).unwrap());
                for (a, b) in both[0].iter().zip(&both[1]) {
                    compare(*a, *b, 1e-8, "second derivative");
                }
            }
        }
    }
}

#[test]
fn either_direction_finds_a_bounce_once() {
    let tape = Tape::<f64>::new();
    let r = tape.scalar(0.8);
    let bounce =
        VarEvent::new(|_, y| at(y, 0) - 1000.0).change(move |_, y| pair(at(y, 0), -r * at(y, 1)));
    let y0 = tape.constant(&arr1(&[1001.0, 0.0]));
    let gravity = tape.scalar(-9.81);
    let solved = tight().event(bounce).solve(|_, y| pair(at(y, 1), gravity), y0, [0.0, 2.5]);
    let solved = solved.unwrap();
    let first = (2.0 / 9.81f64).sqrt();
    let expected = [1.0, 2.6, 3.88, 4.904].map(|n| n * first);
    assert_eq!(solved.events.len(), expected.len());
    for (event, t) in solved.events.iter().zip(expected) {
        assert!((event.t.item() - t).abs() < 1e-9);
    }
}

/// The first passage of a rotation through a level, whose time is `acos`.
#[test]
fn a_time_in_closed_form() {
    for (ode, tolerance) in [
        (tight(), 1e-10),
        (Ode::new(Tsit5).tolerance(1e-10, 1e-12), 1e-8),
        (Ode::new(Kvaerno5).tolerance(1e-9, 1e-11), 1e-7),
        (Ode::new(GaussLegendre4).steps(200), 1e-7),
        (Ode::new(Rk4).steps(1000), 1e-8),
    ] {
        for backward in [false, true] {
            let tape = Tape::<f64>::new();
            let (level, scale) = (tape.scalar(0.3), tape.scalar(1.2));
            let event = VarEvent::new(|_, y| at(y, 0) - level).terminal();
            let y0 = pair(scale, scale * 0.0);
            let ts = if backward { [0.0, -1.0, -9.0] } else { [0.0, 1.0, 9.0] };
            let solved =
                ode.clone().event(event).solve(|_, y| pair(at(y, 1), -at(y, 0)), y0, ts).unwrap();
            assert_eq!(solved.ts, ts[..2], "the last time is not reached");
            assert_eq!(solved.ys.shape().to_vec(), [2, 2]);
            let sign = if backward { -1.0 } else { 1.0 };
            let x = 0.25f64;
            let right = [x.acos(), -1.0 / 1.2 / (1.0 - x * x).sqrt()].map(|x| sign * x);
            let g = solved.t.grad(&[level, scale]).unwrap();
            assert!((solved.t.item() - right[0]).abs() < tolerance);
            assert!((g[0].item() - right[1]).abs() < tolerance, "{ode:?}");
            assert!((g[1].item() + x * right[1]).abs() < tolerance);
            // d²/dl² acos(l/s) = -l/s³ (1 - l²/s²)^(-3/2)
            let second = g[0].grad(&[level]).unwrap()[0].item();
            let expected = -sign * 0.3 / 1.2f64.powi(3) / (1.0 - x * x).powf(1.5);
            assert!((second - expected).abs() < 10.0 * tolerance, "{second} and {expected}");
            // Along the level there is only the speed.
            let end = solved.y.sum().grad(&[level]).unwrap()[0].item();
            let speed = -sign * (1.2f64.powi(2) - 0.09).sqrt();
            assert!((end - (1.0 - 0.3 / speed)).abs() < 10.0 * tolerance, "{end}");
        }
    }
}

/// A nonlinear field, an event function and a change that depend on time, state and parameters:
/// reverse against forward mode, and against differences of solves with their own grids.
fn hybrid<'t>(
    ode: Ode,
    x: &[Var<'t, f64>],
    pick: impl FnOnce(&EventSolution<'t, f64>) -> Var<'t, f64>,
) -> Result<Var<'t, f64>> {
    let [y0, field, surface, reset, ts] = [0, 1, 2, 3, 4].map(|i| x[i]);
    let event = VarEvent::new(move |t: Var<'t, f64>, y| {
        at(y, 0) - at(surface, 0) - at(surface, 1) * (2.0 * t).sin()
    })
    .rising()
    .change(move |t: Var<'t, f64>, y| {
        let jump = at(reset, 0) * at(y, 1) + 0.1 * t * at(reset, 1);
        pair(-0.5 * at(y, 0).square() - at(reset, 1), jump)
    });
    let watch = VarEvent::new(move |_, y| at(y, 0) + 0.1 * at(surface, 0));
    let f = move |t: Var<'t, f64>, y| {
        let (a, b) = (at(y, 0), at(y, 1));
        pair(b, at(field, 0) * (1.0 - a.square()) * b - at(field, 1) * a + 0.3 * t.cos())
    };
    let solved = ode.event(event).event(watch).solve(f, y0, ts)?;
    Ok(pick(&solved))
}

/// All that a solve with events finds, one after another.
fn everything<'t>(solved: &EventSolution<'t, f64>) -> Var<'t, f64> {
    let times: Vec<_> = solved.events.iter().map(|e| e.t).collect();
    let states: Vec<_> = solved.events.iter().flat_map(|e| [e.before, e.after]).collect();
    let ys = solved.ys.reshape([solved.ys.shape().numel()]);
    Var::concat(0, &[ys, Var::stack(0, &times), Var::concat(0, &states), solved.y])
}

fn hybrid_inputs() -> [ArrayD<f64>; 5] {
    [
        arr1(&[-0.7, 0.9]).into_dyn(),
        arr1(&[0.8, 1.3]).into_dyn(),
        arr1(&[0.5, 0.2]).into_dyn(),
        arr1(&[0.6, 0.3]).into_dyn(),
        arr1(&[0.1, 1.3, 2.2, 3.1, 5.0]).into_dyn(),
    ]
}

#[test]
fn states_after_events_against_differences() {
    let x = hybrid_inputs();
    let tape = Tape::<f64>::new();
    let vars: Vec<_> = x.iter().map(|x| tape.constant(x)).collect();
    let mut kinds = Vec::new();
    hybrid(tight(), &vars, |solved| {
        kinds.extend(solved.events.iter().map(|e| e.event));
        solved.y
    })
    .unwrap_or_else(|e| panic!("{e}"));
    assert!(kinds.contains(&0) && kinds.contains(&1) && kinds.len() > 3, "{kinds:?}");
    check::gradient(|_, x| hybrid(tight(), x, everything), &x).unwrap();
    let both = [Gradient::Exact, Gradient::Unrolled].map(|gradient| {
        let found = hybrid(tight().gradient(gradient), &vars, everything).unwrap();
        (found.sin() * found).sum().grad(&vars).unwrap()
    });
    for (exact, unrolled) in both[0].iter().zip(&both[1]) {
        compare(*exact, *unrolled, 1e-10, "unrolled");
    }
}

#[test]
fn second_derivatives_after_events() {
    let mut x = hybrid_inputs();
    x[4] = arr1(&[0.1, 1.3, 2.2]).into_dyn();
    check::derivatives(2, |_, x| hybrid(tight(), x, |solved| solved.y), &x).unwrap();
}

/// The state at a time that cannot be told from that of an event is the one before, and moves with
/// the field there; one a little later is the one after.
#[test]
fn a_save_time_at_an_event() {
    for (save, after) in [
        (1.0f64, false),
        (1.0f64.next_down(), false),
        (1.0f64.next_up(), false),
        (1.0 - 1e-9, false),
        (1.0 + 1e-9, true),
    ] {
        for at_end in [false, true] {
            let tape = Tape::<f64>::new();
            let (rate, event_t) = (tape.scalar(0.7), tape.scalar(1.0));
            let y0 = tape.constant(&arr1(&[1.5]));
            let ts: &[f64] = if at_end { &[0.0, save] } else { &[0.0, save, 2.0] };
            let ts = tape.constant(&arr1(ts));
            let event = VarEvent::new(|t, _| t - event_t).change(|_, y| -2.0 * y);
            let solved = tight().event(event).solve(|_, y| -rate * y, y0, ts).unwrap();
            let saved = at(solved.ys, 1).sum();
            let factor = if after { -2.0 } else { 1.0 };
            let right = factor * 1.5 * (-0.7 * save).exp();
            assert!((saved.item() - right).abs() < 1e-11, "{save} {at_end}");
            let g = saved.grad(&[y0, rate, ts, event_t]).unwrap();
            assert!((g[0].item() - right / 1.5).abs() < 1e-11);
            assert!((g[1].item() + right).abs() < 1e-8);
            assert!((g[2].to_vec()[1] + 0.7 * right).abs() < 1e-8, "{save}");
            assert!(g[3].item().abs() < 1e-10, "the state does not depend on the event's time");
            if !at_end {
                let right = -2.0 * 1.5 * (-1.4f64).exp();
                let g = at(solved.ys, 2).sum().grad(&[y0, rate]).unwrap();
                assert!((g[0].item() - right / 1.5).abs() < 1e-11);
                assert!((g[1].item() + 2.0 * right).abs() < 1e-10);
                assert_eq!(solved.events.len(), 1);
            }
        }
    }
}

/// Events at one time happen in the order of their numbers, each with its own derivative.
#[test]
fn several_at_one_time() {
    for swapped in [false, true] {
        let tape = Tape::<f64>::new();
        let when = [tape.scalar(1.0), tape.scalar(1.0)];
        let y0 = tape.constant(&arr1(&[1.0]));
        let add = VarEvent::new(|t, _| t - when[0]).change(|_, y| y + 10.0);
        let double = VarEvent::new(|t, _| 3.0 * when[1] - 3.0 * t).change(|_, y| 2.0 * y);
        let watch = VarEvent::new(|t, _| t - when[0]);
        let (first, second) = if swapped { (double, add) } else { (add, double) };
        let solver = tight().event(first).event(second).event(watch);
        let solved = solver.solve(|_, y| 0.5 * y, y0, [0.0, 1.0, 2.0]).unwrap();
        let order: Vec<usize> = solved.events.iter().map(|e| e.event).collect();
        assert_eq!(order, [0, 1, 2]);
        let grown = 0.5f64.exp();
        let right = if swapped { 2.0 * grown + 10.0 } else { 2.0 * (grown + 10.0) };
        assert!((solved.events[2].after.sum().item() - right).abs() < 1e-10);
        assert!((at(solved.ys, 1).sum().item() - grown).abs() < 1e-11, "before all of them");
        assert!((solved.y.sum().item() - right * grown).abs() < 1e-9);
        // y(2) = 2 e y0 + 10 (2) e^((2 - t)/2) with t the time of the addition.
        let g = solved.y.sum().grad(&[y0, when[0], when[1]]).unwrap();
        assert!((g[0].item() - 2.0 * grown * grown).abs() < 1e-9);
        let part = if swapped { 10.0 } else { 20.0 };
        assert!((g[1].item() + 0.5 * part * grown).abs() < 1e-9, "{}", g[1].item());
        assert!(g[2].item().abs() < 1e-9, "scaling commutes with the field");
    }
}

#[test]
fn what_cannot_be_differentiated_says_so() {
    let kind = |e: costate_tape::Error| -> String {
        let source = e.call_error().expect("a call");
        format!("{:?}", source.downcast_ref::<Error>().expect("of this crate").kind())
    };
    let tape = Tape::<f64>::new();
    let y0 = tape.constant(&arr1(&[1.0]));
    // A step has no rate: elsewhere the derivative of the time would silently be 0.
    let step =
        VarEvent::new(|t: Var<'_, f64>, _| t.gt(t.ones_like() * 0.4).affine(2.0, -1.0)).terminal();
    let e = tight().event(step).solve(|_, y| -y, y0, [0.0, 1.0]).unwrap_err();
    assert!(
        matches!(e.call_error().unwrap().downcast_ref::<Error>().unwrap().kind(),
        ErrorKind::Grazing { event: 0, t } if (t - 0.4).abs() < 1e-9),
        "{e}"
    );
    let nan = VarEvent::new(|t: Var<'_, f64>, _| (0.5 - t).sqrt());
    let e = tight().event(nan).solve(|_, y| -y, y0, [0.0, 1.0]).unwrap_err();
    assert!(kind(e).contains("EventNotANumber"));
    // Bounces that follow each other ever faster.
    let x = [0.5, 9.81, 1.0].map(|x| tape.scalar(x));
    let bounce =
        VarEvent::new(|_, y| at(y, 0)).falling().change(|_, y| pair(at(y, 0), -x[0] * at(y, 1)));
    let solver = tight().event(bounce).max_events(8);
    let y0 = pair(x[2], x[2] * 0.0);
    let e = solver.solve(|_, y| pair(at(y, 1), -x[1]), y0, [0.0, 9.0]).unwrap_err();
    assert!(kind(e).contains("MaxEvents"));
}

/// Fields and event functions that read numbers are recorded at each evaluation.
#[test]
fn functions_that_read_numbers() {
    let solve = |reads: bool| {
        let tape = Tape::<f64>::new();
        let p = tape.scalar(0.6);
        let y0 = tape.constant(&arr1(&[1.0, 0.0]));
        let event = VarEvent::new(move |_, y| {
            let level = at(y, 0) - 0.5 * p;
            if reads && level.item() > 10.0 { -level } else { level }
        });
        let solved = Ode::new(Tsit5)
            .steps(40)
            .event(event.change(move |_, y| pair(at(y, 0), p * at(y, 1))))
            .solve(
                |_, y| {
                    let turned = pair(at(y, 1), -at(y, 0));
                    if reads && at(y, 0).item() > 10.0 { -turned } else { turned }
                },
                y0,
                [0.0, 2.0],
            )
            .unwrap();
        assert_eq!(solved.events.len(), 1);
        let g = solved.y.sum().grad(&[p, y0]).unwrap();
        [solved.y.to_vec(), g[0].to_vec(), g[1].to_vec()].concat()
    };
    for (a, b) in solve(false).iter().zip(solve(true)) {
        assert!((a - b).abs() < 1e-11);
    }
}

#[test]
fn single_precision() {
    let tape = Tape::<f32>::new();
    let level = tape.scalar(0.3);
    let y0 = tape.constant(&arr1(&[1.0f32, 0.0]));
    let event = VarEvent::new(|_, y: Var<'_, f32>| y.index_axis(0, 0) - level).terminal();
    let solved = Ode::new(Tsit5)
        .event(event)
        .solve(|_, y| Var::stack(0, &[y.index_axis(0, 1), -y.index_axis(0, 0)]), y0, [0.0, 4.0])
        .unwrap();
    assert!((solved.t.item() - 0.3f32.acos()).abs() < 1e-5);
    let g = solved.t.grad(&[level]).unwrap()[0].item();
    assert!((g + 1.0 / (1.0 - 0.09f32).sqrt()).abs() < 1e-5, "{g}");
}

/// Where an event almost only touches zero, the derivative of its time is right, or an error.
#[test]
fn near_a_mere_touch() {
    let mut errors = 0;
    for (ode, least) in [
        (Ode::new(Tsit5).tolerance(1e-4, 1e-4), 1e-2),
        (Ode::new(Tsit5).tolerance(1e-8, 1e-8), 1e-6),
        (Ode::new(Kvaerno5).tolerance(1e-6, 1e-6), 1e-4),
        (Ode::new(Verner7).tolerance(1e-12, 1e-12), 1e-10),
        (Ode::new(Verner7).steps(100), 1e-11),
    ] {
        for i in 0..32 {
            let e = 10f64.powf(-0.5 * f64::from(i));
            let tape = Tape::<f64>::new();
            let level = tape.scalar(1.0 - e);
            let touch = || VarEvent::new(|_, y| at(y, 0) - level).rising().terminal();
            let y0 = tape.constant(&arr1(&[1.0, 0.0]));
            // A rotation that comes near to where it started, at 2π - acos(1 - ε), and a parabola
            // that has its maximum at 1, which steps follow without error.
            let rotation = |_, y| pair(at(y, 1), -at(y, 0));
            let low = tape.constant(&arr1(&[0.0, 0.0]));
            let solves = [
                (
                    ode.clone().event(touch()).solve(rotation, y0, [0.0, 6.5]),
                    (e * (2.0 - e)).sqrt(),
                ),
                (
                    ode.clone().event(touch()).solve(
                        |t, _| pair(2.0 - 2.0 * t, 0.0 * t),
                        low,
                        [0.0, 1.0],
                    ),
                    2.0 * e.sqrt(),
                ),
            ];
            for (solved, rate) in solves {
                match solved {
                    // The amplitude may be less than the level.
                    Ok(solved) if solved.events.is_empty() => {}
                    Ok(solved) => {
                        let found = solved.t.grad(&[level]).unwrap()[0].item();
                        assert!((found * rate - 1.0).abs() < 0.5, "{ode:?}, {e:e}: {found} {rate}");
                    }
                    Err(error) => {
                        let source = error.call_error().unwrap().downcast_ref::<Error>().unwrap();
                        assert!(matches!(source.kind(), ErrorKind::Grazing { .. }), "{error}");
                        assert!(e < least, "{ode:?}: {e} is no touch");
                        errors += 1;
                    }
                }
            }
        }
    }
    assert!(errors > 20, "{errors}");
}
