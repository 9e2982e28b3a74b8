//! What a field makes of its parameters alone is computed once for a pass, and changes no result.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use costate_odeint::{
    Gradient, KenCarp4Imex, Kvaerno3, Kvaerno5, Memory, Method, Ode, Rodas5P, Scheme, Tsit5,
};
use costate_tape::{Function, Program, Result, Shape, Tape, Var, Workspace};
use ndarray::{ArrayD, IxDyn};

fn numbers(shape: &[usize], seed: f64) -> ArrayD<f64> {
    let mut i = seed;
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        i += 1.0;
        (i * 0.618_034).fract() - 0.5
    })
}

/// A field with an antisymmetric matrix, one of positive entries, and a constant made of another.
fn loss<'t>(tape: &'t Tape<f64>, ode: &Ode, x: &[Var<'t, f64>]) -> Result<Var<'t, f64>> {
    let &[w, log_scale, b, y0] = x else { panic!("four inputs") };
    let table = tape.constant(&numbers(&[20, 20], 9.0));
    let field = |t: Var<'t, f64>, y: Var<'t, f64>| {
        let a = w - w.t();
        let scale = log_scale.exp() + b.square();
        Ok((y.matmul(a) + b * t).tanh() * scale + y.matmul(w.matmul(table).t()).scale(0.1))
    };
    Ok(ode.try_solve(field, y0, [0.0, 0.3, 1.0])?.square().sum())
}

fn gradients(ode: &Ode) -> Vec<Vec<f64>> {
    let tape = Tape::new();
    let x = [[20, 20].as_slice(), &[20], &[20], &[7, 20]];
    let x: Vec<_> =
        x.iter().enumerate().map(|(i, s)| tape.constant(&numbers(s, i as f64 * 77.0))).collect();
    let y = loss(&tape, ode, &x).unwrap();
    y.grad(&x).unwrap().iter().map(|g| g.to_vec()).collect()
}

#[test]
fn gradients_are_those_of_unrolling() {
    for method in [Method::from(Tsit5), Method::from(Kvaerno5)] {
        let ode = Ode::new(method).tolerance(1e-6, 1e-8);
        let expected = gradients(&ode.clone().gradient(Gradient::Unrolled));
        for way in [ode.clone(), ode.activations(0)] {
            for (found, right) in gradients(&way).iter().zip(&expected) {
                let size = right.iter().map(|x| x.abs()).fold(0.0, f64::max);
                for (a, b) in found.iter().zip(right) {
                    assert!((a - b).abs() <= 1e-11 * size, "{a} and {b}");
                }
            }
        }
    }
}

/// Weights that are stored transposed, whose cotangents are added up as sums over rows.
#[test]
fn transposed_weights() {
    let gradients = |ode: Ode| {
        let tape = Tape::<f64>::new();
        let shapes = [vec![30, 20], vec![30], vec![20, 30], vec![7, 20]];
        let x = shapes.iter().enumerate().map(|(i, s)| tape.constant(&numbers(s, i as f64 * 77.0)));
        let x: Vec<_> = x.collect();
        let ys = ode.solve(
            |_, y| (y.matmul(x[0].t()) + x[1]).tanh().matmul(x[2].t()),
            x[3],
            [0.0, 0.3, 1.0],
        );
        let ys = ys.unwrap();
        let bars = ys.square().sum().grad(&x).unwrap();
        bars.iter().map(|g| g.to_vec()).collect::<Vec<_>>()
    };
    let ode = Ode::new(Tsit5).tolerance(1e-6, 1e-8);
    let expected = gradients(ode.clone().gradient(Gradient::Unrolled));
    for way in [ode.clone(), ode.activations(0)] {
        for (found, right) in gradients(way).iter().zip(&expected) {
            let size = right.iter().map(|x| x.abs()).fold(0.0, f64::max);
            for (a, b) in found.iter().zip(right) {
                assert!((a - b).abs() <= 1e-12 * size, "{a} and {b}");
            }
        }
    }
}

/// The parts together compute what the whole does.
#[test]
fn parts_make_the_whole() {
    let inputs = [numbers(&[], 1.0), numbers(&[5, 3], 2.0), numbers(&[3, 3], 3.0)];
    let f = Function::trace(&inputs, |tape, x| {
        let (y, w) = (x[1], x[2]);
        let made = (w - w.t()).exp();
        // One that is an output itself, one behind a view, and a number.
        let again = made.reshape([9]).sum() + tape.scalar(2.0);
        Ok(vec![y.matmul(made).tanh() * x[0], made, y.matmul(w.t()) * again, w])
    })
    .unwrap();
    let parts = f.hoist(2..3).unwrap();
    let run = |f: &Function<f64>, inputs: &[&[f64]]| -> Vec<Vec<f64>> {
        let program = Program::compile(f).unwrap();
        let mut workspace = Workspace::new(&program);
        let found = program.evaluate(&mut workspace, inputs).unwrap();
        (0..f.output_shapes().len()).map(|i| found.get(i).to_vec()).collect()
    };
    let slices: Vec<&[f64]> = inputs.iter().map(|x| x.as_slice().unwrap()).collect();
    let once = run(&parts.once, &slices[2..]);
    let given: Vec<&[f64]> = slices.iter().copied().chain(once.iter().map(|x| &x[..])).collect();
    assert_eq!(run(&parts.each, &given), run(&f, &slices));
}

/// Nothing is split off where nothing follows from the parameters alone.
#[test]
fn nothing_to_split_off() {
    let shapes = [vec![], vec![4], vec![4]].map(|s: Vec<usize>| s.into());
    let f = Function::<f64>::trace_shapes(&shapes, |_, x| Ok(vec![x[1] * x[2] + x[0]])).unwrap();
    assert!(f.hoist(2..3).is_none());
    assert!(f.hoist(0..0).is_none());
}

/// How often it is evaluated is counted.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl costate_tape::CallOp<f64> for Counted {
    fn name(&self) -> &str {
        "counted"
    }
    fn output_shapes(&self, inputs: &[costate_tape::Shape]) -> Vec<costate_tape::Shape> {
        vec![inputs[0].clone()]
    }
    fn new_state(&self) -> Box<dyn Any + Send> {
        Box::new(())
    }
    fn eval(
        &self,
        e: &mut costate_tape::Evaluation<'_, f64>,
    ) -> std::result::Result<(), costate_tape::CallError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        e.output.copy_from_slice(e.inputs[0].data);
        Ok(())
    }
    fn vjp<'t>(
        &self,
        _: &costate_tape::CallRule<'_, 't, f64>,
        cts: &[Option<Var<'t, f64>>],
    ) -> Result<Vec<Option<Var<'t, f64>>>> {
        Ok(cts.to_vec())
    }
    fn jvp<'t>(
        &self,
        _: &costate_tape::CallRule<'_, 't, f64>,
        dots: &[Option<Var<'t, f64>>],
    ) -> Result<Vec<Option<Var<'t, f64>>>> {
        Ok(dots.to_vec())
    }
}

/// A user's operation is evaluated with the field each time: it may do more than compute.
#[test]
fn calls_stay_in_the_field() {
    let count = Arc::new(AtomicUsize::new(0));
    let tape = Tape::new();
    let (w, y0) = (tape.leaf(&[-1.0], [1]), tape.leaf(&[1.0], [1]));
    let call = Arc::new(Counted(count.clone()));
    let field = |_, y| Ok(tape.call(call.clone(), &[w])?[0] * y);
    let ys = Ode::new(Tsit5).steps(10).try_solve(field, y0, [0.0, 1.0]).unwrap();
    assert!((ys.index_axis(0, 1).item() - (-1f64).exp()).abs() < 1e-6);
    assert!(count.load(Ordering::Relaxed) >= 60);
}

/// Where the arrays of [`loss`] are, and a direction.
fn here_and_along() -> [Vec<ArrayD<f64>>; 2] {
    let shapes = [[20, 20].as_slice(), &[20], &[20], &[7, 20]];
    let at = |(i, s): (usize, &&[usize])| numbers(s, i as f64 * 77.0);
    let along = shapes.iter().map(|s| numbers(s, 500.0)).collect();
    [shapes.iter().enumerate().map(at).collect(), along]
}

type Loss<'f> = &'f dyn for<'t> Fn(&'t Tape<f64>, &[Var<'t, f64>]) -> Var<'t, f64>;

/// The product of the Hessian with a direction is the difference of gradients.
fn compare_product(at: &[ArrayD<f64>], along: &[ArrayD<f64>], loss: Loss<'_>) {
    let gradient = |shift: f64| {
        let tape = Tape::new();
        let moved = at.iter().zip(along).map(|(x, v)| tape.constant(&(x + &(v * shift))));
        let x: Vec<_> = moved.collect();
        let found = loss(&tape, &x).grad(&x).unwrap();
        found.iter().map(|g| g.value()).collect::<Vec<_>>()
    };
    let tape = Tape::new();
    let x: Vec<_> = at.iter().map(|x| tape.constant(x)).collect();
    let directions: Vec<_> = along.iter().map(|v| tape.constant(v)).collect();
    let bars = loss(&tape, &x).grad(&x).unwrap();
    let h = 1e-4;
    let (ahead, behind) = (gradient(h), gradient(-h));
    let reverse = tape.vjp(&bars, &directions, &x).unwrap();
    let forward = tape.jvp(&bars, &x, &directions).unwrap();
    for product in [reverse, forward] {
        for ((found, ahead), behind) in product.iter().zip(&ahead).zip(&behind) {
            let right = (ahead - behind) / (2.0 * h);
            let most = |x: &ArrayD<f64>| x.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
            let (size, error) = (most(&right), most(&(&found.value() - &right)));
            assert!(error <= 1e-6 * size, "{error:e} of {size:e}");
        }
    }
}

/// Through what is made of the parameters once.
#[test]
fn second_derivatives() {
    let [at, along] = here_and_along();
    for ode in [
        Ode::new(Tsit5).steps(6),
        Ode::new(Tsit5).steps(6).memory(Memory::Steps),
        Ode::new(Kvaerno3).steps(3),
        Ode::new(Kvaerno3).steps(3).memory(Memory::Checkpoints(1)),
        Ode::new(Rodas5P).steps(2),
        Ode::new(Scheme::ReversibleHeun).steps(20),
    ] {
        compare_product(&at, &along, &|tape, x| loss(tape, &ode, x).unwrap());
    }
}

/// The same of a field in parts.
#[test]
fn second_derivatives_of_parts() {
    let [at, along] = here_and_along();
    let ode = Ode::new(KenCarp4Imex).steps(3);
    compare_product(&at, &along, &|_, x| {
        let &[w, log_scale, b, y0] = x else { panic!("four inputs") };
        let ys = ode.solve_split(
            |_, y| y.matmul(w - w.t()).tanh() * log_scale.exp(),
            |t, y| (y.matmul(w.square().t()) + b * t).tanh(),
            y0,
            [0.0, 0.3, 1.0],
        );
        ys.unwrap().square().sum()
    });
}

/// And with respect to the times.
#[test]
fn second_derivatives_where_times_move() {
    let [mut at, mut along] = here_and_along();
    at.push(ndarray::arr1(&[0.1, 1.0]).into_dyn());
    along.push(numbers(&[2], 3.0));
    // Derivatives leave the steps between where they are, differences move them: many make that no matter.
    let ode = Ode::new(Tsit5).steps(60);
    compare_product(&at, &along, &|_, x| {
        let &[w, log_scale, _, y0, ts] = x else { panic!("five inputs") };
        let ys = ode.solve(|t, y| y.matmul(w - w.t()).tanh() * log_scale.exp() * t, y0, ts);
        ys.unwrap().square().sum()
    });
}

/// A product with the Hessian takes the way back of the solve once, from what its tangent changes, and that of
/// the tangent; not once more for the gradient, although what is made of the parameters is curved.
#[test]
fn a_product_with_the_hessian_needs_no_gradient() {
    let [at, along] = here_and_along();
    let shapes: Vec<Shape> = at.iter().chain(&along).map(|x| x.shape().into()).collect();
    let product = Function::<f64>::trace_shapes(&shapes, |tape, x| {
        let (x, directions) = x.split_at(4);
        let bars = loss(tape, &Ode::new(Tsit5).steps(6), x)?.grad(x)?;
        tape.vjp(&bars, directions, x)
    });
    let program = Program::compile(&product.unwrap()).unwrap().to_string();
    for (name, count) in [("solve", 1), ("tangent", 1), ("adjoint", 2)] {
        assert_eq!(program.matches(&format!("= {name} ")).count(), count, "{name}: {program}");
    }
}

/// One that the field reads, but that its slope does not depend on.
#[test]
fn a_parameter_that_changes_nothing() {
    let tape = Tape::new();
    let (w, v, y0) = (numbers(&[20, 20], 1.0), numbers(&[20], 2.0), numbers(&[7, 20], 3.0));
    let [w, v, y0] = [w, v, y0].map(|x| tape.constant(&x));
    let ys = Ode::new(Tsit5).steps(6).solve(
        |_, y| y.matmul(w - w.t()).tanh() + v.exp().scale(0.0) + v.detach().exp(),
        y0,
        [0.0, 1.0],
    );
    let loss = ys.unwrap().square().sum();
    assert!(loss.grad(&[v]).unwrap()[0].to_vec().iter().all(|x| *x == 0.0));
    assert!(loss.grad(&[v, w]).unwrap()[1].to_vec().iter().any(|x| *x != 0.0));
}
