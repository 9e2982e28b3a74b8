"""Loss and gradient of a workload by diffrax: python diffrax_peer.py NAME WAY [--threads N].

WAY   checkpointed  its default: back-propagation through the steps, few states kept
      stored        the same, a state kept for each step
      backsolve     the continuous adjoint
      forward       forward mode
      scan          `wide` only: no diffrax but a `lax.scan` by hand, and `jax.grad`
For `cnf`, a WAY that ends in `_closed` takes the trace by a formula instead of by forward mode.
"""

from timing import arguments, arrays, dtype, report, tolerances

import importlib.metadata

import jax

jax.config.update("jax_enable_x64", dtype == "f64")

import diffrax
import jax.numpy as jnp

WAY = arguments.way.removesuffix("_closed")
CLOSED = arguments.way.endswith("_closed")
REAL = jnp.float64 if dtype == "f64" else jnp.float32
# A bound on the number of steps, two to four times what is needed.
STEPS = {"spiral": 64, "mlp": 128, "lotka_volterra": 512, "robertson": 1024, "cnf": 64, "wide": 16}


def gradient_way():
    steps = STEPS[arguments.name] * (4 if arguments.rtol else 1)
    match WAY:
        case "checkpointed":
            return diffrax.RecursiveCheckpointAdjoint(), steps
        case "stored":
            return diffrax.RecursiveCheckpointAdjoint(checkpoints=steps), steps
        case "backsolve":
            return diffrax.BacksolveAdjoint(), steps
        case "forward":
            return diffrax.ForwardMode(), steps
    raise SystemExit(f"there is no way {arguments.way}")


def solve(field, method, y0, p, ts, *, last_only=False, dt0=None, **control):
    adjoint, steps = gradient_way()
    rtol, atol = tolerances()
    found = diffrax.diffeqsolve(
        diffrax.ODETerm(field), method, ts[0], ts[-1], dt0, y0, p,
        saveat=diffrax.SaveAt(t1=True) if last_only else diffrax.SaveAt(ts=ts),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol, **control),
        adjoint=adjoint, max_steps=steps,
    )
    return found.ys, found.stats


def spiral(x, data):
    def field(t, y, p):
        return jnp.tanh(y**3 @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]

    ys, stats = solve(field, diffrax.Dopri5(), x["y0"], x, data["ts"])
    # At the first time the difference is 0, where |x| has derivative 0 here and 1 in jax.
    return jnp.abs(ys - data["target"])[1:].sum() / data["target"].size, stats


def mlp(x, data):
    def field(t, y, p):
        h = jax.nn.softplus(y @ p["w1"] + p["b1"])
        return jax.nn.softplus(h @ p["w2"] + p["b2"]) @ p["w3"] + p["b3"]

    ys, stats = solve(field, diffrax.Tsit5(), data["y0"], x, data["ts"])
    return ((ys - data["target"]) ** 2).mean(), stats


def lotka_volterra(x, data):
    def field(t, u, p):
        a, b, c, d = p
        return jnp.array([a * u[0] - b * u[0] * u[1], d * u[0] * u[1] - c * u[1]])

    ys, stats = solve(field, diffrax.Tsit5(), x["y0"], x["p"], data["ts"])
    return ((ys - data["target"]) ** 2).sum(), stats


def robertson(x, data):
    def field(t, u, k):
        a, b, c = k[0] * u[0], k[1] * u[1] ** 2, k[2] * u[1] * u[2]
        return jnp.array([c - a, a - b - c, b])

    # The coefficients that diffrax advises for stiff problems.
    ys, stats = solve(field, diffrax.Kvaerno5(), data["y0"], x["k"], data["ts"], dt0=1e-6,
                      pcoeff=0.3, icoeff=0.4)
    return (((ys - data["target"]) * jnp.array([1.0, 1e4, 1.0])) ** 2).sum(), stats


def cnf(x, data):
    def velocity(t, y, p):
        h = jnp.tanh(y @ p["w1"][:2] + t * p["w1"][2] + p["b1"])
        return jnp.tanh(h @ p["w2"] + p["b2"]) @ p["w3"] + p["b3"]

    def by_forward_mode(t, state, p):
        y, _ = state
        v, push = jax.linearize(lambda y: velocity(t, y, p), y)
        units = jnp.broadcast_to(jnp.eye(2, dtype=y.dtype)[:, None, :], (2, *y.shape))
        columns = jax.vmap(push)(units)
        return v, -(columns[0, :, 0] + columns[1, :, 1])

    def by_formula(t, state, p):
        h = jnp.tanh(state[0] @ p["w1"][:2] + t * p["w1"][2] + p["b1"])
        g = jnp.tanh(h @ p["w2"] + p["b2"])
        weights = p["w2"] * (p["w3"] @ p["w1"][:2]).T
        trace = (((1 - h**2) @ weights) * (1 - g**2)).sum(1)
        return g @ p["w3"] + p["b3"], -trace

    field = by_formula if CLOSED else by_forward_mode
    start = (data["y0"], jnp.zeros_like(data["y0"][:, 0]))
    (y, change), stats = solve(field, diffrax.Tsit5(), start, x, data["ts"], last_only=True)
    log_normal = -0.5 * (y[-1] ** 2).sum(1) - jnp.log(2 * jnp.pi)
    return (change[-1] - log_normal).mean(), stats


class Rk4(diffrax.AbstractERK):
    """The classical method, which diffrax does not have."""

    import numpy as _np

    tableau = diffrax.ButcherTableau(
        c=_np.array([0.5, 0.5, 1.0]),
        a_lower=(_np.array([0.5]), _np.array([0.0, 0.5]), _np.array([0.0, 0.0, 1.0])),
        b_sol=_np.array([1.0, 2.0, 2.0, 1.0]) / 6.0,
        b_error=_np.zeros(4),
    )
    interpolation_cls = diffrax.ThirdOrderHermitePolynomialInterpolation.from_k

    def order(self, terms):
        return 4


def wide(x, data):
    def field(t, y, p):
        return jnp.tanh(y @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]

    h = 1 / 16
    if WAY == "scan":
        def step(y, _):
            k1 = field(0, y, x)
            k2 = field(0, y + h / 2 * k1, x)
            k3 = field(0, y + h / 2 * k2, x)
            k4 = field(0, y + h * k3, x)
            return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

        return (jax.lax.scan(step, x["y0"], length=16)[0] ** 2).mean(), {}
    adjoint, _ = gradient_way()
    found = diffrax.diffeqsolve(
        diffrax.ODETerm(field), Rk4(), 0.0, 1.0, h, x["y0"], x, adjoint=adjoint, max_steps=16,
        stepsize_controller=diffrax.ConstantStepSize(), saveat=diffrax.SaveAt(t1=True),
    )
    return (found.ys[-1] ** 2).mean(), found.stats


PROBLEMS = {
    "spiral": (spiral, "w1 b1 w2 b2 y0"),
    "mlp": (mlp, "w1 b1 w2 b2 w3 b3"),
    "lotka_volterra": (lotka_volterra, "p y0"),
    "robertson": (robertson, "k"),
    "cnf": (cnf, "w1 b1 w2 b2 w3 b3"),
    "wide": (wide, "w1 b1 w2 b2 y0"),
}


def main():
    loss, names = PROBLEMS[arguments.name]
    numbers = arrays()
    data = {name: jnp.asarray(x, REAL) for name, x in numbers.items()}
    inputs = {name: data[name] for name in names.split()}
    if WAY == "forward":
        def both(x):
            def twice(x):
                value, stats = loss(x, data)
                return value, (value, stats)
            gradient, (value, stats) = jax.jacfwd(twice, has_aux=True)(x)
            return (value, stats), gradient
    else:
        def both(x):
            return jax.value_and_grad(lambda x: loss(x, data), has_aux=True)(x)
    compiled = jax.jit(both)

    def call():
        (value, stats), gradient = jax.block_until_ready(compiled(inputs))
        steps = {}
        if "num_accepted_steps" in stats:
            steps = {"accepted": int(stats["num_accepted_steps"]),
                     "rejected": int(stats["num_rejected_steps"])}
        return value, gradient, steps

    version = importlib.metadata.version
    report("diffrax", f"{version('diffrax')}, jax {version('jax')}", numbers, call)


main()
