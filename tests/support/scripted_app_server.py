"""A scripted app-server of Codex, for what no real one does on request."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, unix_serve

from dev_sessions.models import CodexSession

Json: TypeAlias = dict[str, Any]
#: What a method does: answers with a result, or does something else with the connection and the request's id. `answer`
#: is what is done with the answer to a request of the server's own.
Script: TypeAlias = Mapping[str, Json | Callable[[ServerConnection, int], None]]
GREETING: Json = {"userAgent": "dev-sessions/0.169.0 (Test)", "codexHome": "/home/user/.codex"}
DEFAULTS: Script = {"initialize": GREETING, "config/read": {"config": {}}}


@contextlib.contextmanager
def app_server(path: Path, script: Script, silent_about: str = "") -> Iterator[list[str]]:
    """Run a scripted app-server on a unix socket; gives the methods that it was asked, in order.

    It does not answer a request that names the thread `silent_about`.
    """
    asked: list[str] = []

    def handle(websocket: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            for message in websocket:
                frame = json.loads(message)
                asked.append(frame.get("method", "answer"))
                if silent_about and f'"{silent_about}"' in message:
                    continue
                step = {**DEFAULTS, **script}[asked[-1]]
                if callable(step):
                    step(websocket, frame["id"])
                else:
                    websocket.send(json.dumps({"id": frame["id"], "result": step}))

    with unix_serve(handle, str(path), max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield asked
        server.shutdown()
        thread.join()


def silence(_: ServerConnection, __: int) -> None:
    """Answer nothing."""


def hang_up(websocket: ServerConnection, _: int) -> None:
    """Close the connection."""
    websocket.socket.shutdown(socket.SHUT_RDWR)


def refuse(message: str) -> Callable[[ServerConnection, int], None]:
    """Answer with an error."""

    def step(websocket: ServerConnection, number: int) -> None:
        websocket.send(json.dumps({"id": number, "error": {"code": -32600, "message": message}}))

    return step


def say(*texts: str | bytes) -> Callable[[ServerConnection, int], None]:
    """Send frames as they are; `#` stands for the request's id."""

    def step(websocket: ServerConnection, number: int) -> None:
        for text in texts:
            websocket.send(text.replace("#", str(number)) if isinstance(text, str) else text)

    return step


def save_state(directory: Path, *, pid: int, started: str, address: str) -> None:
    """Write the state file of an app-server; the address `unix` is the socket in the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    state = {
        "version": 1,
        "pid": pid,
        "started": started,
        "address": f"unix://{directory}/app-server.sock" if address == "unix" else address,
        "codex_version": "0.169.0",
        "codex_home": "/home/user/.codex",
    }
    (directory / "state.json").write_text(json.dumps(state))


#: A session whose last message began turn `a`, and the same before that was known.
SENT = CodexSession(id="fizz-top", internal_id="t1", path="/w", created_at="", last_used="", codex_active_turn_id="a")
FRESH = replace(SENT, codex_active_turn_id=None)
#: Results and errors as Codex 0.169 gives them.
IDLE = {"thread": {"id": "t1", "status": {"type": "idle"}}}
NO_TURN = refuse("no active turn to steer")
UNKNOWN = refuse("thread not found: t1")
ACTIVE = {"thread": {"id": "t1", "status": {"type": "active", "activeFlags": []}}}
WAITING = {"thread": {"id": "t1", "status": {"type": "active", "activeFlags": ["waitingOnUserInput"]}}}
NO_GOAL: dict[str, Any] = {"thread/goal/get": {"goal": None}}
CLEAN: dict[str, Any] = {"thread/backgroundTerminals/clean": {}}
RUNS_A = refuse("expected active turn id `0` but found `a`")
Step = Callable[[ServerConnection, int], None]


class Serve(Protocol):
    """Runs `app_server` in the place of the real one."""

    def __call__(self, script: Script, silent_about: str = "") -> list[str]:
        """Return the methods that it was asked."""


def in_turn(*steps: Step | dict[str, Any]) -> Step:
    """Do the first step at the first request, and so on; the last one from then on."""
    left = list(steps)

    def step(websocket: ServerConnection, number: int) -> None:
        now = left.pop(0) if len(left) > 1 else left[0]
        if callable(now):
            now(websocket, number)
        else:
            websocket.send(json.dumps({"id": number, "result": now}))

    return step
