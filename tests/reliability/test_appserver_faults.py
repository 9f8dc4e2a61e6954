"""Codex's app-server stopped, cut off from its socket, or of another version than what is installed by now."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.agents import agent_bin, install
from tests.support.cli import create, ok, record
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.signals import stop_group
from tests.support.silent_thread import silent_about

pytestmark = [pytest.mark.forked, pytest.mark.launcher]

#: Reads what the newest writes.
OLDER = "0.150.0"


def state(home: Home) -> dict[str, Any]:
    """Return the recorded state of the app-server."""
    found: dict[str, Any] = json.loads((home.path / ".dev-sessions" / "codex" / "state.json").read_text())
    return found


def servers(home: Home) -> list[str]:
    """Return the command lines of the running native app-servers."""
    return [line for line in home.leftovers().values() if "app-server" in line and not line.startswith("node")]


def test_an_app_server_that_was_asked_to_end_is_followed_by_another(home: Home) -> None:
    """After a plain kill of the app-server, the next message continues the conversation in one new server."""
    sid = create(home, "codex")
    ok(home.cli("ask", sid, "say before"))
    os.kill(state(home)["pid"], signal.SIGTERM)
    assert poll(lambda: None if servers(home) else True, Deadline(20), 0.05)
    assert ok(home.cli("status", sid)) == "idle\n"
    assert ok(home.cli("ask", sid, "history")) == "1: say before\n"
    assert len(servers(home)) == 1


def test_an_app_server_without_its_socket_is_replaced(home: Home) -> None:
    """An app-server whose socket was removed is replaced, without a second server or an orphan, and the conversation
    goes on."""
    sid = create(home, "codex")
    ok(home.cli("ask", sid, "say before"))
    socket = Path(state(home)["address"].removeprefix("unix://"))
    socket.unlink()
    assert ok(home.cli("ask", sid, "history")) == "1: say before\n"
    assert len(servers(home)) == 1
    socket.unlink()
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert poll(lambda: None if servers(home) else True, Deadline(30), 0.05)


def test_an_app_server_without_its_directory_is_replaced(home: Home) -> None:
    """If the app-server's directory is removed, two simultaneous commands start one new server, the old one is ended
    and the conversation goes on; a kill that comes first ends it as well."""
    sid = create(home, "codex")
    ok(home.cli("ask", sid, "say before"))
    folder = home.path / ".dev-sessions" / "codex"
    old = servers(home)
    shutil.rmtree(folder)
    asking = [home.popen(sys.executable, "-m", "dev_sessions", "status", sid) for _ in range(2)]
    assert [(*child.communicate(timeout=60), child.returncode) for child in asking] == [("idle\n", "", 0)] * 2
    assert ok(home.cli("ask", sid, "history")) == "1: say before\n"
    assert len(servers(home)) == len(old) == 1
    assert json.loads(ok(home.cli("list", "--json")))[0]["state"] == "idle"
    shutil.rmtree(folder)
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert servers(home) == []


def test_a_session_of_an_app_server_that_is_stopped_is_not_called_lost(home: Home) -> None:
    """A session whose app-server is stopped stays in the list without a state, and every command says at once how to
    let it continue."""
    sid = create(home, "codex")
    ok(home.cli("ask", sid, "say before"))
    list_time = time.monotonic()
    ok(home.cli("list"))
    list_time = time.monotonic() - list_time
    group = state(home)["pid"]
    stop_group(group)
    try:
        began = time.monotonic()
        failed = [home.cli(command, sid) for command in ("status", "last-message", "wait", "interrupt")]
        listed = home.cli("list", "--json")
        took = time.monotonic() - began
    finally:
        os.killpg(group, signal.SIGCONT)
    for done in failed:
        assert (done.returncode, done.stdout) == (1, "")
        assert f" is stopped; let it continue with: kill -CONT -- -{group}" in done.stderr
    assert took < 5 * list_time + 5, "a server that hangs is given 10 s by each"
    assert ok(home.cli("wait", sid)) == "completed\n"
    (row,) = json.loads(listed.stdout)
    assert (listed.returncode, row["championId"], row["status"]) == (0, sid, "active")
    assert "state" not in row
    assert "is stopped; let it continue with" in listed.stderr


def test_a_thread_without_answers_holds_up_nobody(home: Home) -> None:
    """If the app-server responds about all threads but one, `list` shows the others in seconds and says that the state
    of that one is not known, and each command for that one ends soon, with what did not answer."""
    others, sid = [create(home, "codex") for _ in range(2)], create(home, "codex")
    ok(home.cli("ask", sid, "say before"))
    commands = [["status", sid], ["wait", "-t", "1", sid], ["interrupt", "-t", "1", sid], ["send", sid, "say lost"]]
    with silent_about(home, record(home, sid)["internalId"]):
        began = time.monotonic()
        running = [(args, home.popen(sys.executable, "-m", "dev_sessions", *args)) for args in commands]
        listed = home.cli("list", "--json")
        list_time = time.monotonic() - began
        ended = {args[0]: (*child.communicate(timeout=60), child.returncode) for args, child in running}
        took = time.monotonic() - began
        assert list(map(ok, (home.cli("status", other) for other in others))) == ["idle\n"] * 2
    states = {row["championId"]: row.get("state") for row in json.loads(listed.stdout)}
    assert states == {sid: None, **dict.fromkeys(others, "idle")}
    assert listed.stderr.startswith(f"Warning: The state of {sid} is not known: Codex's app-server (process ")
    assert listed.stderr.count("\n") == 1
    assert ended.pop("wait") == ("", f"Timed out waiting for {sid}\n", 124)
    assert all((done[0], done[2], done[1].count("\n")) == ("", 1, 1) for done in ended.values())
    assert ended["status"][1].startswith(f"The state of {sid} is not known: ")
    assert ") did not answer thread/goal/get within " in ended["interrupt"][1]
    assert "was not sent, nothing was typed: Codex's app-server (process " in ended["send"][1]
    assert list_time < 20
    assert took < 25, "a request was given 30 s"
    assert ok(home.cli("ask", sid, "history")) == "1: say before\n"


#: Listens where the app-server should, and is none.
STAND_IN = """
import contextlib, socket, sys, threading, time
place, manner = sys.argv[1:]
served = socket.socket(socket.AF_UNIX)
served.bind(place)
served.listen(100)
print("listens", flush=True)
kept = []
def drip(connection, text):
    with contextlib.suppress(OSError):
        for byte in text:
            connection.send(bytes([byte]))
            time.sleep(0.05)
while True:
    connection, _ = served.accept()
    kept.append(connection)
    if manner == "closes":
        connection.close()
    elif manner == "garbage":
        with contextlib.suppress(OSError):
            connection.sendall(b"\\0\\xff what? \\r\\n\\r\\n" * 1000)
    elif manner == "drips":
        text = b"HTTP/1.1 101 Switching Protocols\\r\\nX: " + b"x" * 100000
        threading.Thread(target=drip, args=(connection, text), daemon=True).start()
"""


def test_what_is_no_app_server_is_one_clear_error(home: Home) -> None:
    """If another program serves the app-server's socket, each command fails in time with a one-line error, and neither
    ends that program nor starts a server."""
    session = {
        "championId": "fizz-top",
        "internalId": "00000000-0000-7000-8000-000000000000",
        "cli": "codex",
        "mode": "native",
        "path": str(home.path),
        "status": "active",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "lastUsed": "2026-01-01T00:00:00.000Z",
    }
    running: dict[tuple[str, str], subprocess.Popen[str]] = {}
    stand_ins = []
    for manner in ("says nothing", "closes", "garbage", "drips"):
        folder = home.workspace(manner[0]) / ".dev-sessions"
        (folder / "codex").mkdir(mode=0o700, parents=True)
        (folder / "sessions.json").write_text(json.dumps({"version": 1, "sessions": [session]}))
        stand_in = home.popen(sys.executable, "-c", STAND_IN, str(folder / "codex" / "app-server.sock"), manner)
        stand_ins.append(stand_in)
        assert stand_in.stdout is not None
        assert stand_in.stdout.readline() == "listens\n"
        for command in (["status", "fizz-top"], ["wait", "fizz-top", "-t", "60"], ["send", "fizz-top", "hi"]):
            env = {"HOME": str(folder.parent), "PATH": "/usr/bin:/bin"}
            argv = (sys.executable, "-m", "dev_sessions", *command)
            running[manner, command[0]] = home.popen(*argv, env=env)
    for (manner, name), command_ in running.items():
        output, errors = command_.communicate(timeout=60)
        print(f"{manner}, {name}: {errors}", end="")
        assert (command_.returncode, output, errors.count("\n")) == (1, "", 1)
        closes, hangs = "closes every connection; end it with: kill -9", "does not answer; end it with: kill -9"
        expected = {"closes": [closes], "garbage": [closes, hangs]}.get(manner, [hangs])
        assert any(words in errors for words in expected)
    assert all(stand_in.poll() is None for stand_in in stand_ins)


def test_a_log_of_a_gigabyte_is_cut(home: Home) -> None:
    """Only the end of a large log is kept, also of one that an ended app-server left."""
    sid = create(home, "codex")
    ok(home.cli("ask", sid, "say before"))
    log = home.path / ".dev-sessions" / "codex" / "app-server.log"
    os.truncate(log, 1 << 30)
    assert ok(home.cli("status", sid, timeout=20)) == "idle\n"
    assert log.stat().st_size == 0
    assert log.with_name("app-server.log.1").stat().st_size == 1_000_000
    os.kill(state(home)["pid"], signal.SIGTERM)
    assert poll(lambda: None if servers(home) else True, Deadline(20), 0.05)
    os.truncate(log, 1 << 30)
    assert ok(home.cli("ask", sid, "history", timeout=30)) == "1: say before\n"
    assert log.with_name("app-server.log.1").stat().st_size <= 1_000_000


@pytest.mark.soak
def test_an_upgrade_of_codex_underneath(model: ScriptedModel) -> None:
    """After an upgrade of Codex the running server goes on, and doctor says how to move to the new one with the
    conversation."""
    newer = agent_bin("codex")
    install("codex", OLDER)
    with Home(model.port, versions={"codex": OLDER}) as home:
        sid = create(home, "codex")
        ok(home.cli("ask", sid, "say before"))
        pid = state(home)["pid"]
        env = {"PATH": f"{newer}{os.pathsep}{home.env['PATH']}"}
        assert ok(home.cli("ask", sid, "say during", env=env)) == "during\n"
        assert state(home)["pid"] == pid
        output = home.cli("doctor", env=env).stdout
        assert f"{OLDER} is running (process {pid})" in output
        assert f"kill {pid}" in output
        os.kill(pid, signal.SIGTERM)
        assert poll(lambda: None if servers(home) else True, Deadline(20), 0.05)
        assert ok(home.cli("ask", sid, "history", env=env)) == "1: say before\n2: say during\n"
        assert state(home)["codex_version"] != OLDER


@pytest.mark.soak
def test_a_downgrade_of_codex_underneath(home: Home) -> None:
    """After a downgrade of Codex the running server goes on, doctor says how to move, and the older one continues the
    conversation without loss."""
    sid = create(home, "codex")
    ok(home.cli("ask", sid, "say before"))
    pid = state(home)["pid"]

    def end() -> None:
        os.kill(state(home)["pid"], signal.SIGTERM)
        assert poll(lambda: None if servers(home) else True, Deadline(20), 0.05)

    env = {"PATH": f"{install('codex', OLDER)}{os.pathsep}{home.env['PATH']}"}
    assert ok(home.cli("ask", sid, "say during", env=env)) == "during\n"
    assert state(home)["pid"] == pid
    output = home.cli("doctor", env=env).stdout
    assert f"but {OLDER} is installed" in output
    assert f"kill {pid} (conversations are kept, but the older version may not read them;" in output
    end()
    assert ok(home.cli("ask", sid, "history", env=env)) == "1: say before\n2: say during\n"
    assert state(home)["codex_version"] == OLDER
    end()
    assert ok(home.cli("ask", sid, "history")) == "1: say before\n2: say during\n3: history\n"
    end()
    assert ok(home.cli("ask", sid, "say after")) == "after\n"
