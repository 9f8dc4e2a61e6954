"""Measure command lines beside a floor, the least possible time, in the same run, and print a table of the results."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dev_sessions.cli.render import table
from tests.benchmarks import stopwatch
from tests.support.home import Home
from tests.support.model import ScriptedModel

RUNS = 11
PROGRAM = str(Path(sys.executable).parent / "dev-sessions")
#: The floor of every command: an interpreter that imports what the command line is made of, and ends.
CLICK = (sys.executable, "-c", "import click")
#: MiB that any command may take.
MOST_MEMORY = 45.0
_HEADER = ("WHAT", "RUNS", "MEDIAN", "FLOOR", "OF", "RATIO", "BEYOND", "PEAK", "TARGET", "")


@dataclass(frozen=True)
class Run:
    """One run of a command line: its seconds, the time at which it ended (epoch), and its peak memory in MiB."""

    seconds: float
    ended: float
    memory: float


@dataclass(frozen=True)
class Target:
    """An upper limit for a median in seconds, computed from its floor."""

    text: str
    most: Callable[[float], float]


def times(ratio: float) -> Target:
    """Return a target of at most this multiple of the floor."""
    return Target(f"{ratio:g} x floor", lambda floor: floor * ratio)


def beyond(seconds: float) -> Target:
    """Return a target of at most this many seconds above the floor."""
    return Target(f"floor + {seconds * 1000:g} ms", lambda floor: floor + seconds)


def within(seconds: float) -> Target:
    """Return a target of at most this many seconds, whatever the floor."""
    return Target(f"{seconds * 1000:g} ms", lambda _: seconds)


@dataclass(frozen=True)
class Row:
    """A row of the table. `floor` holds the seconds of the program named by `of`; `memory` is the peak of the runs in
    MiB."""

    what: str
    seconds: Sequence[float]
    floor: Sequence[float] = ()
    of: str = "click"
    target: Target | None = None
    memory: float | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the row, times in ms."""
        median = statistics.median(self.seconds)
        floor = statistics.median(self.floor) if self.floor else 0.0
        beside = [_ms(floor), self.of, f"{median / floor:.2f}", _ms(median - floor)] if floor else ["", "", "", ""]
        missed = [
            *(["MISSED"] if self.target is not None and median > self.target.most(floor) else []),
            *(["MEMORY"] if (self.memory or 0) > MOST_MEMORY else []),
        ]
        memory = f"{self.memory:.1f} MiB" if self.memory is not None else ""
        target = self.target.text if self.target is not None else ""
        return (self.what, str(len(self.seconds)), _ms(median), *beside, memory, target, " ".join(missed))


@dataclass(frozen=True)
class Rate:
    """A row of the table with a rate per second; `least` is the target."""

    what: str
    rates: Sequence[float]
    least: float

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the row."""
        median = statistics.median(self.rates)
        verdict = "MISSED" if median < self.least else ""
        return (self.what, str(len(self.rates)), f"{median:.0f}/s", "", "", "", "", "", f"{self.least:g}/s", verdict)


class Bench:
    """The environment of a benchmark group: a home with both agents, and the model behind them."""

    def __init__(self, home: Home, model: ScriptedModel) -> None:
        self.home = home
        self.model = model

    def measure(self, *commands: Sequence[str], runs: int = RUNS) -> list[list[Run]]:
        """Run the command lines in turn, `runs` times each, so that other load on the machine affects all of them
        alike."""
        done = self.home.run(
            *(sys.executable, "-S", "-I", stopwatch.__file__, str(runs)),
            stdin=json.dumps(commands),
            cwd=self.home.workspace(),
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        found: list[list[Run]] = []
        for argv, rounds in zip(commands, json.loads(done.stdout), strict=True):
            assert all(code == 0 for *_, code in rounds), (argv, rounds, done.stderr)
            found.append([Run(seconds, ended, kib / 1024) for seconds, ended, kib, _ in rounds])
        return found

    def command(self, what: str, *args: str, target: Target | None = None, runs: int = RUNS) -> Row:
        """Return the row of a command, with the start of a bare click program as its floor."""
        ours, floor = self.measure((PROGRAM, *args), CLICK, runs=runs)
        return row(what, ours, seconds_of(floor), target=target)

    def once(self, *args: str) -> Run:
        """Run `dev-sessions` once."""
        return self.measure((PROGRAM, *args), runs=1)[0][0]

    def cli(self, *args: str) -> str:
        """Run `dev-sessions` unmeasured, and return its output."""
        done = self.home.cli(*args, cwd=self.home.workspace(), timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def row(
    what: str, runs: Sequence[Run], floor: Sequence[float], *, of: str = "click", target: Target | None = None
) -> Row:
    """Return the row of some runs."""
    return Row(what, seconds_of(runs), floor, of, target, max(run.memory for run in runs))


def seconds_of(runs: Iterable[Run]) -> list[float]:
    """Return the duration of each run."""
    return [run.seconds for run in runs]


def report(rows: Iterable[Row | Rate]) -> str:
    """Return the table of these rows."""
    return table([_HEADER, *(line.cells() for line in rows)])


def machine() -> str:
    """Describe the machine, on which all figures depend."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    tmux = subprocess.run(["tmux", "-V"], capture_output=True, text=True, check=False).stdout.strip()
    return f"{platform.system()} {platform.machine()}, {cores} cores, Python {platform.python_version()}, {tmux}"


def load() -> str:
    """Describe the load of the machine over the last 1, 5 and 15 minutes."""
    return "load " + " ".join(f"{figure:.2f}" for figure in os.getloadavg())


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
