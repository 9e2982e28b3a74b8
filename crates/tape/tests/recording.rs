//! Recording: values, scopes, messages.

use costate_tape::{Function, Program, Tape, Workspace, check};
use ndarray::{Array2, arr0, arr1, arr2};

#[test]
fn arrays_of_any_layout_are_recorded_row_major() {
    let tape = Tape::new();
    let a = arr2(&[[1f64, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    assert_eq!(tape.constant(&a.t()).to_vec(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(
        tape.constant(&a.slice(ndarray::s![.., ..;-1])).to_vec(),
        [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]
    );
    assert_eq!(*tape.constant(&arr0(3.0)).shape(), []);
    let y = tape.constant(&a) + &a.slice(ndarray::s![..1, ..]);
    assert_eq!(y.value(), (&a + &a.slice(ndarray::s![..1, ..])).into_dyn());
}

#[test]
fn operators_mix_variables_numbers_and_arrays() {
    let tape = Tape::new();
    let x = tape.constant(&arr1(&[1f64, 2.0]));
    let a = arr1(&[10.0, 20.0]);
    assert_eq!((x + &a).to_vec(), [11.0, 22.0]);
    assert_eq!((x - 1.0).to_vec(), [0.0, 1.0]);
    assert_eq!((1.0 - x).to_vec(), [0.0, -1.0]);
    assert_eq!((x * 2.0 / 4.0).to_vec(), [0.5, 1.0]);
    assert_eq!((2.0 / x).to_vec(), [2.0, 1.0]);
    assert_eq!((-x).to_vec(), [-1.0, -2.0]);
}

/// The message of a panic, with the file in which it says that it arose.
fn panic_of(f: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let message = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let slot = message.clone();
    let here = std::thread::current().id();
    // Other tests panic too: those are not meant.
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() == here {
            *slot.lock().unwrap() = info.to_string();
        }
    }));
    let result = std::panic::catch_unwind(f);
    let _ = std::panic::take_hook();
    assert!(result.is_err());
    std::mem::take(&mut *message.lock().unwrap())
}

/// One test, since the hook belongs to the process.
#[test]
fn shape_errors_show_both_shapes_at_the_line_of_the_caller() {
    let cases: [(fn(), &str); 9] = [
        (
            || {
                let t = Tape::new();
                let _ = t.leaf(&[1.0; 6], [2, 3]) + t.leaf(&[1.0; 4], [4]);
            },
            "shapes [2, 3] and [4] cannot be broadcast",
        ),
        (
            || {
                let t = Tape::new();
                t.leaf(&[1.0; 6], [2, 3]).matmul(t.leaf(&[1.0; 4], [2, 2]));
            },
            "shapes [2, 3] and [2, 2] do not match",
        ),
        (
            || {
                let t = Tape::new();
                t.leaf(&[1.0; 6], [2, 3]).reshape([4]);
            },
            "shape [2, 3] has 6 entries, shape [4] has 4",
        ),
        (
            || {
                let t = Tape::new();
                t.leaf(&[1.0; 6], [2, 3]).broadcast_to([2, 4]);
            },
            "shape [2, 3] cannot be broadcast to [2, 4]",
        ),
        (
            || {
                let t = Tape::new();
                t.leaf(&[1.0; 6], [2, 3]).sum_axis(2);
            },
            "shape [2, 3] has no axis 2",
        ),
        (
            || {
                let t = Tape::new();
                t.leaf(&[1.0; 6], [2, 3]).slice_axis(1, 2..5);
            },
            "2..5 lies outside axis 1 of shape [2, 3]",
        ),
        (
            || {
                let t = Tape::new();
                let _ = t.leaf(&[1.0; 6], [2, 3]).grad(&[]);
            },
            "shape [2, 3] has 6 entries",
        ),
        (
            || {
                let t = Tape::new();
                t.leaf(&[1.0; 5], [2, 3]);
            },
            "5 entries given for shape [2, 3], which has 6",
        ),
        (
            || {
                let (t, u) = (Tape::new(), Tape::new());
                let _ = t.scalar(1.0) + u.scalar(1.0);
            },
            "belong to two different tapes",
        ),
    ];
    for (f, expected) in cases {
        let text = panic_of(f);
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("recording.rs"), "{text}");
    }
    let text = panic_of(|| {
        let tape = Tape::new();
        let mut leaked = None;
        let scope = tape.scope(&[tape.scalar(1.0)], |x| {
            leaked = Some(x[0].sin());
            Ok::<_, ()>(vec![x[0]])
        });
        scope.unwrap();
        let _ = leaked.unwrap() + 1.0;
    });
    assert!(text.contains("after the scope that it belongs to has ended"), "{text}");
}

/// What a scope touches from outside is captured, in the order in which it was recorded.
#[test]
fn scopes_capture() {
    let tape = Tape::new();
    let (a, b, unused) = (tape.scalar(2.0), tape.scalar(3.0), tape.scalar(4.0));
    let x = tape.scalar(5.0);
    let scope =
        tape.scope(&[x], |x| Ok::<_, ()>(vec![(b * x[0] + a) * tape.scalar(10.0)])).unwrap();
    let captured: Vec<f64> = scope.captured.iter().map(|v| v.item()).collect();
    assert_eq!(captured, [2.0, 3.0]);
    let _ = unused;
    let program = Program::compile(&scope.function).unwrap();
    let mut y = [0.0];
    let mut workspace = Workspace::new(&program);
    program.run(&mut workspace, &[&[1.0], &[0.5], &[4.0]], &mut [&mut y]).unwrap();
    assert_eq!(y, [45.0]);
    // Applied to the variables themselves it is what was recorded, and is differentiated.
    let args: Vec<_> = [x].into_iter().chain(scope.captured.iter().copied()).collect();
    let y = scope.function.inline(&tape, &args).unwrap()[0];
    assert_eq!(y.item(), 170.0);
    let g = y.grad(&[x, a, b]).unwrap();
    assert_eq!([g[0].item(), g[1].item(), g[2].item()], [30.0, 10.0, 50.0]);
}

#[test]
fn scopes_nest() {
    let tape = Tape::new();
    let a = tape.scalar(2.0);
    let outer = tape
        .scope(&[tape.scalar(3.0)], |x| {
            let inner = tape.scope(&[x[0]], |z| Ok::<_, ()>(vec![z[0] * a * x[0]]))?;
            assert_eq!(inner.captured.len(), 2);
            let args: Vec<_> = [x[0].sin()].into_iter().chain(inner.captured).collect();
            inner.function.inline(&tape, &args).map_err(|_| ())
        })
        .unwrap();
    assert_eq!(outer.captured.len(), 1);
}

#[test]
fn functions_have_derivatives_of_any_order() {
    let x = [arr1(&[0.3, 0.7]).into_dyn()];
    let f = Function::trace(&x, |_, x| Ok(vec![(x[0].square() * x[0].sin()).sum()])).unwrap();
    let g = f.vjp(&[0]).unwrap();
    assert_eq!(g.input_shapes().len(), 2);
    let h = g.jvp(&[0]).unwrap();
    let program = Program::compile(&h).unwrap();
    let (mut gradient, mut product) = ([0.0; 2], [0.0; 2]);
    program
        .run(
            &mut Workspace::new(&program),
            &[&[0.3, 0.7], &[1.0], &[1.0, 0.0]],
            &mut [&mut gradient, &mut product],
        )
        .unwrap();
    let (x, s, c) = (0.3f64, 0.3f64.sin(), 0.3f64.cos());
    assert!((gradient[0] - (2.0 * x * s + x * x * c)).abs() < 1e-15);
    assert!((product[0] - (2.0 * s + 4.0 * x * c - x * x * s)).abs() < 1e-15);
    assert_eq!(product[1], 0.0);
}

#[test]
fn third_derivatives() {
    let tape = Tape::new();
    let x = tape.scalar(0.4);
    let mut y = x.tanh();
    for _ in 0..3 {
        y = y.grad(&[x]).unwrap()[0];
    }
    let t = 0.4f64.tanh();
    let d = 1.0 - t * t;
    assert!((y.item() - d * (6.0 * t * t - 2.0)).abs() < 1e-14);
}

#[test]
fn gradients_of_nothing_and_of_ties() {
    let tape = Tape::new();
    let (x, y) = (tape.constant(&arr1(&[1.0, 2.0])), tape.scalar(1.0));
    assert_eq!(y.grad(&[x]).unwrap()[0].to_vec(), [0.0, 0.0]);
    let (a, b) = (tape.scalar(3.0), tape.scalar(3.0));
    let g = a.maximum(b).grad(&[a, b]).unwrap();
    assert_eq!([g[0].item(), g[1].item()], [0.5, 0.5]);
    let z = tape.scalar(0.0);
    assert_eq!(z.abs().grad(&[z]).unwrap()[0].item(), 0.0);
    assert_eq!(z.relu().grad(&[z]).unwrap()[0].item(), 0.0);
    let c = tape.constant(&arr1(&[2.0, 2.0, 1.0]));
    assert_eq!(c.max_axis(0).grad(&[c]).unwrap()[0].to_vec(), [0.5, 0.5, 0.0]);
}

/// A long tape records, differentiates and drops without recursion.
#[test]
fn a_long_tape() {
    let tape = Tape::new();
    let x = tape.scalar(1.0);
    let mut y = x;
    for _ in 0..1_000_000 {
        y = y * 1.000001;
    }
    // What the documentation of the crate says: 80 bytes each, and the values.
    assert!(tape.len() > 1_000_000 && tape.bytes() <= 88 * tape.len(), "{}", tape.bytes());
    let g = y.grad(&[x]).unwrap()[0].item();
    assert!((g - 1.000001f64.powi(1_000_000)).abs() < 1e-9);
}

/// A rule that is wrong is found, with the input and the entry.
#[test]
fn check_finds_a_wrong_gradient() {
    let x = arr2(&[[0.5, 1.5]]).into_dyn();
    // `detach` makes the gradient of the second factor disappear.
    let e = check::gradient(|_, x| Ok(x[0] * x[0].detach()), &[x]).unwrap_err();
    assert!(e.to_string().contains("finite differences: input 0, entry 0"), "{e}");
    // At NaN nothing agrees.
    let nan = Array2::from_elem((1, 1), f64::NAN).into_dyn();
    check::gradient(|_, x| Ok(x[0].sin()), &[nan]).unwrap_err();
}

/// The first operation whose value is not finite is named, with its line and its inputs.
#[test]
fn the_birth_of_a_nan_is_found() {
    let f = Function::trace(&[arr1(&[1.0, 4.0]).into_dyn()], |_, x| {
        let y = x[0] - 2.0;
        Ok(vec![y.ln().exp() * y])
    })
    .unwrap();
    assert!(f.find_non_finite(&[arr1(&[3.0, 4.0]).into_dyn()]).unwrap().is_none());
    let found = f.find_non_finite(&[arr1(&[3.0, 1.5]).into_dyn()]).unwrap().unwrap();
    assert_eq!((found.operation.as_str(), found.entry), ("ln", 1));
    assert!(found.location.file().ends_with("recording.rs"));
    assert_eq!(found.inputs[0].as_slice().unwrap(), [1.0, -0.5]);
    assert!(found.to_string().contains("there input 0 is -0.5"), "{found}");
    let tape = Tape::new();
    tape.scalar(f64::NAN);
    assert_eq!(tape.find_non_finite().unwrap().operation, "const");
}
