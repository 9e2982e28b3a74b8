//! Operations on random inputs, for the tests of rules and of programs.

use costate_tape::Real;
use costate_tape::{Slice, Tape, Var};
use ndarray::{ArrayD, IxDyn};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// The interval from which the entries of an input are drawn, where the operation is smooth.
pub type Region = (f64, f64);
/// An operation on any number of inputs.
pub type Apply<T> = for<'t> fn(&'t Tape<T>, &[Var<'t, T>]) -> costate_tape::Result<Var<'t, T>>;

pub const REAL: Region = (-2.0, 2.0);
pub const POSITIVE: Region = (0.5, 2.0);
pub const NEGATIVE: Region = (-2.0, -0.5);
/// Inside the domain of the inverse functions.
pub const UNIT: Region = (-0.8, 0.8);
pub const ABOVE_ONE: Region = (1.3, 3.0);

/// Operations that keep the shape of their one input; the first name is that of the kernel.
pub fn unary<T: Real>() -> Vec<(&'static str, Region, Apply<T>)> {
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
        // What the rule of softplus emits: its rule comes second.
        ("softplus_slope", REAL, |t, x| {
            let y = x[0].softplus();
            Ok(t.vjp(&[y], &[y.ones_like()], &[x[0]])?[0])
        }),
        ("relu", POSITIVE, |_, x| Ok(x[0].relu() * x[0])),
        ("relu", NEGATIVE, |_, x| Ok(x[0].relu() * x[0])),
        ("expm1", REAL, |_, x| Ok(x[0].exp_m1())),
        ("ln_1p", UNIT, |_, x| Ok(x[0].ln_1p())),
        ("tan", UNIT, |_, x| Ok(x[0].tan())),
        // The test multiplies by cos y, with which the derivative of y = asin x itself is 1.
        ("asin", UNIT, |_, x| Ok(x[0].asin().square())),
        ("acos", UNIT, |_, x| Ok(x[0].acos())),
        ("atan", REAL, |_, x| Ok(x[0].atan())),
        ("sinh", REAL, |_, x| Ok(x[0].sinh())),
        ("cosh", REAL, |_, x| Ok(x[0].cosh())),
        ("asinh", REAL, |_, x| Ok(x[0].asinh())),
        ("acosh", ABOVE_ONE, |_, x| Ok(x[0].acosh())),
        ("atanh", UNIT, |_, x| Ok(x[0].atanh())),
        ("erf", REAL, |_, x| Ok(x[0].erf())),
        // Within (0, 1) and moved by less than 0.1, so that nothing is crossed.
        ("floor", (0.2, 0.8), |_, x| Ok((x[0].floor() + x[0]).square())),
        ("leaky_relu", POSITIVE, |_, x| Ok(x[0].leaky_relu(T::from_f64(0.1)).square())),
        ("leaky_relu", NEGATIVE, |_, x| Ok(x[0].leaky_relu(T::from_f64(0.1)).square())),
        ("elu", POSITIVE, |_, x| Ok(x[0].elu(T::from_f64(0.7)).square())),
        ("elu", NEGATIVE, |_, x| Ok(x[0].elu(T::from_f64(0.7)).square())),
        ("gelu", REAL, |_, x| Ok(x[0].gelu())),
        ("silu", REAL, |_, x| Ok(x[0].silu())),
        ("clamp", POSITIVE, |_, x| Ok(x[0].clamp(-T::one(), T::from_f64(9.0)) * x[0])),
        ("clamp", NEGATIVE, |_, x| Ok(x[0].clamp(T::zero(), T::one()) * x[0] + x[0])),
        ("norm", POSITIVE, |_, x| Ok(x[0].norm())),
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
pub fn binary<T: Real>() -> Vec<(&'static str, Region, Region, Apply<T>)> {
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
        ("atan2", POSITIVE, REAL, |_, x| Ok(x[0].atan2(x[1]))),
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
pub type Shaped<T> = (&'static str, &'static [&'static [usize]], Apply<T>);

/// Operations whose inputs have the given shapes.
pub fn shaped<T: Real>() -> Vec<Shaped<T>> {
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
        ("sum_axes", &[&[2, 3, 4]], |_, x| Ok(x[0].square().sum_axes(&[2, 0]))),
        ("mean_axes", &[&[2, 3, 4]], |_, x| Ok(x[0].square().mean_axes(&[1, 2]))),
        ("var_axis", &[&[2, 5]], |_, x| Ok(x[0].var_axis(1, 1) + x[0].var_axis(1, 0))),
        ("prod_axis", &[&[7, 2]], |_, x| Ok(x[0].prod_axis(0))),
        ("prod_axis", &[&[2, 0]], |_, x| Ok(x[0].prod_axis(1))),
        ("min_axis", &[&[3, 4]], |_, x| Ok(x[0].min_axis(1).square())),
        ("cumsum", &[&[2, 4, 2]], |_, x| Ok(x[0].cumsum(1).square())),
        ("cumsum", &[&[0]], |_, x| Ok(x[0].cumsum(0))),
        ("cumsum_reverse", &[&[2, 4]], |_, x| Ok(x[0].cumsum_reverse(1).square())),
        ("matmul_batch", &[&[2, 2, 3], &[2, 3, 2]], |_, x| Ok(x[0].matmul(x[1]).square())),
        ("matmul_batch", &[&[2, 3], &[2, 3, 2]], |_, x| Ok(x[0].matmul(x[1]).sin())),
        ("matmul_batch", &[&[3], &[2, 3, 2]], |_, x| Ok(x[0].matmul(x[1]))),
        ("matmul_batch", &[&[2, 1, 2, 3], &[3, 3, 1]], |_, x| Ok(x[0].matmul(x[1]))),
        ("matmul_batch", &[&[0, 2, 3], &[1, 3, 1]], |_, x| Ok(x[0].matmul(x[1]))),
        ("matmul_batch vjp vjp", &[&[2, 2, 3], &[2, 3, 2]], |t, x| {
            let y = x[0].matmul(x[1]).tanh();
            let g = t.vjp(&[y], &[y.ones_like()], &[x[0], x[1]])?;
            let h = t.vjp(&g, &[g[0].tanh(), g[1].sin()], &[x[0], x[1]])?;
            Ok(h[0].sum() + h[1].sum())
        }),
        ("outer", &[&[2], &[3, 2]], |_, x| Ok(x[0].outer(x[1]).sin())),
        ("einsum", &[&[2, 3], &[3, 4]], |_, x| Ok(Var::einsum("ij,jk->ki", x[0], x[1]))),
        ("einsum", &[&[2, 3, 2], &[2, 4, 2]], |_, x| {
            Ok(Var::einsum("bik,bjk->bij", x[0], x[1]).square())
        }),
        ("einsum", &[&[2, 2, 3], &[3, 2]], |_, x| Ok(Var::einsum("iij,jk->ik", x[0], x[1]))),
        ("diag", &[&[2, 3]], |_, x| Ok(x[0].diag().sin())),
        ("diagonal", &[&[2, 3, 3]], |_, x| Ok(x[0].diagonal().sin())),
        ("trace", &[&[3, 3]], |_, x| Ok(x[0].matmul(x[0]).trace())),
        // Shifted away from singular matrices.
        ("solve", &[&[3, 3], &[3]], |t, x| {
            Ok((x[0] + t.eye(3).scale(T::from_f64(7.0))).solve(x[1]))
        }),
        ("solve", &[&[2, 2, 2], &[2, 3]], |t, x| {
            Ok((x[0] + t.eye(2).scale(T::from_f64(5.0))).solve(x[1]))
        }),
        ("solve_triangular", &[&[3, 3], &[3]], |t, x| {
            Ok((x[0] + t.eye(3).scale(T::from_f64(4.0))).solve_triangular(x[1], true))
        }),
        ("solve_triangular", &[&[2, 2, 2], &[2, 3]], |t, x| {
            Ok((x[0] + t.eye(2).scale(T::from_f64(4.0))).solve_triangular(x[1], false).square())
        }),
        ("solve_triangular vjp", &[&[3, 3], &[3, 2]], |t, x| {
            let y = (x[0] + t.eye(3).scale(T::from_f64(4.0))).solve_triangular(x[1], true);
            let g = t.vjp(&[y], &[y.square()], &[x[0], x[1]])?;
            Ok(g[0].sum() + g[1].sin().sum())
        }),
        ("conv2d", &[&[2, 2, 4, 3], &[3, 2, 2, 2]], |_, x| {
            Ok(x[0].conv2d(x[1], [1, 1], [0, 0]).square())
        }),
        ("conv2d", &[&[1, 2, 5, 4], &[2, 2, 3, 2]], |_, x| Ok(x[0].conv2d(x[1], [2, 1], [1, 2]))),
        ("conv2d", &[&[0, 1, 3, 3], &[2, 1, 2, 2]], |_, x| Ok(x[0].conv2d(x[1], [1, 1], [0, 0]))),
        ("conv1d", &[&[2, 2, 6], &[2, 2, 3]], |_, x| Ok(x[0].conv1d(x[1], 2, 1).sin())),
        ("avg_pool2d", &[&[1, 2, 4, 5]], |_, x| {
            Ok(x[0].avg_pool2d([2, 3], [2, 1], [1, 0]).square())
        }),
        ("avg_pool1d", &[&[2, 1, 5]], |_, x| Ok(x[0].avg_pool1d(2, 2, 0).sin())),
        ("max_pool2d", &[&[1, 2, 4, 4]], |_, x| {
            Ok(x[0].max_pool2d([2, 2], [2, 2], [1, 1]).square())
        }),
        ("max_pool1d", &[&[2, 1, 5]], |_, x| Ok(x[0].max_pool1d(3, 1, 1).square())),
        ("var_axes", &[&[2, 3, 2]], |_, x| Ok(x[0].var_axes(&[2, 0], 1))),
        ("prod_axes", &[&[2, 3, 2]], |_, x| Ok(x[0].prod_axes(&[0, 2]))),
        ("max_axes", &[&[2, 3, 2]], |_, x| Ok(x[0].max_axes(&[0, 2]).square())),
        ("min_axes", &[&[2, 3, 2]], |_, x| Ok(x[0].min_axes(&[1, 2]).square())),
        ("norm_axes", &[&[2, 3, 2]], |_, x| Ok(x[0].norm_axes(&[2, 1]).sin())),
        ("inv", &[&[3, 3]], |t, x| Ok((x[0] + t.eye(3).scale(T::from_f64(7.0))).inv())),
        ("logdet", &[&[2, 2, 2]], |t, x| Ok((x[0] + t.eye(2).scale(T::from_f64(5.0))).logdet())),
        ("slice", &[&[5, 4]], |_, x| {
            Ok(x[0].slice(&[Slice::new(1..).by(2), Slice::new(..-1).by(-2)]).square())
        }),
        ("flip", &[&[2, 3]], |_, x| Ok((x[0].flip(1) * x[0]).sin())),
        ("split", &[&[2, 5]], |_, x| {
            let parts = x[0].split(1, &[2, 0, 3]);
            Ok(parts[0].sum() * parts[2].sin() + parts[1].sum())
        }),
        ("pad", &[&[2, 3]], |_, x| Ok(x[0].pad(1, 2, 1).cos())),
        ("squeeze", &[&[2, 1, 3]], |_, x| Ok(x[0].squeeze(1).unsqueeze(2).sin())),
        ("swap_axes", &[&[2, 3, 4]], |_, x| Ok(x[0].swap_axes(0, 2).square())),
        ("gather", &[&[2, 4]], |_, x| Ok(x[0].gather(1, [3, 0, 3]).square())),
        ("scatter_add", &[&[2, 3]], |_, x| Ok(x[0].scatter_add(1, [1, 0, 1], 4).square())),
    ]
}

pub const SHAPES: &[&[usize]] = &[&[], &[0], &[1], &[3], &[2, 3], &[2, 0, 3], &[2, 1, 2]];
pub const PAIRS: &[(&[usize], &[usize])] = &[
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

pub fn array<T: Real>(
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

/// Arrays drawn from regions, of one element type.
fn arrays<T: Real>(shapes: &[&[usize]], regions: &[Region]) -> BoxedStrategy<Vec<ArrayD<T>>> {
    let each = shapes.iter().zip(regions).map(|(shape, region)| array::<T>(shape, *region));
    each.collect::<Vec<_>>().boxed()
}

/// Calls `check` with every operation and random inputs of each shape.
pub fn for_every_case<T: Real>(
    check: impl Fn(&str, Apply<T>, &[ArrayD<T>]) -> Result<(), TestCaseError>,
) {
    let run = |name: &str, f: Apply<T>, shapes: &[&[usize]], regions: &[Region]| {
        let config = ProptestConfig { cases: 8, failure_persistence: None, ..Default::default() };
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(config, rng);
        if let Err(e) = runner.run(&arrays::<T>(shapes, regions), |x| check(name, f, &x)) {
            panic!("{e}");
        }
    };
    for (name, region, f) in unary::<T>() {
        for shape in SHAPES {
            run(name, f, &[shape], &[region]);
        }
    }
    for (name, left, right, f) in binary::<T>() {
        for (a, b) in PAIRS {
            run(name, f, &[a, b], &[left, right]);
        }
    }
    for (name, shapes, f) in shaped::<T>() {
        run(name, f, shapes, &vec![REAL; shapes.len()]);
    }
}
