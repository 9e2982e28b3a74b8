"""The programs that are compared: built here, or taken from a folder that was filled elsewhere."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

from .problems import COMPILED, COPIES, FLOORS, HAND, OTHER, PEAK, PROBLEMS, PRODUCTS, SCALING

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ROOT / "benches" / "peers"
DATA = str(ROOT / "tests" / "data")


# glibc would give memory back to the system and ask for it again at each of diffsol's solves.
KEEP_MEMORY = ["env", "MALLOC_TOP_PAD_=67108864", "MALLOC_TRIM_THRESHOLD_=134217728"]


def run(command, **more):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, **more).stdout


def python():
    """The interpreter of a virtual environment that has the peers."""
    folder = ROOT / "target" / "peers"
    wanted = (PEERS / "requirements.txt").read_text()
    done = folder / "installed.txt"
    if not done.exists() or done.read_text() != wanted:
        print("installing the peers below target/peers", file=sys.stderr)
        run([sys.executable, "-m", "venv", str(folder)])
        run([str(folder / "bin" / "pip"), "install", "-q", "-r", str(PEERS / "requirements.txt")])
        done.write_text(wanted)
    return str(folder / "bin" / "python")


def built(command, name, folder=ROOT):
    """The program of this name that a command of cargo builds in a folder."""
    lines = run([*command, "--locked", "--message-format=json"], cwd=folder).splitlines()
    found = [json.loads(line) for line in lines if '"executable":"' in line]
    return next(x["executable"] for x in found if x["target"]["name"] == name)


def cvodes():
    """The compiled program for CVODES, or nothing where it cannot be built."""
    program = ROOT / "target" / "cvodes_peer"
    program.parent.mkdir(exist_ok=True)
    libraries = ["cvodes", "nvecserial", "sunmatrixdense", "sunlinsoldense", "sunnonlinsolfixedpoint"]
    command = [os.environ.get("CC", "cc"), "-O3", "-march=native", "-o", str(program),
               str(PEERS / "cvodes_peer.c"), *(f"-lsundials_{x}" for x in libraries), "-lm"]
    try:
        run(command, stderr=subprocess.PIPE)
    except (subprocess.CalledProcessError, OSError) as e:
        first = (getattr(e, "stderr", "") or str(e)).strip().splitlines()[:1]
        print(f"without CVODES, which needs a C compiler and libsundials-dev: {first}", file=sys.stderr)
        return None
    return str(program)


def build():
    """All programs but the interpreter of Python, by name."""
    bench = ["cargo", "bench", "--bench", "workloads", "--no-run"]
    diffsol = ["cargo", "build", "--release", "--bin", "diffsol",
               "--manifest-path", "benches/rust-peers/Cargo.toml"]
    return {
        "costate": built(bench, "workloads"),
        # Where its configuration is, which asks for all instructions of this processor.
        "floors": built(["cargo", "build", "--release"], "floors", ROOT / "benches" / "floors"),
        "diffsol": built(diffsol, "diffsol"),
        "CVODES": cvodes(),
        "rustc": run(["rustc", "--version"]).split()[1],
    }


NAMES = ("costate", "floors", "diffsol", "CVODES")


def save(programs, folder):
    """Copies what was built, for `load` on a machine that cannot build."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        if programs[name]:
            shutil.copy(programs[name], folder / name)
    (folder / "rustc").write_text(programs["rustc"])


def load(folder):
    found = {name: str(folder / name) if (folder / name).exists() else None
             for name in NAMES}
    return found | {"rustc": (folder / "rustc").read_text()}


def commands(programs, name, threads):
    """What is run of a problem on so many threads: who, how, and the command; costate first."""
    more, peers, _ = PROBLEMS[name]
    workload = name.split(",")[0]
    file = workload.removesuffix("_formula")
    count = ["--threads", str(threads)]
    options = ["--bench", workload, "--json", "--data", DATA, *more]
    yield "costate", "exact", [programs["costate"], *options, *count]
    if programs["other"]:
        yield OTHER, "exact", [programs["other"], *options, *count]
    if threads > 1 and name in SCALING:
        yield COPIES, "exact", [programs["costate"], *options, "--threads", "1"]
    if threads == 1:
        if name in FLOORS and programs["floors"]:
            yield HAND, "exact", [programs["floors"], *FLOORS[name][0], "--json", "--data", DATA]
        for peer, (ways, _) in COMPILED.get(name, {}).items():
            for way in ways if programs[peer] else []:
                yield peer, way, [*KEEP_MEMORY, programs[peer], DATA, file, way]
    if programs["python"]:
        if name in PEAK:
            script = str(PEERS / "products.py")
            yield PRODUCTS, "none", [programs["python"], script, file, "none", *count]
        for peer, ways in peers.items():
            script = str(PEERS / f"{peer}_peer.py")
            for way in ways:
                yield peer, way, [programs["python"], script, file, way, *more, *count]
