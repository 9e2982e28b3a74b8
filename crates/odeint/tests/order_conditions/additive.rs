//! The order conditions of additive methods: those of every tree with its vertices in two colours,
//! one for each part of the field (C. A. Kennedy, M. H. Carpenter, Appl. Numer. Math. 44 (2003) 139,
//! section 2).

use costate_odeint::{AdditiveTableau, KenCarp4Imex, Method};

use crate::fixed::{Fixed, dot};

/// A rooted tree: the trees at its root.
#[derive(Clone)]
struct Tree(Vec<Tree>);

impl Tree {
    fn vertices(&self) -> u64 {
        1 + self.0.iter().map(Tree::vertices).sum::<u64>()
    }

    fn density(&self) -> u64 {
        self.vertices() * self.0.iter().map(Tree::density).product::<u64>()
    }

    /// The elementary weights for all ways to colour the vertices but the root.
    fn weights(&self, a: &[Vec<Vec<Fixed>>; 2]) -> Vec<Vec<Fixed>> {
        let mut all = vec![vec![Fixed::one(); a[0].len()]];
        for child in &self.0 {
            let below = child.weights(a);
            let above: Vec<Vec<Fixed>> = below
                .iter()
                .flat_map(|phi| a.each_ref().map(|a| a.iter().map(|row| dot(row, phi)).collect()))
                .collect();
            let product = |x: &Vec<Fixed>, y: &Vec<Fixed>| {
                x.iter().zip(y).map(|(x, y)| x * y).collect::<Vec<_>>()
            };
            all = all.iter().flat_map(|x| above.iter().map(move |y| product(x, y))).collect();
        }
        all
    }
}

/// All rooted trees with `n` vertices; some come twice, which does no harm.
fn trees(n: usize) -> Vec<Tree> {
    if n == 1 {
        return vec![Tree(vec![])];
    }
    let pairs = (1..n).flat_map(|size| {
        let children = trees(size);
        trees(n - size).into_iter().flat_map(move |root| {
            children.clone().into_iter().map(move |child| {
                let mut tree = root.clone();
                tree.0.push(child);
                tree
            })
        })
    });
    pairs.collect()
}

fn violation(a: &[Vec<Vec<Fixed>>; 2], b: &[Fixed], n: usize) -> f64 {
    let of_tree = |tree: Tree| {
        let exact = Fixed::ratio(1, tree.density());
        let wrong = |phi: Vec<Fixed>| (&dot(b, &phi) - &exact).abs().as_f64();
        tree.weights(a).into_iter().map(wrong).fold(0.0, f64::max)
    };
    trees(n).into_iter().map(of_tree).fold(0.0, f64::max)
}

/// The published numbers: explicit and implicit rows, weights, embedded weights.
struct Published {
    a: [Vec<Vec<Fixed>>; 2],
    b: Vec<Fixed>,
    embedded: Vec<Fixed>,
}

fn published(stages: usize) -> Published {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/coefficients/kencarp4_imex.txt");
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let zeros = || vec![Fixed::zero(); stages];
    let (mut a, mut b, mut embedded) =
        ([vec![zeros(); stages], vec![zeros(); stages]], zeros(), zeros());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let place = |i: usize| words[i].parse::<usize>().expect("a place");
        let number = Fixed::parse(words[words.len() - 1]);
        match words[0] {
            "x" => a[0][place(1)][place(2)] = number,
            "i" => a[1][place(1)][place(2)] = number,
            "b" => b[place(1)] = number,
            "d" => embedded[place(1)] = number,
            _ => panic!("{path}: {line:?}"),
        }
    }
    Published { a, b, embedded }
}

fn method() -> &'static AdditiveTableau {
    let Method::Additive(method) = Method::from(KenCarp4Imex) else { panic!("an additive method") };
    method
}

/// The numbers are fractions that agree with the exact ones to 24 digits.
#[test]
fn additive_methods_have_their_orders() {
    let method = method();
    let published = published(method.stages());
    for (what, b, order) in [
        ("the method", &published.b, method.tableau.order),
        ("the embedded method", &published.embedded, method.tableau.embedded_order.unwrap()),
    ] {
        for n in 1..=order as usize {
            let v = violation(&published.a, b, n);
            assert!(v < 1e-24, "order {n} of {what} is violated by {v:e}");
        }
        let v = violation(&published.a, b, order as usize + 1);
        assert!(v > 1e-3, "{what} is of higher order than {order}: {v:e}");
    }
}

/// The rows, and the tableau that they are merged into, are the nearest numbers.
#[test]
fn additive_constants_are_the_published_ones() {
    let method = method();
    let Published { a: [explicit, implicit], b, embedded } = published(method.stages());
    let tableau = &method.tableau;
    assert_eq!(tableau.rows(), 2 * method.stages() + 1);
    for i in 0..method.stages() {
        for (j, &x) in method.explicit[i].iter().enumerate() {
            assert!(explicit[i][j].rounds_to(x), "explicit {i} {j}: {x:e}");
        }
        for (j, &x) in method.implicit[i].iter().enumerate() {
            assert!(implicit[i][j].rounds_to(x), "implicit {i} {j}: {x:e}");
        }
        let c: Fixed = implicit[i].iter().cloned().sum();
        let other: Fixed = explicit[i].iter().cloned().sum();
        assert!((&c - &other).abs().as_f64() < 1e-24, "both parts of stage {i} are at one time");
        assert!(c.rounds_to(tableau.c[2 * i]) && tableau.c[2 * i] == tableau.c[2 * i + 1]);
    }
    assert_eq!(*tableau.c.last().unwrap(), 1.0);
    // A row of the tableau: `f` and `g` at the start, and `g` and `r` of the others.
    let merged = |g: &[Fixed], r: &[Fixed], j: usize| match j {
        0 => r[0].clone(),
        1 => &g[0] - &r[0],
        _ if j.is_multiple_of(2) => g[j / 2].clone(),
        _ => r[j / 2].clone(),
    };
    let close = |what: &str, exact: &Fixed, x: f64| {
        assert!((exact - &Fixed::from_f64(x)).abs().as_f64() < 2e-16, "{what}: {x:e}");
    };
    for i in 2..tableau.rows() - 1 {
        assert_eq!(tableau.a[i].len(), 2 * (i / 2) + 1);
        for (j, &x) in tableau.a[i].iter().enumerate() {
            close("row", &merged(&implicit[i / 2], &explicit[i / 2], j), x);
        }
    }
    let error: Vec<Fixed> = b.iter().zip(&embedded).map(|(b, d)| b - d).collect();
    let last = tableau.rows() - 1;
    for j in 0..last {
        close("weight", &merged(&b, &b, j), tableau.b[j]);
        close("error", &merged(&error, &error, j), tableau.error.unwrap()[j]);
    }
    assert_eq!((tableau.b[last], tableau.error.unwrap()[last]), (0.0, 0.0));
    assert_eq!(tableau.a[last], &tableau.b[..last]);
}
