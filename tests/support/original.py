"""Sessions as version 0.4 started and recorded them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence

from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import box
from tests.support.cli import ok
from tests.support.home import Home

NATIVE = ("env", "IS_SANDBOX=1", "claude", "--dangerously-skip-permissions")
DOCKER = ("env", "IS_SANDBOX=1", "clauded")


def create_original(home: Home, sid: str, *, mode: str = "native", variables: Sequence[str] = ()) -> str:
    """Start a Claude session as version 0.4 did, and add its record; return the session's id.

    `variables` (`NAME=value`) are added to its environment.
    """
    conversation = str(uuid.uuid4())
    argv = ["env", *variables, *(NATIVE if mode == "native" else DOCKER), "--session-id", conversation]
    ok(home.tmux("new-session", "-d", "-x", "200", "-y", "50", "-s", f"dev-{sid}", "-c", home.workspace(), *argv))
    at = "2026-03-01T10:00:00.000Z"
    session = {"championId": sid, "internalId": conversation, "cli": "claude", "mode": mode, "status": "active"}
    written = {**session, "path": str(home.workspace()), "createdAt": at, "lastUsed": at}
    store = home.path / ".dev-sessions" / "sessions.json"
    store.parent.mkdir(exist_ok=True)
    stored = json.loads(store.read_text())["sessions"] if store.exists() else []
    store.write_text(json.dumps({"version": 1, "sessions": [*stored, written]}))
    return sid


def create_ready_original(home: Home, sid: str, *, variables: Sequence[str] = ()) -> str:
    """Start a Claude session as version 0.4 did, and wait until it takes messages; return its id.

    Its screen shows a box before Claude takes what is typed into it; its session file appears after that. Until
    something is on the screen, such a session counts as idle, too.
    """
    create_original(home, sid, variables=variables)
    assert poll(lambda: True if box(home, sid) == "" else None, Deadline(30), 0.05)
    assert poll(lambda: True if home.cli("status", sid).stdout == "idle\n" else None, Deadline(30), 0.2)
    return sid
