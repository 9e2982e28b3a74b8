//! Rooted trees: one for each condition. J. C. Butcher, *Numerical Methods for Ordinary
//! Differential Equations*, section 300.

use crate::fixed::{Fixed, dot};

/// A rooted tree: the subtrees at its root, as places in the list of all trees.
#[derive(Debug)]
pub struct Tree {
    pub vertices: usize,
    /// In increasing order, so that every tree is listed once.
    pub children: Vec<usize>,
    /// The density γ: the product over all vertices of the size of the tree below.
    pub density: u64,
}

/// All rooted trees with up to `n` vertices, the smaller ones first.
pub fn trees(n: usize) -> Vec<Tree> {
    let mut all = vec![Tree { vertices: 1, children: vec![], density: 1 }];
    for vertices in 2..=n {
        let mut found = Vec::new();
        forests(&all, vertices - 1, 0, &mut Vec::new(), &mut found);
        for children in found {
            let below: u64 = children.iter().map(|&i| all[i].density).product();
            all.push(Tree { vertices, children, density: vertices as u64 * below });
        }
    }
    all
}

/// All lists of known trees, none before `first`, with `vertices` vertices in total.
fn forests(
    known: &[Tree],
    vertices: usize,
    first: usize,
    so_far: &mut Vec<usize>,
    found: &mut Vec<Vec<usize>>,
) {
    if vertices == 0 {
        found.push(so_far.clone());
        return;
    }
    for i in first..known.len() {
        if known[i].vertices <= vertices {
            so_far.push(i);
            forests(known, vertices - known[i].vertices, i, so_far, found);
            so_far.pop();
        }
    }
}

/// The elementary weights of the stages, `Φ_i(t) = Π_children Σ_j a_ij Φ_j`, for every tree.
pub fn weights(trees: &[Tree], a: &[Vec<Fixed>]) -> Vec<Vec<Fixed>> {
    let mut all: Vec<Vec<Fixed>> = Vec::new();
    // A Φ, for the trees as children.
    let mut above: Vec<Vec<Fixed>> = Vec::new();
    for tree in trees {
        let one = vec![Fixed::one(); a.len()];
        let phi = tree
            .children
            .iter()
            .fold(one, |phi, &child| phi.iter().zip(&above[child]).map(|(x, y)| x * y).collect());
        above.push(a.iter().map(|row| dot(row, &phi)).collect());
        all.push(phi);
    }
    all
}

/// The number of rooted trees with 1 to 10 vertices (OEIS A000081), and their extreme densities.
#[test]
fn trees_are_all_there() {
    let all = trees(10);
    let count = |n| all.iter().filter(|t| t.vertices == n).count();
    assert_eq!((1..=10).map(count).collect::<Vec<_>>(), [1, 1, 2, 4, 9, 20, 48, 115, 286, 719]);
    assert_eq!(trees(9).len(), 486);
    for n in 1..=10 {
        let densities = || all.iter().filter(|t| t.vertices == n).map(|t| t.density);
        assert_eq!(densities().max(), Some((1..=n as u64).product()), "the tall tree");
        assert_eq!(densities().min(), Some(n as u64), "the bushy tree");
    }
}
