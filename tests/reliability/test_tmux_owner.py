"""A tmux server of another user in the place of this user's own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import IN_A_TERMINAL, create, ok, record, records
from tests.support.home import Home
from tests.support.users import NOBODY, as_root

pytestmark = pytest.mark.forked

#: Makes the directory of a tmux server as another user, listens on the socket there, and prints what it is sent.
LISTENER = """
import os, socket, sys
path, user = sys.argv[1], int(sys.argv[2])
os.setgroups([])
os.setgid(user)
os.setuid(user)
os.makedirs(os.path.dirname(path), exist_ok=True)
served = socket.socket(socket.AF_UNIX)
served.bind(path)
os.chmod(path, 0o777)
served.listen()
print("listens", flush=True)
while True:
    with served.accept()[0] as peer:
        print(peer.recv(1 << 16), flush=True)
"""


@contextlib.contextmanager
def somebody_listens(path: Path) -> Iterator[None]:
    """Listen on the socket as another user, and assert that nobody connects."""
    argv = [sys.executable, "-c", LISTENER, str(path), str(NOBODY)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        try:
            assert listener.stdout.readline() == "listens\n"
            yield
        finally:
            listener.kill()
            sent = listener.stdout.read()
    assert sent == ""


@pytest.fixture
def shared() -> Iterator[Path]:
    """Provide a directory in which every user may create files, like /tmp."""
    with tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp") as directory:
        Path(directory).chmod(0o1777)
        yield Path(directory)


def refusal(directory: Path) -> str:
    """Return the text of every error about a directory of the other user."""
    return f"{directory} belongs to user {NOBODY}, not to you (user {os.geteuid()})"


@as_root
def test_a_server_of_another_user_is_sent_nothing(home: Home, shared: Path) -> None:
    """If another user has made the directory of this user's tmux, no command connects, each names the directory, the
    conversation can be read, and kill still ends Claude."""
    home.env["TMUX_TMPDIR"] = str(shared)
    sid = create(home, "claude")
    assert ok(home.cli("ask", sid, "say before")) == "before\n"
    found = record(home, sid)
    path = Path(found["tmuxSocket"])
    assert path == shared / f"tmux-{os.geteuid()}" / "default"
    shutil.rmtree(path.parent)
    with somebody_listens(path):
        for command in (["send", sid, "say it"], ["ask", sid, "say it"], ["attach", sid], ["create"], ["recover", sid]):
            starts = IN_A_TERMINAL if command == ["attach", sid] else ()
            done = home.run(*starts, sys.executable, "-m", "dev_sessions", *command, cwd=home.workspace())
            output = done.stdout + done.stderr
            assert (refusal(path.parent) in output, output.count("\n")) == (True, 1), (command, output)
            assert starts or (done.returncode, done.stdout) == (1, "")
        assert ok(home.cli("status", sid)) == "idle\n"
        assert ok(home.cli("wait", sid)) == "completed\n"
        assert ok(home.cli("last-message", sid)) == "before\n"
        assert set(records(home)) == {sid}
        assert home.cli("interrupt", sid).returncode == home.cli("respond", sid, "1").returncode == 1
        assert home.cli("kill", "nobody").stderr == "Session not found: nobody (see: dev-sessions list)\n"
        assert refusal(path.parent) in home.cli("doctor").stdout
        killed = home.cli("kill", sid)
        assert (killed.returncode, killed.stdout) == (0, f"Killed session {sid}\n")
        assert refusal(path.parent) in killed.stderr
        assert found["claudePid"] not in home.leftovers()
        assert records(home, "--all") == {}


@as_root
def test_what_was_lost_comes_back_on_a_server_of_ones_own(home: Home, shared: Path) -> None:
    """If another user makes the tmux directory after a restart, recover names it and does not connect; with another
    TMUX_TMPDIR the conversation goes on."""
    own, home.env["TMUX_TMPDIR"] = home.env["TMUX_TMPDIR"], str(shared)
    sid = create(home, "claude")
    ok(home.cli("ask", sid, "say before"))
    path = Path(record(home, sid)["tmuxSocket"])
    ok(home.tmux("kill-server"))
    shutil.rmtree(path.parent)
    with somebody_listens(path):
        # Claude lives on for a moment without its terminal.
        assert poll(lambda: f"{sid} is lost" in home.cli("status", sid).stderr or None, Deadline(30), 0.1)
        for command in (["recover", sid], ["recover", sid, "--yes"]):
            done = home.cli(*command)
            assert (done.returncode, refusal(path.parent) in done.stderr) == (1, True), done
        assert ok(home.cli("recover", sid, "--yes", env={"TMUX_TMPDIR": own})) == f"Recovered session {sid}\n"
        assert ok(home.cli("ask", sid, "history")) == "1: say before\n"
        ok(home.cli("kill", sid))


@as_root
def test_a_session_of_the_original_is_not_looked_for_there(home: Home, shared: Path) -> None:
    """A session of the original without a recorded socket or process is not looked up on another user's server, and not
    taken for gone."""
    home.env["TMUX_TMPDIR"] = str(shared)
    at = "2026-03-01T10:00:00.000Z"
    entry = {"championId": "zed-mid", "internalId": "11111111-2222-4333-8444-555555555555", "cli": "claude"}
    entry |= {"mode": "native", "path": str(home.workspace()), "status": "active", "createdAt": at, "lastUsed": at}
    store = home.path / ".dev-sessions" / "sessions.json"
    store.parent.mkdir()
    store.write_text(json.dumps({"version": 1, "sessions": [entry]}))
    path = shared / f"tmux-{os.geteuid()}" / "default"
    with somebody_listens(path):
        for command in (["status"], ["send", "--file", "-"], ["wait"], ["interrupt"], ["recover"], ["kill"]):
            done = home.cli(command[0], "zed-mid", *command[1:], stdin="say it")
            assert (done.returncode, done.stdout) == (1, ""), done
            assert refusal(path.parent) in done.stderr
        listed = home.cli("list")
        assert "zed-mid" in listed.stdout
        assert refusal(path.parent) in listed.stderr
    assert set(json.loads(store.read_text())["sessions"][0].items()) >= set(entry.items())


@as_root
def test_a_server_of_another_user_that_tmux_names_is_sent_nothing(home: Home, shared: Path) -> None:
    """No session is created on another user's tmux server, even if TMUX names it, as for root in that user's
    terminal."""
    path = shared / "theirs" / "default"
    env = {"TMUX": f"{path},4711,0"}
    with somebody_listens(path):
        done = home.cli("create", cwd=home.workspace(), env=env)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert refusal(path.parent) in done.stderr
        assert "unset TMUX" in done.stderr
        assert refusal(path.parent) in home.cli("doctor", env=env).stdout
        assert home.cli("list", env=env).stdout == "No active sessions\n"
