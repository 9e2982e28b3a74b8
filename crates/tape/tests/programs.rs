//! Programs: the bits of recording, without its cost.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use crate::cases::{Apply, for_every_case};
use costate_tape::Real;
use costate_tape::{Function, Program, Tape, Var, Workspace};
use ndarray::{ArrayD, IxDyn, arr0, arr1};
use proptest::test_runner::TestCaseError;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn slices<T: Real>(x: &[ArrayD<T>]) -> Vec<&[T]> {
    x.iter().map(|x| x.as_slice().unwrap()).collect()
}

/// The bits, but for the sign of zeros.
fn bits<T: Real>(x: &[T]) -> Vec<u64> {
    x.iter().map(|x| (x.as_f64() + 0.0).to_bits()).collect()
}

/// Records an operation with its gradient at other inputs, and replays both on these.
fn check_replay<T: Real>(name: &str, f: Apply<T>, x: &[ArrayD<T>]) -> Result<(), TestCaseError> {
    let record = |x: &[ArrayD<T>]| {
        Function::trace(x, |tape, x| {
            let y = f(tape, x)?;
            let mut outputs = tape.vjp(&[y], &[y.sin()], x)?;
            outputs.push(y);
            Ok(outputs)
        })
        .unwrap()
    };
    let elsewhere: Vec<_> = x.iter().map(|x| x.map(|x| *x * T::from_f64(0.9))).collect();
    let program = Program::compile(&record(&elsewhere)).unwrap();
    let mut workspace = Workspace::new(&program);
    let inputs = slices(x);
    let tape = Tape::new();
    let vars: Vec<_> = x.iter().map(|x| tape.constant(x)).collect();
    let y = f(&tape, &vars).unwrap();
    let mut expected = tape.vjp(&[y], &[y.sin()], &vars).unwrap();
    expected.push(y);
    for run in 0..3 {
        let before = ALLOCATIONS.with(Cell::get);
        let outputs = program.evaluate(&mut workspace, &inputs).unwrap();
        let allocated = ALLOCATIONS.with(Cell::get) - before;
        // A small right side of a product is laid out in memory that each thread allocates once.
        if run > 0 && allocated > 0 {
            return Err(TestCaseError::fail(format!("{name}: {allocated} allocations\n{program}")));
        }
        for (i, expected) in expected.iter().enumerate() {
            if bits(outputs.get(i)) != bits(&expected.to_vec()) {
                return Err(TestCaseError::fail(format!(
                    "{name} of {}: output {i} is {:?}, not {:?}\n{program}",
                    T::NAME,
                    outputs.get(i),
                    expected.to_vec()
                )));
            }
        }
    }
    Ok(())
}

#[test]
fn replay_is_recording_and_allocates_nothing() {
    for_every_case::<f64>(check_replay);
    for_every_case::<f32>(check_replay);
}

/// A network with its gradient, as training replays it.
#[test]
fn a_network_allocates_nothing() {
    let array =
        |shape: &[usize]| ArrayD::from_shape_fn(IxDyn(shape), |i| (i[0] as f64 + 0.3).sin());
    let x = [array(&[20, 2]), array(&[2, 50]), array(&[50]), array(&[50, 2]), array(&[2])];
    let function = Function::trace(&x, |tape, x| {
        let y = (x[0].powi(3).matmul(x[1]) + x[2]).tanh().matmul(x[3]) + x[4];
        let loss = y.square().mean();
        tape.vjp(&[loss], &[tape.scalar(1.0)], x)
    })
    .unwrap();
    let program = Program::compile(&function).unwrap();
    let mut workspace = Workspace::new(&program);
    let inputs = slices(&x);
    program.evaluate(&mut workspace, &inputs).unwrap();
    let before = ALLOCATIONS.with(Cell::get);
    for _ in 0..100 {
        program.evaluate(&mut workspace, &inputs).unwrap();
    }
    assert_eq!(ALLOCATIONS.with(Cell::get), before);
}

/// The text of programs shows what was removed, shared, done in place and repeated.
#[test]
fn what_compiling_does() {
    type Record = for<'t> fn(&'t Tape<f64>, &[Var<'t, f64>]) -> Vec<Var<'t, f64>>;
    let text = |f: Record| {
        let x = [ArrayD::zeros(IxDyn(&[8, 8])), ArrayD::zeros(IxDyn(&[8]))];
        let function = Function::trace(&x, |tape, x| Ok(f(tape, x))).unwrap();
        Program::compile(&function).unwrap().to_string()
    };
    // Dead code goes; equal operations are one; the second square is the first; both operations
    // are done in one pass.
    assert_eq!(
        text(|_, x| {
            let _unused = x[0].exp();
            vec![x[0].square() + x[0].square()]
        }),
        "program f64(i0[8, 8], i1[8])\n  chain {\n    r0 = i0[8, 8]\n    r0 = square r0\n    \
         r0 = add r0, r0\n    @0[8, 8] = r0\n  }\n  return @0[8, 8]\n"
    );
    // A row is added without being repeated in memory, and the result is written over the product.
    assert_eq!(
        text(|_, x| vec![(x[0].matmul(x[0]) + x[1]).tanh()]),
        "program f64(i0[8, 8], i1[8])\n  @0[8, 8] = matmul[nn] i0[8, 8], i0[8, 8]\n  chain {\n    \
         r0 = @0[8, 8]\n    r1 = i1[8, 8]\n    r1 = add r0, r1\n    r1 = tanh r1\n    \
         @0[8, 8] = r1\n  }\n  return @0[8, 8]\n"
    );
    // A single operation is no chain, and writes over an argument that is not needed again.
    assert_eq!(
        text(|_, x| vec![x[0].matmul(x[0]).tanh()]),
        "program f64(i0[8, 8], i1[8])\n  @0[8, 8] = matmul[nn] i0[8, 8], i0[8, 8]\n  \
         @0[8, 8] = tanh @0[8, 8]\n  return @0[8, 8]\n"
    );
    // Work on constants is done when compiling.
    assert_eq!(
        text(|tape, _| vec![(tape.scalar(2.0) * tape.scalar(3.0)).square()]),
        "program f64(i0[8, 8], i1[8])\n  return c0[]\n"
    );
    // Views are no operations.
    assert_eq!(
        text(|_, x| vec![x[0].reshape([64]).detach()]),
        "program f64(i0[8, 8], i1[8])\n  return i0[64]\n"
    );
}

/// A product with a short inner length adds a row by itself.
#[test]
fn the_text_of_a_product_with_a_bias() {
    let x = [[20, 3], [3, 50], [1, 50]].map(|shape| ArrayD::zeros(IxDyn(&shape)));
    let function = Function::trace(&x, |_, x| Ok(vec![(x[0].matmul(x[1]) + x[2]).tanh()])).unwrap();
    assert_eq!(
        Program::<f64>::compile(&function).unwrap().to_string(),
        "program f64(i0[20, 3], i1[3, 50], i2[1, 50])\n  @0[20, 50] = add of matmul[nn] i0[20, 3], \
         i1[3, 50], i2[1, 50]\n  o0[20, 50] = tanh @0[20, 50]\n  return o0[20, 50]\n"
    );
}

/// What follows from weights alone is computed once: transposes of small ones, strips of large ones.
#[test]
fn weights_that_were_laid_out_give_the_same_bits() {
    // The last right side is so large that products read it in strips.
    for [rows, inputs, hidden, outputs] in [[20, 2, 50, 2], [32, 64, 64, 3], [64, 256, 512, 256]] {
        let shapes =
            [[rows, inputs], [inputs, hidden], [1, hidden], [hidden, outputs], [rows, outputs]];
        let mut next = 0;
        let x = shapes.map(|shape| {
            ArrayD::from_shape_simple_fn(IxDyn(&shape), || {
                next += 1;
                (f64::from(next) * 0.37).sin() as f32
            })
        });
        // The field and its vjp.
        let function = Function::trace(&x, |tape, x| {
            let y = (x[0].matmul(x[1]) + x[2]).tanh().matmul(x[3]);
            let bars = tape.vjp(&[y], &[x[4]], &x[..4])?;
            Ok([y].into_iter().chain(bars).collect())
        })
        .unwrap();
        let parts = function.hoist(1..4).expect("products with weights");
        let run = |f: &Function<f32>, inputs: &[&[f32]]| -> Vec<Vec<f32>> {
            let program = Program::compile(f).unwrap();
            let mut workspace = Workspace::new(&program);
            let found = program.evaluate(&mut workspace, inputs).unwrap();
            (0..program.output_shapes().len()).map(|i| found.get(i).to_vec()).collect()
        };
        let x: Vec<&[f32]> = x.iter().map(|x| x.as_slice().unwrap()).collect();
        let once = run(&parts.once, &x[1..4]);
        let mut inputs = x[..4].to_vec();
        inputs.extend(once.iter().map(|x| &x[..]));
        inputs.push(x[4]);
        assert!(run(&parts.each, &inputs) == run(&function, &x), "{rows} rows, {hidden} hidden");
    }
}

/// The derivative of `tanh` as people write it is the operation that it is, and factors of one are none.
#[test]
fn derivatives_of_tanh_are_recognised() {
    fn forms<'t, T: Real>(x: Var<'t, T>, y: Var<'t, T>) -> Vec<Var<'t, T>> {
        let one_minus_square = y.square().affine(-T::one(), T::one());
        vec![
            x * one_minus_square,
            one_minus_square * x,
            x.ones_like() * x * y.ones_like(),
            one_minus_square * one_minus_square + y.square(),
        ]
    }
    fn check<T: Real>(len: usize) {
        let x = [0.3, 0.7].map(|c| {
            ArrayD::from_shape_fn(IxDyn(&[len]), |i| T::from_f64(1.7 * (i[0] as f64 * c).sin()))
        });
        let function = Function::trace(&x, |_, x| Ok(forms(x[0], x[1]))).unwrap();
        let program = Program::compile(&function).unwrap();
        let mut workspace = Workspace::new(&program);
        let inputs = slices(&x);
        let found = program.evaluate(&mut workspace, &inputs).unwrap();
        let tape = Tape::new();
        let expected = forms(tape.constant(&x[0]), tape.constant(&x[1]));
        for (i, y) in expected.iter().enumerate() {
            assert_eq!(bits(found.get(i)), bits(&y.to_vec()), "output {i} of {len}:\n{program}");
        }
        let first = Program::compile(&function.with_outputs(&[0, 1, 2])).unwrap();
        // Programs on a few numbers count their operations one by one.
        assert!(first.is_small() || first.len() == 1, "{first}");
    }
    for len in [1, 3, 16, 17, 100, 5000] {
        check::<f64>(len);
        check::<f32>(len);
    }
}

/// With two columns or fifty, in one order or the other, and where somebody else reads the product.
#[test]
fn products_do_what_comes_after_them() {
    fn f<'t>(form: usize, x: &[Var<'t, f64>]) -> Vec<Var<'t, f64>> {
        let product = x[0].matmul(x[1]);
        match form {
            0 => vec![product + x[2]],
            1 => vec![x[2] + product],
            2 => vec![product * x[3]],
            3 => vec![x[3] * product],
            _ => vec![product + x[2], product],
        }
    }
    for (m, k, n, steps) in [(20, 3, 50, 1), (20, 50, 2, 2), (30, 20, 1, 1), (300, 200, 100, 2)] {
        let shapes = [vec![m, k], vec![k, n], vec![n], vec![m, n]];
        let entry = |i: usize| (i as f64 * 0.37).sin();
        let of = |shape: &Vec<usize>| {
            let mut next = 7 * shape.len();
            ArrayD::from_shape_simple_fn(IxDyn(shape), || {
                next += 1;
                entry(next)
            })
        };
        let x: Vec<ArrayD<f64>> = shapes.iter().map(of).collect();
        for form in 0..5 {
            let function = Function::trace(&x, |_, x| Ok(f(form, x))).unwrap();
            let program = Program::compile(&function).unwrap();
            let expected = if form == 4 || (form > 1 && n < 5) { 2 } else { steps };
            assert_eq!(program.len(), expected, "{m} {k} {n} {form}:\n{program}");
            let mut workspace = Workspace::new(&program);
            let inputs = slices(&x);
            let found = program.evaluate(&mut workspace, &inputs).unwrap();
            let tape = Tape::new();
            let vars: Vec<_> = x.iter().map(|x| tape.constant(x)).collect();
            for (i, y) in f(form, &vars).into_iter().enumerate() {
                assert_eq!(bits(found.get(i)), bits(&y.to_vec()), "{m} {k} {n} {form}");
            }
        }
    }
}

/// A program on a few numbers is unfolded: moving them is naming them.
#[test]
fn small_programs_are_unfolded() {
    let x = [arr1(&[1.0, 2.0]).into_dyn(), arr0(0.5).into_dyn()];
    let function = Function::trace(&x, |_, x| {
        let (u, v) = (x[0].index_axis(0, 0), x[0].index_axis(0, 1));
        Ok(vec![Var::stack(0, &[x[1] * u - u * v, u * v])])
    })
    .unwrap();
    assert_eq!(
        Program::compile(&function).unwrap().to_string(),
        "program f64(i0[2], i1[])\n  r2..r3 = i0\n  r4 = i1\n  r1 = mul r2, r3\n  \
         r0 = mul_sub r4, r2, r1\n  return @0[2]\n"
    );
}

/// Large outputs are written where they are wanted, also if others are the same value, a part of it, or
/// computed from it.
#[test]
fn outputs_that_share_a_value() {
    let wave = ArrayD::from_shape_fn(IxDyn(&[600]), |i| (0.7 * i[0] as f64).sin());
    let x = [wave, arr0(0.5).into_dyn()];
    let function = Function::trace(&x, |_, x| {
        let a = x[0].tanh();
        let m = a.reshape([20, 30]).matmul(x[0].reshape([30, 20]));
        let chain = (a * x[1]).sin() + a;
        let sorted = a.reshape([20, 30]).t().cumsum(0);
        Ok(vec![a.slice_axis(0, 100..200), a, m.sum(), chain, a, x[0], m, m.exp(), sorted])
    })
    .unwrap();
    let recorded = {
        let tape = Tape::new();
        let inputs: Vec<_> = x.iter().map(|x| tape.constant(x)).collect();
        let found = function.inline(&tape, &inputs).unwrap();
        found.iter().map(|y| y.value().iter().copied().collect::<Vec<f64>>()).collect::<Vec<_>>()
    };
    let program = Program::compile(&function).unwrap();
    let inputs: Vec<&[f64]> = x.iter().map(|x| x.as_slice().unwrap()).collect();
    let mut workspace = Workspace::new(&program);
    for _ in 0..2 {
        let found = program.evaluate(&mut workspace, &inputs).unwrap();
        for (i, expected) in recorded.iter().enumerate() {
            assert_eq!(bits(found.get(i)), bits(expected), "output {i}, where it lies");
        }
        let mut wanted: Vec<Vec<f64>> = recorded.iter().map(|y| vec![f64::NAN; y.len()]).collect();
        let mut places: Vec<&mut [f64]> = wanted.iter_mut().map(|y| &mut y[..]).collect();
        program.run(&mut workspace, &inputs, &mut places).unwrap();
        for (i, (found, expected)) in wanted.iter().zip(&recorded).enumerate() {
            assert_eq!(bits(found), bits(expected), "output {i}, where it is wanted");
        }
    }
}

/// The memory of a long chain is that of two values and of the output.
#[test]
fn memory_is_used_again() {
    let x = [ArrayD::<f64>::zeros(IxDyn(&[1000]))];
    let chain = |n: usize| {
        let function = Function::trace(&x, |_, x| {
            let mut y = x[0];
            for _ in 0..n {
                y = y.permute(&[0]).reshape([10, 100]).t().reshape([1000]).sin();
            }
            Ok(vec![y])
        });
        Program::compile(&function.unwrap()).unwrap().arena_bytes()
    };
    assert_eq!(chain(100), chain(2));
    assert_eq!(chain(2), 3 * 8000);
}

#[test]
fn a_function_that_read_a_number_does_not_compile() {
    let x = [arr1(&[1.0]).into_dyn()];
    let function =
        Function::trace(&x, |_, x| Ok(vec![if x[0].item() > 0.0 { x[0].square() } else { x[0] }]))
            .unwrap();
    assert!(function.is_value_dependent());
    let e = Program::compile(&function).unwrap_err();
    assert!(e.is_value_dependent());
    assert!(e.to_string().contains("programs.rs"), "{e}");
}

#[test]
#[should_panic(expected = "input 0 has shape [2]; 3 entries were given")]
fn a_wrong_input_panics() {
    let x = [arr1(&[1.0, 2.0]).into_dyn()];
    let program =
        Program::compile(&Function::trace(&x, |_, x| Ok(vec![x[0].sin()])).unwrap()).unwrap();
    let _ = program.evaluate(&mut Workspace::new(&program), &[&[1.0, 2.0, 3.0]]);
}

#[test]
fn programs_are_shared_between_threads() {
    let x = [arr1(&[1.0, 2.0]).into_dyn()];
    let program =
        Program::compile(&Function::trace(&x, |_, x| Ok(vec![x[0].exp()])).unwrap()).unwrap();
    let run = |x: f64| {
        let mut y = [0.0, 0.0];
        program.run(&mut Workspace::new(&program), &[&[x, -x]], &mut [&mut y]).unwrap();
        y
    };
    let here: Vec<_> = (0..8).map(|i| run(f64::from(i))).collect();
    let there: Vec<_> = std::thread::scope(|s| {
        let run = &run;
        let threads: Vec<_> = (0..8).map(|i| s.spawn(move || run(f64::from(i)))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(here, there);
}
