"""Find and end the processes of a session; shells and sleeps stand in for those that an agent starts."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest

from dev_sessions.errors import InvalidRequest
from dev_sessions.models import ClaudeSession, CodexSession, Session, timestamp
from dev_sessions.sessions.process_tree import Process, SessionProcesses, parse_ps, running_in
from dev_sessions.system.deadline import Deadline, wait_until
from dev_sessions.system.proc_stat import read_stat
from dev_sessions.system.process import is_alive, is_running, start_time
from tests.support.cli import needs_proc
from tests.support.processes import HEADLESS

#: Unique to this test run, so that parallel runs do not find each other's processes.
CREATED = timestamp(time.time() - os.getpid() / 1000)
#: Starts a process with some variables in its environment: a shell script, which prints "up" when it is.
Start: TypeAlias = "Callable[..., subprocess.Popen[str]]"


def claude(name: str, root: int | None = None) -> ClaudeSession:
    """Return a Claude session with this pid, or without one."""
    return ClaudeSession(
        id=name,
        internal_id=f"{name}-conversation",
        path="/",
        created_at=CREATED,
        last_used=CREATED,
        claude_pid=root,
        claude_proc_start=start_time(root) if root is not None else None,
    )


def codex(name: str) -> CodexSession:
    """Return a Codex session."""
    return CodexSession(id=name, internal_id=f"{name}-thread", path="/", created_at=CREATED, last_used=CREATED)


@pytest.fixture
def start() -> Iterator[Start]:
    """Provide a function that starts processes, and end them after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(environment: Mapping[str, str], script: str = "sleep 60") -> subprocess.Popen[str]:
        child = subprocess.Popen(
            ["sh", "-c", f"echo up; {script}; :"],
            env={"PATH": os.environ["PATH"], **environment},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        return child

    yield start
    for child in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def ended(session: Session, *others: Session) -> tuple[str, ...]:
    """End the processes of a session, and return the notes about those that were left running."""
    processes = SessionProcesses(session, others)
    processes.find()
    return processes.end()


def child_runs(child: subprocess.Popen[str]) -> bool:
    """Return whether a child process is running."""
    return child.poll() is None


@pytest.mark.parametrize("session", [claude("fizz-top"), codex("fizz-top")], ids=["claude", "codex"])
def test_a_process_is_known_by_what_it_was_started_with(session: Session, start: Start) -> None:
    """A process belongs to a session only if both the id and the creation time in its environment match."""
    ours = start(session.variables)
    former = start({**session.variables, "DEV_SESSIONS_CREATED_AT": "2020-01-01T00:00:00.000Z"})
    other = start({**session.variables, "DEV_SESSIONS_ID": "fizz-top-2"})
    prefix = start({f"X_{name}": value for name, value in session.variables.items()})
    assert ended(session) == ()
    assert not child_runs(ours)
    assert all(map(child_runs, (former, other, prefix)))


def test_a_process_of_an_earlier_version_is_known_by_the_agents_variables(start: Start) -> None:
    """A process started by an earlier version is recognised by the agent's own variables: Claude's conversation and
    process, or Codex's thread, subagents included."""
    root = start({})
    session = claude("fizz-top", root.pid)
    conversation = {"CLAUDE_CODE_SESSION_ID": session.internal_id}
    ours, elsewhere = start({**conversation, "CLAUDE_PID": str(root.pid)}), start({**conversation, "CLAUDE_PID": "1"})
    thread = start({"CODEX_SESSION_ID": "vi-jg-thread", "CODEX_THREAD_ID": "its-subagent"})
    ended(session)
    assert not child_runs(root)
    assert not child_runs(ours)
    assert child_runs(elsewhere)
    ended(codex("vi-jg"))
    assert not child_runs(thread)


def test_descendants_belong_to_it_in_whatever_environment(start: Start) -> None:
    """Descendants of the agent and of any recognised process belong to the session whatever their environment, even
    after their parent has ended."""
    pids = []
    root = start({}, "exec 2>&1; env -i sleep 60 & echo $!; wait")
    session = claude("fizz-top", root.pid)
    detached = start(session.variables, "exec 2>&1; env -i sleep 60 & echo $!; wait")
    for child in (root, detached):
        assert child.stdout is not None
        pids.append(int(child.stdout.readline()))
    processes = SessionProcesses(session, ())
    processes.find()
    root.kill()
    root.wait()
    assert is_alive(pids[0])
    assert processes.end() == ()
    assert not any(map(is_alive, pids))


def test_what_ignores_the_first_signal_ends_with_the_second_all_at_once(start: Start) -> None:
    """Three processes that ignore SIGTERM end as fast as one, and so does a process that is started meanwhile."""
    session = claude("fizz-top")
    ignoring = "trap '' TERM; while :; do sleep 0.2; done"
    start(session.variables, ignoring)
    began = time.monotonic()
    assert ended(session) == ()
    time_of_one = time.monotonic() - began
    stubborn = [start(session.variables, ignoring) for _ in range(3)]
    again = start(session.variables, "trap 'setsid sleep 60 & exit' TERM; while :; do sleep 0.05; done")
    began = time.monotonic()
    assert ended(session) == ()
    assert 3 <= time.monotonic() - began < 2 * time_of_one
    assert not any(map(child_runs, (*stubborn, again)))
    assert ended(session) == (), "nothing is left of it"


@needs_proc
def test_a_process_is_known_by_its_other_threads(start: Start) -> None:
    """A process whose first thread has ended is found, and a server of that kind is left and named."""
    session = claude("fizz-top")
    headless = f"exec {shlex.join([sys.executable, '-c', HEADLESS])}"
    plain, server = start(session.variables, headless), start(session.variables, f"{headless} dev-sessions gateway")

    def are_headless() -> bool:
        return all(read_stat(child.pid).state == "Z" for child in (plain, server))

    assert wait_until(are_headless, Deadline(30))
    (note,) = ended(session)
    assert not child_runs(plain)
    assert child_runs(server)
    assert f"{server.pid} ({sys.executable} -c " in note


def test_another_session_is_left_alone(start: Start) -> None:
    """The agent of another session and its descendants keep running, even if they carry the variables of the session
    that is ended."""
    session = codex("fizz-top")
    inherited = {"CODEX_SESSION_ID": session.internal_id}
    root = start(inherited, "exec 2>&1; sleep 60 & echo $!; wait")
    other = claude("vi-jg", root.pid)
    assert root.stdout is not None
    below = int(root.stdout.readline())
    detached = start({**inherited, "CLAUDE_CODE_SESSION_ID": other.internal_id, "CLAUDE_PID": str(root.pid)})
    assert ended(session, session, other) == ()
    assert child_runs(root)
    assert is_alive(below)
    assert child_runs(detached)
    ended(session)
    assert not any(map(child_runs, (root, detached))), "without it they would have been a part"


@pytest.mark.skipif(sys.platform != "linux", reason="ps does not tell the words of this command from its environment")
def test_what_another_session_descends_from_is_left_and_named(start: Start) -> None:
    """A process of the session keeps running, and is named, if another session runs below it, as in a container that it
    started."""
    session, other = codex("fizz-top"), codex("vi-jg")
    variables = " ".join(f"{name}={value}" for name, value in other.variables.items())
    container = start(session.variables, f"env {variables} sh -c 'echo $$; exec sleep 60' & wait")
    assert container.stdout is not None
    inside = int(container.stdout.readline())
    (note,) = ended(session, other)
    assert str(container.pid) in note
    assert child_runs(container)
    assert is_alive(inside)


def test_what_was_started_in_a_tmux_of_the_session_is_whoever_uses_that(start: Start) -> None:
    """Variables that a tmux server passes on do not make a process part of the session; those of the session's own
    terminal do."""
    session = replace(claude("fizz-top"), tmux_socket="/tmp/tmux-1000/default")
    own = start({**session.variables, "TMUX": "/tmp/tmux-1000/default,12,0"})
    theirs = start({**session.variables, "TMUX": "/tmp/tmux-1000/mine,34,0"})
    ended(session)
    assert not child_runs(own)
    assert child_runs(theirs)


#: Command lines of servers, as they were measured, and of what is none.
SERVERS = [
    ("tmux: server", ["tmux", "-L", "mine", "new-session", "-d"]),
    ("node", ["node", "/usr/bin/codex", "app-server", "--listen", "unix:///s"]),
    ("codex", ["/opt/codex/bin/codex", "-c", "x=1", "app-server"]),
    ("claude.exe", ["/lib/claude-code/bin/claude.exe", "daemon", "run", "--origin", "transient"]),
    ("2.1.332", ["/home/me/.local/share/claude/versions/2.1.332", "daemon", "run"]),
    ("claude.exe", ["claude bg-pty-host", "--bg-pty-host", "/tmp/s", "200", "50"]),
    ("claude.exe", ["claude bg-spare", "--bg-spare", "/tmp/s"]),
    ("dev-sessions", ["/usr/bin/python3", "/usr/bin/dev-sessions", "gateway", "--port", "1"]),
    ("python3", ["/usr/bin/python3", "-m", "dev_sessions", "gateway"]),
    ("ssh", ["ssh: /home/me/.dev-sessions/ssh/abc [mux]"]),
    ("gpg-agent", ["gpg-agent", "--homedir", "/home/me/.gnupg", "--use-standard-socket", "--daemon"]),
]
NO_SERVERS = [
    ("bash", ["bash", "-c", "dev-sessions gateway; codex app-server; claude daemon run"]),
    ("codex", ["codex", "exec", "start an app-server"]),
    ("claude", ["claude", "--session-id", "1"]),
    ("claude", ["claude", "bg-spare the tests"]),
    ("ssh", ["ssh", "host", "tmux"]),
    ("sleep", ["sleep", "60"]),
]


@pytest.mark.parametrize(("name", "command"), SERVERS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_server_is_known_by_its_command_line(name: str, command: list[str]) -> None:
    """Servers that others may use are recognised by their command lines."""
    assert Process(1, 0, 1, "1", name, b"", tuple(command)).is_server


@pytest.mark.parametrize(("name", "command"), NO_SERVERS, ids=lambda value: value if isinstance(value, str) else "")
def test_what_only_speaks_of_a_server_is_none(name: str, command: list[str]) -> None:
    """A command that only mentions a server in its arguments is not taken for a server."""
    assert not Process(1, 0, 1, "1", name, b"", tuple(command)).is_server


@pytest.mark.parametrize(("name", "command"), SERVERS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_server_is_known_by_its_line_of_ps(name: str, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS, whose ps joins the words and appends the program's name, the same servers are recognised."""
    monkeypatch.setattr(sys, "platform", "darwin")
    words = " ".join(command).replace("-c x=1 ", "")  # the environment is taken to begin with such a word
    suffix = "" if os.path.basename(command[0]).startswith(name) else f" ({name})"
    line = f"31655 1 31655 S    Sun Nov 29 05:11:09 2026     {words}{suffix} HOME=/Users/me"
    assert parse_ps([line])[31655].is_server


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Provide a function that runs commands on a private tmux server, with some environment, and returns their
    output."""
    socket = tmp_path / "tmux.sock"

    def tmux(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
        argv = ["tmux", "-f", "/dev/null", "-S", str(socket), *arguments]
        env = {"PATH": os.environ["PATH"], "TERM": "xterm", **(environment or {})}
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False).stdout.strip()

    yield tmux
    tmux("kill-server")


def test_a_server_goes_on_with_what_runs_in_it(tmux: Callable[..., str]) -> None:
    """A tmux server that a session started keeps running, and a note says how to end it unless another session runs in
    it."""
    session = claude("fizz-top")
    pane = int(tmux("new-session", "-dPF", "#{pane_pid}", "sleep 60", environment=session.variables))
    server = tmux("display-message", "-p", "#{pid}")
    (line,) = ended(session)
    assert line.startswith(
        f"fizz-top started servers that others may be using, so they were left running: {server} (tmux "
    )
    assert line.endswith(f"; if nobody does, end them: kill {server}")
    assert is_alive(pane)
    assert ended(session, claude("vi-jg", pane)) == ()
    assert is_alive(pane)


def test_a_pane_is_its_own_sessions(tmux: Callable[..., str]) -> None:
    """Ending a session ends its own pane, and not one of another session that carries its variables."""
    session, other = claude("fizz-top"), claude("vi-jg")
    other_pane = int(tmux("new-session", "-dPF", "#{pane_pid}", "sleep 60", environment=session.variables))
    pane = int(tmux("new-session", "-dPF", "#{pane_pid}", "sleep 60"))
    other = claude("vi-jg", other_pane)
    assert ended(claude("fizz-top", pane), other) == ()
    assert not is_alive(pane)
    assert is_alive(other_pane)


def test_what_claudes_daemon_may_have_started_for_another_is_left_and_named(start: Start, tmp_path: Path) -> None:
    """A detached process with the session's variables is left running and named if Claude's daemon may have started it
    for another session; descendants of the session are ended all the same."""
    session = claude("fizz-top", start({}, "sleep 1001 & wait").pid)
    marks = session.environment_marks[0]
    (tmp_path / "daemon").write_text("sleep 60\n")
    daemon = subprocess.Popen(
        ["claude", "daemon", "run"],
        executable=shutil.which("bash"),
        cwd=tmp_path,
        env={**os.environ, **marks},
        start_new_session=True,
    )
    detached = start(marks)
    (note,) = ended(session)
    assert f"were left running: {detached.pid} (sh -c" in note
    assert detached.poll() is None
    assert session.process is not None
    assert not is_running(session.process)
    os.killpg(daemon.pid, signal.SIGKILL)
    daemon.wait()


def test_a_command_finds_itself_in_its_session(start: Start) -> None:
    """A process that was started in a session, or below its agent, is found to be in that session, and any other in
    none."""
    inside, below = codex("inside"), claude("below", os.getpid())
    assert running_in([codex("vi-jg"), claude("fizz-top")]) == set()
    assert running_in([codex("vi-jg"), below]) == {"below"}
    code = (
        "from dev_sessions.sessions.process_tree import running_in; import tests.unit.test_process_tree as test;"
        f"test.CREATED = '{CREATED}'; print(running_in([test.codex('outside'), test.codex('inside')]))"
    )
    python = shlex.join([sys.executable, "-c", code])
    child = start({**inside.variables, "PYTHONPATH": os.pathsep.join(sys.path)}, f"env -u DEV_SESSIONS_ID {python}")
    assert child.stdout is not None
    assert child.stdout.read() == "{'inside'}\n"


def test_of_a_container_nothing_is_looked_for(start: Start) -> None:
    """Processes of a session in a container are left to the container to end."""
    wrapper = start({})
    session = replace(claude("fizz-top", wrapper.pid), mode="docker")
    started = start(session.variables)
    assert ended(session) == ()
    assert child_runs(wrapper)
    assert child_runs(started)


def test_a_command_does_not_end_what_would_end_it() -> None:
    """Ending the session that runs the current command is refused before anything is done."""
    with pytest.raises(InvalidRequest, match="fizz-top runs this very command"):
        SessionProcesses(claude("fizz-top", os.getppid()), ()).find()


def test_ps_reports_the_same() -> None:
    """Without /proc, parents, start times, command lines and environments are read from the lines of ps."""
    listing = (
        "    1     0     1 Ss   Sun Nov 29 04:00:00 2026     /sbin/launchd\n"
        "31655     1 31655 S    Sun Nov 29 05:11:09 2026     sleep --for=ever 60 HOME=/Users/me"
        f" DEV_SESSIONS_ID=fizz-top DEV_SESSIONS_CREATED_AT={CREATED} X=y\n"
        "31656 31655 31655 Z    Sun Nov 29 05:11:09 2026     (sleep)\n"
    )
    found = parse_ps(listing.splitlines())
    assert set(found) == {1, 31655}
    sleep = found[31655]
    assert (sleep.parent, sleep.group) == (1, 31655)
    assert (sleep.started, sleep.words) == ("1795929069", ("sleep", "--for=ever", "60"))
    assert sleep.is_marked_by(codex("fizz-top"))
    assert not sleep.is_marked_by(codex("vi-jg"))
    assert not found[1].is_marked_by(codex("fizz-top"))
