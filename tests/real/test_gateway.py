"""The gateway with both real agents on the host, and an empty home in place of a container."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.claude import lose
from tests.support.cli import ok, outcome
from tests.support.gateway import HOSTILE, Container, Gateway, running_gateway
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked


@pytest.fixture
def container(home: Home) -> Iterator[Container]:
    """Provide a container whose host runs a gateway on a free port."""
    with running_gateway(home, "--port", "0") as (_, container):
        yield container


# Codex is the agent of most other tests here.
@pytest.mark.parametrize("agent", ["claude", pytest.param("codex", marks=pytest.mark.matrix)])
def test_the_main_job_from_a_container(home: Home, container: Container, agent: str) -> None:
    """A container without an agent, tmux or a store of its own does everything with the host's sessions."""
    done = container.cli("create", "--cli", agent, "--description", "from a container")
    sid = ok(done).removeprefix("Created session ").strip()
    assert json.loads(ok(home.cli("inspect", sid)))["path"] == str(home.workspace())
    assert ok(container.cli("send", sid, "say hello")) == f"Sent message to {sid}\n"
    assert ok(container.cli("wait", sid)) == "completed\n"
    assert ok(container.cli("last-message", sid)) == "hello\n"
    assert ok(container.cli("ask", sid, "--file", "-", stdin=HOSTILE)).strip() == HOSTILE.removeprefix("say ")
    assert json.loads(ok(container.cli("send", sid, "say on", "--json")))["state"] in ("submitted", "steered")
    assert ok(container.cli("wait", sid)) == "completed\n"
    for command in (["status", sid], ["status", sid, "--json"], ["logs", sid], ["logs", sid, "--json"]):
        assert outcome(container.cli(*command)) == outcome(home.cli(*command)), command
    for command in (["list"], ["list", "--json"], ["inspect", sid], ["last-message", sid, "-n", "2", "--json"]):
        assert outcome(container.cli(*command)) == outcome(home.cli(*command)), command
    ok(container.cli("send", sid, "after 30 say late"))
    assert ok(container.cli("status", sid)) == "working\n"
    done = container.cli("interrupt", sid)
    undelivered = f"Not delivered to {sid}: after 30 say late\n" if agent == "claude" else ""
    assert (done.stdout, done.stderr) == (f"Interrupted {sid}\n", undelivered)
    assert ok(container.cli("kill", sid)) == f"Killed session {sid}\n"
    assert ok(home.cli("list")) == "No active sessions\n"
    assert list(container.home.iterdir()) == [], "nothing is kept in the container"


@pytest.mark.parametrize("agent", [pytest.param("claude", marks=pytest.mark.soak), "codex"])
def test_errors_are_the_same_as_on_the_host(home: Home, container: Container, model: ScriptedModel, agent: str) -> None:
    """Every failure has the same words and exit code in the container as on the host."""
    sid = ok(container.cli("create", "-q", "--cli", agent)).strip()
    ok(container.cli("send", sid, "when told say late"))
    late = container.cli("wait", sid, "--timeout", "1")
    assert outcome(late) == (124, "", f"Timed out waiting for {sid}\n")
    model.allow("told")
    assert ok(container.cli("wait", sid)) == "completed\n"
    ok(container.cli("send", sid, "fail 400"))
    failed = container.cli("wait", sid)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"The turn of {sid} failed: invalid_request: ")
    assert '"reason": "invalid_request"' in container.cli("wait", sid, "--json").stdout
    assert outcome(container.cli("status", sid, "--json")) == outcome(home.cli("status", sid, "--json"))
    assert '"reason": "invalid_request"' in ok(container.cli("list", "--json"))
    for command in (
        ["wait", sid],
        ["wait", sid, "--json"],
        ["status", "nobody-top"],
        ["wait", "nobody-top"],
        ["send", "nobody-top", "hi"],
        ["ask", "nobody-top", "hi"],
        ["last-message", "nobody-top"],
        ["kill", "nobody-top"],
        ["respond", sid, "1"],
        ["interrupt", sid],
        ["create", "--path", "/no/such/folder"],
        ["create", "--path", "/etc/hosts"],
        ["create", "--id", sid],
    ):
        assert outcome(container.cli(*command)) == outcome(home.cli(*command)), command
        assert container.cli(*command).returncode == 1


def test_a_question_is_answered_from_a_container(container: Container) -> None:
    """A session that asks ends the container's wait and ask with exit code 3, and takes the answer, or is cancelled."""
    sid = ok(container.cli("create", "-q")).strip()
    assert outcome(container.cli("ask", sid, "ask Which? | red | blue")) == (3, "waiting_for_input\n", "")
    assert outcome(container.cli("wait", sid)) == (3, "waiting_for_input\n", "")
    assert "2. blue" in ok(container.cli("last-message", sid))
    assert ok(container.cli("respond", sid, "2")) == f"Answered {sid}\n"
    assert ok(container.cli("wait", sid)) == "completed\n"
    assert "blue" in ok(container.cli("last-message", sid))
    ok(container.cli("send", sid, "/theme"))
    assert container.cli("wait", sid).returncode == 3
    assert '"waitingFor": "Theme"' in ok(container.cli("status", sid, "--json"))
    assert ok(container.cli("respond", sid, "--cancel")) == f"Cancelled the dialog of {sid}\n"
    assert ok(container.cli("status", sid)) == "idle\n"


def test_a_goal_takes_an_objective_of_any_form(home: Home, container: Container) -> None:
    """An objective of many lines that begins with a dash arrives whole; the goal is waited for, shown and cleared."""
    sid = ok(container.cli("create", "-q", "--cli", "codex")).strip()
    objective = "- work 2 turns\n\n--clear \u05d0 " + "long " * 600 + "end"
    assert ok(container.cli("goal", sid, "--file", "-", stdin=objective)).startswith(f"objective: {objective}\n")
    assert ok(container.cli("wait", sid, "--goal")) == "complete\n"
    for command in (["goal", sid], ["goal", sid, "--json"]):
        assert outcome(container.cli(*command)) == outcome(home.cli(*command))
    late = container.cli("wait", sid, "--next-turn", "-t", "1")
    assert outcome(late) == (124, "", f"Timed out waiting for the next turn on {sid}\n")
    assert ok(container.cli("goal", sid, "--clear")) == f"Cleared goal for {sid}\n"
    other = ok(container.cli("create", "-q")).strip()
    refused = container.cli("goal", other, "an objective")
    assert outcome(refused) == (1, "", f"Goals are only supported for codex sessions; {other} is a claude session\n")


def test_a_lost_session_is_brought_back_from_a_container(home: Home, container: Container) -> None:
    """recover works from a container as on the host."""
    sid = ok(container.cli("create", "-q")).strip()
    ok(container.cli("ask", sid, "say before"))
    lose(home, sid, "server")
    assert f"dev-sessions recover {sid}" in container.cli("status", sid).stderr
    assert ok(container.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
    assert ok(container.cli("ask", sid, "history")) == "1: say before\n"


def test_paths_are_the_hosts(home: Home, container: Container) -> None:
    """A session begins in the host's folder for the container's one, and never in a folder beside the project."""
    home.workspace("workspace/sub dir")
    home.workspace("beside")

    def path(*options: str, cwd: Path | None = None) -> str:
        done = container.cli("create", "--json", "--cli", "codex", *options, cwd=cwd)
        return str(json.loads(ok(done))["path"])

    assert path(cwd=container.workspace / "sub dir") == f"{home.workspace()}/sub dir"
    assert path("--path", "sub dir") == f"{home.workspace()}/sub dir"
    assert path(cwd=container.home) == str(home.workspace())
    assert path("--path", str(home.path)) == str(home.path)
    climbed = container.cli("create", "--cli", "codex", "--path", str(container.workspace / ".." / "beside"))
    assert climbed.stderr == f"Workspace path does not exist: {container.workspace.parent}/beside\n"
    unnamed = container.cli("create", HOST_PATH="")
    assert unnamed.stderr.startswith("HOST_PATH is required when running in sandbox mode with ")


def test_only_who_has_the_token_gets_in(home: Home) -> None:
    """With a token file nobody without the token does anything; a file that others can read is refused."""
    file = home.path / "token"
    file.write_text("sesame\n")
    file.chmod(0o644)
    assert "chmod 600" in home.cli("gateway", "--port", "0", "--token-file", file).stderr
    file.chmod(0o600)
    with running_gateway(home, "--port", "0", "--token-file", str(file)) as (gateway, container):
        for token in ("", "wrong"):
            refused = container.cli("list", DEV_SESSIONS_GATEWAY_TOKEN=token)
            variables = "DEV_SESSIONS_GATEWAY_TOKEN_FILE or DEV_SESSIONS_GATEWAY_TOKEN"
            assert outcome(refused) == (1, "", f"The gateway requires its token; set {variables}\n")
        assert ok(container.cli("list", DEV_SESSIONS_GATEWAY_TOKEN="sesame")) == "No active sessions\n"
        assert ok(container.cli("list", DEV_SESSIONS_GATEWAY_TOKEN_FILE=str(file))) == "No active sessions\n"
        code, log, errors = gateway.end()
    assert (code, errors) == (0, "")
    assert [line.split()[-2] for line in log.splitlines()] == ["401", "401", "200", "200"]


def test_a_token_file_that_holds_no_token_is_named(home: Home) -> None:
    """A token file that is missing, empty, too long, a folder or a pipe is an error, in a container and on the host."""
    file = home.path / "token"
    cases: list[Callable[[], object]] = [lambda: None, file.touch, file.mkdir, lambda: os.mkfifo(file)]
    cases += [lambda: file.write_text("two words\nand lines"), lambda: file.write_text("x" * 5000)]
    container = {"DEV_SESSIONS_SANDBOX": "1", "DEV_SESSIONS_GATEWAY_TOKEN_FILE": str(file)}
    for make in cases:
        make()
        for done in (
            home.cli("list", env=container, timeout=10),
            home.cli("gateway", "--port", "0", "--token-file", file, timeout=10),
        ):
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
            assert str(file) in done.stderr
        if file.is_dir():
            file.rmdir()
        else:
            file.unlink(missing_ok=True)


def test_a_gateway_without_a_token_says_who_can_drive_it(home: Home) -> None:
    """A gateway without a token prints a warning, and SIGTERM ends it cleanly."""
    gateway = Gateway(home, "--port", "0")
    assert gateway.line.startswith("Gateway listening on port ")
    code, _, errors = gateway.end()
    assert code == 0
    assert errors.startswith("Warning: every user of this machine can use this gateway")
    assert Gateway(home, "--port", "0").end(signal.SIGINT)[0] == 130


def test_a_unix_socket_serves_as_well(home: Home) -> None:
    """A container can be given a socket in place of a port; it is the user's alone, and goes with the gateway."""
    path = home.path / ".dev-sessions" / "gateway.sock"  # of a user who has not used anything yet
    with running_gateway(home, "--socket", str(path)) as (gateway, container):
        assert path.stat().st_mode & 0o777 == 0o600
        assert container.env["DEV_SESSIONS_GATEWAY_URL"] == f"unix://{path}"
        sid = ok(container.cli("create", "-q", "--cli", "codex")).strip()
        assert ok(container.cli("ask", sid, "say hello")) == "hello\n"
        assert gateway.end()[0] == 0
        dead = container.cli("status", sid)
    assert not path.exists()
    assert dead.returncode == 1
    assert dead.stderr.startswith(f"Gateway request failed for unix://{path}/status (")
    assert ok(home.cli("ask", sid, "say still here")) == "still here\n"


def test_a_port_in_use_is_an_error_that_names_it(home: Home) -> None:
    """A gateway that cannot listen ends at once and says what to set."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        by_option = home.cli("gateway", "--port", str(port))
        by_variable = home.cli("gateway", env={"DEV_SESSIONS_GATEWAY_PORT": str(port)})
    assert by_option.returncode == by_variable.returncode == 1
    assert by_option.stderr == by_variable.stderr
    assert by_option.stderr.startswith(f"Port {port} cannot be used: ")
    assert "DEV_SESSIONS_GATEWAY_PORT" in by_option.stderr


def test_a_gateway_outlives_the_reader_of_its_log(home: Home, container: Container) -> None:
    """The gateway keeps serving if its standard output is closed."""
    with running_gateway(home, "--port", "0") as (gateway, other):
        assert gateway.process.stdout is not None
        gateway.process.stdout.close()
        for _ in range(3):
            assert ok(other.cli("list")) == "No active sessions\n"
        gateway.process.terminate()
        assert gateway.process.wait(10) == 0
    assert ok(container.cli("list")) == "No active sessions\n"


@pytest.mark.parametrize(("agent", "clients"), [("codex", 200), pytest.param("claude", 200, marks=pytest.mark.soak)])
def test_many_wait_at_once(container: Container, model: ScriptedModel, agent: str, clients: int) -> None:
    """While up to 200 clients wait for a session, another command is answered, and all of them see the turn end."""
    sid = ok(container.cli("create", "-q", "--cli", agent)).strip()
    ok(container.cli("send", sid, "when told say done"))
    place = container.env["DEV_SESSIONS_GATEWAY_URL"].removeprefix("http://")
    waits = [http.client.HTTPConnection(place, timeout=60) for _ in range(clients)]
    for wait in waits:
        wait.request("GET", f"/wait?id={sid}&timeout=60")
    # The head of an answer comes when its wait begins.
    answers = [wait.getresponse() for wait in waits]
    assert ok(container.cli("status", sid)) == "working\n"
    assert select.select(answers, [], [], 0)[0] == []
    model.allow("told")
    results = [json.loads(answer.read())["waitResult"] for answer in answers]
    assert [(result["completed"], result["timedOut"]) for result in results] == [(True, False)] * clients
    for wait in waits:
        wait.close()
    assert ok(container.cli("last-message", sid)) == "done\n"
    assert sum(turn.user_text == "when told say done" for turn in model.turns()) == 1
