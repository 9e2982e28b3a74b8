//! A model's parameters as a table.

use std::fmt;

use costate_odeint::Real;

use crate::params::{Params, Role};

/// A table of the parameters of a model: `println!("{}", params.summary())`.
#[derive(Clone, Debug)]
pub struct Summary {
    rows: Vec<[String; 4]>,
    total: usize,
    trainable: usize,
    bytes: usize,
}

impl<T: Real> Params<T> {
    /// Names, shapes and counts of all parameters, to be printed.
    ///
    /// ```
    /// use costate_nn::{Linear, Params};
    ///
    /// let mut params = Params::<f32>::seeded(0);
    /// Linear::new(&mut params, "out", 4, 3);
    /// assert_eq!(
    ///     params.summary().to_string(),
    ///     "out.weight  [4, 3]  12\nout.bias    [3]      3\n15 parameters, 15 trained, 60 bytes"
    /// );
    /// ```
    pub fn summary(&self) -> Summary {
        let row = |e: &crate::params::Entry| {
            let role = match e.role {
                Role::Trained => "",
                Role::Frozen => "frozen",
                Role::Buffer => "buffer",
            };
            let numel = e.shape.numel().to_string();
            [e.name.clone(), e.shape.to_string(), numel, role.to_owned()]
        };
        Summary {
            rows: self.entries().iter().map(row).collect(),
            total: self.len(),
            trainable: self.trainable(),
            bytes: size_of_val(self.values()),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let [name, shape, count] = [0, 1, 2].map(width);
        for row in &self.rows {
            write!(f, "{:name$}  {:shape$}  {:>count$}", row[0], row[1], row[2])?;
            if row[3].is_empty() {
                writeln!(f)?;
            } else {
                writeln!(f, "  {}", row[3])?;
            }
        }
        let Summary { total, trainable, bytes, .. } = self;
        write!(f, "{total} parameters, {trainable} trained, {bytes} bytes")
    }
}
