"""Measure `list` with many sessions."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

from dev_sessions.codex.app_server import AppServer
from dev_sessions.codex.protocol import thread_id, thread_start
from dev_sessions.models import timestamp
from dev_sessions.system.process import start_time
from tests.benchmarks.harness import Bench, Row, within

COUNTS = (0, 10, 200, 2000)


def measure(bench: Bench) -> Iterator[Row]:
    """Measure each agent. One process stands in for all Claudes, which would not fit in memory; the threads are
    real."""
    stand_in = bench.home.popen("sleep", "3600")
    for count in COUNTS:
        _write_store(bench, [_claude(bench, number, stand_in.pid) for number in range(count)])
        yield _row(bench, f"list, {count} Claude sessions", count)
    bench.cli("create", "--cli", "codex", "--id", "the-first")
    threads: list[str] = []
    with AppServer(bench.home.path / ".dev-sessions" / "codex").connect_if_running() as client:
        assert client is not None
        for count in COUNTS[1:]:
            while len(threads) < count:
                threads.append(thread_id(client.call("thread/start", thread_start(str(bench.home.workspace()), None))))
            _write_store(bench, [_codex(bench, number, thread) for number, thread in enumerate(threads)])
            yield _row(bench, f"list, {count} Codex sessions", count)


def _row(bench: Bench, what: str, count: int) -> Row:
    return bench.command(what, "list", target=within(1.0) if count == 200 else None)


def _write_store(bench: Bench, records: list[dict[str, Any]]) -> None:
    store = bench.home.path / ".dev-sessions" / "sessions.json"
    store.parent.mkdir(mode=0o700, exist_ok=True)
    store.write_text(json.dumps({"version": 1, "sessions": records}, indent=2))


def _record(bench: Bench, number: int) -> dict[str, Any]:
    now = timestamp(time.time())
    return {
        "championId": f"bench-{number}",
        "mode": "native",
        "path": str(bench.home.workspace()),
        "status": "active",
        "description": f"what session {number} is for",
        "createdAt": now,
        "lastUsed": now,
    }


def _claude(bench: Bench, number: int, pid: int) -> dict[str, Any]:
    """Return a session's record, and write the session file that its Claude would leave."""
    session_id, started = str(uuid.UUID(int=number)), start_time(pid)
    folder = bench.home.path / ".claude" / "sessions"
    folder.mkdir(exist_ok=True)
    fields = {"pid": pid, "sessionId": session_id, "status": "idle", "procStart": started, "version": "2.1.330"}
    (folder / f"{pid}.json").write_text(json.dumps({**fields, "statusUpdatedAt": time.time() * 1000, "startedAt": 0}))
    return {
        **_record(bench, number),
        "cli": "claude",
        "internalId": session_id,
        "claudePid": pid,
        "claudeProcStart": started,
        "claudeVersion": "2.1.330",
        "claudeConfigDir": str(bench.home.path / ".claude"),
    }


def _codex(bench: Bench, number: int, thread: str) -> dict[str, Any]:
    return {**_record(bench, number), "cli": "codex", "internalId": thread}
