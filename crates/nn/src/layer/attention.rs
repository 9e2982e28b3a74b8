//! Attention.

use costate_odeint::Real;
use costate_tape::{Tape, Var};

use super::Linear;
use crate::init::Init;
use crate::params::{Bound, Params};

/// Multi-head attention (A. Vaswani et al., arXiv 1706.03762): for each head, with `d = width/heads`
/// columns of `Q = x W_q + b_q`, `K = y W_k + b_k` and `V = y W_v + b_v`,
/// `softmax(Q Kᵀ/√d + mask) V`; the heads side by side go through a last affine layer.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    width: usize,
    heads: usize,
}

impl Attention {
    /// Adds the affine layers `name.query`, `name.key`, `name.value` and `name.out`, with weights
    /// as in [`Init::XavierUniform`] and biases of 0.
    ///
    /// # Panics
    /// If the heads do not divide the width, or there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        width: usize,
        heads: usize,
    ) -> Attention {
        let divides = heads > 0 && width > 0 && width.is_multiple_of(heads);
        assert!(divides, "Attention: {heads} heads do not divide a width of {width}");
        let [query, key, value, out] = ["query", "key", "value", "out"].map(|part| {
            let name = format!("{name}.{part}");
            Linear::with_init(params, &name, width, width, Init::XavierUniform)
        });
        Attention { query, key, value, out, width, heads }
    }

    /// From `x`, `[batch, places, width]`, that asks, and `y`, `[batch, others, width]`, that
    /// answers (the same for self-attention), to `[batch, places, width]`. A mask is added to the
    /// scores and broadcasts to `[batch, heads, places, others]`: see [`Attention::causal`].
    ///
    /// # Panics
    /// If they have other shapes.
    #[track_caller]
    pub fn forward<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        x: Var<'t, T>,
        y: Var<'t, T>,
        mask: Option<Var<'t, T>>,
    ) -> Var<'t, T> {
        let (sx, sy, width) = (x.shape(), y.shape(), self.width);
        let fits = sx.ndim() == 3 && sy.ndim() == 3 && sx[0] == sy[0];
        assert!(
            fits && sx[2] == width && sy[2] == width && sy[1] > 0,
            "Attention: shapes {sx} and {sy}, not [batch, places, {width}] and \
             [batch, others, {width}]"
        );
        let d = width / self.heads;
        // [batch, places, width] to [batch, heads, places, d].
        let [q, k, v] = [
            self.query.forward(p, x).reshape([sx[0], sx[1], self.heads, d]).permute(&[0, 2, 1, 3]),
            self.key.forward(p, y).reshape([sy[0], sy[1], self.heads, d]).permute(&[0, 2, 1, 3]),
            self.value.forward(p, y).reshape([sy[0], sy[1], self.heads, d]).permute(&[0, 2, 1, 3]),
        ];
        let scores = q.matmul(k.swap_axes(2, 3)).scale(T::from_f64(1.0 / (d as f64).sqrt()));
        let scores = match mask {
            None => scores,
            Some(mask) => {
                let (found, expected) = (mask.shape(), scores.shape());
                let masked = scores + mask;
                assert!(
                    masked.shape() == expected,
                    "Attention: a mask of shape {found} for scores of shape {expected}"
                );
                masked
            }
        };
        let heads = scores.softmax(3).matmul(v).permute(&[0, 2, 1, 3]);
        self.out.forward(p, heads.reshape(&sx))
    }

    /// The mask by which a place sees itself and those before it, `[places, places]`: 0 there and
    /// a large negative number elsewhere.
    #[track_caller]
    pub fn causal<T: Real>(tape: &Tape<T>, places: usize) -> Var<'_, T> {
        // Not minus infinity, whose softmax has NaNs in its derivatives.
        let far = T::from_f64(-1e30);
        let entry = |k: usize| if k % places > k / places { far } else { T::zero() };
        let entries: Vec<T> = (0..places * places).map(entry).collect();
        tape.leaf(&entries, [places, places])
    }
}
