//! Loss and gradient of two problems by costate's exact gradient, and by the forward sensitivities of
//! diffsol, which are its fastest way to them, in turns: `cargo run --release --bin gradients` in
//! this folder writes `docs/rust_gradients.md`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use costate::odeint::{Controller, Rodas5P};
use costate::prelude::*;
use costate::tape::{Function, Program, Workspace};
use diffsol::{DenseMatrix, NalgebraLU, NalgebraMat, OdeBuilder, SensitivitiesOdeSolverMethod};
use ndarray::{Array1, ArrayD};
use safetensors::SafeTensors;

/// How often each takes its turn.
const TURNS: usize = 60;

/// The arrays of a problem, from `tests/data`.
struct Data(Vec<u8>);

impl Data {
    fn open(name: &str) -> Data {
        Data(std::fs::read(root().join(format!("tests/data/{name}.safetensors"))).expect("data"))
    }

    fn get(&self, name: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&self.0).expect("an intact file");
        let bytes = file.tensor(name).expect(name).data().to_vec();
        bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
    }

    fn array(&self, name: &str) -> ArrayD<f64> {
        Array1::from(self.get(name)).into_dyn()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A way to a loss and its gradient.
struct Contender<'a> {
    problem: &'static str,
    library: &'static str,
    way: &'static str,
    run: Box<dyn FnMut() -> Option<(f64, Vec<f64>)> + 'a>,
    expected: (f64, Vec<f64>),
}

/// costate's, recorded once and replayed.
fn costate<'a>(
    inputs: Vec<ArrayD<f64>>,
    loss: impl for<'t> Fn(&'t Tape<f64>, &[Var<'t, f64>]) -> costate::tape::Result<Var<'t, f64>>,
) -> Box<dyn FnMut() -> Option<(f64, Vec<f64>)> + 'a> {
    let gradient = Function::trace(&inputs, |tape, x| {
        let loss = loss(tape, x)?;
        let gradient = loss.grad(x)?;
        Ok::<_, costate::tape::Error>([loss].into_iter().chain(gradient).collect())
    });
    let program = Program::compile(&gradient.expect("a gradient")).expect("a program");
    let mut workspace = Workspace::new(&program);
    Box::new(move || {
        let inputs: Vec<&[f64]> = inputs.iter().map(|x| x.as_slice().expect("whole")).collect();
        let found = program.evaluate(&mut workspace, &inputs).ok()?;
        let gradient = (1..=inputs.len()).flat_map(|i| found.get(i).to_vec()).collect();
        Some((found.get(0)[0], gradient))
    })
}

/// The loss `Σ (w (y - y*))²` and its gradient from states and their sensitivities, one column a time.
fn from_sensitivities<M: DenseMatrix<T = f64>>(
    states: &M,
    sensitivities: &[M],
    target: &[f64],
    weights: &[f64],
) -> (f64, Vec<f64>) {
    let (n, times) = (weights.len(), states.ncols());
    let mut loss = 0.0;
    let mut gradient = vec![0.0; sensitivities.len()];
    for t in 0..times {
        for i in 0..n {
            let off = weights[i] * (states.get_index(i, t) - target[t * n + i]);
            loss += off * off;
            for (g, s) in gradient.iter_mut().zip(sensitivities) {
                *g += 2.0 * off * weights[i] * s.get_index(i, t);
            }
        }
    }
    (loss, gradient)
}

fn lotka_volterra(all: &mut Vec<Contender<'_>>) {
    let data = Data::open("lotka_volterra");
    let (ts, target) = (data.get("ts"), data.get("target"));
    let gradient = [data.get("ref.grad.p"), data.get("ref.grad.y0")].concat();
    let expected = (data.get("ref.loss")[0], gradient);
    let (tolerance, times, aim) = (1e-8, ts.clone(), target.clone());
    let loss = costate(vec![data.array("p"), data.array("y0")], move |tape, x| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| x[0].index_axis(0, i));
        let ys = Ode::new(Tsit5).tolerance(tolerance, tolerance).solve(
            |_, z| {
                let (x, y) = (z.index_axis(0, 0), z.index_axis(0, 1));
                Var::stack(0, &[a * x - b * x * y, -c * y + d * x * y])
            },
            x[1],
            &times,
        )?;
        Ok((ys - tape.leaf(&aim, [101, 2])).square().sum())
    });
    let problem = "`lotka_volterra`";
    let (library, way) = ("costate", "Tsit5, exact gradient");
    all.push(Contender { problem, library, way, run: loss, expected: expected.clone() });

    // The initial state is two more parameters.
    let parameters = [data.get("p"), data.get("y0")].concat();
    let run = move || {
        let problem = OdeBuilder::<NalgebraMat<f64>>::new()
            .p(parameters.clone())
            .rtol(tolerance)
            .atol([tolerance; 2])
            .rhs_sens_implicit(
                |y: &[f64], p: &[f64], _: f64, dy: &mut [f64]| {
                    dy[0] = p[0] * y[0] - p[1] * y[0] * y[1];
                    dy[1] = -p[2] * y[1] + p[3] * y[0] * y[1];
                },
                |y: &[f64], p: &[f64], _: f64, v: &[f64], jv: &mut [f64]| {
                    jv[0] = (p[0] - p[1] * y[1]) * v[0] - p[1] * y[0] * v[1];
                    jv[1] = p[3] * y[1] * v[0] + (p[3] * y[0] - p[2]) * v[1];
                },
                |y: &[f64], _: &[f64], _: f64, v: &[f64], sv: &mut [f64]| {
                    sv[0] = y[0] * v[0] - y[0] * y[1] * v[1];
                    sv[1] = -y[1] * v[2] + y[0] * y[1] * v[3];
                },
            )
            .init_sens(
                |p: &[f64], _: f64, y: &mut [f64]| y.copy_from_slice(&p[4..]),
                |_: &[f64], _: f64, v: &[f64], sv: &mut [f64]| sv.copy_from_slice(&v[4..]),
                2,
            )
            .build()
            .ok()?;
        let mut solver = problem.tsit45_sens().ok()?;
        let (states, sensitivities, _) = solver.solve_dense_sensitivities(&ts).ok()?;
        Some(from_sensitivities(&states, &sensitivities, &target, &[1.0, 1.0]))
    };
    let (library, way) = ("diffsol", "Tsit45, forward sensitivities");
    all.push(Contender { problem, library, way, run: Box::new(run), expected });
}

/// A run of one of diffsol's stiff methods.
macro_rules! diffsol_robertson {
    ($method:ident, $data:expr) => {{
        let (k, y0, ts, target) =
            ($data.get("k"), $data.get("y0"), $data.get("ts"), $data.get("target"));
        move || {
            let first = y0.clone();
            let problem = OdeBuilder::<NalgebraMat<f64>>::new()
                .p(k.clone())
                .rtol(1e-8)
                .atol([1e-10; 3])
                .rhs_sens_implicit(
                    |y: &[f64], k: &[f64], _: f64, dy: &mut [f64]| {
                        let (a, b, c) = (k[0] * y[0], k[1] * y[1] * y[1], k[2] * y[1] * y[2]);
                        dy.copy_from_slice(&[c - a, a - b - c, b]);
                    },
                    |y: &[f64], k: &[f64], _: f64, v: &[f64], jv: &mut [f64]| {
                        let a = k[0] * v[0];
                        let b = 2.0 * k[1] * y[1] * v[1];
                        let c = k[2] * (y[1] * v[2] + y[2] * v[1]);
                        jv.copy_from_slice(&[c - a, a - b - c, b]);
                    },
                    |y: &[f64], _: &[f64], _: f64, v: &[f64], sv: &mut [f64]| {
                        let (a, b, c) = (v[0] * y[0], v[1] * y[1] * y[1], v[2] * y[1] * y[2]);
                        sv.copy_from_slice(&[c - a, a - b - c, b]);
                    },
                )
                .init_sens(
                    move |_: &[f64], _: f64, y: &mut [f64]| y.copy_from_slice(&first),
                    |_: &[f64], _: f64, _: &[f64], sv: &mut [f64]| sv.fill(0.0),
                    3,
                )
                .build()
                .ok()?;
            let mut solver = problem.$method::<NalgebraLU<f64>>().ok()?;
            let (states, sensitivities, _) = solver.solve_dense_sensitivities(&ts[1..]).ok()?;
            // The first state is given.
            Some(from_sensitivities(&states, &sensitivities, &target[3..], &[1.0, 1e4, 1.0]))
        }
    }};
}

fn robertson(all: &mut Vec<Contender<'_>>) {
    let data = Data::open("robertson");
    let expected = (data.get("ref.loss")[0], data.get("ref.grad.k"));
    let (y0, ts, target) = (data.get("y0"), data.get("ts"), data.get("target"));
    let problem = "`robertson`";
    let ways: [(Ode, &str); 3] = [
        (
            // As in benches/workloads: the interpolant is of lower order than the method.
            Ode::new(Kvaerno5)
                .options(Options {
                    stop_at_saves: true,
                    controller: Controller { safety: 0.7, ..Controller::default() },
                    ..Options::default()
                })
                .tolerance(1e-8, 1e-10),
            "Kvaerno5, exact gradient",
        ),
        (
            Ode::new(Rodas5P)
                .options(Options { stop_at_saves: true, ..Options::default() })
                .tolerance(1e-8, 1e-10),
            "Rodas5P, exact gradient",
        ),
        (Ode::new(Bdf).tolerance(1e-8, 1e-10), "Bdf, exact gradient"),
    ];
    for (ode, way) in ways {
        let (y0, ts, target) = (y0.clone(), ts.clone(), target.clone());
        let run = costate(vec![data.array("k")], move |tape, x| {
            let [k1, k2, k3] = [0, 1, 2].map(|i| x[0].index_axis(0, i));
            let ys = ode.solve(
                |_, u| {
                    let [x, y, z] = [0, 1, 2].map(|i| u.index_axis(0, i));
                    let (a, b, c) = (k1 * x, k2 * y * y, k3 * y * z);
                    Var::stack(0, &[c - a, a - b - c, b])
                },
                tape.leaf(&y0, [3]),
                &ts,
            )?;
            let scale = tape.leaf(&[1.0, 1e4, 1.0], [3]);
            Ok(((ys - tape.leaf(&target, [51, 3])) * scale).square().sum())
        });
        all.push(Contender { problem, library: "costate", way, run, expected: expected.clone() });
    }
    let library = "diffsol";
    let run = Box::new(diffsol_robertson!(bdf_sens, data));
    let way = "BDF, forward sensitivities";
    all.push(Contender { problem, library, way, run, expected: expected.clone() });
    let run = Box::new(diffsol_robertson!(esdirk34_sens, data));
    let way = "ESDIRK34, forward sensitivities";
    all.push(Contender { problem, library, way, run, expected });
}

fn relative(found: &[f64], expected: &[f64]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied())
}

fn main() -> std::io::Result<()> {
    let mut all = Vec::new();
    lotka_volterra(&mut all);
    robertson(&mut all);
    // Of the first and of the second call of each turn.
    let mut times = vec![[Vec::new(), Vec::new()]; all.len()];
    let mut found = vec![None; all.len()];
    for turn in 0..TURNS {
        for (i, contender) in all.iter_mut().enumerate() {
            for times in &mut times[i] {
                let start = Instant::now();
                found[i] = (contender.run)();
                // The first turn warms up.
                if turn > 0 {
                    times.push(start.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
    }
    let mut text = String::from(
        "# Gradients beside diffsol\n\n\
         Written by `cargo run --release --bin gradients` in `benches/rust-peers`: loss and gradient of two\n\
         problems of [benchmarks.md](benchmarks.md), at its tolerances, by costate and by the forward\n\
         sensitivities of `diffsol` 0.18.0, whose derivatives of the field are written by hand; those of costate\n\
         are found. Each takes its turn, with two calls: the second one finds caches and branch predictors as in\n\
         a loop of training, the first one as milliseconds of the other solvers leave them. Errors are relative\n\
         to the references in `tests/data`. With `MALLOC_TOP_PAD_=67108864 MALLOC_TRIM_THRESHOLD_=134217728`:\n\
         else glibc gives memory back between turns, which makes the last line's median 6.4 ms.\n\n\
         | problem | library | | second call: ms, median (least) | times costate's | first call: ms, median | times costate's | error of loss | of gradient |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut ours = [0.0; 2];
    let mut last = "";
    for ((contender, times), found) in all.iter().zip(&mut times).zip(&found) {
        let [(first, _), (second, least)] = times.each_mut().map(|times| {
            times.sort_by(f64::total_cmp);
            (times[times.len() / 2], times[0])
        });
        if contender.problem != last {
            (ours, last) = ([first, second], contender.problem);
        }
        let errors = match found {
            None => "failed | failed".to_owned(),
            Some((loss, gradient)) => format!(
                "{:.1e} | {:.1e}",
                relative(&[*loss], &[contender.expected.0]),
                relative(gradient, &contender.expected.1),
            ),
        };
        let Contender { problem, library, way, .. } = contender;
        text += &format!(
            "| {problem} | {library} | {way} | {second:.3} ({least:.3}) | {:.1} | {first:.3} | {:.1} | {errors} |\n",
            second / ours[1],
            first / ours[0],
        );
    }
    print!("{text}");
    std::fs::write(root().join("docs/rust_gradients.md"), text)
}
