"""Makes wide.safetensors: inputs rounded to bfloat16, loss and gradient of the discretisation.

    python make_wide.py    # needs numpy

The field is tanh(y @ w1 + b1) @ w2 + b2, the solver 16 equal steps of the classical Runge-Kutta
method from 0 to 1, the loss the mean of y(1)^2. The gradient is a reverse sweep in double
precision, confirmed along random directions by complex steps, and rounded to single precision.
"""

import json

import numpy as np

N, H = 16, 1 / 16
C = (0.0, 0.5, 0.5, 1.0)
B = (1 / 6, 1 / 3, 1 / 3, 1 / 6)


def rounded(x):
    """To the nearest bfloat16, ties to even."""
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def inputs():
    rng = np.random.default_rng(40)
    dense = lambda m, n: rng.standard_normal((m, n)) / np.sqrt(m)
    x = {"w1": dense(256, 512), "b1": 0.1 * rng.standard_normal(512)}
    x |= {"w2": dense(512, 256), "b2": 0.1 * rng.standard_normal(256)}
    x["y0"] = rng.standard_normal((256, 256))
    return {name: rounded(x) for name, x in x.items()}


def forward(x):
    """The loss, and the states and activations of every stage."""
    y, stages = x["y0"], []
    for _ in range(N):
        k = []
        for c in C:
            s = y + c * H * k[-1] if k else y
            a = np.tanh(s @ x["w1"] + x["b1"])
            stages.append((s, a))
            k.append(a @ x["w2"] + x["b2"])
        y = y + H * sum(b * k for b, k in zip(B, k))
    return (y * y).mean(), y, stages


def gradient(x):
    loss, y, stages = forward(x)
    g = {name: np.zeros_like(x) for name, x in x.items()}
    p = 2 * y / y.size
    for n in reversed(range(N)):
        later, total = None, p
        for i in reversed(range(4)):
            s, a = stages[4 * n + i]
            k = H * B[i] * p
            if later is not None:
                k = k + H * C[i + 1] * later
            g["w2"] += a.T @ k
            g["b2"] += k.sum(0)
            z = (k @ x["w2"].T) * (1 - a * a)
            g["w1"] += s.T @ z
            g["b1"] += z.sum(0)
            later = z @ x["w1"].T
            total = total + later
        p = total
    g["y0"] = p
    return loss, g


if __name__ == "__main__":
    x = inputs()
    loss, g = gradient(x)
    rng = np.random.default_rng(41)
    for name in x:
        d = rng.standard_normal(x[name].shape)
        slope = forward(x | {name: x[name] + 1e-30j * d})[0].imag / 1e-30
        error = abs(slope - (g[name] * d).sum()) / np.linalg.norm(g[name])
        assert error < 1e-11, (name, error)
    header, body = {}, b""

    def put(name, dtype, data):
        global body
        begin, body = len(body), body + data.tobytes()
        header[name] = {"dtype": dtype, "shape": data.shape, "data_offsets": [begin, len(body)]}

    put("ts", "F64", np.array([0.0, 1.0]))
    put("ref.loss", "F64", np.array([loss]))
    for name in x:
        put(f"ref.grad.{name}", "F32", g[name].astype(np.float32))
    for name in x:
        put(name, "BF16", (x[name].astype(np.float32).view(np.uint32) >> 16).astype(np.uint16))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open("wide.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + body)
