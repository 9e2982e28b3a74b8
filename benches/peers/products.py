"""The rate of large matrix products, as the time that the products of `wide` would take at it.

python products.py wide none [--threads N]: products of matrices of 1024 rows and columns in float32 by
torch, which calls its vendor's library, scaled to as many operations as the products of `wide` have:
two in each of 64 evaluations of the field, and twice as many backward.
"""

from timing import arguments, arrays, timed

import importlib.metadata
import json

import torch

torch.set_num_threads(arguments.threads)
SIZE = 1024


def main():
    data = arrays()
    rows, (inner, hidden) = len(data["y0"]), data["w1"].shape
    operations = 3 * 64 * 2 * (2 * rows * inner * hidden)
    a, b = torch.rand(SIZE, SIZE), torch.rand(SIZE, SIZE)
    out = torch.empty(SIZE, SIZE)
    _, times = timed(lambda: torch.mm(a, b, out=out), scale=operations / (2 * SIZE**3))
    version = f"torch {importlib.metadata.version('torch')}"
    print(json.dumps(times | {"version": version, "operations": operations, "steps": None}))


main()
