//! The latent ODE.

use costate_odeint::Ode;
use costate_odeint::Real;
use costate_tape::Var;

use crate::error::Result;
use crate::layer::{Activation, Gru, Linear, Mlp};
use crate::params::{Bound, Params};

/// An irregular series as noisy observations of an ODE of hidden state (R. T. Q. Chen et al.,
/// arXiv 1806.07366, section 5; Y. Rubanova et al., arXiv 1907.03907). A recurrent network reads
/// the series from its end to its start and says where the hidden state begins, as a normal
/// distribution; the ODE carries it to any time; an affine layer says what is seen there.
///
/// Training maximises a bound of the likelihood: [`LatentOde::elbo`].
#[derive(Clone, Debug)]
pub struct LatentOde {
    reader: Gru,
    start: Linear,
    field: Mlp,
    decoder: Mlp,
    channels: usize,
    latent: usize,
    hidden: usize,
}

/// A bound of the likelihood of series, and what it is made of.
#[derive(Clone, Copy, Debug)]
pub struct Elbo<'t, T: Real> {
    /// The bound of `ln p`, mean over the rows, 0-d: `likelihood - divergence`.
    pub bound: Var<'t, T>,
    /// `E ln p(x | z)` for the given noise, 0-d.
    pub likelihood: Var<'t, T>,
    /// The Kullback–Leibler divergence of the start's distribution from the standard normal, 0-d.
    pub divergence: Var<'t, T>,
}

impl LatentOde {
    /// For series of as many channels, a hidden state of `latent` components, and networks with
    /// `hidden` units. Adds `name.reader`, `name.start`, `name.field` and `name.decoder`.
    ///
    /// # Panics
    /// If a size is 0, or there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        channels: usize,
        latent: usize,
        hidden: usize,
    ) -> LatentOde {
        assert!(
            channels > 0 && latent > 0 && hidden > 0,
            "LatentOde: {channels} channels, {latent} latent and {hidden} hidden components"
        );
        let part = |part: &str| format!("{name}.{part}");
        let widths = [latent, hidden, latent];
        LatentOde {
            reader: Gru::new(params, &part("reader"), 2 * channels + 1, hidden),
            start: Linear::new(params, &part("start"), hidden, 2 * latent),
            field: Mlp::new(params, &part("field"), &widths, Activation::Tanh),
            decoder: Mlp::new(
                params,
                &part("decoder"),
                &[latent, hidden, channels],
                Activation::Tanh,
            ),
            channels,
            latent,
            hidden,
        }
    }

    /// Mean and logarithm of the variance of the hidden state at the first time, `[rows, latent]`
    /// each, from observations `[times, rows, channels]` and a mask of the same shape that is 1
    /// where something was observed and 0 elsewhere.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn encode<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        ts: &[f64],
        xs: Var<'t, T>,
        mask: Var<'t, T>,
    ) -> [Var<'t, T>; 2] {
        let (shape, found) = (xs.shape(), mask.shape());
        let channels = self.channels;
        assert!(
            shape.ndim() == 3 && shape[0] == ts.len() && shape[2] == channels && !ts.is_empty(),
            "LatentOde: observations of shape {shape}, not [{}, rows, {channels}]",
            ts.len()
        );
        assert!(shape == found, "LatentOde: a mask of shape {found} for shape {shape}");
        let (tape, rows) = (xs.tape(), shape[1]);
        let mut h = tape.leaf(&vec![T::zero(); rows * self.hidden], [rows, self.hidden]);
        for i in (0..ts.len()).rev() {
            let gap = ts.get(i + 1).map_or(0.0, |later| later - ts[i]);
            let gap = tape.leaf(&vec![T::from_f64(gap); rows], [rows, 1]);
            let (x, m) = (xs.index_axis(0, i), mask.index_axis(0, i));
            h = self.reader.step(p, Var::concat(1, &[x * m, m, gap]), h);
        }
        let start = self.start.forward(p, h);
        [start.slice_axis(1, 0..self.latent), start.slice_axis(1, self.latent..2 * self.latent)]
    }

    /// What is seen at the given times, `[times, rows, channels]`, from hidden states at the first
    /// of them, `[rows, latent]`.
    ///
    /// # Errors
    /// Those of the solve.
    ///
    /// # Panics
    /// If the state has another shape.
    #[track_caller]
    pub fn decode<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        ode: &Ode,
        z: Var<'t, T>,
        ts: &[f64],
    ) -> Result<Var<'t, T>> {
        super::rows("LatentOde", z, self.latent);
        let zs = ode.solve(|_, z| self.field.forward(p, z), z, ts)?;
        Ok(self.decoder.forward(p, zs))
    }

    /// A bound of the likelihood of observations with normal noise of the given standard deviation.
    /// `epsilon`, `[rows, latent]`, standard normal and drawn anew for each step of training,
    /// chooses the start: `mean + deviation · epsilon`.
    ///
    /// # Errors
    /// Those of the solve.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn elbo<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        ode: &Ode,
        ts: &[f64],
        [xs, mask]: [Var<'t, T>; 2],
        epsilon: Var<'t, T>,
        noise: f64,
    ) -> Result<Elbo<'t, T>> {
        let [mean, log_variance] = self.encode(p, ts, xs, mask);
        super::rows("LatentOde", epsilon, self.latent);
        let half = T::from_f64(0.5);
        let z = mean + log_variance.scale(half).exp() * epsilon;
        let residual = (self.decode(p, ode, z, ts)? - xs) * mask;
        let rows = T::from_f64(xs.shape()[1] as f64);
        let constant = T::from_f64(noise.ln() + 0.5 * std::f64::consts::TAU.ln());
        let squares = residual.square().sum().scale(T::from_f64(-0.5 / (noise * noise)));
        let likelihood = (squares - mask.sum() * constant) / rows;
        let spread = log_variance.exp() + mean.square() - log_variance - T::one();
        let divergence = spread.sum().scale(half) / rows;
        Ok(Elbo { bound: likelihood - divergence, likelihood, divergence })
    }
}
