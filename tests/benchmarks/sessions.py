"""Measure every command on a session of each agent."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks import byhand
from tests.benchmarks.harness import (
    CLICK,
    PROGRAM,
    RUNS,
    Bench,
    Row,
    Run,
    Target,
    beyond,
    row,
    seconds_of,
    times,
    within,
)

#: Seconds that the model takes in an `ask`, and in a turn that is waited for.
_THINKS, _WORKS = 0.3, 1.0


def measure_claude(bench: Bench) -> Iterator[Row]:
    """Measure the commands beside a Claude that is driven without dev-sessions."""
    by_hand, created, sids = [], [], []
    for number in range(RUNS):
        by_hand.append(byhand.Claude(bench))
        sids.append(f"bench-{number}")
        created.append(bench.once("create", "--id", sids[-1]))
        if number < RUNS - 1:
            by_hand[-1].end()
    yield row("claude: create", created, [one.ready_in for one in by_hand], of="claude ready", target=beyond(0.15))
    sid, claude = sids[-1], by_hand[-1]
    sent, taken = [], []
    for number in range(RUNS):
        taken.append(claude.takes(f"say by hand {number}"))
        sent.append(bench.once("send", sid, f"say number {number}"))
        bench.cli("wait", sid)
    yield row("claude: send", sent, taken, of="claude takes it", target=within(0.3))
    yield from _reads(bench, "claude", sid, times(1.5))
    yield from _asks(bench, "claude", sid)
    yield from _lags(bench, "claude", sid, within(0.1))
    ended, gone = [], []
    for one in sids:
        gone.append(byhand.Claude(bench).end())
        ended.append(bench.once("kill", one))
    yield row("claude: kill", ended, gone, of="claude's end")


def measure_codex(bench: Bench) -> Iterator[Row]:
    """Measure the commands beside the start of a bare click program; the app-server answers in milliseconds."""
    sids = [f"bench-{number}" for number in range(RUNS)]
    yield row("codex: the first create, starts the app-server", [bench.once("create", "--cli", "codex")], ())
    yield _beside_click(bench, "codex: create", [("create", "--cli", "codex", "--id", sid) for sid in sids])
    sid = sids[-1]
    sent: list[Run] = []
    click: list[Run] = []
    for number in range(RUNS):
        ours, floor = bench.measure((PROGRAM, "send", sid, f"say number {number}"), CLICK, runs=1)
        sent += ours
        click += floor
        bench.cli("wait", sid)
    yield row("codex: send", sent, seconds_of(click), target=beyond(0.06))
    yield from _reads(bench, "codex", sid, times(2.2))
    yield from _asks(bench, "codex", sid)
    yield from _lags(bench, "codex", sid, within(0.05))
    yield _beside_click(bench, "codex: kill", [("kill", sid) for sid in sids])


def _beside_click(bench: Bench, what: str, commands: list[tuple[str, ...]]) -> Row:
    """Return the row of commands that can each be run only once."""
    pairs = [bench.measure((PROGRAM, *args), CLICK, runs=1) for args in commands]
    return row(what, [ours[0] for ours, _ in pairs], seconds_of(floor[0] for _, floor in pairs))


def _reads(bench: Bench, agent: str, sid: str, target: Target) -> Iterator[Row]:
    yield bench.command(f"{agent}: status", "status", sid, target=target)
    yield bench.command(f"{agent}: status --json", "status", sid, "--json")
    yield bench.command(f"{agent}: last-message", "last-message", sid, target=target)
    yield bench.command(f"{agent}: logs", "logs", sid)
    yield bench.command(f"{agent}: wait, the turn has ended", "wait", sid)


def _asks(bench: Bench, agent: str, sid: str) -> Iterator[Row]:
    bench.model.forget()
    asked, model = [], []
    for _ in range(RUNS):
        asked.append(bench.once("ask", sid, f"after {_THINKS} say an answer"))
        model.append(bench.model.replied - bench.model.turns()[-1].time)
    yield row(f"{agent}: ask", asked, model, of="the model")


def _lags(bench: Bench, agent: str, sid: str, target: Target) -> Iterator[Row]:
    """Yield rows from the model's last byte to the end of `wait`, and from the agent's end of turn to the end of
    `wait`."""
    waits, shown, lag = [], [], []
    for _ in range(RUNS):
        bench.cli("send", sid, f"after {_WORKS} say an answer")
        with byhand.end_of_turn(bench, agent, sid) as seen:
            waits.append(bench.once("wait", sid))
        shown.append(seen[0] - bench.model.replied)
        lag.append(waits[-1].ended - seen[0])
    memory = max(run.memory for run in waits)
    mark = {"claude": "end mark on disk", "codex": "the event"}[agent]
    whole = [one + other for one, other in zip(shown, lag, strict=True)]
    yield Row(f"{agent}: model's last byte to the end of wait", whole, shown, of=mark, memory=memory)
    yield Row(f"{agent}: {mark} to the end of wait", lag, target=target)
