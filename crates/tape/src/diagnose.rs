//! Where a NaN or an infinity was born, and what a program looks like.

use std::fmt::{self, Write};
use std::panic::Location;

use ndarray::{ArrayD, IxDyn};

use crate::Real;
use crate::function::Function;
use crate::op::{Op, Result};
use crate::tape::Tape;

/// The first recorded value that is not finite.
#[derive(Debug, Clone)]
pub struct NonFinite<T: Real> {
    /// The operation that made it.
    pub operation: String,
    /// The line that recorded the operation.
    pub location: &'static Location<'static>,
    /// What the operation was applied to.
    pub inputs: Vec<ArrayD<T>>,
    /// What it gave.
    pub value: ArrayD<T>,
    /// The first entry that is not finite, in row-major order.
    pub entry: usize,
}

impl<T: Real> fmt::Display for NonFinite<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = self.value.iter().nth(self.entry).copied().unwrap_or(T::nan());
        write!(
            f,
            "entry {} of {}{:?}, recorded at {}, is {entry}",
            self.entry,
            self.operation,
            self.value.shape(),
            self.location
        )?;
        for (i, x) in self.inputs.iter().enumerate() {
            // Element-wise operations have the entry at the same place.
            if x.len() == self.value.len() {
                let at = x.iter().nth(self.entry).copied().unwrap_or(T::nan());
                write!(f, "; there input {i} is {at}")?;
            } else {
                write!(f, "; input {i} has shape {:?}", x.shape())?;
            }
        }
        Ok(())
    }
}

impl<T: Real> Tape<T> {
    /// The first recorded value that is NaN or infinite, if there is one: a leaf, or the operation
    /// in which it was born. Values inside scopes are gone; see [`Function::find_non_finite`].
    ///
    /// ```
    /// use costate_tape::Tape;
    ///
    /// let tape = Tape::new();
    /// let x = tape.scalar(-1.0);
    /// let y = (x * 2.0).sqrt() + 1.0;
    /// let found = tape.find_non_finite().unwrap();
    /// assert_eq!(found.operation, "sqrt");
    /// assert!(found.to_string().contains("there input 0 is -2"));
    /// # let _ = y;
    /// ```
    pub fn find_non_finite(&self) -> Option<NonFinite<T>> {
        let graph = self.graph().borrow();
        let array = |id: u32| {
            let shape = IxDyn(graph.shape(id));
            ArrayD::from_shape_vec(shape, graph.value(id).to_vec()).ok()
        };
        (0..graph.nodes.len() as u32).find_map(|id| {
            let entry = graph.value(id).iter().position(|x| !x.is_finite())?;
            let node = graph.node(id);
            Some(NonFinite {
                operation: node.op.name().to_owned(),
                location: node.loc,
                inputs: node.args.iter().filter_map(|&a| array(a)).collect(),
                value: array(id)?,
                entry,
            })
        })
    }
}

impl<T: Real> Function<T> {
    /// Runs the function on a tape of its own and looks for the first value that is not finite.
    ///
    /// # Errors
    /// Those of calls inside it.
    ///
    /// # Panics
    /// If the number or the shapes of the inputs are not those of the function.
    pub fn find_non_finite(&self, inputs: &[ArrayD<T>]) -> Result<Option<NonFinite<T>>> {
        let tape = Tape::new();
        let inputs: Vec<_> = inputs.iter().map(|x| tape.constant(x)).collect();
        self.inline(&tape, &inputs)?;
        Ok(tape.find_non_finite())
    }

    /// The function as a graph in the language of Graphviz: one node for each operation, with its
    /// shape and the line that recorded it.
    ///
    /// ```
    /// use costate_tape::Function;
    /// use ndarray::arr1;
    ///
    /// let f = Function::trace(&[arr1(&[1.0]).into_dyn()], |_, x| Ok(vec![x[0].sin()]))?;
    /// assert!(f.to_dot().contains("n0 -> n1"));
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    pub fn to_dot(&self) -> String {
        let mut text = String::from("digraph {\n  node [shape=box, fontname=monospace];\n");
        for (id, node) in self.nodes.iter().enumerate() {
            let (name, shape, line) = (node.op.name(), &node.shape, node.loc.line());
            let file = node.loc.file().rsplit('/').next().unwrap_or_default();
            let style = match node.op {
                Op::Input => ", style=filled, fillcolor=lightblue",
                Op::Const => ", style=filled, fillcolor=lightgrey",
                _ if self.outputs.contains(&(id as u32)) => ", penwidth=3",
                _ => "",
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  n{id} [label=\"{name} {shape}\\n{file}:{line}\"{style}];");
            for arg in &node.args {
                let _ = writeln!(text, "  n{arg} -> n{id};");
            }
        }
        text.push_str("}\n");
        text
    }
}
