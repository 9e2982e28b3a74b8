//! What surrounds the steps: optimisers against their formulas, schedules, resuming to the same
//! bits.

use std::path::PathBuf;

use costate_nn::{
    Activation, Adam, AdamW, Batches, ClipNorm, ClipValue, Cosine, CsvLog, EarlyStopping, Ema,
    Error, Init, Lbfgs, Linear, Mlp, Optimiser, Params, Persist, Plateau, RmsProp, Rng, Schedule,
    Sgd, State, StepDecay, Stopped, Swa, Warmup, clip_norm, clip_value, load_checkpoint,
    save_checkpoint,
};
use ndarray::Array2;
use proptest::prelude::*;

struct File(PathBuf);

impl File {
    fn new(name: &str) -> File {
        File(std::env::temp_dir().join(format!("costate-training-{}-{name}", std::process::id())))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Everything that training is made of.
struct Run<O> {
    params: Params<f64>,
    net: Mlp,
    optimiser: O,
    batches: Batches,
    rng: Rng,
    ema: Ema<f64>,
    swa: Swa<f64>,
    plateau: Plateau,
    stop: EarlyStopping<f64>,
    lbfgs: Lbfgs,
}

impl<O: Optimiser<f64> + Persist> Run<O> {
    fn new(seed: u64, optimiser: O) -> Run<O> {
        let mut params = Params::seeded(seed);
        let net = Mlp::new(&mut params, "net", &[1, 4, 1], Activation::Tanh);
        Run {
            params,
            net,
            optimiser,
            batches: Batches::new(10, 4, seed),
            rng: Rng::seeded(seed),
            ema: Ema::new(0.9),
            swa: Swa::new(),
            plateau: Plateau::new(0.1, 0.5, 1),
            stop: EarlyStopping::new(3),
            lbfgs: Lbfgs::new(3),
        }
    }

    fn train(&mut self, steps: u64) {
        for step in 0..steps {
            let picked: Vec<f64> = self.batches.next_batch().iter().map(|&i| i as f64).collect();
            let x = Array2::from_shape_vec((picked.len(), 1), picked).unwrap() / 10.0;
            let noise = self.rng.normals::<f64>([x.nrows(), 1]) * 0.1;
            self.optimiser.set_rate(self.plateau.rate() * Cosine::new(1.0, 0.5, 9).rate(step));
            let net = &self.net;
            let loss = self
                .params
                .step(&mut self.optimiser, |tape, p| {
                    let y = net.forward(p, tape.constant(&x));
                    Ok((y - &x.mapv(f64::sin) - &noise).square().mean())
                })
                .unwrap();
            self.plateau.observe(loss);
            self.stop.observe(loss, &self.params);
            self.ema.update(&self.params);
            self.swa.update(&self.params);
        }
        let x = Array2::from_shape_fn((10, 1), |(i, _)| i as f64 / 10.0);
        let net = &self.net;
        self.params.minimise(&mut self.lbfgs, 2, |tape, p| loss(net, tape, p, &x)).unwrap();
    }

    fn save(&self, path: &PathBuf) {
        save_checkpoint(
            path,
            &[
                ("params", &self.params),
                ("optimiser", &self.optimiser),
                ("batches", &self.batches),
                ("rng", &self.rng),
                ("ema", &self.ema),
                ("swa", &self.swa),
                ("plateau", &self.plateau),
                ("stop", &self.stop),
                ("lbfgs", &self.lbfgs),
            ],
        )
        .unwrap();
    }

    fn load(&mut self, path: &PathBuf) -> Result<(), Error> {
        load_checkpoint(
            path,
            &mut [
                ("params", &mut self.params),
                ("optimiser", &mut self.optimiser),
                ("batches", &mut self.batches),
                ("rng", &mut self.rng),
                ("ema", &mut self.ema),
                ("swa", &mut self.swa),
                ("plateau", &mut self.plateau),
                ("stop", &mut self.stop),
                ("lbfgs", &mut self.lbfgs),
            ],
        )
    }

    /// Everything, as bits.
    fn state(&self) -> State {
        let mut state = State::default();
        let objects: [(&str, &dyn Persist); 9] = [
            ("params", &self.params),
            ("optimiser", &self.optimiser),
            ("batches", &self.batches),
            ("rng", &self.rng),
            ("ema", &self.ema),
            ("swa", &self.swa),
            ("plateau", &self.plateau),
            ("stop", &self.stop),
            ("lbfgs", &self.lbfgs),
        ];
        for (name, object) in objects {
            state.put_object(name, object);
        }
        state
    }
}

fn loss<'t>(
    net: &Mlp,
    tape: &'t costate_tape::Tape<f64>,
    p: &costate_nn::Bound<'t, f64>,
    x: &Array2<f64>,
) -> Result<costate_tape::Var<'t, f64>, Error> {
    Ok((net.forward(p, tape.constant(x)) - &x.mapv(f64::sin)).square().mean())
}

fn resumes<O: Optimiser<f64> + Persist + Clone>(name: &str, optimiser: O) {
    let file = File::new(name);
    let mut run = Run::new(1, optimiser.clone());
    run.train(7);
    run.save(&file.0);
    run.train(8);
    let mut resumed = Run::new(2, optimiser);
    resumed.load(&file.0).unwrap();
    resumed.train(8);
    assert!(run.state() == resumed.state(), "{name}");
}

#[test]
fn a_resumed_run_has_the_same_bits() {
    resumes("sgd", Sgd::new(0.1).nesterov(0.9).weight_decay(1e-3));
    resumes("adam", Adam::new(0.1));
    resumes("adamw", ClipNorm::new(AdamW::new(0.1, 1e-2), 0.5));
    resumes("rmsprop", ClipValue::new(RmsProp::new(0.1).momentum(0.5), 0.5));
}

#[test]
fn a_checkpoint_that_does_not_match_changes_nothing() {
    let file = File::new("mismatch");
    let mut run = Run::new(1, Adam::new(0.1));
    run.train(3);
    run.save(&file.0);
    let mut other = Run::new(2, Adam::new(0.1));
    other.batches = Batches::new(11, 4, 0);
    other.train(2);
    let before = other.state();
    let e = other.load(&file.0).unwrap_err().to_string();
    assert!(e.contains("batches: \"order\" has 10 entries, not 11"), "{e}");
    assert!(before == other.state());
    let bytes = std::fs::read(&file.0).unwrap();
    std::fs::write(&file.0, &bytes[..bytes.len() - 3]).unwrap();
    let e = run.load(&file.0).unwrap_err().to_string();
    assert!(e.contains("not an intact safetensors file"), "{e}");
}

fn one(value: f64) -> Params<f64> {
    let mut params = Params::seeded(0);
    params.add("x", [], |_| value);
    params
}

/// Five steps on `x²` against the formula by hand.
fn follow(mut optimiser: impl Optimiser<f64>, mut by_hand: impl FnMut(f64, f64) -> f64) {
    let (mut params, mut x) = (one(2.0), 2.0);
    for _ in 0..5 {
        params.step(&mut optimiser, |_, p| Ok(p.vars()[0].square())).unwrap();
        x = by_hand(x, 2.0 * x);
        assert!((params.values()[0] - x).abs() < 1e-13, "{} {x}", params.values()[0]);
    }
}

#[test]
fn optimisers_are_their_formulas() {
    let mut v = 0.0;
    follow(Sgd::new(0.1).nesterov(0.9), |x, g| {
        v = 0.9 * v + g;
        x - 0.1 * (g + 0.9 * v)
    });
    let mut v = 0.0;
    follow(Sgd::new(0.1).momentum(0.5).weight_decay(0.2), |x, g| {
        v = 0.5 * v + g + 0.2 * x;
        x - 0.1 * v
    });
    let (mut m, mut s, mut t) = (0.0, 0.0, 0);
    follow(AdamW::new(0.01, 0.3).betas(0.8, 0.9).epsilon(1e-3), |x, g| {
        t += 1;
        m = 0.8 * m + 0.2 * g;
        s = 0.9 * s + 0.1 * g * g;
        let (mh, sh): (f64, f64) = (m / (1.0 - 0.8f64.powi(t)), s / (1.0 - 0.9f64.powi(t)));
        x * (1.0 - 0.01 * 0.3) - 0.01 * mh / (sh.sqrt() + 1e-3)
    });
    let (mut s, mut v) = (0.0f64, 0.0);
    follow(RmsProp::new(0.01).alpha(0.9).momentum(0.5), |x, g| {
        s = 0.9 * s + 0.1 * g * g;
        v = 0.5 * v + g / (s.sqrt() + 1e-8);
        x - 0.01 * v
    });
    follow(ClipNorm::new(Sgd::new(0.1), 1.0), |x, g| x - 0.1 * g.min(1.0));
    follow(ClipValue::new(Sgd::new(0.1), 1.5), |x, g| x - 0.1 * g.min(1.5));
}

#[test]
fn what_is_frozen_stays() {
    let mut params = Params::<f64>::seeded(3);
    let a = Linear::new(&mut params, "a", 1, 2);
    let b = Linear::new(&mut params, "ab", 2, 1);
    let buffer = params.buffer("a.buffer", [2], Init::Constant(1.0));
    assert_eq!(params.freeze("a"), 2, "not \"ab\", and a buffer is none to freeze");
    assert!(params.is_frozen(a.weight) && !params.is_frozen(b.weight) && params.is_frozen(buffer));
    let summary = params.summary().to_string();
    assert!(summary.contains("frozen") && summary.contains("buffer"), "{summary}");
    assert!(summary.ends_with("9 parameters, 3 trained, 72 bytes"), "{summary}");
    let before = params.values().to_vec();
    // Decay of weights reaches only what is trained.
    let mut adamw = AdamW::new(0.1, 1.0);
    let x = Array2::ones((2, 1));
    let step = |params: &mut Params<f64>, adamw: &mut AdamW<f64>| {
        params
            .step(adamw, |tape, p| {
                Ok(b.forward(p, a.forward(p, tape.constant(&x)) * p[buffer]).square().sum())
            })
            .unwrap()
    };
    step(&mut params, &mut adamw);
    assert_eq!(params.values()[..4], before[..4]);
    assert_eq!(params.values()[7..], before[7..]);
    assert!(params.values()[4..7].iter().zip(&before[4..7]).all(|(a, b)| a != b));
    // L-BFGS leaves it too.
    params
        .minimise(&mut Lbfgs::new(3), 3, |tape, p| {
            Ok((b.forward(p, a.forward(p, tape.constant(&x))) - 1.0).square().sum())
        })
        .unwrap();
    assert_eq!(params.values()[..4], before[..4]);
    assert_eq!(params.unfreeze(""), 2);
    step(&mut params, &mut adamw);
    assert!(params.values()[..4].iter().zip(&before[..4]).all(|(a, b)| a != b));
    assert_eq!(params.values()[7..], before[7..]);
}

proptest! {
    #[test]
    fn clipping(mut g in prop::collection::vec(-1e3..1e3f64, 1..9), max in 0.1..100.0f64) {
        let before = g.clone();
        let norm = clip_norm(&mut g, max);
        let after = g.iter().map(|x| x * x).sum::<f64>().sqrt();
        prop_assert!(after <= max * (1.0 + 1e-14) && after <= norm * (1.0 + 1e-14));
        for (a, b) in g.iter().zip(&before) {
            // The direction stays.
            prop_assert!((a * norm - b * after).abs() <= 1e-9 * norm);
        }
        let mut g = before.clone();
        clip_value(&mut g, max);
        prop_assert!(g.iter().zip(&before).all(|(a, b)| *a == b.clamp(-max, max)));
    }

    /// Every epoch has every sample once, whatever the sizes.
    #[test]
    fn batches(samples in 1usize..30, size in 1usize..10, seed: u64) {
        let mut batches = Batches::new(samples, size, seed);
        for epoch in 0..3 {
            let mut seen = vec![0; samples];
            for _ in 0..batches.per_epoch() {
                let batch = batches.next_batch().to_vec();
                prop_assert!(!batch.is_empty() && batch.len() <= size);
                batch.iter().for_each(|&i| seen[i] += 1);
                prop_assert_eq!(batches.epoch(), epoch);
            }
            prop_assert!(seen.iter().all(|&n| n == 1));
        }
        if samples >= size {
            let mut whole = Batches::new(samples, size, seed).whole();
            for _ in 0..10 {
                prop_assert_eq!(whole.next_batch().len(), size);
            }
        }
    }

    #[test]
    fn averages(values in prop::collection::vec(-1.0..1.0f64, 1..20), decay in 0.0..0.99f64) {
        let (mut ema, mut swa) = (Ema::new(decay), Swa::new());
        let (mut sum, mut weight, mut plain) = (0.0, 0.0, 0.0);
        for (i, &x) in values.iter().enumerate() {
            let params = one(x);
            ema.update(&params);
            swa.update(&params);
            (sum, weight) = (decay * sum + x, decay * weight + 1.0);
            plain += x;
            let mut found = one(0.0);
            ema.apply(&mut found);
            prop_assert!((found.values()[0] - sum / weight).abs() < 1e-12);
            swa.apply(&mut found);
            prop_assert!((found.values()[0] - plain / (i + 1) as f64).abs() < 1e-12);
        }
    }

    /// A convex quadratic of any condition is solved in a few more steps than it has dimensions.
    #[test]
    fn lbfgs_on_quadratics(d in prop::collection::vec(0.01..100.0f64, 1..6),
                           x in prop::collection::vec(-3.0..3.0f64, 6)) {
        let mut x = x[..d.len()].to_vec();
        let minimum = Lbfgs::new(10).tolerance(1e-9).minimise(&mut x, 200, |x: &[f64]| {
            let value = x.iter().zip(&d).map(|(x, d)| d * (x - 1.0).powi(2)).sum::<f64>();
            Ok((value, x.iter().zip(&d).map(|(x, d)| 2.0 * d * (x - 1.0)).collect()))
        }).unwrap();
        prop_assert_eq!(minimum.stopped, Stopped::Converged);
        prop_assert!(x.iter().zip(&d).all(|(x, d)| (x - 1.0).abs() <= 1e-9 / d));
    }
}

/// Where the loss does not exist the step is made shorter.
#[test]
fn lbfgs_comes_back_from_nowhere() {
    let mut params = one(30.0);
    let minimum = params
        .minimise(&mut Lbfgs::new(5), 100, |_, p| {
            let x = p.vars()[0];
            Ok(x - x.ln())
        })
        .unwrap();
    assert!((params.values()[0] - 1.0).abs() < 1e-7, "{minimum:?}");
    let e = one(-1.0).minimise(&mut Lbfgs::new(5), 9, |_, p| Ok(p.vars()[0].ln())).unwrap_err();
    assert!(e.is_non_finite(), "{e}");
}

#[test]
fn schedules_are_their_formulas() {
    let decay = StepDecay::new(1.0, 0.5, 3);
    assert_eq!([0, 2, 3, 5, 6].map(|s| decay.rate(s)), [1.0, 1.0, 0.5, 0.5, 0.25]);
    let warm = Warmup::new(4, StepDecay::new(1.0, 0.5, 2));
    assert_eq!([0, 1, 2, 3, 4, 5, 6].map(|s| warm.rate(s)), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.5]);
    assert_eq!(Warmup::new(0, decay).rate(0), 1.0);
    let cosine = Cosine::new(3.0, 1.0, 4);
    assert!(
        [(0, 3.0), (2, 2.0), (4, 1.0), (9, 1.0)]
            .iter()
            .all(|&(s, rate)| (cosine.rate(s) - rate).abs() < 1e-15)
    );
    let mut plateau = Plateau::new(1.0, 0.1, 1);
    let rates = [3.0, 2.0, 2.0, 1.0, f64::NAN, 1.0, 1.5].map(|loss| plateau.observe(loss));
    assert_eq!(rates, [1.0, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1]);
}

#[test]
fn a_log_is_resumed_where_it_was() {
    let file = File::new("log");
    let mut log = CsvLog::create(&file.0, &["step", "loss"]).unwrap();
    for step in 0..4 {
        log.row(&[f64::from(step), 0.1]).unwrap();
    }
    drop(log);
    // An interruption in the middle of a line.
    let text = std::fs::read_to_string(&file.0).unwrap();
    std::fs::write(&file.0, format!("{text}4,0.")).unwrap();
    let e = CsvLog::resume(&file.0, &["step", "loss"], 5).unwrap_err().to_string();
    assert!(e.contains("has 4 rows, not 5"), "{e}");
    let mut log = CsvLog::resume(&file.0, &["step", "loss"], 3).unwrap();
    log.row(&[3.0, 1.0 / 3.0]).unwrap();
    let text = std::fs::read_to_string(&file.0).unwrap();
    assert_eq!(text, "step,loss\n0,0.1\n1,0.1\n2,0.1\n3,0.3333333333333333\n");
    assert!(CsvLog::resume(&file.0, &["step"], 0).is_err());
}
