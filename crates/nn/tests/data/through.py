"""Reads a safetensors file, prints what is in it, and writes it to another file."""

import sys

from safetensors.numpy import load_file, save_file

arrays = load_file(sys.argv[1])
for name, array in sorted(arrays.items()):
    entries = array.ravel()[:4].tolist()
    numbers = [x.hex() if isinstance(x, float) else str(x) for x in entries]
    print(name, array.dtype, array.shape, *numbers)
save_file(arrays, sys.argv[2])
