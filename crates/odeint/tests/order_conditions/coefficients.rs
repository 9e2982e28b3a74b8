//! The published coefficients of a method, as rational numbers or long decimals.
//!
//! `tests/coefficients/NAME.txt` has one number a line:
//!
//! ```text
//! digits n      the published numbers are good to n decimal places
//! a i j x       row i of the tableau, the end slope's row and those of the interpolant included
//! e i x         the weights of the error estimate
//! l i x         those of the estimate of lower order
//! w i j x       the coefficient of θ^j in weight i of the interpolant
//! hermite       instead of those: the interpolant is the cubic Hermite polynomial
//! v i x         and x θ² (1 - θ)² in weight i more
//! ```

use costate_odeint::Tableau;

use crate::fixed::Fixed;

#[derive(Debug)]
pub struct Coefficients {
    /// How large a residual of an order condition may be.
    pub tolerance: f64,
    pub a: Vec<Vec<Fixed>>,
    pub b: Vec<Fixed>,
    pub error: Option<Vec<Fixed>>,
    pub error_low: Option<Vec<Fixed>>,
    /// `weights[i][j]` belongs to `θ^(j+1)`.
    pub weights: Vec<Vec<Fixed>>,
    /// Whether the code computes the interpolant's constants from the others.
    pub hermite: bool,
    /// The tolerance for the interpolant, whose numbers may be known to fewer digits.
    pub weights_tolerance: f64,
}

impl Coefficients {
    /// Those in the file for a method. Only the coefficients of the interpolant may be missing:
    /// then they are what the constants of the code are, to the last bit.
    pub fn read(tableau: &Tableau) -> Coefficients {
        let file = tableau.name.to_lowercase().replace(['/', ' '], "_");
        let path = format!("{}/tests/coefficients/{file}.txt", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let (rows, slopes) = (tableau.rows(), tableau.slopes());
        let zeros = |n: usize| vec![Fixed::zero(); n];
        let degree = tableau.interpolant.degree();
        let mut c = Coefficients {
            tolerance: 0.0,
            a: vec![zeros(slopes); slopes],
            b: Vec::new(),
            error: tableau.error.map(|_| zeros(rows)),
            error_low: tableau.error_low.map(|_| zeros(rows)),
            weights: vec![zeros(degree); slopes],
            hermite: false,
            weights_tolerance: f64::NAN,
        };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let place = |i: usize| words[i].parse::<usize>().expect("a place");
            let number = || Fixed::parse(words[words.len() - 1]);
            match words[0] {
                "digits" => c.tolerance = 0.1f64.powi(place(1) as i32),
                "a" => c.a[place(1)][place(2)] = number(),
                "e" => c.error.as_mut().expect("an error estimate")[place(1)] = number(),
                "l" => c.error_low.as_mut().expect("a second estimate")[place(1)] = number(),
                "w" => {
                    c.weights[place(1)][place(2) - 1] = number();
                    c.weights_tolerance = c.tolerance;
                }
                "hermite" => c.hermite = true,
                "v" => {
                    for (to, n) in c.weights[place(1)][1..].iter_mut().zip([1, -2, 1]) {
                        *to = &Fixed::ratio(n, 1) * &number();
                    }
                }
                _ => panic!("{path}: {line:?}"),
            }
        }
        c.b = c.a[rows - 1][..rows].to_vec();
        if c.hermite {
            let cubic = hermite_weights(&c.b);
            for (weights, cubic) in c.weights.iter_mut().zip(cubic) {
                for (to, from) in weights.iter_mut().zip(&cubic) {
                    *to = &*to + from;
                }
            }
            c.weights_tolerance = c.tolerance;
        } else if c.weights_tolerance.is_nan() {
            c.weights_tolerance = 1e-14;
            for (to, from) in c.weights.iter_mut().zip(tableau.interpolant.weights) {
                for (to, from) in to.iter_mut().zip(*from) {
                    *to = Fixed::from_f64(*from);
                }
            }
        }
        c
    }

    /// `b_i(θ)` of every slope.
    pub fn weights_at(&self, theta: &Fixed) -> Vec<Fixed> {
        let value =
            |row: &Vec<Fixed>| row.iter().rev().fold(Fixed::zero(), |sum, c| &(&sum + c) * theta);
        self.weights.iter().map(value).collect()
    }

    /// `db_i/dθ` of every slope.
    pub fn rates_at(&self, theta: &Fixed) -> Vec<Fixed> {
        let value = |row: &Vec<Fixed>| {
            row.iter().enumerate().rev().fold(Fixed::zero(), |sum, (j, c)| {
                &(&sum * theta) + &(&Fixed::ratio(j as i64 + 1, 1) * c)
            })
        };
        self.weights.iter().map(value).collect()
    }
}

/// `(3θ² - 2θ³) b_i`, with `θ - 2θ² + θ³` more for the first and `θ³ - θ²` for the last slope.
fn hermite_weights(b: &[Fixed]) -> Vec<Vec<Fixed>> {
    let whole = |n: i64| Fixed::ratio(n, 1);
    let mut weights: Vec<Vec<Fixed>> =
        b.iter().map(|b| vec![Fixed::zero(), &whole(3) * b, &whole(-2) * b]).collect();
    let mut add = |i: usize, terms: [i64; 3]| {
        for (w, n) in weights[i].iter_mut().zip(terms) {
            *w = &*w + &whole(n);
        }
    };
    add(0, [1, -2, 1]);
    add(b.len() - 1, [0, -1, 1]);
    weights
}
