"""Measure sessions on another machine: the overhead over the same command line through bare ssh."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.harness import PROGRAM, Bench, Row, row, seconds_of
from tests.support.home import Home
from tests.support.remote import NAME, Remote


def measure(bench: Bench) -> Iterator[Row]:
    """Measure over a connection that is shared already, as after the first command."""
    with Home(bench.model.port, launcher=True) as far, Remote(bench.home, far):
        bench.cli("create", "--cli", "codex", "--host", NAME, "--id", "bench-far")
        control = f"ControlPath={bench.home.path}/.dev-sessions/ssh/%C"
        ssh = ("ssh", "-o", "ControlMaster=auto", "-o", control, NAME)
        nothing, bare = bench.measure((*ssh, "bash -lc true"), ("sh", "-c", "true"))
        yield row("ssh: a login shell there", nothing, seconds_of(bare), of="sh")
        for command in ("status", "last-message", "logs"):
            there = f"bash -lc 'dev-sessions {command} bench-far'"
            ours, floor = bench.measure((PROGRAM, command, "bench-far"), (*ssh, there))
            yield row(f"remote: {command}", ours, seconds_of(floor), of="bare ssh")
        ours, floor = bench.measure((PROGRAM, "list"), (*ssh, "bash -lc 'dev-sessions list --json'"))
        yield row("remote: list", ours, seconds_of(floor), of="bare ssh")
