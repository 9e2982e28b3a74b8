//! The order conditions of splitting methods for separable systems: those of every tree with its
//! vertices in two colours, positions and momenta, of which neighbours differ (E. Hairer, C. Lubich,
//! G. Wanner, *Geometric Numerical Integration*, III.2.3).

use costate_odeint::{Method, Part, Tableau};

use crate::fixed::{Fixed, dot};
use crate::trees::{Tree, trees};

/// The published sizes of the Verlet steps that are composed, the first half of them and the middle.
fn sizes(tableau: &Tableau) -> Vec<Fixed> {
    let file = tableau.name.to_lowercase();
    let path = format!("{}/tests/coefficients/{file}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let sizes = text.lines().filter_map(|line| line.strip_prefix("s "));
    let half: Vec<Fixed> = sizes
        .enumerate()
        .map(|(i, line)| {
            let (place, number) = line.split_once(' ').expect("a place and a number");
            assert_eq!(place, i.to_string(), "{path}");
            Fixed::parse(number)
        })
        .collect();
    half.iter().chain(half.iter().rev().skip(1)).cloned().collect()
}

/// The exact weights of the kicks and drifts: the constants of the code if these are whole.
fn weights(tableau: &Tableau) -> Vec<Fixed> {
    let mut b: Vec<Fixed> = tableau.b.iter().map(|&b| Fixed::from_f64(b)).collect();
    if tableau.order > 2 {
        b = vec![Fixed::zero(); tableau.rows()];
        let half = Fixed::ratio(1, 2);
        for (i, size) in sizes(tableau).iter().enumerate() {
            b[2 * i + 1] = &b[2 * i + 1] + &(&half * size);
            b[2 * i + 2] = size.clone();
            b[2 * i + 3] = &half * size;
        }
    }
    b
}

/// The weights of one part, and 0 elsewhere.
fn part_of(tableau: &Tableau, b: &[Fixed], part: Part) -> Vec<Fixed> {
    let own = |(i, b): (usize, &Fixed)| match tableau.part(i) == part {
        true => b.clone(),
        false => Fixed::zero(),
    };
    b.iter().enumerate().map(own).collect()
}

const PARTS: [Part; 2] = [Part::Positions, Part::Momenta];

/// The elementary weights of every tree, for roots of either part.
fn elementary(tableau: &Tableau, b: &[Fixed], trees: &[Tree]) -> [Vec<Vec<Fixed>>; 2] {
    let parts = PARTS.map(|part| part_of(tableau, b, part));
    let mut all = [Vec::new(), Vec::new()];
    // Σ_{j<i} b_j Φ_j over the slopes of one part, for the trees as children.
    let mut above: [Vec<Vec<Fixed>>; 2] = [Vec::new(), Vec::new()];
    for tree in trees {
        let phi = [0, 1].map(|root: usize| {
            let one = vec![Fixed::one(); b.len()];
            tree.children.iter().fold(one, |phi, &child| {
                phi.iter().zip(&above[1 - root][child]).map(|(x, y)| x * y).collect::<Vec<_>>()
            })
        });
        for (root, phi) in phi.into_iter().enumerate() {
            let up_to = |i: usize| dot(&parts[root][..i], &phi[..i]);
            above[root].push((0..b.len()).map(up_to).collect());
            all[root].push(phi);
        }
    }
    all
}

fn violation(tableau: &Tableau, b: &[Fixed], trees: &[Tree], n: usize) -> f64 {
    let parts = PARTS.map(|part| part_of(tableau, b, part));
    let mut worst = 0.0f64;
    for (part, phi) in parts.iter().zip(elementary(tableau, b, trees)) {
        for (tree, phi) in trees.iter().zip(&phi).filter(|(tree, _)| tree.vertices == n) {
            let exact = Fixed::ratio(1, tree.density);
            worst = worst.max((&dot(part, phi) - &exact).abs().as_f64());
        }
    }
    worst
}

#[test]
fn splitting_methods_have_their_orders() {
    let trees = trees(7);
    for tableau in Method::symplectic().map(Method::tableau) {
        let (b, name) = (weights(tableau), tableau.name);
        for n in 1..=tableau.order as usize {
            let v = violation(tableau, &b, &trees, n);
            assert!(v < 1e-97, "{name}: order {n} is violated by {v:e}");
        }
        let v = violation(tableau, &b, &trees, tableau.order as usize + 1);
        assert!(v > 1e-3, "{name}: of higher order: {v:e}");
    }
}

/// Rows are the weights before them, times the sums of the other part's, and drifts are the nearest
/// numbers to the published sizes; a kick is the sum of two halves.
#[test]
fn splitting_constants_are_the_published_ones() {
    for tableau in Method::symplectic().map(Method::tableau) {
        let (b, name, last) = (weights(tableau), tableau.name, tableau.rows() - 1);
        for (i, exact) in b.iter().enumerate() {
            assert_eq!(tableau.a[i], &tableau.b[..i], "{name}: row {i}");
            let close = |what: &str, exact: &Fixed, x: f64, most: f64| {
                let distance = (exact - &Fixed::from_f64(x)).abs().as_f64();
                assert!(distance <= most, "{name}: {what} {i}: {x:e} for {:e}", exact.as_f64());
            };
            match tableau.part(i) {
                Part::Positions => assert!(exact.rounds_to(tableau.b[i]), "{name}: drift {i}"),
                _ => close("weight", exact, tableau.b[i], 1.2e-16),
            }
            let other = match tableau.part(i) {
                Part::Positions => part_of(tableau, &b, Part::Momenta),
                Part::Momenta => part_of(tableau, &b, Part::Positions),
                Part::All => continue,
            };
            close("time", &other[..i].iter().cloned().sum(), tableau.c[i], 5e-16);
        }
        assert_eq!(
            (tableau.c[0], tableau.c[last], tableau.b[0], tableau.b[last]),
            (0.0, 1.0, 0.0, 0.0)
        );
    }
}
