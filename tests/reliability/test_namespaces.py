"""Commands in another pid namespace than the sessions: sandboxes, containers, other machines, and after a reboot.

Nothing that lives is called lost, dropped, ended or started again from where its processes are not seen.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from subprocess import CompletedProcess
from typing import Any

import pytest

from dev_sessions.system import pid_namespace
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.process import is_alive, start_time
from tests.support.claude import NOT_READY, claude_processes, create_stand_in, fake_claude
from tests.support.cli import create, edit_record, ok, records, stored_records
from tests.support.forks import ForkServer
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.namespaces import SANDBOX, Container, have_namespaces

pytestmark = [
    pytest.mark.forked,
    pytest.mark.skipif(not have_namespaces(), reason="no pid namespaces can be made here"),
]


@dataclass(frozen=True)
class Sessions:
    """Sessions that run outside: of Claude, with and without a message, and of Codex."""

    home: Home
    spoken: str
    silent: str
    codex: str

    def inside(self, sandbox: str, *args: str, env: dict[str, str] | None = None) -> CompletedProcess[str]:
        """Run `dev-sessions` in a sandbox."""
        return in_sandbox(self.home, sandbox, "dev-sessions", *args, env=env)


def in_sandbox(home: Home, sandbox: str, *argv: str, env: dict[str, str] | None = None) -> CompletedProcess[str]:
    """Run a program in a sandbox of some kind: one like any; one that leaves the /proc of the outside, as Claude
    Code's does; one without our tmux; one without our app-server."""
    how = {
        "own proc": SANDBOX,
        "outer proc": SANDBOX[:-2],
        "no tmux": (*SANDBOX, "--tmpfs", home.env["TMUX_TMPDIR"]),
        "no app-server": (*SANDBOX, "--tmpfs", os.path.dirname(app_server(home))),
    }
    return home.run(*how[sandbox], *argv, cwd=home.workspace(), env=env)


def app_server(home: Home) -> str:
    """Return the real path of the app-server's socket."""
    return os.path.realpath(home.path / ".dev-sessions" / "codex" / "app-server.sock")


def server_pid(home: Home) -> int:
    """Return the app-server's pid."""
    pid: int = json.loads((home.path / ".dev-sessions" / "codex" / "state.json").read_text())["pid"]
    return pid


def refused(done: CompletedProcess[str]) -> None:
    """Assert that a command was refused with one line that names the sandbox and the ways out."""
    assert (done.returncode, done.stdout) == (1, ""), done
    assert done.stderr.count("\n") == 1
    for words in ("this shell is a sandbox", "dangerouslyDisableSandbox", "default.rules", "the gateway", "README.md"):
        assert words in done.stderr


@pytest.fixture(scope="module")
def _home_of_module(model: ScriptedModel, fork_server: ForkServer) -> Iterator[Home]:
    """Provide the home of this file's sessions outside of /tmp, below which Codex builds no sandbox."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", "/var/tmp")
        home = Home(model.port)
    with home:
        home.runner = fork_server
        yield home
    assert home.leftovers() == {}


@pytest.fixture(scope="module")
def sessions(_home_of_module: Home) -> Sessions:
    """Provide the sessions of this file."""
    home = _home_of_module
    spoken, silent, codex = create(home, "claude"), create(home, "claude"), create(home, "codex")
    ok(home.cli("ask", spoken, "say before"))
    ok(home.cli("ask", codex, "say before"))
    return Sessions(home, spoken, silent, codex)


@pytest.mark.parametrize("sandbox", ["own proc", pytest.param("outer proc", marks=pytest.mark.soak), "no tmux"])
def test_a_sandbox_sees_sessions_and_ends_none(sessions: Sessions, sandbox: str) -> None:
    """In a sandbox, commands that read work; those that start, end or recover sessions fail and name the ways out."""
    home, (spoken, silent, codex) = sessions.home, (sessions.spoken, sessions.silent, sessions.codex)
    before = stored_records(home)
    for sid in (spoken, silent, codex):
        assert ok(sessions.inside(sandbox, "status", sid)) == "idle\n"
    rows = json.loads(ok(sessions.inside(sandbox, "list", "--json")))
    assert {row["championId"]: row["state"] for row in rows} == dict.fromkeys((spoken, silent, codex), "idle")
    for sid in (spoken, codex):
        assert ok(sessions.inside(sandbox, "wait", sid)) == "completed\n"
        assert ok(sessions.inside(sandbox, "last-message", sid)) == ok(home.cli("last-message", sid)) != ""
        assert "[ASSISTANT]\nbefore" in ok(sessions.inside(sandbox, "logs", sid))
    for command in (
        ["create"],
        ["create", "--cli", "codex"],
        ["kill", spoken],
        ["kill", silent],
        ["kill", spoken, "--gone"],
        ["recover"],
        ["recover", spoken, "--yes"],
        ["recover", "--all", "--yes"],
        ["recover", "--prune", "--yes"],
    ):
        refused(sessions.inside(sandbox, *command))
    assert stored_records(home) == before
    assert {sid: row["state"] for sid, row in records(home).items()} == dict.fromkeys((spoken, silent, codex), "idle")
    assert len(claude_processes(home, spoken)) == len(claude_processes(home, silent)) == 1


def test_a_message_from_a_sandbox_arrives_once_or_not_at_all(sessions: Sessions) -> None:
    """A message from a sandbox is delivered with proof where tmux is reached; elsewhere nothing is typed."""
    home, sid = sessions.home, sessions.spoken
    for sandbox in ("own proc", "outer proc"):
        assert ok(sessions.inside(sandbox, "ask", sid, f"say from {sandbox}")) == f"from {sandbox}\n"
    refused(sessions.inside("no tmux", "ask", sid, "say nothing"))
    read_only = (*SANDBOX, "--ro-bind", str(home.path), str(home.path))
    done = home.run(*read_only, "dev-sessions", "send", sid, "say nothing")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Read-only file system; " in done.stderr
    assert "run the command outside of this sandbox" in done.stderr
    asked = [turn["text"] for turn in json.loads(ok(home.cli("logs", sid, "--json"))) if turn["role"] == "human"]
    assert asked[-2:] == ["say from own proc", "say from outer proc"]


#: What older versions did not note, and what the original did not.
UNTOLD = ("claudePidDomain", "claudeLock")
OF_OURS = (*UNTOLD, "claudePid", "claudeProcStart", "claudeVersion", "claudeConfigDir", "tmuxPane")


@pytest.mark.parametrize(
    "fields",
    [pytest.param(UNTOLD, id="older version", marks=pytest.mark.matrix), pytest.param(OF_OURS, id="original")],
)
def test_what_a_sandbox_cannot_know_is_neither_lost_nor_dropped(sessions: Sessions, fields: tuple[str, ...]) -> None:
    """In a sandbox, a session whose record lacks its namespace is not taken for lost: list shows no state and exits 1,
    other commands fail, and nothing changes outside."""
    home, (spoken, silent) = sessions.home, (sessions.spoken, sessions.silent)
    whole = stored_records(home)
    try:
        for sid in (spoken, silent):
            edit_record(home, sid, **dict.fromkeys(fields))
        before = stored_records(home)
        for everything in ([], ["--all"]):
            done = sessions.inside("own proc", "list", "--json", *everything)
            states = {row["championId"]: row.get("state") for row in json.loads(done.stdout)}
            assert (done.returncode, done.stderr.count("\n")) == (1, 1)
            assert f"The state of {spoken}, {silent} is not known: this shell is a sandbox" in done.stderr
            assert states == {spoken: None, silent: None, sessions.codex: "idle"}
        for command in (["status", spoken], ["send", spoken, "say lost"], ["kill", silent], ["kill", silent, "--gone"]):
            refused(sessions.inside("own proc", *command))
        assert "before" in ok(sessions.inside("own proc", "logs", spoken))
        assert stored_records(home) == before
        assert {sid: row["state"] for sid, row in records(home).items()} == dict.fromkeys(before, "idle")
    finally:
        for sid in (spoken, silent):
            edit_record(home, sid, **whole[sid])


def test_an_app_server_that_a_sandbox_does_not_reach_is_left_alone(sessions: Sessions) -> None:
    """No second app-server is started beside one that a sandbox cannot reach, and its sessions are not lost."""
    home, sid = sessions.home, sessions.codex
    pid = server_pid(home)
    done = sessions.inside("no app-server", "list", "--json")
    assert (done.returncode, len(json.loads(done.stdout))) == (1, 3)
    assert f"The state of {sid} is not known: this shell is a sandbox" in done.stderr
    for command in (["status", sid], ["ask", sid, "say lost"], ["kill", sid], ["last-message", sid]):
        refused(sessions.inside("no app-server", *command))
    assert server_pid(home) == pid
    assert ok(home.cli("ask", sid, "say still here")) == "still here\n"


def test_a_create_is_not_taken_for_a_killed_one_in_a_sandbox(home: Home) -> None:
    """In a sandbox, list and kill leave a running create and its tmux session alone."""
    running = home.popen(
        "dev-sessions", "create", "--id", "slow", cwd=home.workspace(), env=fake_claude(home, NOT_READY)
    )
    assert poll(lambda: "dev-slow" in home.tmux("list-sessions").stdout or None, Deadline(30), 0.02)
    assert in_sandbox(home, "own proc", "dev-sessions", "list").stdout == "No active sessions\n"
    refused(in_sandbox(home, "own proc", "dev-sessions", "kill", "slow"))
    assert "slow" in stored_records(home)
    ok(home.tmux("has-session", "-t", "=dev-slow"))
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=30)
    # Now it is one, which is seen outside alone.
    assert in_sandbox(home, "own proc", "dev-sessions", "list").stdout == "No active sessions\n"
    assert "slow" in stored_records(home)
    assert ok(home.cli("list")) == "No active sessions\n"
    assert stored_records(home) == {}


def test_a_container_is_no_sandbox(home: Home) -> None:
    """A container can create sessions, which are left alone from outside while they live, and recovered once it has
    ended."""
    with Container(home) as container:
        sid = ok(container.cli("create", "-q")).strip()
        silent = ok(container.cli("create", "-q")).strip()
        codex = ok(container.cli("create", "-q", "--cli", "codex")).strip()
        assert ok(container.cli("ask", sid, "say before")) == "before\n"
        assert ok(container.cli("ask", codex, "say before")) == "before\n"
        here = {sid: "idle", silent: "idle", codex: "idle"}
        assert {row["championId"]: row["state"] for row in json.loads(ok(container.cli("list", "--json")))} == here
        assert {name: row["state"] for name, row in records(home).items()} == here
        assert ok(home.cli("wait", sid)) == "completed\n"
        assert ok(home.cli("ask", sid, "say from outside")) == "from outside\n"
        for command in (["kill", sid], ["kill", sid, "--gone"]):
            done = home.cli(*command)
            assert (done.returncode, done.stdout) == (1, "")
            assert f"{sid} was left alone: it runs in another pid namespace" in done.stderr
        assert f"{sid} is running; left alone" in home.cli("recover", sid, "--gone", "--yes").stdout
        assert ok(home.cli("ask", codex, "say outside")) == "outside\n"
        assert ok(container.cli("kill", silent)) == f"Killed session {silent}\n"
        silent = ok(container.cli("create", "-q")).strip()
    assert poll(lambda: True if home.leftovers() == {} else None, Deadline(30), 0.1), home.leftovers()
    with Container(home) as container:
        # As after a restart: the namespace is another one.
        done = container.cli("list", "--json")
        assert [row["championId"] for row in json.loads(done.stdout)] == [codex]
        assert "1 lost, not shown" in done.stderr
        assert set(stored_records(home)) == {sid, codex}
        assert ok(container.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
        assert ok(container.cli("ask", sid, "history")) == "1: say before\n2: say from outside\n"
        assert ok(container.cli("ask", codex, "history")) == "1: say before\n2: say outside\n"
        assert ok(home.cli("status", sid)) == "idle\n"
    assert poll(lambda: True if home.leftovers() == {} else None, Deadline(30), 0.1), home.leftovers()
    assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
    assert ok(home.cli("ask", sid, "history")) == "1: say before\n2: say from outside\n3: history\n"
    assert ok(home.cli("ask", codex, "say again")) == "again\n"
    assert ok(home.cli("kill", "--all")).endswith("Killed 2 sessions\n")


def test_an_app_server_of_another_namespace_is_not_replaced(home: Home) -> None:
    """A container that cannot reach the app-server says where that runs, and starts its own only once it has ended."""
    sid = create(home, "codex")
    ok(home.cli("ask", sid, "say before"))
    pid = server_pid(home)
    with Container(home) as container:
        ok(container.run("mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", os.path.dirname(app_server(home))))
        for command in (["status", sid], ["ask", sid, "say lost"], ["create", "--cli", "codex"], ["kill", sid]):
            done = container.cli(*command)
            assert (done.returncode, done.stdout) == (1, "")
            assert (
                "Codex's app-server cannot be reached from here: it was started in another pid namespace" in done.stderr
            )
        assert server_pid(home) == pid
        assert ok(home.cli("ask", sid, "say still here")) == "still here\n"
        os.killpg(pid, signal.SIGKILL)
        assert poll(lambda: None if is_alive(pid) else True, Deadline(30))
        assert ok(container.cli("ask", sid, "history")) == "1: say before\n2: say still here\n"
        assert server_pid(home) != pid
        ok(container.cli("kill", sid))


def test_a_tmux_of_another_namespace_is_not_used(home: Home) -> None:
    """create leaves nothing on a tmux server of another pid namespace, and kill ends nothing there."""
    sid = create_stand_in(home)
    with Container(home) as container:
        env = {"TMUX_TMPDIR": home.env["TMUX_TMPDIR"]}
        done = container.run("dev-sessions", "create", "--id", "inside", env=env)
        assert (done.returncode, done.stdout) == (1, "")
        assert "The tmux server of" in done.stderr
        assert "runs in another pid namespace" in done.stderr
        edit_record(home, sid, claudePid=None, claudeProcStart=None, claudePidDomain=None)
        done = container.run("dev-sessions", "kill", sid, env=env)
        assert (done.returncode, done.stdout) == (1, "")
    assert set(stored_records(home)) == {sid}
    assert ok(home.tmux("list-sessions", "-F", "#{session_name}")) == f"dev-{sid}\n"
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"


def domain_of(*, machine: str | None = None, boot: str | None = None, number: int | None = None) -> str:
    """Return our own domain, with parts of another one."""
    system, here, now, namespace = (pid_namespace.domain() or "").split(":", 3)
    return ":".join((system, machine or here, boot or now, namespace if number is None else f"pid:[{number}]"))


@pytest.mark.parametrize(
    "number", [pytest.param(None, id="machine", marks=pytest.mark.soak), pytest.param(4026539999, id="container")]
)
def test_after_a_reboot_a_session_is_lost_and_comes_back(home: Home, number: int | None) -> None:
    """After a reboot a session can be recovered, and another process with its old pid is left alone."""
    sid = create(home, "claude")
    ok(home.cli("ask", sid, "say before"))
    ok(home.tmux("kill-server"))
    assert poll(lambda: True if home.leftovers() == {} else None, Deadline(30), 0.1)
    unrelated = home.popen("sleep", "1000")
    edit_record(
        home,
        sid,
        claudePid=unrelated.pid,
        claudeProcStart=start_time(unrelated.pid),
        claudePidDomain=domain_of(boot="5ad0", number=number),
    )
    assert f"{sid} is lost: " in home.cli("status", sid).stderr
    assert ok(home.cli("recover", sid, "--yes")) == f"Recovered session {sid}\n"
    assert ok(home.cli("ask", sid, "history")) == "1: say before\n"
    edit_record(home, sid, claudePid=unrelated.pid, claudeProcStart=start_time(unrelated.pid))
    edit_record(home, sid, claudePidDomain=domain_of(boot="5ad0", number=number))
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert unrelated.poll() is None


def test_a_session_of_another_machine_is_left_alone_until_its_user_says_that_it_is_gone(home: Home) -> None:
    """In a shared home, a session of another machine is only touched with --gone, which recovers or deletes it."""
    one, two = create(home, "claude"), create_stand_in(home)
    ok(home.cli("ask", one, f"say {one}"))
    ok(home.tmux("kill-server"))
    assert poll(lambda: True if home.leftovers() == {} else None, Deadline(30), 0.1)
    for sid in (one, two):
        edit_record(home, sid, claudePidDomain=domain_of(machine="login2/", boot="5ad0"))
    listed = home.cli("list", "--json")
    assert {row["championId"]: row.get("state") for row in json.loads(listed.stdout)} == {one: None, two: None}
    assert (listed.returncode, listed.stderr.count("another machine, login2")) == (0, 2)
    for command in (["status", one], ["kill", one], ["recover", one, "--yes"], ["send", one, "say lost"]):
        done = home.cli(*command)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"Can't tell whether {one} is alive: it was started on another machine, login2" in done.stderr
        assert f"dev-sessions recover {one} --gone --yes" in done.stderr
    assert home.cli("recover", one, "--gone").stdout.startswith(f"{one}: would start Claude Code again")
    assert stored_records(home)[one]["claudePidDomain"] != pid_namespace.ENDED
    assert ok(home.cli("recover", one, "--gone", "--yes")) == f"Recovered session {one}\n"
    assert ok(home.cli("ask", one, "history")) == f"1: say {one}\n"
    assert ok(home.cli("kill", two, "--gone")) == f"Killed session {two}\n"
    assert set(stored_records(home)) == {one}


#: What agents run in their own sandboxes: each command, and how it ended.
SCRIPT = """\
for command in "list" "status {sid}" "wait {sid}" "create -q" "kill {sid}" "recover {sid} --yes"; do
  echo "$ $command"; dev-sessions $command 2>&1; echo "exit $?"
done
"""


def seen_in_the_sandbox(home: Home, sid: str, said: str) -> None:
    """Assert that an agent's own sandbox reported the real state, and that the session outside was left unchanged."""
    found = [part.splitlines() for part in said.split("$ ")[1:]]
    by_command = {lines[0].split()[0]: lines[1:] for lines in found}
    (row,) = (line.split() for line in by_command["list"] if line.startswith(sid))
    assert row[:5] == [sid, "claude", "native", "-", "idle"]
    assert by_command["status"] == ["idle", "exit 0"]
    assert by_command["wait"] == ["completed", "exit 0"]
    for command in ("create", "kill", "recover"):
        text, code = by_command[command]
        assert "this shell is a sandbox" in text
        assert code == "exit 1"
    assert records(home)[sid]["state"] == "idle"


@pytest.mark.parametrize(
    "how", ["sandbox", *(pytest.param(how, marks=pytest.mark.soak) for how in ("nested", "scrub"))]
)
def test_the_sandbox_of_claude(sessions: Sessions, how: str) -> None:
    """Commands that a Claude session runs in Claude Code's own sandbox read, or fail with the ways out."""
    home, sid = sessions.home, sessions.spoken
    script = home.workspace() / "script"
    script.write_text(SCRIPT.format(sid=sid))
    settings = home.path / ".claude" / "settings.json"
    sandbox = {"enabled": True, "autoAllowBashIfSandboxed": True, "enableWeakerNestedSandbox": how == "nested"}
    more: dict[str, Any] = {"permissions": {"allow": ["Bash"]}} if how == "scrub" else {"sandbox": sandbox}
    before = settings.read_text()
    settings.write_text(json.dumps({**json.loads(before), **more}))
    env = {"CLAUDE_CODE_SUBPROCESS_ENV_SCRUB": "1"} if how == "scrub" else {}
    caller = ok(home.cli("create", "-q", cwd=home.workspace(), env=env)).strip()
    said = ok(home.cli("ask", caller, f"run sh {script}", timeout=120))
    # Not before: Claude takes up what changes in there while it runs.
    settings.write_text(before)
    seen_in_the_sandbox(home, sid, said)


@pytest.mark.parametrize("reach", [pytest.param("as installed", marks=pytest.mark.soak), "with network and our folder"])
def test_the_sandbox_of_codex(sessions: Sessions, reach: str) -> None:
    """Commands that Codex runs in its own sandbox read, or fail with the ways out."""
    home, sid = sessions.home, sessions.spoken
    script = home.workspace() / "script"
    script.write_text(SCRIPT.format(sid=sid))
    options = ["-s", "workspace-write"]
    if reach != "as installed":
        options += ["-c", "sandbox_workspace_write.network_access=true"]
        options += ["-c", f'sandbox_workspace_write.writable_roots=["{home.path}/.dev-sessions"]']
    argv = ("codex", "exec", "--skip-git-repo-check", *options, f"run sh {script}")
    done = home.run(*argv, cwd=home.workspace(), timeout=120)
    assert done.returncode == 0, done.stderr
    seen_in_the_sandbox(home, sid, done.stdout)
