//! Every operation's two rules, against each other and against finite differences, to second
//! order, in both element types, over shapes that include 0-d, empty and broadcast.

use costate_ops::{Binary, Real, Unary};
use costate_tape::{Tape, Var, check};
use ndarray::{ArrayD, IxDyn};
use proptest::prelude::*;

/// The interval from which the entries of an input are drawn, where the operation is smooth.
type Region = (f64, f64);
/// An operation on any number of inputs.
type Apply<T> = for<'t> fn(&'t Tape<T>, &[Var<'t, T>]) -> costate_tape::Result<Var<'t, T>>;

const REAL: Region = (-2.0, 2.0);
const POSITIVE: Region = (0.5, 2.0);
const NEGATIVE: Region = (-2.0, -0.5);

/// Operations that keep the shape of their one input; the first name is that of the kernel.
fn unary<T: Real>() -> Vec<(&'static str, Region, Apply<T>)> {
    vec![
        ("neg", REAL, |_, x| Ok(-x[0])),
        ("abs", POSITIVE, |_, x| Ok(x[0].abs() * x[0])),
        ("abs", NEGATIVE, |_, x| Ok(x[0].abs() * x[0])),
        ("sign", POSITIVE, |_, x| Ok(x[0].sign() * x[0])),
        ("square", REAL, |_, x| Ok(x[0].square())),
        ("sqrt", POSITIVE, |_, x| Ok(x[0].sqrt())),
        ("recip", POSITIVE, |_, x| Ok(x[0].recip())),
        ("exp", REAL, |_, x| Ok(x[0].exp())),
        ("ln", POSITIVE, |_, x| Ok(x[0].ln())),
        ("sin", REAL, |_, x| Ok(x[0].sin())),
        ("cos", REAL, |_, x| Ok(x[0].cos())),
        ("tanh", REAL, |_, x| Ok(x[0].tanh())),
        ("sigmoid", REAL, |_, x| Ok(x[0].sigmoid())),
        ("softplus", REAL, |_, x| Ok(x[0].softplus())),
        ("relu", POSITIVE, |_, x| Ok(x[0].relu() * x[0])),
        ("relu", NEGATIVE, |_, x| Ok(x[0].relu() * x[0])),
        ("affine", REAL, |_, x| Ok(x[0].affine(T::from_f64(-1.5), T::from_f64(0.25)).square())),
        ("powi", POSITIVE, |_, x| Ok(x[0].powi(5) + x[0].powi(-2) + x[0].powi(0))),
        ("powf", POSITIVE, |_, x| Ok(x[0].powf(T::from_f64(1.7)))),
        ("reshape", REAL, |_, x| Ok(x[0].reshape([x[0].shape().numel()]).square())),
        ("permute", REAL, |_, x| Ok(x[0].t().sin())),
        ("sum", REAL, |_, x| Ok(x[0].square().sum())),
        ("stack", REAL, |_, x| Ok(Var::stack(0, &[x[0].sin(), x[0].cos()]).square())),
    ]
}

/// Operations on two inputs that broadcast together.
fn binary<T: Real>() -> Vec<(&'static str, Region, Region, Apply<T>)> {
    vec![
        ("add", REAL, REAL, |_, x| Ok((x[0] + x[1]).square())),
        ("sub", REAL, REAL, |_, x| Ok((x[0] - x[1]).square())),
        ("mul", REAL, REAL, |_, x| Ok(x[0] * x[1])),
        ("div", REAL, POSITIVE, |_, x| Ok(x[0] / x[1])),
        ("max", POSITIVE, NEGATIVE, |_, x| Ok(x[0].maximum(x[1]) * x[0] * x[1])),
        ("max", NEGATIVE, POSITIVE, |_, x| Ok(x[0].maximum(x[1]) * x[0] * x[1])),
        ("min", POSITIVE, NEGATIVE, |_, x| Ok(x[0].minimum(x[1]) * x[0] * x[1])),
        ("pow", POSITIVE, REAL, |_, x| Ok(x[0].pow(x[1]))),
        ("lt", POSITIVE, NEGATIVE, |_, x| Ok(x[0].lt(x[1]) + x[0] * x[1])),
        ("le", POSITIVE, NEGATIVE, |_, x| Ok(x[0].le(x[1]) + x[0] * x[1])),
        ("gt", POSITIVE, NEGATIVE, |_, x| Ok(x[0].gt(x[1]) + x[0] * x[1])),
        ("ge", POSITIVE, NEGATIVE, |_, x| Ok(x[0].ge(x[1]) + x[0] * x[1])),
        ("eq", POSITIVE, NEGATIVE, |_, x| Ok(x[0].eq(x[1]) + x[0] * x[1])),
        // The gradients that the rules of tanh and sigmoid emit: their rules come second.
        ("tanh_grad", REAL, REAL, |t, x| {
            let y = x[0].tanh() * x[1];
            Ok(t.vjp(&[y], &[y.ones_like()], &[x[0]])?[0])
        }),
        ("sigmoid_grad", REAL, REAL, |t, x| {
            let y = x[0].sigmoid() * x[1];
            Ok(t.vjp(&[y], &[y.ones_like()], &[x[0]])?[0])
        }),
        ("select", REAL, REAL, |_, x| Ok((x[0] + x[1]).sign().select(x[0].sin(), x[1].exp()))),
        ("operands of one place", REAL, REAL, |_, x| Ok(x[0] * x[0] * x[1] + x[1] * x[0])),
    ]
}

/// A name, the shapes of the inputs, the operation.
type Shaped<T> = (&'static str, &'static [&'static [usize]], Apply<T>);

/// Operations whose inputs have the given shapes.
fn shaped<T: Real>() -> Vec<Shaped<T>> {
    vec![
        ("matmul", &[&[2, 3], &[3, 4]], |_, x| Ok(x[0].matmul(x[1]))),
        ("matmul", &[&[2, 0], &[0, 4]], |_, x| Ok(x[0].matmul(x[1]))),
        ("matmul", &[&[3], &[3, 4]], |_, x| Ok(x[0].matmul(x[1]))),
        ("matmul", &[&[2, 3], &[3]], |_, x| Ok(x[0].matmul(x[1]))),
        ("matmul", &[&[3], &[3]], |_, x| Ok(x[0].matmul(x[1]))),
        ("matmul", &[&[2, 2, 3], &[3, 2]], |_, x| Ok(x[0].matmul(x[1]).square())),
        ("matmul", &[&[2, 3], &[3, 3]], |_, x| Ok(x[0].matmul(x[1]).matmul(x[1]))),
        // Second-order rules of the product reach the transposed forms.
        ("matmul vjp", &[&[2, 3], &[3, 4]], |t, x| {
            let y = x[0].matmul(x[1]);
            let g = t.vjp(&[y], &[y.square()], &[x[0], x[1]])?;
            Ok(g[0].sum() + g[1].sin().sum())
        }),
        ("matmul vjp vjp", &[&[2, 3], &[3, 2]], |t, x| {
            let y = x[0].matmul(x[1]).tanh();
            let g = t.vjp(&[y], &[y.ones_like()], &[x[0], x[1]])?;
            let h = t.vjp(&g, &[g[0].tanh(), g[1].sin()], &[x[0], x[1]])?;
            Ok(h[0].sum() + h[1].sum())
        }),
        ("dot", &[&[2, 3], &[2, 3]], |_, x| Ok(x[0].dot(x[1]))),
        ("lincomb", &[&[3], &[3], &[3]], |_, x| {
            let c = [0.5, -1.0, 2.0].map(T::from_f64);
            Ok(Var::lincomb(&c, x).expect("three terms").sin())
        }),
        ("expand", &[&[2, 1, 3]], |_, x| Ok(x[0].broadcast_to([4, 2, 5, 3]).sin())),
        ("expand", &[&[]], |_, x| Ok(x[0].broadcast_to([2, 0]))),
        ("sum_to", &[&[2, 3, 4]], |_, x| Ok(x[0].sin().sum_axis(1))),
        ("sum_to", &[&[2, 0, 4]], |_, x| Ok(x[0].sum_axis(1))),
        ("mean", &[&[2, 3, 4]], |_, x| Ok(x[0].square().mean_axis(0) + x[0].mean())),
        ("permute", &[&[2, 3, 4]], |_, x| Ok(x[0].permute(&[2, 0, 1]).square())),
        ("slice", &[&[4, 3]], |_, x| Ok(x[0].slice_axis(0, 1..3).square())),
        ("slice", &[&[4, 3]], |_, x| Ok(x[0].index_axis(1, 2).exp())),
        ("slice", &[&[4]], |_, x| Ok(x[0].slice_axis(0, 2..2))),
        ("pad", &[&[4, 3]], |t, x| {
            let y = x[0].slice_axis(0, 1..3).sin();
            Ok(t.vjp(&[y], &[y], &[x[0]])?[0])
        }),
        ("concat", &[&[2, 3], &[2, 1], &[2, 0]], |_, x| Ok(Var::concat(1, x).square())),
        ("max_axis", &[&[3, 4]], |_, x| Ok(x[0].max_axis(1).square())),
        ("logsumexp", &[&[3, 4]], |_, x| Ok(x[0].logsumexp(1))),
        ("log_softmax", &[&[3, 4]], |_, x| Ok(x[0].log_softmax(0))),
        ("softmax", &[&[3, 4]], |_, x| Ok(x[0].softmax(1))),
        ("gather", &[&[2, 4]], |_, x| Ok(x[0].gather(1, [3, 0, 3]).square())),
        ("scatter_add", &[&[2, 3]], |_, x| Ok(x[0].scatter_add(1, [1, 0, 1], 4).square())),
    ]
}

const SHAPES: &[&[usize]] = &[&[], &[0], &[1], &[3], &[2, 3], &[2, 0, 3], &[2, 1, 2]];
const PAIRS: &[(&[usize], &[usize])] = &[
    (&[], &[]),
    (&[], &[3]),
    (&[3], &[]),
    (&[2, 3], &[3]),
    (&[3], &[2, 3]),
    (&[2, 1], &[1, 3]),
    (&[2, 3], &[2, 1]),
    (&[0], &[1]),
    (&[2, 1, 3], &[4, 1]),
    (&[1, 1, 2], &[3, 2]),
    (&[2, 2], &[2, 2]),
];

fn array<T: Real>(
    shape: &[usize],
    (low, high): Region,
) -> impl Strategy<Value = ArrayD<T>> + use<T> {
    let shape = shape.to_vec();
    let len = shape.iter().product::<usize>();
    prop::collection::vec(low..high, len).prop_map(move |entries| {
        let entries = entries.into_iter().map(T::from_f64).collect();
        ArrayD::from_shape_vec(IxDyn(&shape), entries).expect("as many entries as the shape has")
    })
}

/// Checks `f`, and the gradient of `f`, so that the rules of what its rules emit are checked too.
fn check_twice<T: Real>(name: &str, f: Apply<T>, x: &[ArrayD<T>]) -> Result<(), TestCaseError> {
    let fail = |order: &str, e: Box<dyn std::error::Error + Send + Sync>| {
        let shapes: Vec<_> = x.iter().map(|x| x.shape().to_vec()).collect();
        TestCaseError::fail(format!("{name} of {} {shapes:?}, {order}: {e}", T::NAME))
    };
    check::gradient(f, x).map_err(|e| fail("first order", e))?;
    check::gradient(
        |tape, x| {
            let y = f(tape, x)?;
            let bars = tape.vjp(&[y], &[y.cos()], x)?;
            let flat: Vec<_> = bars.iter().map(|g| g.reshape([g.shape().numel()])).collect();
            Ok(Var::concat(0, &flat))
        },
        x,
    )
    .map_err(|e| fail("second order", e))
}

/// Arrays drawn from regions, of one element type.
fn arrays<T: Real>(shapes: &[&[usize]], regions: &[Region]) -> BoxedStrategy<Vec<ArrayD<T>>> {
    shapes
        .iter()
        .zip(regions)
        .map(|(shape, region)| array::<T>(shape, *region))
        .collect::<Vec<_>>()
        .boxed()
}

/// Runs `check_twice` on random inputs of each shape.
fn for_random<T: Real>(name: &str, f: Apply<T>, shapes: &[&[usize]], regions: &[Region]) {
    let config = ProptestConfig { cases: 8, failure_persistence: None, ..Default::default() };
    let mut runner = proptest::test_runner::TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let result = runner.run(&arrays::<T>(shapes, regions), |x| check_twice(name, f, &x));
    if let Err(e) = result {
        panic!("{e}");
    }
}

fn check_family<T: Real>() {
    for (name, region, f) in unary::<T>() {
        for shape in SHAPES {
            for_random(name, f, &[shape], &[region]);
        }
    }
    for (name, left, right, f) in binary::<T>() {
        for (a, b) in PAIRS {
            for_random(name, f, &[a, b], &[left, right]);
        }
    }
    for (name, shapes, f) in shaped::<T>() {
        for_random(name, f, shapes, &vec![REAL; shapes.len()]);
    }
}

#[test]
fn every_rule_in_f64() {
    check_family::<f64>();
}

#[test]
fn every_rule_in_f32() {
    check_family::<f32>();
}

/// An element-wise kernel that is on the tape but not in the tables above fails here.
#[test]
fn every_kernel_has_a_rule_test() {
    let unary: Vec<_> = unary::<f64>().iter().map(|case| case.0).collect();
    for f in Unary::ALL {
        assert!(unary.contains(&f.name()), "{} is not tested", f.name());
    }
    let binary: Vec<_> = binary::<f64>().iter().map(|case| case.0).collect();
    for f in Binary::ALL {
        assert!(binary.contains(&f.name()), "{} is not tested", f.name());
    }
}

/// `detach` has derivative 0 by definition, which finite differences do not see.
#[test]
fn detach_stops_both_modes() -> costate_tape::Result<()> {
    let tape = Tape::new();
    let x = tape.scalar(3.0);
    let y = x * x.detach();
    assert_eq!(y.item(), 9.0);
    assert_eq!(y.grad(&[x])?[0].item(), 3.0);
    assert_eq!(tape.jvp(&[y], &[x], &[tape.scalar(2.0)])?[0].item(), 6.0);
    Ok(())
}
