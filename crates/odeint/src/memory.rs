//! How much of a solve is kept for its backward pass.

/// What [`Gradient::Exact`](crate::Gradient::Exact) keeps of the steps of a solve. The gradient is
/// the same to the bit under each, because what is not kept is taken again from what is, to the
/// same bits.
///
/// With `d` the length of the state, `s` the number of slopes of a step, and `m` steps:
///
/// | memory | numbers kept | steps taken again |
/// | --- | --- | --- |
/// | `Stages` | `(s + 1) d m`, and activations | none |
/// | `Steps` | `d m`; `2 d m` for implicit methods | each once |
/// | `Checkpoints(n)` | `d n`; `2 d n` for implicit methods | at most `r` times each, with `r` the least for which `C(n + r, n) ≥ m`, and once more |
///
/// Besides, the times of all steps are kept in each: 48 bytes a step, counted by
/// [`Stats::grid_bytes`](crate::Stats::grid_bytes). For Gauss methods a step starts from the slopes
/// of the last one, so that `Steps` would keep as much as `Stages`, and is the same; a checkpoint is
/// `s + 1` times the state. [`Bdf`](crate::Bdf) needs no more of a step than its state, so `Stages` keeps
/// `d m` numbers (`8 d m` where times are variables), `Steps` is the same, and a checkpoint is seven
/// times the state.
///
/// ```
/// use costate_odeint::{Memory, Ode, Rk4};
/// use costate_tape::Tape;
/// use ndarray::arr1;
///
/// let tape = Tape::new();
/// let y0 = tape.constant(&arr1(&[1.0, 0.0]));
/// let gradient = |memory| {
///     let ode = Ode::new(Rk4).steps(1000).memory(memory);
///     let ys = ode.solve(|t, y| (y * t).sin(), y0, [0.0, 1.0])?;
///     let states = Ode::stats(ys).map(|stats| stats.states_kept);
///     Ok::<_, costate_tape::Error>((ys.sum().grad(&[y0])?[0].to_vec(), states))
/// };
/// let all = gradient(Memory::Stages)?;
/// let few = gradient(Memory::Checkpoints(10))?;
/// assert_eq!(all.0, few.0);
/// assert_eq!((all.1, few.1), (Some(1001), Some(10)));
/// # Ok::<(), costate_tape::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Memory {
    /// States and slopes of every step, and activations of the field up to
    /// [a limit](crate::Ode::activations).
    #[default]
    Stages,
    /// The states only. The stages of each step are computed again in the backward pass.
    Steps,
    /// At most so many states at any moment, the start among them, however many steps there are.
    ///
    /// In the forward pass, which does not know how many steps there will be, states are kept and
    /// given up by their levels (Q. Wang, P. Moin, G. Iaccarino, *Minimal repetition dynamic
    /// checkpointing algorithm for unsteady adjoint calculation*, SIAM J. Sci. Comput. 31, 2009). The
    /// backward pass takes the steps between two of them again, and keeps states on the way where
    /// the binomial schedule wants them (A. Griewank, A. Walther, *Algorithm 799: revolve*, ACM
    /// TOMS 26, 2000). Apart from the `m` steps whose stages it needs, it takes no more than
    ///
    /// ```text
    /// r m - C(n + r, r - 1)    with the least r for which C(n + r, n) ≥ m
    /// ```
    ///
    /// steps again, which is as many as the binomial schedule takes in both passes if it knows `m`.
    Checkpoints(usize),
}
