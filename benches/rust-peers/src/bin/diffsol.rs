//! Loss and gradient of two of the benchmark's problems by the forward sensitivities of diffsol, which are
//! its fastest way to them; the derivatives of the field are written by hand.
//!
//! `diffsol DATA NAME WAY [--seconds S] [--turns]`, with the WAYs of `lotka_volterra` (`tsit45`) and of
//! `robertson` (`bdf`, `esdirk34`), prints a line of JSON, as `benches/comparison` wants it.

#[path = "../../../comparison/timing.rs"]
mod timing;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use diffsol::{DenseMatrix, NalgebraLU, NalgebraMat, OdeBuilder, SensitivitiesOdeSolverMethod};
use safetensors::SafeTensors;

/// A loss and its gradient.
type Found = Result<(f64, Vec<f64>), diffsol::error::DiffsolError>;

/// The arrays of a problem, from `tests/data`.
struct Data(Vec<u8>);

impl Data {
    fn get(&self, name: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&self.0).expect("an intact file");
        let bytes = file.tensor(name).expect(name).data().to_vec();
        bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
    }
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

fn lotka_volterra(data: &Data) -> impl FnMut() -> Found {
    let (ts, target) = (data.get("ts"), data.get("target"));
    // The initial state is two more parameters.
    let parameters = [data.get("p"), data.get("y0")].concat();
    move || {
        let problem = OdeBuilder::<NalgebraMat<f64>>::new()
            .p(parameters.clone())
            .rtol(1e-8)
            .atol([1e-8; 2])
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
            .build()?;
        let mut solver = problem.tsit45_sens()?;
        let (states, sensitivities, _) = solver.solve_dense_sensitivities(&ts)?;
        Ok(from_sensitivities(&states, &sensitivities, &target, &[1.0, 1.0]))
    }
}

/// A run of one of the stiff methods.
macro_rules! robertson {
    ($method:ident, $data:expr) => {{
        let (k, y0, ts, target) =
            ($data.get("k"), $data.get("y0"), $data.get("ts"), $data.get("target"));
        move || -> Found {
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
                .build()?;
            let mut solver = problem.$method::<NalgebraLU<f64>>()?;
            let (states, sensitivities, _) = solver.solve_dense_sensitivities(&ts[1..])?;
            // The first state is given.
            Ok(from_sensitivities(&states, &sensitivities, &target[3..], &[1.0, 1e4, 1.0]))
        }
    }};
}

fn relative(found: &[f64], expected: &[f64]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied())
}

fn run(words: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [folder, name, way, rest @ ..] = words else {
        return Err("usage: diffsol DATA NAME tsit45|bdf|esdirk34 [--seconds S] [--turns]".into());
    };
    let (mut seconds, mut in_turns) = (1.0, false);
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--seconds" => seconds = rest.next().ok_or("--seconds needs a number")?.parse()?,
            "--turns" => in_turns = true,
            word => return Err(format!("there is no option {word}").into()),
        }
    }
    let data = Data(std::fs::read(Path::new(folder).join(format!("{name}.safetensors")))?);
    let mut call: Box<dyn FnMut() -> Found> = match (name.as_str(), way.as_str()) {
        ("lotka_volterra", "tsit45") => Box::new(lotka_volterra(&data)),
        ("robertson", "bdf") => Box::new(robertson!(bdf_sens, data)),
        ("robertson", "esdirk34") => Box::new(robertson!(esdirk34_sens, data)),
        _ => return Err(format!("{name} is not solved by {way}").into()),
    };
    let start = Instant::now();
    let mut last = call()?;
    let first_call = start.elapsed().as_secs_f64() * 1e3;
    let mut failure = None;
    let times = timing::times(seconds, in_turns, || match call() {
        Ok(found) => last = found,
        Err(e) => failure = Some(e),
    });
    if let Some(e) = failure {
        return Err(e.into());
    }
    let (loss, gradient) = last;
    let expected = match name.as_str() {
        "robertson" => data.get("ref.grad.k"),
        _ => [data.get("ref.grad.p"), data.get("ref.grad.y0")].concat(),
    };
    println!(
        "{{\"peer\":\"diffsol\",\"version\":\"0.18.0\",\"name\":\"{name}\",\"gradient\":\"{way}\",\"dtype\":\"f64\",\
         \"threads\":1,\"loss\":{loss:e},\"loss_rel_err\":{:e},\"grad_rel_err\":{:e},\"steps\":null,\
         \"first_call_ms\":{first_call:.3},\"ms_median\":{:.6},\"ms_min\":{:.6},\"repeats\":{},\
         \"peak_rss_mb\":{:.1}}}",
        relative(&[loss], &data.get("ref.loss")),
        relative(&gradient, &expected),
        timing::median(&times),
        times[0],
        times.len(),
        timing::peak_megabytes().unwrap_or(0.0),
    );
    Ok(())
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}
