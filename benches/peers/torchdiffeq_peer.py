"""Loss and gradient of a workload by torchdiffeq: python torchdiffeq_peer.py NAME WAY [--threads N].

WAY   unrolled   back-propagation through the solver
      adjoint    the continuous adjoint
It has no method of Tsitouras: Dormand and Prince take its place, and for `wide` its `rk4`, which is
the 3/8 rule. It has no implicit method for `robertson`.
"""

from timing import arguments, arrays, dtype, report, tolerances

import importlib.metadata

import torch
import torchdiffeq
from torch.nn.functional import softplus

torch.set_num_threads(arguments.threads)
REAL = torch.float64 if dtype == "f64" else torch.float32


class Field(torch.nn.Module):
    """A field whose parameters the adjoint finds."""

    def __init__(self, p, f):
        super().__init__()
        self.p, self.f = torch.nn.ParameterDict(p), f

    def forward(self, t, y):
        return self.f(self.p, t, y)


def spiral(p, t, y):
    return torch.tanh(y**3 @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]


def mlp(p, t, y):
    h = softplus(y @ p["w1"] + p["b1"])
    return softplus(h @ p["w2"] + p["b2"]) @ p["w3"] + p["b3"]


def lotka_volterra(p, t, u):
    (a, b, c, d), xy = p["p"], u[0] * u[1]
    return torch.stack([a * u[0] - b * xy, d * xy - c * u[1]])


def wide(p, t, y):
    return torch.tanh(y @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]


def cnf(p, t, state):
    y, _ = state
    h = torch.tanh(y @ p["w1"][:2] + t * p["w1"][2] + p["b1"])
    g = torch.tanh(h @ p["w2"] + p["b2"])
    # The trace by a formula: the fastest way in torch.
    weights = p["w2"] * (p["w3"] @ p["w1"][:2]).T
    trace = (((1 - h**2) @ weights) * (1 - g**2)).sum(1)
    return g @ p["w3"] + p["b3"], -trace


PROBLEMS = {
    "spiral": (spiral, "w1 b1 w2 b2"),
    "mlp": (mlp, "w1 b1 w2 b2 w3 b3"),
    "lotka_volterra": (lotka_volterra, "p"),
    "cnf": (cnf, "w1 b1 w2 b2 w3 b3"),
    "wide": (wide, "w1 b1 w2 b2"),
}


def main():
    f, names = PROBLEMS[arguments.name]
    numbers = arrays()
    data = {name: torch.tensor(x, dtype=REAL) for name, x in numbers.items()}
    field = Field({name: torch.nn.Parameter(data[name]) for name in names.split()}, f)
    y0 = data["y0"].clone().requires_grad_("ref.grad.y0" in data)
    odeint = torchdiffeq.odeint_adjoint if arguments.way == "adjoint" else torchdiffeq.odeint
    rtol, atol = tolerances()
    how = {"method": "dopri5", "rtol": rtol, "atol": atol}
    if arguments.name == "wide":
        how = {"method": "rk4", "options": {"step_size": 1 / 16}}

    def loss():
        start = (y0, torch.zeros_like(y0[:, 0])) if arguments.name == "cnf" else y0
        ys = odeint(field, start, data["ts"], **how)
        match arguments.name:
            case "spiral":
                return (ys - data["target"]).abs().mean()
            case "mlp":
                return ((ys - data["target"]) ** 2).mean()
            case "lotka_volterra":
                return ((ys - data["target"]) ** 2).sum()
            case "wide":
                return (ys[-1] ** 2).mean()
            case "cnf":
                y, change = ys[0][-1], ys[1][-1]
                log_normal = -0.5 * (y**2).sum(1) - torch.log(torch.tensor(2 * torch.pi))
                return (change - log_normal).mean()

    def call():
        for x in [y0, *field.parameters()]:
            x.grad = None
        value = loss()
        value.backward()
        gradients = {name: p.grad.numpy() for name, p in field.p.items()}
        if "ref.grad.y0" in data:
            gradients["y0"] = y0.grad.numpy()
        return value.detach(), gradients, {}

    version = importlib.metadata.version
    name = f"{version('torchdiffeq')}, torch {version('torch')}"
    report("torchdiffeq", name, numbers, call)


main()
