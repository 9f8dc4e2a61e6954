"""Sessions on another machine: a real sshd on loopback, and a second home behind it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import both, needs_proc, ok, outcome, records
from tests.support.full_disk import ON_DEV_FULL
from tests.support.gateway import HOSTILE, running_gateway
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.remote import NAME, Remote

pytestmark = pytest.mark.forked


@pytest.fixture
def box(home: Home, model: ScriptedModel) -> Iterator[Remote]:
    """Provide another machine with both agents."""
    with Home(model.port) as far, Remote(home, far) as box:
        far.runner = home.runner
        yield box


@pytest.fixture(scope="module")
def _box_of_module(_home_of_module: Home, model: ScriptedModel) -> Iterator[Remote]:
    with Home(model.port) as far, Remote(_home_of_module, far) as box:
        far.runner = _home_of_module.runner
        yield box


@pytest.fixture
def shared_box(shared_home: Home, _box_of_module: Remote) -> Iterator[Remote]:
    """Provide the machine that the shared home reaches, for tests that do not disturb each other; a stand-in for its
    dev-sessions is removed."""
    del shared_home
    program = _box_of_module.bin / "dev-sessions"
    real = program.read_text()
    yield _box_of_module
    program.write_text(real)
    program.chmod(0o755)
    (_box_of_module.far.path / ASKED).unlink(missing_ok=True)


def create(home: Home, box: Remote, *options: str, agent: str = "codex") -> str:
    """Create a session on the other machine."""
    done = home.cli("create", "-q", "--host", NAME, "--cli", agent, "--path", str(box.far.workspace()), *options)
    return ok(done).strip()


def claude(home: Home, box: Remote) -> str:
    """Return the session of Claude on the other machine that tests share, which leave it idle."""
    if "asked-there" not in records(home):
        create(home, box, "--id", "asked-there", agent="claude")
    return "asked-there"


def record(home: Home, sid: str) -> dict[str, Any]:
    """Return this machine's record of a session."""
    stored = json.loads((home.path / ".dev-sessions" / "sessions.json").read_text())
    return next(dict(record) for record in stored["sessions"] if record["championId"] == sid)


#: Where a stand-in notes its command lines, in the home there.
ASKED = "asked"


def stand_in(box: Remote, script: str) -> Path:
    """Replace the other machine's dev-sessions by a shell script; the real one is `$real`."""
    program = box.bin / "dev-sessions"
    real = f"real='{sys.executable} -m dev_sessions'"
    program.write_text(f'#!/bin/sh\necho "$*" >> {box.far.path / ASKED}\n{real}\n{script}\n')
    return box.far.path / ASKED


def version_script(version: str) -> str:
    """Return a script for a dev-sessions that reports a version and works like the real one."""
    return f'case "$1" in --version) echo {version} ;; *) exec $real "$@" ;; esac'


# Codex is the agent of most other tests here.
@pytest.mark.parametrize("agent", ["claude", pytest.param("codex", marks=pytest.mark.matrix)])
def test_the_main_job_on_another_machine(home: Home, box: Remote, model: ScriptedModel, agent: str) -> None:
    """Every command works with a session on another machine as with one here."""
    done = home.cli("create", "--host", NAME, "--cli", agent, "--path", str(box.far.workspace()))
    sid = ok(done).removeprefix("Created session ").removesuffix(f" on {NAME}\n")
    assert ok(home.cli("send", sid, "say hello")) == f"Sent message to {sid}\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "hello\n"
    assert ok(home.cli("ask", sid, HOSTILE)).strip() == HOSTILE.removeprefix("say ")
    assert model.last_text().strip() == HOSTILE
    assert json.loads(ok(home.cli("send", sid, "say on", "--json")))["state"] in ("submitted", "steered")
    assert ok(home.cli("wait", sid)) == "completed\n"
    for command in (
        ["status", sid, "--json"],
        ["logs", sid],
        ["logs", sid, "--json"],
        ["last-message", sid, "-n", "9"],
    ):
        assert outcome(home.cli(*command)) == outcome(box.far.cli(*command)), command
    (row,) = json.loads(ok(home.cli("list", "--json")))
    assert (row["host"], row["state"], row["path"]) == (NAME, "idle", str(box.far.workspace()))
    assert json.loads(ok(home.cli("inspect", sid)))["host"] == NAME
    ok(home.cli("send", sid, "after 30 say late"))
    assert ok(home.cli("status", sid)) == "working\n"
    done = home.cli("interrupt", sid)
    undelivered = f"Not delivered to {sid}: after 30 say late\n" if agent == "claude" else ""
    assert (done.stdout, done.stderr) == (f"Interrupted {sid}\n", undelivered)
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert ok(home.cli("list")) == ok(box.far.cli("list")) == "No active sessions\n"


def test_a_question_from_another_machine(shared_home: Home, shared_box: Remote) -> None:
    """A session on another machine that asks something ends wait and ask with exit code 3, and accepts the answer, or
    is cancelled."""
    home, box = shared_home, shared_box
    sid = claude(home, box)
    assert outcome(home.cli("ask", sid, "ask Which? | red | blue")) == (3, "waiting_for_input\n", "")
    assert outcome(home.cli("wait", sid)) == (3, "waiting_for_input\n", "")
    assert "2. blue" in ok(home.cli("last-message", sid))
    assert ok(home.cli("respond", sid, "2")) == f"Answered {sid}\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    ok(home.cli("send", sid, "/theme"))
    assert home.cli("wait", sid).returncode == 3
    assert '"options": 8' in ok(home.cli("status", sid, "--json"))
    assert ok(home.cli("respond", sid, "--cancel")) == f"Cancelled the dialog of {sid}\n"
    assert ok(home.cli("status", sid)) == "idle\n"


def test_a_megabyte_arrives_to_the_letter(shared_home: Home, shared_box: Remote, model: ScriptedModel) -> None:
    """A million characters of any kind arrive as they were sent."""
    home, box = shared_home, shared_box
    sid = create(home, box)
    letters = "".join(chr(0x20 + index % 0x2FF) for index in range(999_000))
    message = f"say short\n{HOSTILE}\n{letters.replace(chr(0x7F), '-')}\nend"
    ok(home.cli("send", sid, "--file", "-", stdin=message))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert model.last_text() == message


def test_a_goal_there_takes_an_objective_of_any_form(shared_home: Home, shared_box: Remote) -> None:
    """An objective of many lines that begins with a dash arrives whole; the goal is waited for, shown and cleared."""
    home, box = shared_home, shared_box
    sid = create(home, box)
    shown = home.cli("goal", sid, "--file", "-", "--budget", "50000", stdin=OBJECTIVE)
    assert ok(shown).startswith(f"objective: {OBJECTIVE}\n")
    assert ok(home.cli("wait", sid, "--goal")) == "complete\n"
    goal = json.loads(ok(home.cli("goal", sid, "--json")))
    assert (goal["objective"], goal["status"], goal["tokenBudget"]) == (OBJECTIVE, "complete", 50000)
    assert goal == json.loads(ok(box.far.cli("goal", sid, "--json")))
    late = home.cli("wait", sid, "--next-turn", "-t", "1")
    assert outcome(late) == (124, "", f"Timed out waiting for the next turn on {sid}\n")
    assert ok(home.cli("goal", sid, "--clear")) == f"Cleared goal for {sid}\n"
    assert ok(home.cli("goal", sid)) == f"No goal set for {sid}\n"


def test_a_session_lost_there_is_brought_back(home: Home, box: Remote) -> None:
    """After a restart of its machine, recover brings a session back there, with its conversation."""
    sid = create(home, box, agent="claude")
    ok(home.cli("ask", sid, "say before"))
    box.far.tmux("kill-server")
    # Claude lives on for a moment without its terminal.
    assert poll(lambda: home.cli("status", sid).returncode or None, Deadline(30), 0.1)
    lost = home.cli("status", sid)
    assert lost.returncode == 1
    assert f"dev-sessions recover {sid}" in lost.stderr
    assert ok(home.cli("last-message", sid)) == "before\n"
    assert home.cli("recover", sid).stdout.startswith(f"{sid}: would ")
    assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
    assert ok(home.cli("ask", sid, "history")) == "1: say before\n"
    assert ok(home.cli("recover", sid, "--yes")) == f"{sid} is running; left alone\n"
    box.stop()
    gone = home.cli("recover", sid, "--yes")
    assert (gone.returncode, gone.stderr.startswith(f"{sid}: ssh to {NAME} failed")) == (1, True)


@needs_proc
def test_a_container_of_another_machine_is_declared_gone(home: Home, box: Remote) -> None:
    """`recover --gone` of a session on another machine says there that the container of the session was removed."""
    sid = create(home, box, agent="claude")
    ok(home.cli("ask", sid, "say before"))
    box.far.tmux("kill-server")
    assert poll(lambda: home.cli("status", sid).returncode or None, Deadline(30), 0.1)
    store = box.far.path / ".dev-sessions" / "sessions.json"
    stored = json.loads(store.read_text())
    (entry,) = stored["sessions"]
    entry["claudePidDomain"] = re.sub(r"pid:\[\d+\]", "pid:[4026539999]", entry["claudePidDomain"])
    del entry["claudeLock"]
    store.write_text(json.dumps(stored))
    unknown = home.cli("recover", sid)
    assert (unknown.returncode, f"dev-sessions recover {sid} --gone" in unknown.stderr) == (1, True), unknown.stderr
    assert ok(home.cli("recover", sid, "--gone", "--yes")) == f"Recovered session {sid}\n"
    assert ok(home.cli("ask", sid, "history")) == "1: say before\n"


def test_a_worktree_is_made_there(shared_home: Home, shared_box: Remote) -> None:
    """A session on another machine gets a worktree of the repository there, which kill removes."""
    home, box = shared_home, shared_box
    repository = box.far.workspace("repository")
    for command in ("git init -q", "git commit -q --allow-empty -m begin"):
        ok(box.far.run(*command.split(), cwd=repository))
    there = ("--path", str(repository))
    sid = create(home, box, "--worktree", *there)
    place = Path(f"{repository}.worktrees") / sid
    assert records(home)[sid]["worktree"] == str(place)
    assert place.is_dir()
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert not place.exists()
    other = create(home, box, "--worktree=mine", *there)
    (Path(f"{repository}.worktrees") / other / "file").write_text("work")
    kept = home.cli("kill", other)
    assert kept.returncode == 0
    assert f"{repository}.worktrees/{other}" in kept.stderr


def test_without_a_path_it_begins_where_a_login_does(shared_home: Home, shared_box: Remote) -> None:
    """Without --path, the session works in the other machine's default folder."""
    home, box = shared_home, shared_box
    done = home.cli("create", "--host", NAME, "--cli", "codex", "--json", cwd=home.workspace())
    assert json.loads(ok(done))["path"] == str(box.far.path)


OBJECTIVE = '- work 2 turns\n\n- with "quotes", $(touch /tmp/x), `id` and \\\n--clear ' + "long " * 600 + "end"
EVERY_COMMAND = [
    ["status", "SID"],
    ["wait", "SID"],
    ["send", "SID", "hi"],
    ["ask", "SID", "hi"],
    ["last-message", "SID"],
    ["logs", "SID"],
    ["inspect", "SID"],
    ["interrupt", "SID"],
    ["respond", "SID", "1"],
    ["goal", "SID"],
    ["goal", "SID", "an objective"],
    ["goal", "SID", "--clear"],
    ["wait", "SID", "--goal"],
    ["kill", "SID"],
    ["create", "--host", NAME],
]


def test_every_command_fails_as_it_does_there(shared_home: Home, shared_box: Remote, model: ScriptedModel) -> None:
    """An error on the other machine has the same text and exit code here."""
    home, box = shared_home, shared_box
    sid = create(home, box)
    ok(home.cli("send", sid, "when told say late"))
    assert outcome(home.cli("wait", sid, "-t", "0.5")) == (124, "", f"Timed out waiting for {sid}\n")
    model.allow("told")
    assert ok(home.cli("wait", sid)) == "completed\n"
    ok(home.cli("send", sid, "fail 400"))
    failed = home.cli("wait", sid)
    assert failed.returncode == 1
    assert outcome(failed) == outcome(box.far.cli("wait", sid))
    assert '"reason": "invalid_request"' in home.cli("wait", sid, "--json").stdout
    for command in (["wait", sid, "--json"], ["status", sid, "--json"]):
        assert outcome(home.cli(*command)) == outcome(box.far.cli(*command)), command
    assert records(home)[sid]["reason"] == "invalid_request"
    bad = home.cli("create", "--host", NAME, "--path", "/no/such")
    assert outcome(bad) == (1, "", "Workspace path does not exist: /no/such\n")
    ok(box.far.cli("kill", sid))
    for command in EVERY_COMMAND[:-2]:
        words = [sid if word == "SID" else word for word in command]
        done = home.cli(*words)
        assert outcome(done) == outcome(box.far.cli(*words)), command
        assert (done.returncode, done.stderr) == (1, f"Session not found: {sid} (see: dev-sessions list)\n")
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"


def test_a_machine_that_is_gone_is_255_and_nothing_is_forgotten(home: Home, box: Remote) -> None:
    """Without a connection every command exits 255 and says so; once it is back, everything works as before."""
    sid = create(home, box)
    ok(home.cli("ask", sid, "say hello"))
    before = record(home, sid)
    box.stop()
    for command in EVERY_COMMAND:
        done = home.cli(*(sid if word == "SID" else word for word in command))
        assert (done.returncode, done.stdout) == (255, ""), command
        if command[0] in ("send", "ask", "respond"):
            assert f" for {sid} may have arrived: ssh to {NAME} failed: " in done.stderr, command
            continue
        assert done.stderr.startswith(f"ssh to {NAME} failed: "), command
        doubt = "it may have been executed there" in done.stderr
        changes = command[0] in ("interrupt", "kill") or len(command) > 2
        assert doubt == (changes and command[0] not in ("create", "wait")), command
    assert record(home, sid) == before
    rows = home.cli("list")
    assert rows.returncode == 0
    assert rows.stdout.splitlines()[1].split()[:5] == [sid, "codex", "native", NAME, "active"]
    assert rows.stderr.startswith(f"Warning: cannot query {NAME}, so its sessions are shown as last recorded: ")
    box.start()
    assert ok(home.cli("last-message", sid)) == "hello\n"
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"


@pytest.mark.parametrize("what", ["the connection", "the shared connection's master"])
def test_a_connection_lost_in_mid_wait_is_255(
    shared_home: Home, shared_box: Remote, model: ScriptedModel, what: str
) -> None:
    """A wait that loses its connection says so, and the same wait can be run again."""
    home, box = shared_home, shared_box
    sid = create(home, box)
    ok(home.cli("send", sid, "when told say done"))
    waiting = home.popen(sys.executable, "-m", "dev_sessions", "wait", sid)
    arrived = f"{sid} --timeout 300"
    assert poll(lambda: any(arrived in line for line in box.far.leftovers().values()) or None, Deadline(20), 0.05)
    if what == "the connection":
        box.disconnect()
    else:
        sockets = home.path / ".dev-sessions" / "ssh"
        output = home.run("ssh", "-o", f"ControlPath={sockets}/%C", "-O", "check", NAME).stderr
        os.kill(int(output.partition("pid=")[2].partition(")")[0]), signal.SIGKILL)
    _, errors = waiting.communicate(timeout=20)
    assert (waiting.returncode, errors.partition(":")[0]) == (255, f"ssh to {NAME} failed")
    model.allow("told")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "done\n"


@both
def test_a_wait_that_is_ended_here_ends_there(
    shared_home: Home, shared_box: Remote, model: ScriptedModel, agent: str
) -> None:
    """Ctrl-C ends the wait here, and a second later on the other machine; the session keeps working."""
    home, box = shared_home, shared_box
    sid = claude(home, box) if agent == "claude" else create(home, box)
    ok(home.cli("send", sid, "when told say done"))
    waiting = home.popen(sys.executable, "-m", "dev_sessions", "wait", sid)

    def waits_there() -> bool:
        return any(f"{sid} --timeout 300" in line for line in box.far.leftovers().values())

    assert poll(lambda: waits_there() or None, Deadline(20), 0.05)
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(30) == 130
    assert poll(lambda: None if waits_there() else True, Deadline(20), 0.05)
    assert json.loads(ok(home.cli("status", sid, "--json")))["state"] == "working"
    model.allow("told")
    assert ok(home.cli("wait", sid)) == "completed\n"


def test_a_list_is_not_slower_than_its_slowest_machine(home: Home, box: Remote) -> None:
    """Several machines that do not answer take one connect timeout, and their sessions are listed as last known."""
    sid = create(home, box)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = home.path / ".dev-sessions" / "sessions.json"
        document = json.loads(store.read_text())
        for number, name in enumerate(("silent-a", "silent-b")):
            box.configure(name, silent.getsockname()[1])
            document["sessions"].append({**record(home, sid), "championId": f"zed-{number}", "host": name})
        store.write_text(json.dumps(document))
        began = time.monotonic()
        rows = home.cli("list", "--json", timeout=40)
        took = time.monotonic() - began
    states = {row["championId"]: row.get("state") for row in json.loads(rows.stdout)}
    assert states == {sid: "idle", "zed-0": None, "zed-1": None}
    assert sorted(line.split()[3] for line in rows.stderr.splitlines()) == ["silent-a,", "silent-b,"]
    assert 10 <= took < 20, "two timeouts of 10 s each, at once"


def test_a_session_that_is_gone_there_is_lost_here(home: Home, box: Remote) -> None:
    """A session that was killed on its own machine is listed as lost, and can be killed here."""
    sid = create(home, box)
    ok(box.far.cli("kill", sid))
    rows = home.cli("list")
    assert (rows.stdout, rows.stderr) == (
        "No active sessions\n",
        "1 lost, not shown; list them with: dev-sessions list --all\n",
    )
    (row,) = json.loads(ok(home.cli("list", "--all", "--json")))
    assert (row["championId"], row["state"], row["status"]) == (sid, "lost", "inactive")
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert ok(home.cli("list", "--all")) == "No active sessions\n"


def test_names_are_unique_among_all_machines(home: Home, box: Remote) -> None:
    """An id that is in use on either machine is not allocated."""
    here = ok(home.cli("create", "-q", "--cli", "codex", "--id", "fizz-top", cwd=home.workspace())).strip()
    ok(box.far.cli("create", "-q", "--cli", "codex", "--id", "zed-mid", cwd=box.far.workspace()))
    for taken in (here, "zed-mid"):
        done = home.cli("create", "--host", NAME, "--cli", "codex", "--id", taken)
        assert outcome(done) == (1, "", f"Champion ID already in use: {taken}\n")
    assert create(home, box, "--id", "vi-jg") == "vi-jg"
    assert [row["championId"] for row in json.loads(ok(home.cli("list", "--json")))] == ["vi-jg", "fizz-top"]
    done = home.cli("kill", "--all")
    assert sorted(ok(done).splitlines()) == ["Killed 2 sessions", "Killed session fizz-top", "Killed session vi-jg"]
    assert json.loads(ok(box.far.cli("list", "--json")))[0]["championId"] == "zed-mid"


def test_a_machine_without_dev_sessions_is_explained(shared_home: Home, shared_box: Remote) -> None:
    """If dev-sessions is missing on the other machine, the error says what to install or to set."""
    home, box = shared_home, shared_box
    (box.bin / "dev-sessions").unlink()
    done = home.cli("create", "--host", NAME)
    assert done.returncode == 1
    assert f"dev-sessions was not found on {NAME}" in done.stderr
    assert "DEV_SESSIONS_REMOTE_BIN" in done.stderr
    command = f"{sys.executable} -m dev_sessions"
    other = {"DEV_SESSIONS_REMOTE_BIN": command}
    sid = ok(home.cli("create", "-q", "--host", NAME, "--cli", "codex", env=other)).strip()
    assert record(home, sid)["remoteBin"] == command
    assert ok(home.cli("ask", sid, "say hello")) == "hello\n"


def test_an_older_version_there_does_what_it_can(shared_home: Home, shared_box: Remote) -> None:
    """With 0.4 on the other machine everything works that it supports; for the rest, nothing is sent."""
    home, box = shared_home, shared_box
    asked = stand_in(box, version_script("0.4.3"))
    sid = create(home, box)
    assert record(home, sid)["remoteVersion"] == "0.4.3"
    ok(home.cli("send", sid, "say hello"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("status", sid)) == "idle\n"
    assert json.loads(ok(home.cli("list", "--json")))[0]["host"] == NAME
    lines = [line for line in asked.read_text().splitlines() if "--json" in line]
    assert [line.split()[0] for line in lines] == ["create", "list"]
    before = [line for line in asked.read_text().splitlines() if line != "--version"]
    for command in (
        ["respond", sid, "1"],
        ["interrupt", sid],
        ["send", sid, "hi", "--json"],
        ["status", sid, "--json"],
    ):
        done = home.cli(*command)
        assert done.returncode == 1
        too_old = f"dev-sessions on {NAME} is 0.4.3, too old for this command; update it there to 0.5.0 or newer\n"
        what = {"respond": "answer", "send": "message"}.get(command[0])
        not_typed = f"The {what} for {sid} was not sent, nothing was typed: " if what else ""
        assert done.stderr == not_typed + too_old, command
    assert [line for line in asked.read_text().splitlines() if line != "--version"] == before
    stand_in(box, version_script("0.5.1"))
    assert json.loads(ok(home.cli("status", sid, "--json")))["state"] == "idle"
    assert record(home, sid)["remoteVersion"] == "0.5.1"


def test_a_version_that_may_not_get_along_is_a_warning(shared_home: Home, shared_box: Remote) -> None:
    """Another minor version on the other machine is a warning of create, and no error."""
    home, box = shared_home, shared_box
    for version, warned in (("0.4.0", False), ("0.5.9", False), ("0.6.0", True), ("1.0.0", True)):
        stand_in(box, version_script(version))
        done = home.cli("create", "-q", "--host", NAME, "--cli", "codex")
        assert done.returncode == 0, version
        assert (f"dev-sessions on {NAME} is {version}" in done.stderr) == warned, version


def test_a_machine_that_hangs_or_prints_nonsense_holds_nobody_up(shared_home: Home, shared_box: Remote) -> None:
    """Commands for a machine that hangs end soon after their timeout; nonsense in place of its list is a warning."""
    home, box = shared_home, shared_box
    sid = create(home, box)
    nonsense = "head -c 100000 /dev/zero | tr '\\0' '['"
    stand_in(box, f'case "$1" in --version) echo 0.5.0 ;; list) {nonsense} ;; *) exec sleep 60 ;; esac')
    began = time.monotonic()
    waited, interrupted = home.cli("wait", sid, "-t", "1"), home.cli("interrupt", sid, "-t", "1")
    assert time.monotonic() - began < 40, "each takes its timeout and 5 s"
    assert (waited.returncode, waited.stdout) == (124, "")
    assert waited.stderr.startswith(f"Timed out waiting for {sid}, and {NAME} did not answer within ")
    assert (interrupted.returncode, interrupted.stdout) == (255, "")
    rows = home.cli("list")
    assert rows.stdout.splitlines()[1].split()[:5] == [sid, "codex", "native", NAME, "active"]
    assert rows.stderr.startswith(f"Warning: cannot query {NAME}, so its sessions are shown as last recorded: ")
    stand_in(box, version_script("0.5.0"))
    ok(home.cli("kill", sid))


def test_what_a_login_shell_prints_does_no_harm(home: Home, box: Remote) -> None:
    """A banner of the login shell is not taken for output of the command."""
    with (box.far.path / ".bash_profile").open("a") as profile:
        profile.write("echo '[Welcome] to {this} machine'\n")
    sid = create(home, box)
    ok(home.cli("send", sid, "say hello"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("status", sid)) == "idle\n"
    assert ok(home.cli("last-message", sid)) == "hello\n"
    assert ok(home.cli("ask", sid, "say hello again")) == "hello again\n"


@pytest.mark.parametrize("host", ["", "-oProxyCommand=touch /tmp/x", "a b", "a\nb"])
def test_a_host_that_is_none_is_refused(home: Home, host: str) -> None:
    """A host that ssh would take for an option is refused."""
    done = home.cli("create", f"--host={host}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not a valid ssh host" in done.stderr


def test_a_session_of_the_original_goes_on(shared_home: Home, shared_box: Remote) -> None:
    """A record of version 0.4 with a host, but without its version, works."""
    home, box = shared_home, shared_box
    sid = create(home, box)
    store = home.path / ".dev-sessions" / "sessions.json"
    document = json.loads(store.read_text())
    (stored,) = [stored for stored in document["sessions"] if stored["championId"] == sid]
    for name in ("remoteVersion", "remoteBin"):
        del stored[name]
    store.write_text(json.dumps(document))
    assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
    assert json.loads(ok(home.cli("status", sid, "--json")))["state"] == "idle"
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"


def test_a_container_reaches_other_machines_through_the_gateway(home: Home, box: Remote) -> None:
    """The gateway creates sessions on other machines, and reports connection errors."""
    with running_gateway(home, "--port", "0") as (_, container):
        done = container.cli("create", "--host", NAME, "--cli", "codex", "--path", str(box.far.workspace()))
        sid = ok(done).removeprefix("Created session ").removesuffix(f" on {NAME}\n")
        assert ok(container.cli("ask", sid, "say hello")) == "hello\n"
        assert json.loads(ok(container.cli("list", "--json")))[0]["host"] == NAME
        box.stop()
        lost: CompletedProcess[str] = container.cli("wait", sid)
        assert (lost.returncode, lost.stderr.partition(":")[0]) == (255, f"ssh to {NAME} failed")


def test_the_command_line_is_openssh_as_documented(home: Home, box: Remote) -> None:
    """ssh is called with the documented options, and the sockets of shared connections are the user's alone."""
    program = Path(home.env["PATH"].split(os.pathsep)[0]) / "ssh"
    real = home.path / "ssh-real"
    program.rename(real)
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {home.path}/arguments\nexec {shlex.quote(str(real))} "$@"\n')
    program.chmod(0o755)
    sid = create(home, box)
    assert home.cli("wait", sid, "--timeout", "7").returncode == 0
    arguments = (home.path / "arguments").read_text().splitlines()
    sockets = home.path / ".dev-sessions" / "ssh"
    assert arguments[-2] == NAME
    assert arguments[-1].startswith("bash -lc '")
    assert arguments[-1].endswith(f"; dev-sessions wait {sid} --timeout 7'")
    assert set(arguments[1:-2:2]) == {
        "BatchMode=yes",
        "StrictHostKeyChecking=accept-new",
        "ControlMaster=auto",
        f"ControlPath={sockets}/%C",
        "ControlPersist=60s",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=4",
        "ConnectTimeout=10",
    }
    assert sockets.stat().st_mode & 0o777 == 0o700
    assert subprocess.run(["ls", str(sockets)], capture_output=True, text=True, check=True).stdout.count("\n") == 1


def test_what_was_done_there_is_no_failure_here(shared_home: Home, shared_box: Remote) -> None:
    """A message that arrived there is reported as sent, even if the disk here is full."""
    home, box = shared_home, shared_box
    sid = create(home, box)
    done = home.run(sys.executable, "-c", ON_DEV_FULL, "send", sid, "say hello")
    assert (done.returncode, done.stdout) == (0, f"Sent message to {sid}\n")
    assert done.stderr.startswith(f"Warning: done on {NAME}, but not recorded here: Cannot write ")
    assert ok(home.cli("wait", sid)) == "completed\n"
    ok(home.cli("kill", sid))
