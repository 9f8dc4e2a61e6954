"""The original (TypeScript) dev-sessions at the other end: of a gateway, where it is the container or the host, and of
ssh, where it is the machine that asks.

Recorded with the original's own code; the files say which.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import shlex
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from dev_sessions import __version__
from dev_sessions.cli import run
from dev_sessions.cli.app import Application
from dev_sessions.errors import DevSessionsError, ProtocolError
from dev_sessions.gateway.access import AccessPolicy
from dev_sessions.gateway.client import GatewayClient
from dev_sessions.gateway.server import Server
from dev_sessions.models import KillReport, LogTurn, Reply
from dev_sessions.operations import (
    Ask,
    ClearGoal,
    Create,
    GetGoal,
    Inspect,
    Interrupt,
    Kill,
    KillMany,
    LastMessage,
    List,
    Logs,
    Operation,
    Send,
    SetGoal,
    Status,
    Wait,
)
from dev_sessions.remote import ssh
from tests.support.gateway import serving
from tests.support.operations import Recorder

DATA = Path(__file__).parent.parent / "data" / "original"
SENT = json.loads((DATA / "requests.json").read_text())
ANSWERED = json.loads((DATA / "answers.json").read_text())["answers"]
TEXT = 'run tests\n\nand say "done" $(id) `id` ; | & % + = ü 👩\u200d👧'

#: What each recorded request asks for, in their order, and where the original's client finds its answer.
MEANT: list[tuple[Operation[Any], str]] = [
    (Create(path="/home/me/project", description="from a container"), "session"),
    (Create(path="/home/me/project/sub", cli="codex"), "session"),
    (Create(path="/opt/elsewhere", mode="docker"), "session"),
    (Create(host="box", cli="codex"), "session"),
    (Create(host="box", path="~/project"), "session"),
    (Send(session_id="fizz-top", message=TEXT), "ok"),
    (Wait(session_id="fizz-top", interval=2), "waitResult"),
    (Wait(session_id="fizz-top", timeout=5, interval=1), "waitResult"),
    (Wait(session_id="fizz-top"), "waitResult"),
    (Wait(session_id="vi-jg", interval=2, goal=True), "waitResult"),
    (Wait(session_id="vi-jg", next_turn=True), "waitResult"),
    (LastMessage(session_id="fizz-top", count=3), "blocks"),
    (Status(session_id="fizz-top"), "status"),
    (Logs(session_id="fizz-top"), "logs"),
    (Inspect(session_id="fizz-top"), "session"),
    (List(), "sessions"),
    (GetGoal(session_id="vi-jg"), "goal"),
    (SetGoal(session_id="vi-jg", objective="make the tests pass", status="active", token_budget=100_000), "goal"),
    (SetGoal(session_id="vi-jg", status="paused"), "goal"),
    (SetGoal(session_id="vi-jg", status="active"), "goal"),
    (SetGoal(session_id="vi-jg", token_budget=5000), "goal"),
    (ClearGoal(session_id="vi-jg"), "cleared"),
    (Kill(session_id="fizz-top"), "ok"),
]


@pytest.mark.parametrize(
    ("recorded", "meant"), list(zip(SENT["requests"], MEANT, strict=True)), ids=lambda value: str(value)[:60]
)
def test_a_container_with_the_original_is_understood(
    recorded: dict[str, Any], meant: tuple[Operation[Any], str]
) -> None:
    """An old container's every command is what it was, and it finds its answer where it looks for it."""
    operation, where = meant
    recorder = Recorder()
    body = recorded["body"].encode()
    headers = {**SENT["headers"], **({"content-length": str(len(body))} if body else {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with (
        serving(Server(0, lambda _: recorder, AccessPolicy())) as server,
        socket.create_connection(("127.0.0.1", server.port), 10) as connection,
    ):
        connection.sendall(f"{recorded['method']} {recorded['path']} HTTP/1.1\r\n{head}\r\n".encode() + body)
        response = http.client.HTTPResponse(connection)
        response.begin()
        answered = json.loads(response.read())
    assert response.status == 200
    assert recorder.seen == [operation]
    assert answered["ok"] is True
    assert where in answered


class Replay(HTTPServer):
    """A server that answers requests as the original did, each recorded answer once; `sent` holds the paths and
    bodies."""

    def __init__(self, answers: Sequence[dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), _Replayed)
        self.answers = list(answers)
        self.sent: list[tuple[str, Any]] = []


class _Replayed(BaseHTTPRequestHandler):
    server: Replay

    def _replay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if body:
            self.server.sent.append((self.path, json.loads(body)))
        # One message is what is given when no number is asked for.
        asked = (self.command, self.path.removesuffix("&n=1"))
        found = [each for each in self.server.answers if (each["method"], each["path"].removesuffix("&n=1")) == asked]
        answer = found[0] if found else UNKNOWN
        if found:
            self.server.answers.remove(answer)
        data = answer["answer"].encode()
        self.send_response(answer["status"])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _replay

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's signature
        """Log nothing."""


@contextlib.contextmanager
def original(first: int = 0) -> Iterator[tuple[Replay, GatewayClient]]:
    """Yield a gateway of the original, starting at one of its answers, and a client of it."""
    with Replay(ANSWERED[first:]) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server, GatewayClient(f"http://127.0.0.1:{server.server_port}", None, print)
        finally:
            server.shutdown()
            thread.join()


def place(method: str, path: str, holds: str = "") -> int:
    """Return the index of the first such answer."""
    return next(
        number
        for number, each in enumerate(ANSWERED)
        if (each["method"], each["path"]) == (method, path) and holds in each["answer"]
    )


#: What the original answers where it has no route.
UNKNOWN = ANSWERED[place("POST", "/ask")]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Provide a container's workspace, which is called /home/me/workspace on the host."""
    monkeypatch.setenv("CONTAINER_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("HOST_PATH", "/home/me/workspace")
    return str(tmp_path)


def test_a_host_with_the_original_is_understood(workspace: str) -> None:
    """A container with this version creates a session there, sends, waits, reads and ends it."""
    with original() as (server, gateway):
        created = gateway.execute(Create(path=workspace, description="recorded"))
        assert (created.id, created.cli, created.path, created.description) == (
            "fizz-top",
            "claude",
            "/home/me/workspace",
            "recorded",
        )
        assert gateway.execute(Status(session_id="fizz-top")).state == "idle"
        assert gateway.execute(LastMessage(session_id="fizz-top")) == []
        assert gateway.execute(Logs(session_id="fizz-top")) == []
        assert gateway.execute(Send(session_id="fizz-top", message="say first")) is None
        assert gateway.execute(Wait(session_id="fizz-top", timeout=30.0, interval=1.0)).outcome == "completed"
        assert gateway.execute(LastMessage(session_id="fizz-top")) == ["first"]
        assert gateway.execute(Logs(session_id="fizz-top")) == [
            LogTurn("human", "say first"),
            LogTurn("assistant", "first"),
        ]
        assert gateway.execute(Inspect(session_id="fizz-top"))["championId"] == "fizz-top"
        assert [row.session.id for row in gateway.execute(List()).rows] == ["fizz-top"]
        assert gateway.execute(Kill(session_id="fizz-top")) == KillReport(("fizz-top",))
        assert server.sent == [
            ("/create", {"path": "/home/me/workspace", "description": "recorded"}),
            ("/send", {"sessionId": "fizz-top", "message": "say first"}),
            ("/kill", {"sessionId": "fizz-top"}),
        ]


@pytest.mark.parametrize(
    "operation",
    [
        Interrupt(session_id="fizz-top"),
        Send(session_id="fizz-top", message="hi", receipt=True),
        Send(session_id="fizz-top", message="hi", discard_draft=True),
    ],
)
def test_what_the_original_cannot_do_is_not_half_done(operation: Operation[Any]) -> None:
    """A command that the original does not have fails with the version needed, and nothing is sent."""
    with original() as (server, gateway):
        with pytest.raises(
            DevSessionsError, match=r"too old for this command: update dev-sessions on the host to 0\.5\.0"
        ):
            gateway.execute(operation)
        assert {path for path, _ in server.sent} & {"/send"} == set()


@pytest.mark.parametrize("asked", [{"model": "opus"}, {"id": "zed-mid"}])
def test_a_wish_that_the_original_drops_is_noticed(asked: dict[str, str], workspace: str) -> None:
    """A session that the original created without a requested option is ended again."""
    with original() as (server, gateway):
        with pytest.raises(ProtocolError, match=rf"too old for --{min(asked)}, so the session was ended again"):
            gateway.execute(Create(path=workspace, **asked))  # type: ignore[arg-type] # both are texts
        assert server.sent[-1] == ("/kill", {"sessionId": "fizz-top"})


def test_a_model_that_nobody_passes_on_is_no_wish(workspace: str) -> None:
    """The old default model, which every version drops, is not reported as dropped."""
    with original() as (_, gateway):
        assert gateway.execute(Create(path=workspace, model="gpt-5.3-codex")).id == "fizz-top"


UNSAID = "failed, and its gateway is older than 0.5.0 and does not say why: dev-sessions logs"
ERRORS: list[tuple[Operation[Any], int, str, int]] = [
    (Status(session_id="nobody-top"), 0, "Session not found: nobody-top", 1),
    (Wait(session_id="nobody-top", timeout=5), 0, "Session not found: nobody-top", 1),
    (Wait(session_id="fizz-top", timeout=1), 0, "Timed out waiting for fizz-top", 124),
    (Wait(session_id="vi-jg", timeout=1, next_turn=True), 0, "Timed out waiting for the next turn on vi-jg", 124),
    (Kill(session_id="fizz-top"), place("POST", "/kill", "Session not found"), "Session not found: fizz-top", 1),
    (LastMessage(session_id="fizz-top", count=0), 0, "n must be a positive integer", 1),
]


@pytest.mark.parametrize(("operation", "first", "line", "code"), ERRORS, ids=lambda value: str(value)[:40])
def test_the_errors_of_a_host_with_the_original_are_reported(
    operation: Operation[Any], first: int, line: str, code: int
) -> None:
    """An error on a host with the original has the text and the exit code that it would have here."""
    with original(first) as (_, gateway), pytest.raises(DevSessionsError) as caught:
        gateway.execute(operation)
    assert (str(caught.value), caught.value.exit_code) == (line, code)


def test_a_wait_that_failed_there_is_reported_as_far_as_it_is_known() -> None:
    """A failed wait on a host with the original says where to find the reason, which its gateway does not report."""
    failed = ANSWERED[place("GET", "/wait?id=fizz-top&timeout=30", "Command failed")]
    with original() as (server, gateway):
        server.answers = [failed, ANSWERED[place("GET", "/status?id=fizz-top", "idle")]]
        with pytest.raises(DevSessionsError) as caught:
            gateway.execute(Wait(session_id="fizz-top", timeout=30))
    assert (str(caught.value), caught.value.exit_code) == (f"The wait for fizz-top {UNSAID} fizz-top", 1)


def test_a_goal_on_a_host_with_the_original_is_followed() -> None:
    """A goal on a host with the original can be set, waited for, shown, paused and cleared."""
    with original() as (_, gateway):
        assert gateway.execute(GetGoal(session_id="vi-jg")) is None
        goal = gateway.execute(SetGoal(session_id="vi-jg", objective="after 1 work 1 turns", token_budget=100_000))
        assert (goal.objective, goal.status, goal.token_budget) == ("after 1 work 1 turns", "active", 100_000)
        waited = gateway.execute(Wait(session_id="vi-jg", timeout=30, goal=True))
        assert waited.goal is not None
        assert (waited.outcome, waited.goal.status) == ("completed", "complete")
        assert gateway.execute(SetGoal(session_id="vi-jg", status="paused")).status == "paused"
        assert [gateway.execute(ClearGoal(session_id="vi-jg")) for _ in range(2)] == [True, False]


def test_what_the_original_did_in_steps_is_done_so() -> None:
    """With a host that has the original, `ask` gives the reply, and `kill --all` ends every session, as ever."""
    with original(place("POST", "/send")) as (server, gateway):
        reply = gateway.execute(Ask(session_id="fizz-top", message="say first", timeout=30))
        assert reply == Reply("first", "completed")
        assert gateway.execute(KillMany()) == KillReport(("fizz-top",))
        assert server.sent == [
            ("/ask", {"sessionId": "fizz-top", "message": "say first", "timeout": 30}),
            ("/send", {"sessionId": "fizz-top", "message": "say first"}),
            ("/kill-many", {}),
            ("/kill", {"sessionId": "fizz-top"}),
        ]


SSH = json.loads((DATA / "ssh.json").read_text())
#: What each recorded command line asks for, in their order.
ASKED: list[Operation[Any]] = [
    Create(id="fizz-top"),
    Create(id="vi-jg", cli="codex", path="~/a 'b'", description='it\'s "quoted" $HOME', model="gpt-5.5"),
    Send(session_id="fizz-top", message="it's $(id)\n\n- a list"),
    Status(session_id="fizz-top"),
    Wait(session_id="fizz-top", interval=2),
    Wait(session_id="fizz-top", interval=0.5),
    Wait(session_id="vi-jg", next_turn=True),
    Wait(session_id="vi-jg", interval=2, goal=True),
    LastMessage(session_id="fizz-top", count=3),
    Logs(session_id="fizz-top"),
    Inspect(session_id="fizz-top"),
    List(detail=True),
    Kill(session_id="fizz-top"),
    GetGoal(session_id="vi-jg"),
    SetGoal(session_id="vi-jg", objective="- make the tests pass", token_budget=100_000),
    SetGoal(session_id="vi-jg", status="paused"),
    SetGoal(session_id="vi-jg", status="active"),
    SetGoal(session_id="vi-jg", token_budget=5000),
    ClearGoal(session_id="vi-jg"),
]


def test_both_go_to_a_host_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands go to a host as the original sent them: same ssh options, same shared connection, a login shell, each
    argument whole."""
    monkeypatch.setenv("HOME", "/home/me")
    for recorded in SSH["sent"]:
        _, *options, host, command = ssh.ssh_argv("box", shlex.join(["dev-sessions", *recorded["argv"]]))
        assert [*sorted(options[1::2]), host] == [*sorted(SSH["options"][1:-1:2]), SSH["options"][-1]]
        assert [shlex.split(part) for part in shlex.split(command)] == [
            shlex.split(part) for part in shlex.split(recorded["command"])
        ]


def test_the_original_is_sent_the_version_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """The original, which compares the line with its own version, reads the bare version number."""
    assert run(SSH["sent"][0]["argv"], Application(Recorder())) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("recorded", "operation"), list(zip(SSH["sent"][1:], ASKED, strict=True)), ids=lambda each: str(each)[:60]
)
def test_a_machine_that_asks_with_the_original_is_understood(
    recorded: dict[str, Any],
    operation: Operation[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every command line that the original sends over ssh still works, and prints JSON where JSON is expected."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((recorded["stdin"] or "").encode())))
    recorder = Recorder()
    assert run(recorded["argv"], Application(recorder)) == 0
    assert recorder.seen == [operation]
    printed = capsys.readouterr().out
    if "--json" in recorded["argv"] or isinstance(operation, Inspect):
        json.loads(printed)
