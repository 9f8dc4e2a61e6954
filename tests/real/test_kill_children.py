"""Kill ends the processes of a session and no others, also when it runs in the session itself."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
from itertools import count
from pathlib import Path

import pytest

from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.process import command_lines
from tests.support.cli import both, create, needs_proc, ok, records, stored_records
from tests.support.codex import end_servers
from tests.support.home import Home
from tests.support.processes import marked

pytestmark = [needs_proc, pytest.mark.forked]

OTHER = {"claude": "codex", "codex": "claude"}
_numbers = count(600)


def sleep() -> str:
    """Return a command that runs for ten minutes, with a unique command line."""
    return f"sleep {next(_numbers)}.{os.getpid()}"


def runs(command: str) -> bool:
    """Return whether a command is running."""
    return command in command_lines().values()


def run_in(home: Home, sid: str, *commands: str, until: tuple[str, ...]) -> None:
    """Run commands in a session's shell that start background processes, and return once those are running."""
    waits = [f"until pgrep -xf {command!r} >/dev/null; do sleep 0.05; done" for command in until]
    ok(home.cli("ask", sid, "run " + "; ".join([*commands, *waits])))


def started_in(home: Home, sid: str) -> dict[int, str]:
    """Return the processes that were started in a session, detached or not."""
    found = home.leftovers()
    return {pid: line for pid, line in marked("DEV_SESSIONS_ID", sid).items() if pid in found}


def are_over(home: Home, *sessions: str) -> bool:
    """Return whether the sessions' records are gone, and none of their processes is left."""

    def over() -> bool | None:
        # Not `list`, which may start the app-server again that is just being stopped.
        left = [sid for sid in sessions if sid in stored_records(home) or started_in(home, sid)]
        return None if left else True

    return bool(poll(over, Deadline(60), 0.1))


def nothing_runs(home: Home) -> bool:
    """Return whether all processes of a home have ended, servers included."""
    return bool(poll(lambda: True if home.leftovers() == {} else None, Deadline(60), 0.1))


@both
def test_kill_ends_what_was_put_into_the_background(home: Home, agent: str) -> None:
    """kill ends every process that the session has detached, even if it ignores SIGTERM, has another environment or was
    started by an earlier version, and none of another session, even one that had the same id."""
    # Of sessions of Codex, the server is the same.
    sid, other = create(home, agent), create(home, "codex")
    nohup, setsid, subshell, twice, stubborn, above, below, earlier, theirs, namesake = (sleep() for _ in range(10))
    detached = (nohup, setsid, subshell, twice, stubborn, above, below, earlier)
    # Codex ends the process group of a command with the command, Claude does not.
    apart = "setsid " if agent == "codex" else ""
    run_in(
        home,
        sid,
        f"{apart}nohup {nohup} >/dev/null 2>&1 & true",
        f"setsid {setsid} >/dev/null 2>&1 & true",
        f"({apart}{subshell} >/dev/null 2>&1 &)",
        f"(setsid sh -c '(setsid {twice} &)' >/dev/null 2>&1 &)",
        f"""(setsid sh -c 'trap "" TERM; {stubborn} & wait' >/dev/null 2>&1 &)""",
        f"(setsid sh -c '{above} & env -i {below} & wait' >/dev/null 2>&1 &)",
        # Earlier versions set no variables, so that it is known by the agent's.
        f"(env -u DEV_SESSIONS_ID -u DEV_SESSIONS_CREATED_AT setsid {earlier} >/dev/null 2>&1 &)",
        until=detached,
    )
    run_in(home, other, f"(setsid {theirs} >/dev/null 2>&1 &)", until=(theirs,))
    former = {"DEV_SESSIONS_ID": sid, "DEV_SESSIONS_CREATED_AT": "2020-01-01T00:00:00.000Z"}
    stranger = home.popen(*namesake.split(), env=former)
    working = sleep()
    ok(home.cli("send", sid, f"run sh -c 'exec {working}'"))  # Claude refuses to sleep for long
    assert poll(lambda: runs(working) or None, Deadline(30))
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert [command for command in (*detached, working) if runs(command)] == []
    assert runs(theirs)
    assert stranger.poll() is None
    assert ok(home.cli("status", other)) == "idle\n"
    ok(home.cli("kill", other))
    assert not runs(theirs)


@both
def test_every_command_of_a_session_has_its_id(home: Home, agent: str) -> None:
    """Every command of a session has its id in the environment, also after recover."""
    with (home.path / ".codex" / "config.toml").open("a") as config:
        config.write('[shell_environment_policy.set]\nMINE = "kept"\n')
    outer = {"DEV_SESSIONS_ID": "outer", "CODEX_SESSION_ID": "outer-thread", "MINE": "kept"}
    sid = ok(home.cli("create", "-q", "--cli", agent, env=outer)).strip()
    command = "echo $DEV_SESSIONS_ID $DEV_SESSIONS_CREATED_AT $MINE"
    expected = f"{sid} {stored_records(home)[sid]['createdAt']} kept"
    assert expected in ok(home.cli("ask", sid, f"run {command}"))
    end_servers(home)
    ok(home.cli("recover", sid, "--yes", env=outer))
    assert expected in ok(home.cli("ask", sid, f"run {command}"))


@pytest.mark.launcher
@pytest.mark.parametrize("agent", [pytest.param("claude", marks=pytest.mark.soak), "codex"])
def test_what_others_may_use_outlives_its_session(home: Home, agent: str) -> None:
    """kill leaves a session that the ended one created, that session's processes and both sessions' servers; a tmux
    server that the agent started is named. The created session may kill its creator."""
    parent = create(home, agent, "--id", "parent")
    child, cousin = "child", "cousin"
    run_in(home, parent, f"dev-sessions create --cli {agent} --id {child}", until=())
    run_in(home, parent, f"dev-sessions create --cli {OTHER[agent]} --id {cousin}", until=())
    theirs, window = {child: sleep(), cousin: sleep()}, sleep()
    for sid, command in theirs.items():
        run_in(home, sid, f"(setsid {command} >/dev/null 2>&1 &)", until=(command,))
    run_in(home, parent, f"tmux -L mine new-session -d {window}", until=(window,))
    (mine,) = [pid for pid, line in home.leftovers().items() if line.startswith("tmux -L mine")]
    reply = ok(home.cli("ask", child, f"run dev-sessions kill {parent}"))
    assert f"Killed session {parent}\n" in reply
    assert (
        f"{parent} started servers that others may be using, so they were left running:"
        f" {mine} (tmux -L mine new-session -d {window}); if nobody does, end them: kill {mine}\n"
    ) in reply + "\n"
    assert set(started_in(home, parent).values()) == {f"tmux -L mine new-session -d {window}", window}
    assert set(records(home)) == {child, cousin}
    assert [command for command in (*theirs.values(), window) if not runs(command)] == []
    for sid in theirs:
        assert ok(home.cli("ask", sid, "say fine")) == "fine\n"
    servers = {
        pid for pid, line in home.leftovers().items() if re.search(r"^tmux -u new-sessio|app-server --listen", line)
    }
    assert len(servers) == 3, "tmux, Codex and Codex's launcher"
    own = [pid for sid in (parent, *theirs) for pid in started_in(home, sid)]
    assert not servers & set(own), "who starts a server gives it nothing of its own session"
    ok(home.run("tmux", "-L", "mine", "kill-server"))
    ok(home.cli("kill", "--all"))
    assert nothing_runs(home)


@both
def test_a_session_ends_itself(home: Home, agent: str) -> None:
    """A session that kills itself leaves no record, agent or process; other sessions go on, and the last one takes the
    servers with it."""
    first, last = create(home, agent), create(home, "codex")
    detached, output = sleep(), home.path / "output"
    run_in(home, first, f"(setsid {detached} >/dev/null 2>&1 &)", until=(detached,))
    ok(home.cli("send", first, f"run dev-sessions kill {first} >{output} 2>&1"))
    assert are_over(home, first)
    assert not runs(detached)
    assert output.read_text() == f"Killed session {first}\n"
    assert ok(home.cli("ask", last, "say fine")) == "fine\n"
    ok(home.cli("send", last, f"run dev-sessions kill {last}"))
    assert are_over(home, last)
    assert nothing_runs(home)


@pytest.mark.parametrize(
    ("agent", "option"),
    [
        *(("codex", "--all"), ("codex", "--older-than 1s")),
        pytest.param("claude", "--all", marks=pytest.mark.matrix),
    ],
)
def test_a_session_ends_many(home: Home, agent: str, option: str) -> None:
    """`kill --all` and `--older-than` in a session end the others first, then this one and the servers."""
    own, others = create(home, agent), {create(home, agent), create(home, OTHER[agent])}
    assert "No matching sessions to kill" in ok(home.cli("ask", own, "run dev-sessions kill --older-than 1h"))
    output = home.path / "output"
    ok(home.cli("send", own, f"run sleep 1; dev-sessions kill {option} >{output} 2>&1"))
    assert are_over(home, own, *others)
    assert nothing_runs(home)
    lines = output.read_text().splitlines()
    if option == "--all":
        assert lines.pop(0) == f"{own}, in which this command runs, ends last"
    assert set(lines[:2]) == {f"Killed session {sid}" for sid in others}
    assert lines[2:] == [f"Killed session {own}", "Killed 3 sessions"]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def listens(gateway: Path) -> bool:
    """Return whether a gateway accepts connections, which is a moment after its socket exists."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(gateway)) == 0


def kill_through(gateway: Path, sid: str) -> dict[str, object]:
    """Return a gateway's response to a kill."""
    assert poll(lambda: listens(gateway) or None, Deadline(30))
    connection = _UnixConnection(gateway)
    connection.request("POST", "/kill", json.dumps({"sessionId": sid}), {"Content-Type": "application/json"})
    answer: dict[str, object] = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def test_a_gateway_is_not_hurt_by_the_end_of_its_session(home: Home) -> None:
    """A gateway that a session has detached outlives it and can kill it; one that is a command of the session refuses
    to, and a kill from elsewhere ends both."""
    detached, command = create(home, "codex"), create(home, "codex")
    lasting, passing = home.path / "lasting.sock", home.path / "passing.sock"
    gateway = f"dev-sessions gateway --socket {lasting} >/dev/null 2>&1"
    ok(home.cli("ask", detached, f"run (setsid {gateway} &); until [ -e {lasting} ]; do sleep 0.05; done"))
    ok(home.cli("send", command, f"run dev-sessions gateway --socket {passing}"))
    refused = kill_through(passing, command)
    assert refused["ok"] is False
    assert refused["error"] == (
        f"{command} runs this very command, which would be ended first, so nothing was done; run it from elsewhere:"
        f" dev-sessions kill {command}"
    )
    assert set(records(home)) == {detached, command}
    assert kill_through(lasting, detached) == {"ok": True, "killed": [detached]}
    assert kill_through(lasting, command) == {"ok": True, "killed": [command]}
    assert set(records(home)) == set()
    assert [line for line in home.leftovers().values() if str(passing) in line] == []
