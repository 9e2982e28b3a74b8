"""What the runners of the peers share: arguments, threads, timing, and the line of JSON.

Import this before jax or torch, whose threads it limits.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("name", help="the workload")
parser.add_argument("way", help="how the gradient is taken")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--seconds", type=float, default=2.0, help="how long to measure")
parser.add_argument("--turns", action="store_true",
                    help="measure so long after each line of the input, and report at its end")
parser.add_argument("--rtol", type=float, help="another relative tolerance")
parser.add_argument("--dtype", choices=["f32", "f64"], help="another type of numbers")
parser.add_argument("--data", type=pathlib.Path,
                    default=pathlib.Path(__file__).resolve().parents[2] / "tests" / "data")
arguments = parser.parse_args()

# One thread is one core: the pools of these libraries take their size from what they see.
cores = sorted(os.sched_getaffinity(0))[: arguments.threads]
os.sched_setaffinity(0, cores)
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(arguments.threads)
# Processors are compared, also where there is more.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

DOUBLE = {"spiral", "lotka_volterra", "robertson"}
dtype = arguments.dtype or ("f64" if arguments.name in DOUBLE else "f32")

TOLERANCES = {
    "spiral": (1e-7, 1e-9),
    "mlp": (1e-3, 1e-6),
    "lotka_volterra": (1e-8, 1e-8),
    "robertson": (1e-8, 1e-10),
    "cnf": (1e-5, 1e-5),
    "wide": (None, None),
}


def tolerances():
    """Relative and absolute; another relative one keeps their ratio."""
    rtol, atol = TOLERANCES[arguments.name]
    if arguments.rtol and rtol:
        rtol, atol = arguments.rtol, atol * arguments.rtol / rtol
    return rtol, atol


def arrays():
    """The arrays of the workload as float64; those in bfloat16 are widened."""
    import numpy as np
    from safetensors import deserialize

    path = arguments.data / f"{arguments.name}.safetensors"
    found = {}
    for name, tensor in deserialize(path.read_bytes()):
        raw = bytes(tensor["data"])
        match tensor["dtype"]:
            case "F64":
                x = np.frombuffer(raw, "<f8")
            case "F32":
                x = np.frombuffer(raw, "<f4")
            case "BF16":
                x = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        found[name] = x.astype(np.float64).reshape(tensor["shape"])
    return found


def peak_megabytes():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024


def turn(call):
    """How long calls take, in milliseconds: so many as begin in the seconds, and two at least."""
    times, begin = [], time.perf_counter()
    while len(times) < 2 or time.perf_counter() - begin < arguments.seconds:
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def timed(call, scale=1.0):
    """What the first call returns, and what is reported of the times of all, multiplied by `scale`."""
    start = time.perf_counter()
    result = call()
    first = 1e3 * (time.perf_counter() - start)
    times = []
    if arguments.turns:
        print('{"ready": true}', flush=True)
        for _ in sys.stdin:
            # What others left in the caches is not to be timed.
            call()
            found = [scale * x for x in turn(call)]
            print(json.dumps({"ms_median": statistics.median(found), "ms_min": min(found)}), flush=True)
            times += found
    else:
        times = [scale * x for x in turn(call)]
    return result, {
        "name": arguments.name,
        "gradient": arguments.way,
        "dtype": dtype,
        "threads": arguments.threads,
        "first_call_ms": round(first, 1),
        "ms_median": round(statistics.median(times), 4),
        "ms_min": round(min(times), 4),
        "repeats": len(times),
        "peak_rss_mb": round(peak_megabytes(), 1),
    }


def report(peer, version, data, call):
    """Times `call`, which returns the loss, the gradients by name, and what is known of the steps."""
    import numpy as np

    (loss, gradients, steps), times = timed(call)
    distance = size = 0.0
    for name, gradient in gradients.items():
        right = data["ref.grad." + name]
        distance += ((np.asarray(gradient, np.float64) - right) ** 2).sum()
        size += (right**2).sum()
    right = float(data["ref.loss"].ravel()[0])
    print(json.dumps(times | {
        "peer": peer,
        "version": version,
        "loss": float(loss),
        "loss_rel_err": abs(float(loss) - right) / abs(right),
        "grad_rel_err": float((distance / size) ** 0.5),
        "steps": steps,
    }))
