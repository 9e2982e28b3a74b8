//! What operations compute, where they are easy to get wrong: against loops, and at special
//! values. Their rules are checked in `rules.rs`.

use costate_tape::{Function, Result, Slice, Tape, Var};
use proptest::prelude::*;

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

fn counting<'t>(tape: &'t Tape<f64>, shape: &[usize]) -> Var<'t, f64> {
    let len: usize = shape.iter().product();
    let entries: Vec<f64> = (0..len).map(|i| (i * i % 17) as f64 - 5.0).collect();
    tape.leaf(&entries, shape)
}

/// Gradient of the sum of `f` at one number.
fn slope(f: impl for<'t> Fn(Var<'t, f64>) -> Var<'t, f64>, x: f64) -> f64 {
    let tape = Tape::new();
    let x = tape.scalar(x);
    f(x).grad(&[x]).expect("no call can fail")[0].item()
}

fn value(f: impl for<'t> Fn(Var<'t, f64>) -> Var<'t, f64>, x: f64) -> f64 {
    f(Tape::new().scalar(x)).item()
}

#[test]
fn activations_at_ties_and_at_infinity() {
    assert_eq!(slope(|x| x.leaky_relu(0.25), 0.0), 0.25);
    assert_eq!(slope(|x| x.elu(0.5), 0.0), 0.5);
    assert_eq!((value(|x| x.elu(0.5), -INF), value(|x| x.elu(0.5), 1000.0)), (-0.5, 1000.0));
    assert_eq!(slope(|x| x.elu(0.5), 1000.0), 1.0);
    for at in [-1.0, 0.5, 2.0] {
        assert_eq!(slope(|x| x.clamp(-1.0, 2.0), at), 1.0);
    }
    assert_eq!(
        (slope(|x| x.clamp(-1.0, 2.0), -1.5), slope(|x| x.clamp(-1.0, 2.0), INF)),
        (0.0, 0.0)
    );
    assert_eq!(
        (value(|x| x.clamp(-1.0, 2.0), INF), value(|x| x.clamp(-1.0, 2.0), -INF)),
        (2.0, -1.0)
    );
    assert!((value(|x| x.gelu(), 1.0) - 0.841_344_746_068_542_9).abs() < 1e-15);
    assert!((value(|x| x.silu(), 1.0) - 0.731_058_578_630_004_9).abs() < 1e-15);
    let all: [fn(Var<'_, f64>) -> f64; 8] = [
        |x| x.leaky_relu(0.1).item(),
        |x| x.elu(1.0).item(),
        |x| x.gelu().item(),
        |x| x.silu().item(),
        |x| x.clamp(0.0, 1.0).item(),
        |x| x.reshape([1]).norm().item(),
        |x| x.asinh().item(),
        |x| x.floor().item(),
    ];
    for f in all {
        assert!(f(Tape::new().scalar(NAN)).is_nan());
    }
}

#[test]
fn derivatives_at_the_ends_of_domains() {
    for end in [-1.0, 1.0] {
        assert_eq!((slope(|x| x.asin(), end), slope(|x| x.acos(), end)), (INF, -INF));
        assert_eq!(slope(|x| x.atanh(), end), INF);
    }
    assert_eq!((slope(|x| x.acosh(), 1.0), slope(|x| x.ln_1p(), -1.0)), (INF, INF));
    // The square of the argument overflows, the derivative does not.
    assert!((slope(|x| x.acosh(), 1e200) / 1e-200 - 1.0).abs() < 1e-15);
    for end in [-INF, INF] {
        assert_eq!((slope(|x| x.atan(), end), slope(|x| x.asinh(), end)), (0.0, 0.0));
        assert_eq!((slope(|x| x.erf(), end), slope(|x| x.floor(), end)), (0.0, 0.0));
    }
    assert_eq!((slope(|x| x.floor(), 2.0), slope(|x| x.exp_m1(), -700.0)), (0.0, (-700f64).exp()));
    assert!(value(|x| x.asin(), 1.5).is_nan() && value(|x| x.acosh(), 0.5).is_nan());
    // The angle at the origin is by the signs of the zeros; it has no derivative there.
    let pi = std::f64::consts::PI;
    assert_eq!(value(|y| y.atan2(y.tape().scalar(-0.0)), -0.0), -pi);
    assert!(slope(|y| y.atan2(y.tape().scalar(0.0)), 0.0).is_nan());
}

#[test]
fn norms_do_not_overflow_and_have_gradient_zero_at_zero() -> Result<()> {
    let norm = |x: &[f64]| Tape::<f64>::new().leaf(x, [x.len()]).norm().item();
    for scale in [1e200, 1.0, 1e-200] {
        assert!((norm(&[3.0 * scale, -4.0 * scale]) / scale - 5.0).abs() < 1e-14);
    }
    assert_eq!((norm(&[]), norm(&[0.0, -0.0]), norm(&[1.0, -INF])), (0.0, 0.0, INF));
    let tape = Tape::<f64>::new();
    let x = tape.leaf(&[0.0, 0.0], [2]);
    assert_eq!(x.norm().grad(&[x])?[0].to_vec(), [0.0, 0.0]);
    let x = tape.leaf(&[3e200, -4e200], [2]);
    let gradient: Vec<f64> = x.norm().grad(&[x])?[0].to_vec();
    assert!((gradient[0] - 0.6).abs() < 1e-15 && (gradient[1] + 0.8).abs() < 1e-15);
    Ok(())
}

#[test]
fn the_gradient_of_a_product_is_right_at_zeros() -> Result<()> {
    for (x, expected) in [
        ([2.0, 0.0, 3.0, 5.0, 7.0], [0.0, 210.0, 0.0, 0.0, 0.0]),
        ([2.0, 0.0, 3.0, 0.0, 7.0], [0.0; 5]),
        ([1.0, 2.0, 3.0, 4.0, 5.0], [120.0, 60.0, 40.0, 30.0, 24.0]),
    ] {
        let tape = Tape::new();
        let x = tape.leaf(&x, [5]);
        assert_eq!(x.prod_axis(0).grad(&[x])?[0].to_vec(), expected);
    }
    // Where two are 0, only the mixed second derivative is left.
    let tape = Tape::new();
    let x = tape.leaf(&[2.0, 0.0, 3.0, 0.0, 7.0], [5]);
    let hessian = x.prod_axis(0).hessian(x)?.to_vec();
    for (place, &h) in hessian.iter().enumerate() {
        assert_eq!(h, if [8, 16].contains(&place) { 42.0 } else { 0.0 });
    }
    Ok(())
}

#[test]
fn reductions_of_axes() {
    let tape = Tape::<f64>::new();
    let x = counting(&tape, &[2, 3, 4]);
    let entries = x.to_vec();
    let at = |i: usize, j: usize, k: usize| entries[i * 12 + j * 4 + k];
    let sums = x.sum_axes(&[2, 0]);
    assert_eq!(*sums.shape(), [3]);
    for (j, &found) in sums.to_vec().iter().enumerate() {
        let expected: f64 = (0..8).map(|i| at(i / 4, j, i % 4)).sum();
        assert_eq!(found, expected);
        assert_eq!(x.mean_axes(&[0, 2]).to_vec()[j], expected / 8.0);
    }
    assert_eq!(*x.sum_axes(&[]).shape(), [2, 3, 4]);
    assert_eq!(*x.sum_axes(&[1, 2, 0]).shape(), []);
    let least = x.min_axis(1).to_vec();
    let places = x.argmax_axis(1);
    let sums = x.cumsum(1).to_vec();
    for (place, (&least, &largest)) in least.iter().zip(&places).enumerate() {
        let column: Vec<f64> = (0..3).map(|j| at(place / 4, j, place % 4)).collect();
        assert_eq!(least, column.iter().copied().fold(INF, f64::min));
        assert!(column.iter().all(|&x| x <= column[largest]));
        assert_eq!(sums[place / 4 * 12 + 8 + place % 4], column.iter().sum::<f64>());
    }
    let y = tape.leaf(&[1e8 + 1.0, 1e8 + 2.0, 1e8 + 3.0], [3]);
    assert_eq!((y.var_axis(0, 1).item(), y.var_axis(0, 0).item()), (1.0, 2.0 / 3.0));
    assert!(y.slice_axis(0, 0..1).var_axis(0, 1).item().is_nan());
}

#[test]
fn a_place_of_the_largest_makes_a_function_value_dependent() -> Result<()> {
    let x = ndarray::arr1(&[1.0, 3.0, 2.0]).into_dyn();
    let f = Function::trace(&[x], |_, x| {
        assert_eq!(x[0].argmax_axis(0), [1]);
        Ok(vec![x[0].gather(0, x[0].argmax_axis(0))])
    })?;
    assert!(f.is_value_dependent());
    Ok(())
}

/// All entries of `einsum` by one loop over all letters.
fn einsum_by_loops(spec: &str, a: Var<'_, f64>, b: Var<'_, f64>) -> Vec<f64> {
    let (arguments, result) = spec.split_once("->").expect("an arrow");
    let (left, right) = arguments.split_once(',').expect("a comma");
    let mut letters: Vec<(char, usize)> = Vec::new();
    for (part, x) in [(left, a), (right, b)] {
        for (c, &n) in part.chars().zip(x.shape().iter()) {
            if !letters.iter().any(|l| l.0 == c) {
                letters.push((c, n));
            }
        }
    }
    let length = |c: char| letters.iter().find(|l| l.0 == c).expect("a letter").1;
    let mut out = vec![0.0; result.chars().map(length).product()];
    let (a, b) = (a.to_vec(), b.to_vec());
    for mut place in 0..letters.iter().map(|l| l.1).product() {
        let mut index = std::collections::HashMap::new();
        for &(c, n) in &letters {
            index.insert(c, place % n);
            place /= n;
        }
        let offset = |part: &str| part.chars().fold(0, |sum, c| sum * length(c) + index[&c]);
        out[offset(result)] += a[offset(left)] * b[offset(right)];
    }
    out
}

#[test]
fn einsum_is_its_loops() {
    let tape = Tape::<f64>::new();
    let cases: &[(&str, &[usize], &[usize])] = &[
        ("ij,jk->ik", &[2, 3], &[3, 4]),
        ("ij,jk->ki", &[2, 3], &[3, 4]),
        ("bij,bjk->bik", &[2, 3, 2], &[2, 2, 4]),
        ("ibj,kjb->kbi", &[2, 3, 2], &[4, 2, 3]),
        ("i,j->ij", &[2], &[3]),
        ("i,j->", &[2], &[3]),
        ("i,i->i", &[3], &[3]),
        ("ij,ij->", &[2, 3], &[2, 3]),
        ("ijk,l->lj", &[2, 3, 2], &[2]),
        ("ii,i->i", &[3, 3], &[3]),
        ("iji,kk->kj", &[2, 3, 2], &[2, 2]),
        (",i->i", &[], &[3]),
        ("aiii,a->ia", &[2, 3, 3, 3], &[2]),
        ("ij,jk->ik", &[2, 0], &[0, 2]),
    ];
    for &(spec, a, b) in cases {
        let (a, b) = (counting(&tape, a), counting(&tape, b) + 0.5);
        assert_eq!(Var::einsum(spec, a, b).to_vec(), einsum_by_loops(spec, a, b), "{spec}");
    }
}

#[test]
fn products_of_batches_broadcast() {
    let tape = Tape::<f64>::new();
    let (a, b) = (counting(&tape, &[2, 1, 3, 2]), counting(&tape, &[4, 2, 3]));
    let product = a.matmul(b);
    assert_eq!(*product.shape(), [2, 4, 3, 3]);
    for i in 0..2 {
        for j in 0..4 {
            let pair = a.index_axis(0, i).index_axis(0, 0).matmul(b.index_axis(0, j));
            let found = product.index_axis(0, i).index_axis(0, j);
            assert_eq!(found.to_vec(), pair.to_vec());
        }
    }
    let row = counting(&tape, &[2]).matmul(b);
    assert_eq!(*row.shape(), [4, 3]);
    assert_eq!(*counting(&tape, &[2]).outer(b).shape(), [2, 4, 2, 3]);
}

#[test]
fn systems_and_diagonals() {
    let tape = Tape::<f64>::new();
    let a = tape.leaf(&[2.0, 1.0, 1.0, 3.0], [2, 2]);
    assert_eq!(a.solve(tape.leaf(&[3.0, 4.0], [2])).to_vec(), [1.0, 1.0]);
    assert!((a.logdet().item() - 5f64.ln()).abs() < 1e-15);
    let unit = a.inv().matmul(a).to_vec();
    assert!(unit.iter().zip([1.0, 0.0, 0.0, 1.0]).all(|(x, y)| (x - y).abs() < 1e-15));
    // One matrix, many right sides; many matrices, one right side.
    assert_eq!(*a.solve(counting(&tape, &[5, 2, 1])).shape(), [5, 2, 1]);
    assert_eq!(*Var::stack(0, &[a, a, a]).solve(tape.leaf(&[3.0, 4.0], [2])).shape(), [3, 2]);
    assert_eq!(*Var::stack(0, &[a, a, a]).inv().shape(), [3, 2, 2]);
    let singular = tape.leaf(&[1.0, 1.0, 1.0, 1.0], [2, 2]);
    assert_eq!(singular.logdet().item(), -INF);
    assert!(singular.inv().to_vec().iter().all(|x| !x.is_finite()));

    assert_eq!(tape.eye(2).to_vec(), [1.0, 0.0, 0.0, 1.0]);
    let x = tape.leaf(&[1.0, 2.0, 3.0, 4.0], [2, 2]);
    assert_eq!(x.diag().to_vec(), [1.0, 0.0, 0.0, 2.0, 3.0, 0.0, 0.0, 4.0]);
    assert_eq!(x.diag().diagonal().to_vec(), x.to_vec());
    assert_eq!((x.diagonal().to_vec(), x.trace().item()), (vec![1.0, 4.0], 5.0));
    assert_eq!(tape.leaf(&[], [0]).diag().trace().item(), 0.0);
}

proptest! {
    /// Of an axis of length `n`, the same entries as a vector sliced by hand.
    #[test]
    fn slices_take_what_they_say(
        n in 0usize..7,
        bounds in (-7isize..=7, prop::option::of(-7isize..=7)),
        step in prop::sample::select(vec![-3isize, -2, -1, 1, 2, 3]),
    ) {
        let place = |i: isize| if i < 0 { i + n as isize } else { i };
        let (start, end) = (place(bounds.0), bounds.1.map_or(n as isize, place));
        prop_assume!(0 <= start && start <= end && end <= n as isize);
        let tape = Tape::<f64>::new();
        let x = tape.leaf(&(0..n).map(|i| i as f64).collect::<Vec<_>>(), [n]);
        let slice = match bounds.1 {
            Some(end) => Slice::new(bounds.0..end),
            None => Slice::new(bounds.0..),
        };
        let mut expected: Vec<f64> = (start..end).map(|i| i as f64).collect();
        if step < 0 {
            expected.reverse();
        }
        let expected: Vec<f64> = expected.into_iter().step_by(step.unsigned_abs()).collect();
        prop_assert_eq!(x.slice(&[slice.by(step)]).to_vec(), expected);
    }
}

#[test]
fn rearrangements() {
    let tape = Tape::<f64>::new();
    let x = tape.leaf(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]);
    assert_eq!(x.flip(1).to_vec(), [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
    assert_eq!(x.pad(1, 1, 0).to_vec(), [0.0, 1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.0]);
    assert_eq!(x.swap_axes(1, 0).to_vec(), x.t().to_vec());
    assert_eq!(*x.unsqueeze(2).shape(), [2, 3, 1]);
    assert_eq!(*x.unsqueeze(0).squeeze(0).shape(), [2, 3]);
    let parts = x.split(1, &[1, 2]);
    assert_eq!((parts[0].to_vec(), parts[1].to_vec()), (vec![1.0, 4.0], vec![2.0, 3.0, 5.0, 6.0]));
    assert_eq!(Var::concat(1, &parts).to_vec(), x.to_vec());
    assert_eq!(*x.slice(&[Slice::new(1..), Slice::new(..0)]).shape(), [1, 0]);
    assert_eq!(x.slice(&[Slice::new(..=-1), Slice::new(2..=2)]).to_vec(), [3.0, 6.0]);
    assert_eq!(*tape.leaf(&[], [0, 2]).flip(0).shape(), [0, 2]);
}

/// Something that records.
type Record<'a> = &'a dyn Fn() -> Var<'a, f64>;

#[test]
fn shape_errors_show_the_shapes() {
    let tape = Tape::<f64>::new();
    let (a, b) = (counting(&tape, &[2, 3]), counting(&tape, &[4, 2, 5]));
    let message = |f: Record<'_>| {
        let f = std::panic::AssertUnwindSafe(f);
        let panic = std::panic::catch_unwind(f).expect_err("this should panic");
        panic.downcast_ref::<String>().expect("a message with numbers in it").clone()
    };
    let both: [Record<'_>; 3] =
        [&|| a.matmul(b), &|| a.slice_axis(1, 0..2).solve(b.slice_axis(1, 0..1)), &|| {
            Var::einsum("ij,bjk->ik", a, b)
        }];
    for f in both {
        let text = message(f);
        assert!(text.contains("[2, ") && text.contains("[4, "), "{text}");
    }
    let one: [Record<'_>; 9] = [
        &|| a.inv(),
        &|| a.sum_axes(&[0, 2]),
        &|| a.sum_axes(&[1, 1]),
        &|| a.squeeze(0),
        &|| a.split(1, &[1, 1])[0],
        &|| a.slice(&[Slice::new(1..4)]),
        &|| a.trace(),
        &|| a.cumsum(2),
        &|| a.swap_axes(0, 2),
    ];
    for f in one {
        let text = message(f);
        assert!(text.contains("[2, 3]") || text.contains("[1, 1]"), "{text}");
    }
}

/// Convolution and pooling against the sums of their definition.
#[test]
fn convolution_and_pooling_follow_their_definition() {
    let tape = Tape::new();
    let (b, c, o, n, m) = (2, 3, 2, 5, 6);
    let (x, k) = (counting(&tape, &[b, c, n, m]), counting(&tape, &[o, c, 3, 2]));
    let (xs, ks) = (x.to_vec(), k.to_vec());
    for (stride, padding) in [([1, 1], [0, 0]), ([2, 1], [1, 0]), ([1, 3], [2, 1])] {
        let rows = (n + 2 * padding[0] - 3) / stride[0] + 1;
        let columns = (m + 2 * padding[1] - 2) / stride[1] + 1;
        // An entry of a window, if it is not in the padding.
        let at = |s: usize, ch: usize, row: usize, column: usize| {
            let (row, column) = (row.checked_sub(padding[0])?, column.checked_sub(padding[1])?);
            (row < n && column < m).then(|| xs[((s * c + ch) * n + row) * m + column])
        };
        let (mut product, mut mean, mut largest) = (vec![], vec![], vec![]);
        for s in 0..b {
            for out in 0..o.max(c) {
                for row in (0..rows).map(|i| i * stride[0]) {
                    for column in (0..columns).map(|j| j * stride[1]) {
                        let window = |ch: usize| {
                            (0..6).map(move |e| (e, at(s, ch, row + e / 2, column + e % 2)))
                        };
                        if out < o {
                            let terms = (0..c).flat_map(|ch| {
                                let ks = &ks;
                                window(ch).map(move |(e, x)| {
                                    x.unwrap_or(0.0) * ks[(out * c + ch) * 6 + e]
                                })
                            });
                            product.push(terms.sum::<f64>());
                        }
                        mean.push(window(out).map(|(_, x)| x.unwrap_or(0.0)).sum::<f64>() / 6.0);
                        largest.push(window(out).filter_map(|(_, x)| x).fold(-INF, f64::max));
                    }
                }
            }
        }
        let y = x.conv2d(k, stride, padding);
        assert_eq!(*y.shape(), [b, o, rows, columns]);
        assert_eq!(y.to_vec(), product);
        for (found, expected) in x.avg_pool2d([3, 2], stride, padding).to_vec().iter().zip(&mean) {
            assert!((found - expected).abs() < 1e-12);
        }
        assert_eq!(x.max_pool2d([3, 2], stride, padding).to_vec(), largest);
    }
    let series = counting(&tape, &[1, 1, 5]);
    let kernel = tape.leaf(&[1.0, -1.0], [1, 1, 2]);
    let differences: Vec<f64> = series.to_vec().windows(2).map(|w| w[0] - w[1]).collect();
    assert_eq!(series.conv1d(kernel, 1, 0).to_vec(), differences);
    assert_eq!(series.max_pool1d(5, 1, 0).to_vec(), [series.max_axis(2).to_vec()[0]]);
}

#[test]
#[should_panic(expected = "a window of 7 does not fit 4 entries padded by 1 on either side")]
fn a_kernel_that_does_not_fit_panics() {
    let tape = Tape::<f64>::new();
    counting(&tape, &[1, 1, 4]).conv1d(counting(&tape, &[1, 1, 7]), 1, 1);
}

/// Ties in a window share the gradient.
#[test]
fn ties_in_a_window_share() {
    let tape = Tape::<f64>::new();
    let x = tape.leaf(&[1.0, 1.0, 0.0, 0.0], [1, 1, 4]);
    let g = x.max_pool1d(2, 2, 0).sum().grad(&[x]).expect("no call can fail")[0];
    assert_eq!(g.to_vec(), [0.5; 4]);
}

#[test]
fn a_triangular_system_reads_one_triangle() {
    let tape = Tape::<f64>::new();
    let a = tape.leaf(&[2.0, NAN, NAN, 1.0, 4.0, NAN, -1.0, 3.0, 5.0], [3, 3]);
    let b = tape.leaf(&[2.0, 5.0, 12.0], [3]);
    let x = a.solve_triangular(b, true);
    assert_eq!(x.to_vec(), [1.0, 1.0, 2.0]);
    let upper = a.t().solve_triangular(b, false);
    let expected = [[2.0, 1.0, -1.0], [0.0, 4.0, 3.0], [0.0, 0.0, 5.0]];
    for (row, b) in expected.iter().zip(b.to_vec()) {
        let sum: f64 = row.iter().zip(upper.to_vec()).map(|(a, x)| a * x).sum();
        assert!((sum - b).abs() < 1e-12);
    }
    // The other triangle has no part in it.
    let full = tape.leaf(&[2.0, 7.0, 7.0, 1.0, 4.0, 7.0, -1.0, 3.0, 5.0], [3, 3]);
    let g = full.solve_triangular(b, true).sum().grad(&[full]).expect("no call can fail")[0];
    let g = g.to_vec();
    assert_eq!([g[1], g[2], g[5]], [0.0; 3]);
    assert!(g[0] != 0.0 && g[3] != 0.0);
    // A zero on the diagonal is no error.
    let singular = tape.leaf(&[0.0, 0.0, 1.0, 1.0], [2, 2]);
    assert!(!singular.solve_triangular(tape.leaf(&[1.0, 1.0], [2]), true).to_vec()[0].is_finite());
}

#[test]
fn reductions_along_several_axes_are_those_along_one() {
    let tape = Tape::new();
    let x = counting(&tape, &[2, 3, 4]);
    let moved = x.permute(&[1, 2, 0]).reshape([3, 8]);
    let close = |a: Var<'_, f64>, b: Var<'_, f64>| {
        assert_eq!(a.shape(), b.shape());
        for (a, b) in a.to_vec().iter().zip(b.to_vec()) {
            assert!((a - b).abs() <= 1e-12 * b.abs(), "{a} {b}");
        }
    };
    close(x.var_axes(&[2, 0], 1), moved.var_axis(1, 1));
    close(x.prod_axes(&[2, 0]), moved.prod_axis(1));
    close(x.max_axes(&[2, 0]), moved.max_axis(1));
    close(x.min_axes(&[2, 0]), moved.min_axis(1));
    close(x.norm_axes(&[2, 0]), moved.square().sum_axis(1).sqrt());
    assert_eq!(x.argmax_axes(&[2, 0]), moved.argmax_axis(1));
    close(x.norm_axes(&[0, 1, 2]), x.norm());
}
