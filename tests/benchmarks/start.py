"""Measure commands that need no session."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tests.benchmarks.harness import CLICK, PROGRAM, Bench, Row, row, seconds_of, times, within


def measure(bench: Bench) -> Iterator[Row]:
    """Measure the start of a command alone, and the shell completion."""
    click, bare = bench.measure(CLICK, (sys.executable, "-c", "pass"))
    yield row("the floor: import click", click, seconds_of(bare), of="python")
    yield bench.command("--version", "--version", target=times(1.2))
    yield bench.command("--help", "--help")
    yield bench.command("create --help", "create", "--help")
    bench.cli("create", "--cli", "codex", "--id", "fizz-top")
    completes = ("env", "_DEV_SESSIONS_COMPLETE=bash_complete", "COMP_WORDS=dev-sessions status fi", "COMP_CWORD=2")
    ours, floor = bench.measure((*completes, PROGRAM), CLICK)
    yield row("completion of a session id", ours, seconds_of(floor), target=within(0.1))
