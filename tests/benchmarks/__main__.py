"""`python -m tests.benchmarks [GROUP…]`: measure those groups, or all of them, and print a table of each."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable

from tests.benchmarks import gateway, harness, large, listing, remote, sessions, start
from tests.benchmarks.harness import Bench, Rate, Row
from tests.support.agents import pinned
from tests.support.home import Home
from tests.support.model import ScriptedModel

Group = Callable[[Bench], Iterable[Row | Rate]]
GROUPS: dict[str, Group] = {
    "start": start.measure,
    "list": listing.measure,
    "claude": sessions.measure_claude,
    "codex": sessions.measure_codex,
    "large": large.measure,
    "gateway": gateway.measure,
    "remote": remote.measure,
}


def main(names: list[str]) -> int:
    """Measure the groups; return 2 if there is no such group. A missed target is marked in the table and fails
    nothing."""
    if unknown := [name for name in names if name not in GROUPS]:
        print(f"no such group: {', '.join(unknown)}; there are {', '.join(GROUPS)}", file=sys.stderr)
        return 2
    versions = ", ".join(f"{name} {version}" for name, version in pinned().items())
    print(f"{harness.machine()}, {versions}")
    for name in names or GROUPS:
        began, before = time.monotonic(), harness.load()
        with ScriptedModel() as model, Home(model.port, launcher=True) as home:
            rows = list(GROUPS[name](Bench(home, model)))
        print(f"\n== {name} ({time.monotonic() - began:.0f} s; before: {before}; after: {harness.load()})")
        print(harness.report(rows), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
