"""Programs measured in short turns.

Each program of a problem is a process that makes its first call and then waits. A line on its standard
input lets it measure for a fraction of a second, while all others wait; they take turns so, many times.
So a while in which the machine is slow is the same for all, and ratios are taken within each round.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from .problems import COPIES

# How often a program is started that is up at once, for its first call.
STARTS = 5
# Up to how many seconds that takes.
SOON = 1.0


class Failure(Exception):
    """What a program said last."""


def some_cores(count):
    """So many of the cores that there are."""
    cores = sorted(os.sched_getaffinity(0))
    # Two that are next to each other may be one.
    return (cores[::2] if len(cores) >= 2 * count > 2 else cores)[:count]


class Program:
    """A running program, pinned to some cores."""

    def __init__(self, command, cores, seconds):
        # A file does not fill up as a pipe does that nobody reads.
        self.errors = tempfile.TemporaryFile("w+")
        begin = time.monotonic()
        self.process = subprocess.Popen(
            [*command, "--seconds", str(seconds), "--turns"], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            preexec_fn=lambda: os.sched_setaffinity(0, cores))
        self.line()
        self.is_up_soon = time.monotonic() - begin < SOON

    def line(self):
        """The next line of JSON that it prints."""
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self.process.wait()
        self.errors.seek(0)
        last = self.errors.read().strip().splitlines()[-1:]
        raise Failure(last[0] if last else f"it ended with {self.process.returncode}")

    def begin(self):
        try:
            print(file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass

    def turn(self):
        self.begin()
        return self.line()

    def report(self):
        self.process.stdin.close()
        return self.line()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()


class Copies:
    """The same program on each of some cores, all at once: what the cores together can do."""

    def __init__(self, command, cores, seconds):
        self.programs = [Program(command, [core], seconds) for core in cores]
        self.is_up_soon = False

    def turn(self):
        """How long one call takes of as many as are made by all together."""
        for program in self.programs:
            program.begin()
        times = [program.line() for program in self.programs]
        return {key: 1 / sum(1 / x[key] for x in times) for key in ("ms_median", "ms_min")}

    def report(self):
        return [program.report() for program in self.programs][0]

    def end(self):
        for program in self.programs:
            program.end()


def first_call(command, cores):
    """The least time of first calls, each of a new process."""
    def start():
        program = Program(command, cores, 0)
        try:
            return program.report()["first_call_ms"]
        finally:
            program.end()

    return min(start() for _ in range(STARTS))


def measure(wanted, rounds, seconds):
    """Lines of JSON of the programs of a problem, given as (who, way, threads, command).

    `COPIES` are as many programs of one thread.

    To what each reports are added the times of its turns, in milliseconds, the least of each under
    `least` and the median under `turns`, and, as `ms_median` and `ms_min`, the median and the least of
    these. The first call of a program that does not take seconds to start is the least of several.
    """
    running = {}
    lines = {}
    commands = {(who, way, threads): command for who, way, threads, command in wanted}

    def attempt(key, call):
        try:
            return call()
        except Failure as e:
            print(f"  failed: {' '.join(map(str, key))}: {e}", file=sys.stderr)
            running.pop(key).end()
            lines.pop(key, None)

    try:
        for who, way, threads, command in wanted:
            key = (who, way, threads)
            print(f"  first call: {who} {way}, {threads} thread(s)", file=sys.stderr)
            try:
                kind = Copies if who == COPIES else Program
                running[key] = kind(command, some_cores(threads), seconds)
            except Failure as e:
                print(f"  failed: {' '.join(map(str, key))}: {e}", file=sys.stderr)
                continue
            lines[key] = []
        for turn in range(rounds):
            print(f"  round {turn + 1} of {rounds}", file=sys.stderr)
            for key in list(running):
                if times := attempt(key, running[key].turn):
                    lines[key].append(times)
        found = []
        for key in list(running):
            if line := attempt(key, running[key].report):
                medians = [x["ms_median"] for x in lines[key]]
                least = [x["ms_min"] for x in lines[key]]
                who, way, threads = key
                if running[key].is_up_soon:
                    line["first_call_ms"] = first_call(commands[key], some_cores(threads))
                found.append(line | {
                    "peer": who, "gradient": way, "threads": threads, "turns": medians, "least": least,
                    "ms_median": statistics.median(medians), "ms_min": min(least)})
        return found
    finally:
        for program in running.values():
            program.end()


def ratio(theirs, ours):
    """How many times `ours` the time of `theirs` is: the median over the rounds."""
    return statistics.median(a / b for a, b in zip(theirs["turns"], ours["turns"], strict=True))
