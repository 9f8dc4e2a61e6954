"""Drive the agents without dev-sessions; the time that they need on their own is the floor of the benchmarks."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev_sessions.codex import turns
from dev_sessions.codex.app_server import AppServer
from dev_sessions.codex.client import Client
from dev_sessions.system.deadline import Deadline, poll
from tests.benchmarks.harness import Bench

#: Seconds between two looks: as long as a figure may be wrong.
_POLL_INTERVAL = 0.001
_PATIENCE = 60.0
_END_MARK = b'"turn_duration"'


def transcript(bench: Bench, session_id: str) -> Path:
    """Return the path of a session's transcript."""
    record = json.loads(bench.cli("inspect", session_id))
    (found,) = (bench.home.path / ".claude" / "projects").glob(f"*/{record['internalId']}.jsonl")
    return found


class Claude:
    """A Claude that is started, prompted and ended directly through tmux. `ready_in` and `ended_in` are seconds."""

    def __init__(self, bench: Bench) -> None:
        self._tmux = bench.home.tmux
        self._home = bench.home.path
        self._id = str(uuid.uuid4())
        began = time.monotonic()
        done = self._tmux(
            *("new-session", "-d", "-P", "-F", "#{pane_pid}", "-s", self._id, "-x", "200", "-y", "50"),
            *("-c", bench.home.workspace(), "--", "env", "IS_SANDBOX=1", "claude", "--dangerously-skip-permissions"),
            *("--session-id", self._id),
        )
        self._pid = int(done.stdout)
        record = self._home / ".claude" / "sessions" / f"{self._pid}.json"
        assert poll(lambda: (record.exists() and b'"status":"idle"' in record.read_bytes()) or None, *_looks())
        self.ready_in = time.monotonic() - began

    def takes(self, text: str) -> float:
        """Return the seconds from the paste of a message, with Enter, until it is in the transcript."""
        began = time.monotonic()
        send = ("load-buffer", "-b", "x", "-", ";", "paste-buffer", "-p", "-d", "-b", "x", "-t", f"={self._id}:")
        self._tmux(*send, ";", "send-keys", "-t", f"={self._id}:", "Enter", stdin=text)
        folder = self._home / ".claude" / "projects"
        assert poll(lambda: any(_holds(path, text) for path in folder.glob(f"*/{self._id}.jsonl")) or None, *_looks())
        return time.monotonic() - began

    def end(self) -> float:
        """End it, and return the seconds until its process is gone."""
        began = time.monotonic()
        self._tmux("kill-session", "-t", f"={self._id}")
        assert poll(lambda: None if Path(f"/proc/{self._pid}").exists() else True, *_looks())
        return time.monotonic() - began


@contextmanager
def end_of_turn(bench: Bench, agent: str, session_id: str) -> Iterator[list[float]]:
    """Yield a list that holds, after the block, the time (epoch) at which the agent first shows the end of the turn."""
    seen: list[float] = []
    watch = _watch_transcript if agent == "claude" else _watch_thread
    thread = threading.Thread(target=watch, args=(bench, session_id, seen), daemon=True)
    thread.start()
    yield seen
    thread.join(_PATIENCE)
    assert seen


@contextmanager
def app_server(bench: Bench) -> Iterator[Client]:
    """Connect to the app-server of the home."""
    with AppServer(bench.home.path / ".dev-sessions" / "codex").connect_if_running() as client:
        assert client is not None
        yield client


def _watch_transcript(bench: Bench, session_id: str, seen: list[float]) -> None:
    with transcript(bench, session_id).open("rb") as lines:
        lines.seek(0, 2)
        if poll(lambda: _END_MARK in lines.read() or None, *_looks()):
            seen.append(time.time())


def _watch_thread(bench: Bench, session_id: str, seen: list[float]) -> None:
    thread = json.loads(bench.cli("inspect", session_id))["internalId"]
    deadline = Deadline(_PATIENCE)
    with app_server(bench) as client:
        while (event := client.next_event(deadline)) is not None:
            status = turns.status_change(event, thread)
            if status is not None and not turns.is_running(status):
                seen.append(time.time())
                return


def _holds(path: Path, text: str) -> bool:
    return text.encode() in path.read_bytes()


def _looks() -> tuple[Deadline, float]:
    return Deadline(_PATIENCE), _POLL_INTERVAL
