//! Einstein's summation convention for two arrays, by a batch of matrix products.

use crate::Real;
use crate::shape::Shape;
use crate::var::Var;

/// The parts of a specification such as `ij,jk->ik`.
#[track_caller]
fn parse(spec: &str) -> [Vec<char>; 3] {
    let parts = spec.split_once("->").and_then(|(arguments, result)| {
        let (a, b) = arguments.split_once(',')?;
        let letters = |part: &str| {
            let part: Vec<char> = part.chars().filter(|c| *c != ' ').collect();
            part.iter().all(|c| c.is_ascii_alphabetic()).then_some(part)
        };
        Some([letters(a)?, letters(b)?, letters(result)?])
    });
    let Some(parts) = parts else {
        panic!("einsum: {spec:?} does not have the form \"ij,jk->ik\"")
    };
    for (i, c) in parts[2].iter().enumerate() {
        assert!(!parts[2][..i].contains(c), "einsum: {spec:?} has {c:?} twice in the result");
        assert!(
            parts[0].contains(c) || parts[1].contains(c),
            "einsum: {spec:?} has {c:?} in the result alone"
        );
    }
    parts
}

/// With every letter once: of axes with the same letter, the diagonal.
#[track_caller]
fn diagonals<'t, T: Real>(mut x: Var<'t, T>, letters: &mut Vec<char>) -> Var<'t, T> {
    while let Some((i, j)) = twice(letters) {
        let mut axes: Vec<usize> = (0..letters.len()).filter(|&a| a != i && a != j).collect();
        axes.extend([i, j]);
        x = x.permute(&axes).diagonal();
        // The later one first, or its place would have moved.
        letters.remove(j);
        let letter = letters.remove(i);
        letters.push(letter);
    }
    x
}

/// Two places of the same letter.
fn twice(letters: &[char]) -> Option<(usize, usize)> {
    (0..letters.len()).find_map(|j| Some((letters[..j].iter().position(|&c| c == letters[j])?, j)))
}

/// Sums over the letters that are not wanted.
#[track_caller]
fn sum_others<'t, T: Real>(
    x: Var<'t, T>,
    letters: &mut Vec<char>,
    wanted: impl Fn(char) -> bool,
) -> Var<'t, T> {
    let axes: Vec<usize> = (0..letters.len()).filter(|&i| !wanted(letters[i])).collect();
    letters.retain(|&c| wanted(c));
    x.sum_axes(&axes)
}

/// The axes in the order of `order`, whose letters are those of `letters`.
#[track_caller]
fn arrange<'t, T: Real>(x: Var<'t, T>, letters: &[char], order: &[&[char]]) -> Var<'t, T> {
    let place = |c: &char| letters.iter().position(|l| l == c).expect("a letter of this array");
    x.permute(&order.concat().iter().map(place).collect::<Vec<_>>())
}

impl<'t, T: Real> Var<'t, T> {
    /// The sum of products of the entries of two arrays that a specification such as `ij,jk->ik`
    /// names, as in NumPy: each axis has a letter; axes of one letter run together; letters that
    /// are not in the result are summed over. `bij,bjk->bik` is a batch of products, `i,j->ij` the
    /// outer product, and `ii,->i` takes a diagonal.
    ///
    /// The result must be spelled out; `...` and broadcasting lengths of 1 are not understood.
    ///
    /// # Panics
    /// If the specification is malformed, does not have as many letters as the arrays have axes,
    /// or gives one letter to axes of different lengths.
    #[track_caller]
    pub fn einsum(spec: &str, a: Var<'t, T>, b: Var<'t, T>) -> Var<'t, T> {
        let [mut left, mut right, result] = parse(spec);
        let mut lens: Vec<(char, usize)> = Vec::new();
        let shapes = (a.shape(), b.shape());
        for (letters, shape) in [(&left, &shapes.0), (&right, &shapes.1)] {
            assert!(
                letters.len() == shape.ndim(),
                "einsum: {spec:?} does not fit shapes {} and {}: {} letters for {} axes",
                shapes.0,
                shapes.1,
                letters.len(),
                shape.ndim()
            );
            for (&c, &len) in letters.iter().zip(shape.iter()) {
                let known = lens.iter().find(|(l, _)| *l == c).map_or(len, |l| l.1);
                assert!(
                    known == len,
                    "einsum: {spec:?} does not fit shapes {} and {}: {c:?} has lengths {known} \
                     and {len}",
                    shapes.0,
                    shapes.1
                );
                lens.push((c, len));
            }
        }
        let (a, b) = (diagonals(a, &mut left), diagonals(b, &mut right));
        let others = right.clone();
        let a = sum_others(a, &mut left, |c| others.contains(&c) || result.contains(&c));
        let b = sum_others(b, &mut right, |c| left.contains(&c) || result.contains(&c));

        let choose = |from: &[char], other: &[char], shared: bool, kept: bool| -> Vec<char> {
            let fits = |c: &char| other.contains(c) == shared && result.contains(c) == kept;
            from.iter().copied().filter(fits).collect()
        };
        let batch = choose(&left, &right, true, true);
        let inner = choose(&left, &right, true, false);
        let rows = choose(&left, &right, false, true);
        let columns = choose(&right, &left, false, true);
        let axes = |letters: &[char]| -> Vec<usize> {
            let len = |c: &char| lens.iter().find(|(l, _)| l == c).expect("a known letter").1;
            letters.iter().map(len).collect()
        };
        let size = |letters: &[char]| axes(letters).iter().product::<usize>();
        let (n, m, k, l) = (size(&batch), size(&rows), size(&inner), size(&columns));

        let a = arrange(a, &left, &[&batch, &rows, &inner]);
        let b = arrange(b, &right, &[&batch, &inner, &columns]);
        let product = if batch.is_empty() {
            a.reshape([m, k]).matmul(b.reshape([k, l]))
        } else {
            a.reshape([n, m, k]).matmul(b.reshape([n, k, l]))
        };
        let found = [batch, rows, columns].concat();
        let product = product.reshape(axes(&found).into_iter().collect::<Shape>());
        arrange(product, &found, &[&result])
    }
}
