"""The tables of docs/benchmarks.md."""

import datetime
import os
import pathlib
import platform
import re

from .problems import COMPILED, COPIES, FLOORS, HAND, PEAK, PROBLEMS, PRODUCTS, SCALING
from .turns import ratio

END = """\
Of each peer the fastest way by the median is set beside costate. At rtol 1e-3 the error of
`mlp` says more about where the steps fall than about a library: compare errors in f64 at 1e-6. `cnf`
takes the trace by forward mode, `cnf_formula` by a formula derived by hand; torchdiffeq is measured with
the latter, its fastest, and takes the method of Dormand and Prince where the others take that of
Tsitouras, which it lacks. CVODES takes Adams methods for `lotka_volterra` and BDF for `robertson`, with
the derivatives that it needs given; as it does by default, it controls the errors of sensitivities only
where the table says so. diffsol takes forward sensitivities, its fastest way, with derivatives given as
well. The products alone are torch's of matrices of 1024 rows and columns, as many as have the operations
of the products of `wide`."""


def machine():
    info = pathlib.Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    names = re.findall(r"model name\s*: (.*)", text)
    vectors = "AVX-512" if " avx512f" in text else "AVX2" if " avx2" in text else "no AVX2"
    return f"{names[0] if names else platform.processor()} ({vectors}), {os.cpu_count()} cores, " \
           f"{platform.system()} {platform.release().split('-')[0]}"


def number(x):
    return f"{x:.3g}" if x < 100 else f"{x:.0f}"


def of(lines, name, threads):
    """costate's line of a problem, or nothing, and those of the others."""
    chosen = [x for x in lines if x["problem"] == name and x["threads"] == threads]
    ours = next((x for x in chosen if x["peer"] == "costate"), None)
    return ours, [x for x in chosen if x["peer"] != "costate"]


def goals(lines, names):
    """Rows of what was to be reached: problem, threads, beside whom, by how much, the goal, whether."""
    for name in names:
        ours, others = of(lines, name, 1)
        if not ours:
            continue
        compiled = {peer: goal for peer, (_, goal) in COMPILED.get(name, {}).items()}
        wanted = PROBLEMS[name][2] | compiled
        for peer, goal in wanted.items():
            if theirs := [x for x in others if x["peer"] == peer]:
                fastest = min(theirs, key=lambda x: x["ms_median"])
                times = ratio(fastest, ours)
                yield name, 1, f"{peer}, {fastest['gradient']}", times, f"≥ {goal}", times >= goal
        for x in others:
            if x["peer"] == HAND and FLOORS[name][1]:
                times, most = 1 / ratio(x, ours), FLOORS[name][1]
                yield name, 1, "its time by hand", times, f"≤ {most}", times <= most
            if x["peer"] == PRODUCTS:
                part = ratio(x, ours)
                yield name, 1, "its products' rate", part, f"≥ {PEAK[name]}", part >= PEAK[name]
    for name in names:
        (one, _), (two, others) = of(lines, name, 1), of(lines, name, 2)
        if one and two:
            # What is not to gain is not to lose: 5 % are noise.
            times, goal = ratio(one, two), SCALING.get(name, 1)
            yield name, 2, "itself, one thread", times, f"≥ {goal}", times >= (goal if goal > 1 else 0.95)
        for x in others if one else []:
            if x["peer"] == COPIES:
                yield name, 2, "the same, two processes at once", ratio(one, x), "", None


def table(lines, name):
    (ours, others), (two, more) = of(lines, name, 1), of(lines, name, 2)
    yield f"### `{name}`"
    yield ""
    yield ("| | gradient | ms, 1 thread (least) | 2 threads | times costate's | steps | error of loss "
           "| of gradient | first call, ms | peak memory, MB |")
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for x in [ours, *others]:
        if x is None:
            continue
        key = (x["peer"], x["gradient"])
        with_two = [y for y in [two, *more] if y and (y["peer"], y["gradient"]) == key]
        steps = x["steps"]
        errors = [f"{x[e]:.1e}" if e in x else "" for e in ("loss_rel_err", "grad_rel_err")]
        yield "| " + " | ".join([
            *key,
            f"{number(x['ms_median'])} ({number(x['ms_min'])})",
            number(with_two[0]["ms_median"]) if with_two else "",
            number(ratio(x, ours)) if ours else "",
            f"{steps['accepted']}+{steps['rejected']}" if steps else "",
            *errors,
            number(x["first_call_ms"]),
            f"{x['peak_rss_mb']:.0f}",
        ]) + " |"
    yield ""


def page(lines, command, rustc, rounds, seconds):
    versions = sorted({f"{x['peer']} {x['version']}" for x in lines
                       if "version" in x and x["peer"] != PRODUCTS})
    names = [name for name in PROBLEMS if any(x["problem"] == name for x in lines)]
    text = [
        "# Benchmarks",
        "",
        "<!-- Written by benches/compare. -->",
        "",
        "Loss and gradient of the problems that `tests/data/README.md` states, beside the peers, with",
        "equal methods and tolerances. All programs of a problem run at once and take turns of",
        f"{seconds} seconds, {rounds} of each, while the others wait; those of one thread share a core. Times",
        "are in milliseconds, after the first call: the median of the turns' medians, and the least of",
        "all calls. Ratios are medians of the ratios in each round, so that a while in which the machine",
        "was slow counts for both sides. Where medians are far above least times, others used the machine.",
        "First calls of programs that are up within a second are the least of five processes'.",
        "",
        f"- To repeat it: `{command}`",
        f"- {machine()}; rustc {rustc}; {'; '.join(versions)}",
        f"- {datetime.date.today().isoformat()}",
        "",
        "## Goals",
        "",
        "| problem | threads | beside | times | goal | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, threads, beside, times, goal, met in goals(lines, names):
        said = {True: "met", False: "not met", None: "what there is"}[met]
        text.append(f"| `{name}` | {threads} | {beside} | {number(times)} | {goal} | {said} |")
    text += [
        "",
        "A peer's time is so many times costate's; beside code by hand (`benches/floors`: the same solver",
        "for one problem alone, without a tape) costate's is so many times that. Two processes of one thread, each on",
        "a core of its own, share no work: what both do at once is what the two cores can do.",
        "",
        "## Measurements",
        "",
    ]
    for name in names:
        text += table(lines, name)
    return "\n".join([*text, END, ""])
