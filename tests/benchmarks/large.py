"""Measure long conversations: no command may get slower with their length."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

from dev_sessions.codex import turns
from dev_sessions.codex.client import Client
from dev_sessions.codex.protocol import turn_start
from dev_sessions.system.deadline import Deadline
from tests.benchmarks.byhand import app_server, transcript
from tests.benchmarks.harness import Bench, Row, Target, row, times, within

_GIB, _LINE = 1 << 30, 100_000_000
_TURNS = 2000
#: Seconds that making the turns may take; as many as there are then have to do.
_MAKING = 90.0
_RUNS = 5


def measure(bench: Bench) -> Iterator[Row]:
    """Measure Claude with a transcript of 1 GiB, and with a line of 100 MB in its last turn and then at its end; and
    Codex with a thread of 2000 turns."""
    bench.cli("create", "--id", "claude-long")
    bench.cli("ask", "claude-long", "run echo something")
    _prepend(transcript(bench, "claude-long"), _GIB)
    # What a wait judges begins where the last message was sent.
    bench.cli("ask", "claude-long", "say something")
    yield from _commands(bench, "claude-long", "claude, 1 GiB", times(1.5))
    yield bench.command("claude, 1 GiB: logs", "logs", "claude-long", runs=1)
    bench.cli("create", "--id", "claude-wide")
    bench.cli("ask", "claude-wide", "run echo something")
    wide = _widen(transcript(bench, "claude-wide"))
    yield from _commands(bench, "claude-wide", "claude, a line of 100 MB", times(1.5))
    with transcript(bench, "claude-wide").open("ab") as stream:
        stream.write(wide)
    for command in ("status", "last-message"):
        yield bench.command(f"claude, last line 100 MB: {command}", command, "claude-wide", target=times(1.5))
    yield from _long_thread(bench)


def _commands(bench: Bench, sid: str, what: str, target: Target) -> Iterator[Row]:
    yield bench.command(f"{what}: status", "status", sid, target=target)
    yield bench.command(f"{what}: status --json", "status", sid, "--json")
    yield bench.command(f"{what}: last-message", "last-message", sid, target=target)
    yield bench.command(f"{what}: wait, the turn has ended", "wait", sid)
    sent = []
    for number in range(_RUNS):
        sent.append(bench.once("send", sid, f"say number {number}"))
        bench.cli("wait", sid)
    yield row(f"{what}: send", sent, (), target=within(0.3) if "claude" in sid else None)


def _prepend(path: Path, size: int) -> None:
    """Insert this many bytes of finished turns with large outputs at the front of the transcript, which Claude keeps
    open."""
    own = path.read_bytes()
    block = own.replace(b"something", b"something" * 1000) * 50
    with path.open("r+b") as stream:
        for _ in range(size // len(block)):
            stream.write(block)
        stream.write(own)


def _widen(path: Path) -> bytes:
    """Lengthen the tool result in the last turn to this size, as Claude would have written it, and return the line."""
    lines = path.read_bytes().splitlines(keepends=True)
    number = next(at for at, line in enumerate(lines) if b'"tool_result"' in line and b"something" in line)
    record = json.loads(lines[number])
    record["message"]["content"][0]["content"] = "x" * _LINE
    lines[number] = json.dumps(record, separators=(",", ":")).encode() + b"\n"
    with path.open("r+b") as stream:
        stream.writelines(lines)
    return lines[number]


def _long_thread(bench: Bench) -> Iterator[Row]:
    bench.cli("create", "--cli", "codex", "--id", "codex-long")
    bench.cli("ask", "codex-long", "say something")
    thread = json.loads(bench.cli("inspect", "codex-long"))["internalId"]
    with app_server(bench) as client:
        count = _take_turns(client, thread)
    yield from _commands(bench, "codex-long", f"codex, {count} turns", times(2.2))
    yield bench.command(f"codex, {count} turns: logs", "logs", "codex-long", runs=1)


def _take_turns(client: Client, thread: str) -> int:
    """Run real turns in the thread, and return how many it has then."""
    late = time.monotonic() + _MAKING
    for count in range(1, _TURNS):
        client.call("turn/start", turn_start(thread, f"say {count}"))
        began = False
        while (event := client.next_event(Deadline(30))) is not None:
            status = turns.status_change(event, thread)
            if status is not None:
                if began and not turns.is_running(status):
                    break
                began = began or turns.is_running(status)
        if time.monotonic() > late:
            return count + 1
    return _TURNS
