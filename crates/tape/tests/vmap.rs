//! A batch at once against sample after sample, for every operation and its gradient.

use crate::cases::{Apply, for_every_case};
use costate_tape::Real;
use costate_tape::{Tape, Var};
use ndarray::{ArrayD, Axis, stack};
use proptest::test_runner::TestCaseError;

const SAMPLES: usize = 3;

/// An operation with its gradient, as a function of its inputs.
fn with_gradient<'t, T: Real>(
    f: Apply<T>,
    tape: &'t Tape<T>,
    x: &[Var<'t, T>],
) -> costate_tape::Result<Vec<Var<'t, T>>> {
    let y = f(tape, x)?;
    let mut all = tape.vjp(&[y], &[y.sin()], x)?;
    all.push(y);
    Ok(all)
}

fn check_batch<T: Real>(name: &str, f: Apply<T>, x: &[ArrayD<T>]) -> Result<(), TestCaseError> {
    let sample = |x: &ArrayD<T>, i: usize| x.map(|x| *x * T::from_f64(1.0 - 0.1 * i as f64));
    let tape = Tape::new();
    // The first input differs between samples, then the last, then all: the rest are captured.
    for varying in [0..1, x.len() - 1..x.len(), 0..x.len()] {
        let inputs: Vec<_> = x[varying.clone()]
            .iter()
            .map(|x| {
                let samples: Vec<_> = (0..SAMPLES).map(|i| sample(x, i)).collect();
                let views: Vec<_> = samples.iter().map(|x| x.view()).collect();
                tape.constant(&stack(Axis(0), &views).unwrap())
            })
            .collect();
        let shared: Vec<_> = x.iter().map(|x| tape.constant(x)).collect();
        let batched = tape
            .vmap(&inputs, |given| {
                let mut x = shared.clone();
                x[varying.clone()].copy_from_slice(given);
                with_gradient(f, &tape, &x)
            })
            .unwrap();
        for i in 0..SAMPLES {
            let one = Tape::new();
            let x: Vec<_> = x
                .iter()
                .enumerate()
                .map(|(j, x)| {
                    if varying.contains(&j) { one.constant(&sample(x, i)) } else { one.constant(x) }
                })
                .collect();
            let expected = with_gradient(f, &one, &x).unwrap();
            for (found, expected) in batched.iter().zip(expected) {
                let found = found.index_axis(0, i);
                let close = found.to_vec().iter().zip(expected.to_vec()).all(|(a, b)| {
                    (*a - b).abs() <= T::from_f64(64.0) * T::EPSILON * (T::one() + b.abs())
                });
                if found.shape() != expected.shape() || !close {
                    return Err(TestCaseError::fail(format!(
                        "{name}, sample {i} of {varying:?}: {:?} {:?}",
                        found.value(),
                        expected.value()
                    )));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_batch_is_its_samples() {
    for_every_case::<f64>(check_batch);
    for_every_case::<f32>(check_batch);
}

#[test]
fn batches_nest_and_differentiate() {
    let tape = Tape::new();
    let x = tape.leaf(&[1f64, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 2]);
    let w = tape.scalar(0.5);
    let y =
        tape.vmap(&[x], |row| tape.vmap(row, |entry| Ok(vec![(entry[0] * w).sin()]))).unwrap()[0];
    let expected: Vec<f64> = x.to_vec().iter().map(|x| (0.5 * x).sin()).collect();
    assert_eq!(y.to_vec(), expected);
    let g = y.sum().grad(&[w]).unwrap()[0].item();
    let expected: f64 = x.to_vec().iter().map(|x| x * (0.5 * x).cos()).sum();
    assert!((g - expected).abs() < 1e-14);
}

#[test]
fn an_empty_batch_has_its_shape() {
    let tape = Tape::new();
    let x = tape.leaf(&[0f64; 0], [0, 2]);
    let w = tape.leaf(&[1.0; 6], [2, 3]);
    let y = tape.vmap(&[x], |x| Ok(vec![x[0].matmul(w).tanh()])).unwrap()[0];
    assert_eq!(*y.shape(), [0, 3]);
}

#[test]
#[should_panic(expected = "a batch of 3, and an input of shape [2]")]
fn batches_of_two_lengths_panic() {
    let tape = Tape::new();
    let (x, y) = (tape.leaf(&[1f64; 3], [3]), tape.leaf(&[1.0; 2], [2]));
    let _ = tape.vmap(&[x, y], |x| Ok(vec![x[0]]));
}
