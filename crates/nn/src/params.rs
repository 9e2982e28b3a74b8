//! Parameters: one contiguous arena with named views.
//!
//! An optimiser step, a checkpoint or a norm is one slice.

use std::fmt;
use std::ops::Index;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use costate_odeint::Real;
use costate_tape::{Shape, Tape, Var};
use ndarray::{ArrayRef, ArrayViewD, Dimension, IxDyn};

use crate::error::{Error, Result};
use crate::init::Init;
use crate::optimiser::Optimiser;
use crate::rng::Rng;

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
    rng: Rng,
    scratch: Scratch<T>,
}

/// A tape whose memory one step leaves to the next: that of a large model is asked of the system
/// and given back at each step otherwise, which can take longer than the step.
struct Scratch<T: Real>(Mutex<Tape<T>>);

impl<T: Real> Default for Scratch<T> {
    fn default() -> Scratch<T> {
        Scratch(Mutex::new(Tape::new()))
    }
}

/// A copy has memory of its own.
impl<T: Real> Clone for Scratch<T> {
    fn clone(&self) -> Scratch<T> {
        Scratch::default()
    }
}

impl<T: Real> fmt::Debug for Scratch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch")
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub name: String,
    pub shape: Shape,
    pub start: usize,
    pub role: Role,
}

/// Whether training changes a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Trained,
    /// Left as it is for now.
    Frozen,
    /// Set by its layer and never trained, such as a running mean.
    Buffer,
}

impl Entry {
    pub fn range(&self) -> std::ops::Range<usize> {
        self.start..self.start + self.shape.numel()
    }

    /// Whether it is called `prefix`, or its layer is.
    fn is_in(&self, prefix: &str) -> bool {
        let rest = self.name.strip_prefix(prefix);
        prefix.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
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
            rng: Rng::seeded(seed),
            scratch: Scratch::default(),
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
        self.entries.push(Entry { name, shape, start, role: Role::Trained });
        Param { owner: self.id, index: self.entries.len() - 1 }
    }

    /// Adds a parameter whose entries are chosen by `init`.
    ///
    /// # Panics
    /// If there is one of this name, or `init` does not suit the shape.
    #[track_caller]
    pub fn init(&mut self, name: impl Into<String>, shape: impl Into<Shape>, init: Init) -> Param {
        let shape = shape.into();
        let mut entries = init.draw(&mut self.rng, &shape).into_iter();
        self.add(name, shape, |_| entries.next().expect("as many as the shape has"))
    }

    /// Adds the kernel of a convolution, `[outputs, channels, …size]`, whose entries are chosen by
    /// [`init`](Init::draw_kernel).
    ///
    /// # Panics
    /// If there is one of this name, or `init` does not suit the shape.
    #[track_caller]
    pub fn kernel(
        &mut self,
        name: impl Into<String>,
        shape: impl Into<Shape>,
        init: Init,
    ) -> Param {
        let shape = shape.into();
        let mut entries = init.draw_kernel(&mut self.rng, &shape).into_iter();
        self.add(name, shape, |_| entries.next().expect("as many as the shape has"))
    }

    /// Adds a parameter of zeros.
    ///
    /// # Panics
    /// If there is one of this name.
    #[track_caller]
    pub fn zeros(&mut self, name: impl Into<String>, shape: impl Into<Shape>) -> Param {
        self.init(name, shape, Init::Zeros)
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
        self.init(name, shape, Init::Uniform(bound))
    }

    /// Adds numbers that are saved with the parameters but never trained, such as the running mean
    /// of a [`BatchNorm`](crate::BatchNorm).
    ///
    /// # Panics
    /// If there is a parameter of this name, or `init` does not suit the shape.
    #[track_caller]
    pub fn buffer(
        &mut self,
        name: impl Into<String>,
        shape: impl Into<Shape>,
        init: Init,
    ) -> Param {
        let param = self.init(name, shape, init);
        self.entries[param.index].role = Role::Buffer;
        param
    }

    /// Freezes the parameter called `prefix`, or all of the layer of that name; `""` is all there
    /// are. Their gradient is not computed, and a step leaves them as they are. Returns how many
    /// parameters that are.
    ///
    /// ```
    /// use costate_nn::{Linear, Params};
    ///
    /// let mut params = Params::<f32>::seeded(0);
    /// Linear::new(&mut params, "encoder", 4, 3);
    /// Linear::new(&mut params, "decoder", 3, 1);
    /// assert_eq!(params.freeze("encoder"), 2);
    /// assert_eq!((params.len(), params.trainable()), (4 * 3 + 3 + 3 + 1, 3 + 1));
    /// ```
    pub fn freeze(&mut self, prefix: &str) -> usize {
        self.turn(prefix, Role::Trained, Role::Frozen)
    }

    /// Undoes [`freeze`](Params::freeze). Returns how many parameters are trained again.
    pub fn unfreeze(&mut self, prefix: &str) -> usize {
        self.turn(prefix, Role::Frozen, Role::Trained)
    }

    fn turn(&mut self, prefix: &str, from: Role, to: Role) -> usize {
        let inside = self.entries.iter_mut().filter(|e| e.role == from && e.is_in(prefix));
        inside.map(|e| e.role = to).count()
    }

    /// Whether training leaves a parameter as it is: it is frozen, or a buffer.
    ///
    /// # Panics
    /// If it belongs to another `Params`.
    #[track_caller]
    pub fn is_frozen(&self, param: Param) -> bool {
        assert_eq!(param.owner, self.id, "the parameter belongs to other Params");
        self.entries[param.index].role != Role::Trained
    }

    /// How many numbers training changes.
    pub fn trainable(&self) -> usize {
        self.entries.iter().filter(|e| e.role == Role::Trained).map(|e| e.shape.numel()).sum()
    }

    /// The next random number in `[0, 1)`, for initial values and for shuffling.
    pub fn draw(&mut self) -> f64 {
        self.rng.uniform()
    }

    /// The generator that initial values are drawn from.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
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

    /// Variables in the place of the parameters, one for each in the order of the arena: to
    /// differentiate a model with respect to parameters that are computed, or to check it.
    ///
    /// # Panics
    /// If there is not one for each, of its shape.
    #[track_caller]
    pub fn bind_to<'t>(&self, vars: &[Var<'t, T>]) -> Bound<'t, T> {
        let (found, expected) = (vars.len(), self.entries.len());
        assert!(found == expected, "bind_to: {found} variables for {expected} parameters");
        for (var, entry) in vars.iter().zip(&self.entries) {
            let (found, shape, name) = (var.shape(), &entry.shape, &entry.name);
            assert!(found == *shape, "bind_to: shape {found} for {name:?} of shape {shape}");
        }
        Bound { owner: self.id, vars: vars.to_vec() }
    }

    /// Sets one parameter.
    ///
    /// # Panics
    /// If it belongs to another `Params`, or has another shape.
    #[track_caller]
    pub fn set<D: Dimension>(&mut self, param: Param, array: &ArrayRef<T, D>) {
        assert_eq!(param.owner, self.id, "the parameter belongs to other Params");
        let entry = &self.entries[param.index];
        assert!(
            array.shape() == &*entry.shape,
            "set: an array of shape {:?} for {:?} of shape {}",
            array.shape(),
            entry.name,
            entry.shape
        );
        for (x, &y) in self.values[entry.range()].iter_mut().zip(array) {
            *x = y;
        }
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
        self.update(optimiser, &gradient);
        Ok(loss)
    }

    /// Lets the optimiser take a step along a gradient that was computed before. What is frozen
    /// stays.
    ///
    /// # Panics
    /// If there is not one entry for each number, or their number has changed since the
    /// optimiser's first step.
    pub fn update(&mut self, optimiser: &mut impl Optimiser<T>, gradient: &[T]) {
        // An optimiser works on the whole arena, so that its state does not depend on what is
        // frozen; decay of weights would reach what is.
        let kept: Vec<(usize, Vec<T>)> = self
            .entries
            .iter()
            .filter(|e| e.role != Role::Trained)
            .map(|e| (e.start, self.values[e.range()].to_vec()))
            .collect();
        optimiser.update(&mut self.values, gradient);
        for (start, values) in kept {
            self.values[start..start + values.len()].copy_from_slice(&values);
        }
    }

    /// A loss and its gradient with respect to all parameters, in the order of the arena; 0 for
    /// what is frozen.
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
        // Another thread that takes a gradient at the same time, or a panic in the middle of one,
        // costs the memory that would have been saved.
        match self.scratch.0.try_lock() {
            Ok(mut tape) => {
                tape.clear();
                let result = self.gradient_on(&tape, loss);
                tape.clear();
                result
            }
            Err(_) => self.gradient_on(&Tape::new(), loss),
        }
    }

    fn gradient_on<F>(&self, tape: &Tape<T>, loss: F) -> Result<(T, Vec<T>)>
    where
        F: for<'t> FnOnce(&'t Tape<T>, &Bound<'t, T>) -> Result<Var<'t, T>>,
    {
        let bound = self.bind(tape);
        let loss = loss(tape, &bound)?;
        self.differentiate(&bound, loss)
    }

    /// Compiled once for all losses.
    fn differentiate(&self, bound: &Bound<'_, T>, loss: Var<'_, T>) -> Result<(T, Vec<T>)> {
        let value = loss.item();
        if !value.is_finite() {
            return Err(Error::non_finite(format!("the loss, {value},")));
        }
        let trained =
            || bound.vars.iter().zip(&self.entries).filter(|(_, e)| e.role == Role::Trained);
        let wrt: Vec<_> = trained().map(|(var, _)| *var).collect();
        let mut gradient = vec![T::zero(); self.len()];
        for (var, (_, entry)) in loss.grad(&wrt)?.iter().zip(trained()) {
            let part = var.to_vec();
            if part.iter().any(|g| !g.is_finite()) {
                return Err(Error::non_finite(format!("the gradient of {:?}", entry.name)));
            }
            gradient[entry.range()].copy_from_slice(&part);
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
