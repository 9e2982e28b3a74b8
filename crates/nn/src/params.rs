//! Parameters: one contiguous arena with named views.
//!
//! An optimiser step, a checkpoint or a norm is one slice.

use std::ops::Index;
use std::sync::atomic::{AtomicU64, Ordering};

use costate_ops::Real;
use costate_tape::{Shape, Tape, Var};
use ndarray::{ArrayViewD, IxDyn};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::error::{Error, Result};
use crate::optimiser::Optimiser;

/// The parameters of a model.
///
/// ```
/// use costate_nn::{Activation, Mlp, Params, Sgd};
/// use ndarray::arr2;
///
/// let mut params = Params::<f64>::seeded(0);
/// let net = Mlp::new(&mut params, "net", &[1, 8, 1], Activation::Tanh);
/// let (x, y) = (arr2(&[[0.0], [1.0]]), arr2(&[[1.0], [0.0]]));
/// let mut sgd = Sgd::new(0.1);
/// let mut loss = f64::INFINITY;
/// for _ in 0..200 {
///     loss = params.step(&mut sgd, |tape, p| {
///         Ok((net.forward(p, tape.constant(&x)) - &y).square().mean())
///     })?;
/// }
/// assert!(loss < 1e-3);
/// # Ok::<(), costate_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Params<T: Real> {
    id: u64,
    values: Vec<T>,
    entries: Vec<Entry>,
    rng: ChaCha8Rng,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub name: String,
    pub shape: Shape,
    pub start: usize,
}

/// A handle to one parameter of a [`Params`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    owner: u64,
    index: usize,
}

impl<T: Real> Params<T> {
    /// No parameters yet; what is drawn for initial values follows from the seed.
    pub fn seeded(seed: u64) -> Params<T> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Params {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            values: Vec::new(),
            entries: Vec::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Adds a parameter whose entries are given by `f`, called once for each.
    ///
    /// # Panics
    /// If there is one of this name.
    #[track_caller]
    pub fn add(
        &mut self,
        name: impl Into<String>,
        shape: impl Into<Shape>,
        mut f: impl FnMut(&mut Self) -> T,
    ) -> Param {
        let (name, shape) = (name.into(), shape.into());
        assert!(
            self.entries.iter().all(|e| e.name != name),
            "there is a parameter {name:?} already; give each layer a name of its own"
        );
        let start = self.values.len();
        for _ in 0..shape.numel() {
            let value = f(self);
            self.values.push(value);
        }
        self.entries.push(Entry { name, shape, start });
        Param { owner: self.id, index: self.entries.len() - 1 }
    }

    /// Adds a parameter of zeros.
    ///
    /// # Panics
    /// If there is one of this name.
    #[track_caller]
    pub fn zeros(&mut self, name: impl Into<String>, shape: impl Into<Shape>) -> Param {
        self.add(name, shape, |_| T::zero())
    }

    /// Adds a parameter drawn uniformly from `[-bound, bound)`.
    ///
    /// # Panics
    /// If there is one of this name.
    #[track_caller]
    pub fn uniform(
        &mut self,
        name: impl Into<String>,
        shape: impl Into<Shape>,
        bound: f64,
    ) -> Param {
        self.add(name, shape, |params| T::from_f64(bound * (2.0 * params.draw() - 1.0)))
    }

    /// The next random number in `[0, 1)`, for initial values and for shuffling.
    pub fn draw(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// How many numbers all parameters have together.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All numbers, parameter after parameter.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// All numbers, parameter after parameter.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// Names and shapes, in the order of the arena.
    pub fn names(&self) -> impl Iterator<Item = (&str, &Shape)> {
        self.entries.iter().map(|e| (e.name.as_str(), &e.shape))
    }

    /// One parameter.
    ///
    /// # Panics
    /// If it belongs to another `Params`.
    #[track_caller]
    pub fn get(&self, param: Param) -> ArrayViewD<'_, T> {
        assert_eq!(param.owner, self.id, "the parameter belongs to other Params");
        let entry = &self.entries[param.index];
        let values = &self.values[entry.start..entry.start + entry.shape.numel()];
        ArrayViewD::from_shape(IxDyn(&entry.shape), values).expect("as many as the shape has")
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Puts all parameters on a tape, each as a leaf.
    #[track_caller]
    pub fn bind<'t>(&self, tape: &'t Tape<T>) -> Bound<'t, T> {
        let leaf = |e: &Entry| tape.leaf(&self.values[e.start..][..e.shape.numel()], &e.shape);
        Bound { owner: self.id, vars: self.entries.iter().map(leaf).collect() }
    }

    /// Records a loss, differentiates it, and lets the optimiser take a step; returns the loss
    /// from before the step.
    ///
    /// # Errors
    /// Those of `loss` and of its gradient; or if either is not finite. The parameters and the
    /// optimiser are then as they were.
    ///
    /// # Panics
    /// If the loss has more than one entry.
    pub fn step<F>(&mut self, optimiser: &mut impl Optimiser<T>, loss: F) -> Result<T>
    where
        F: for<'t> FnOnce(&'t Tape<T>, &Bound<'t, T>) -> Result<Var<'t, T>>,
    {
        let (loss, gradient) = self.gradient(loss)?;
        optimiser.update(&mut self.values, &gradient);
        Ok(loss)
    }

    /// A loss and its gradient with respect to all parameters, in the order of the arena.
    ///
    /// # Errors
    /// Those of `loss` and of its gradient; or if either is not finite.
    ///
    /// # Panics
    /// If the loss has more than one entry.
    pub fn gradient<F>(&self, loss: F) -> Result<(T, Vec<T>)>
    where
        F: for<'t> FnOnce(&'t Tape<T>, &Bound<'t, T>) -> Result<Var<'t, T>>,
    {
        let tape = Tape::new();
        let bound = self.bind(&tape);
        let loss = loss(&tape, &bound)?;
        let value = loss.item();
        if !value.is_finite() {
            return Err(Error::non_finite(format!("the loss, {value},")));
        }
        let mut gradient = Vec::with_capacity(self.len());
        for (var, entry) in loss.grad(&bound.vars)?.iter().zip(&self.entries) {
            gradient.extend(var.to_vec());
            if gradient[entry.start..].iter().any(|g| !g.is_finite()) {
                return Err(Error::non_finite(format!("the gradient of {:?}", entry.name)));
            }
        }
        Ok((value, gradient))
    }
}

/// Parameters on a tape; index it by a [`Param`].
#[derive(Clone, Debug)]
pub struct Bound<'t, T: Real> {
    owner: u64,
    vars: Vec<Var<'t, T>>,
}

impl<'t, T: Real> Bound<'t, T> {
    /// All of them, in the order of the arena.
    pub fn vars(&self) -> &[Var<'t, T>] {
        &self.vars
    }
}

impl<'t, T: Real> Index<Param> for Bound<'t, T> {
    type Output = Var<'t, T>;
    #[track_caller]
    fn index(&self, param: Param) -> &Var<'t, T> {
        assert_eq!(param.owner, self.owner, "the parameter belongs to other Params");
        &self.vars[param.index]
    }
}
