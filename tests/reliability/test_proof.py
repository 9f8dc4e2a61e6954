"""Check that only proof drops a record or ends a process: list every such place with its proof, and try each without
it."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import dev_sessions
from dev_sessions.claude import tmux as claude_tmux
from dev_sessions.claude.tmux import Tmux
from dev_sessions.claude.tmux_windows import new_session
from dev_sessions.cli.app import make_backend
from dev_sessions.codex import client
from dev_sessions.errors import DevSessionsError, LivenessUnknown, ProtocolError
from dev_sessions.models import ClaudeSession, CodexSession, Session, timestamp
from dev_sessions.operations import Create, Kill, KillMany, List, Operation, Recover
from dev_sessions.sessions import worktree_removal
from dev_sessions.sessions.context import Context
from dev_sessions.sessions.manager import SessionManager
from dev_sessions.sessions.store import Store
from dev_sessions.system import paths, pid_namespace, process, programs
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.file_locks import new_locked
from dev_sessions.system.private_files import replace_file
from dev_sessions.system.process_id import ProcessId
from tests.support.darwin import system_path
from tests.support.namespaces import SANDBOX, have_namespaces
from tests.support.scripted_app_server import app_server, hang_up, silence

SOURCE = Path(dev_sessions.__file__).parent
#: THE TABLE. Every place that drops a record or ends a process, and the proof that it acts on.
PROOFS = {
    "sessions/process_tree.py SessionProcesses._signal": "pid and start time, looked at right before: it descends from"
    " the session's own process, or was started with the session's variables, and another session's never",
    "claude/stop.py stop": "is asked for by name. local_pid: the process is of this pid namespace, or"
    " proved to be gone; list_panes: tmux listed the panes, its server is of this namespace; terminate: pid and start"
    " time; the record goes only when each of these processes has ended",
    "codex/stop.py stop": "is asked for by name. The thread's own app-server answers; without one"
    " nobody listens, and AppServer._require_visible proves that none lives where it is not seen",
    "claude/recover.py recover": "tmux says of each pane that its process has ended, and that it was told to start our"
    " own launch spec, for this very session, or that nothing runs in the session of that name",
    "claude/start.py _discard": "the pane that this very command opened, on a server of this namespace",
    "claude/start.py _close": "of _launch: the pane was told to start our own launch spec, for this very session; of"
    " _discard: as there",
    "claude/tmux_windows.py new_session": "tmux has just made the session of that name for this very command: it"
    " reports no error",
    "claude/tmux_windows.py _open_with_bounded_history": "the pane that this very command opened in the agent's place",
    "claude/send.py Delivery._continue_suspended": "ends nothing: it continues the session's own process, by pid"
    " and start time of this namespace",
    "codex/app_server.py AppServer._start": "our own child: it was started by this very command, and did not get ready",
    "codex/app_server.py AppServer._end": "under the lock, nobody using it: pid and start time on file of this"
    " namespace; who listens on the socket in our folder (the kernel names it); who was told to listen"
    " there (its command line)",
    "codex/app_server.py _end_process": "pid and start time",
    "codex/orphans.py end": "our app-server says that the thread is empty and ours; no session and no create has it",
    "codex/orphans.py end_fork": "a killed fork of ours: its rollout names this very claim as its source, and it has no"
    " turn that the forked thread does not have; no record has it",
    "sessions/create.py unclaim": "the claim of this very command; what it started was ended before, and"
    " nobody was told its name",
    "sessions/end.py end_session": "Backend.stop has ended it, or proved it gone",
    "skills.py uninstall": "removes a folder that is empty",
    "system/process.py _exists": "ends nothing: signal 0",
    "system/programs.py _ended_on_error": "our own child, not waited for yet: its pid can't be another's",
    "system/process.py terminate": "pid and start time, asked again before each signal",
    "remote/ssh.py _communicate": "our own child",
    "routing.py Router._relay": "the session's host has ended it, or does not know it",
    "routing.py Router._create_on_host.undo": "the host's create ended with an error, which leaves nothing there",
    "sessions/store.py Store.remove": "its callers are in this table",
    "sessions/store.py Store._locked": "our own lock directory, under the kernel lock",
    "sessions/worktree_removal.py _terminate_git_add": "the command line of a git that makes this worktree; pid and"
    " start time",
    "sessions/worktree.py remove_if_empty": "removes a folder that is empty",
}
#: Places that judge without ending anything: what they take for a proof.
JUDGES = {
    "process.start_time": "Linux: /proc is of this namespace and has no such entry. Elsewhere: ps lists us, and not it",
    "process.owner_is_alive": "here: pid and start time. Of another boot of this machine: ended. Else it may live",
    "session_file.is_process_alive": "here: pid and start time. Another namespace of this boot: the lock that Claude"
    " holds, by device and inode. An earlier boot of this machine: ended. Its user's word (--gone), outside of"
    " sandboxes",
    "tmux.is_gone": "exit code 1, and the whole line with which tmux says so",
    "AppServer._connect": "unix sockets: the kernel refuses the connection, or there is none; then _require_visible",
    "private_files._leftover_files": "nobody holds the lock of the temporary file",
    "store._acquire_legacy_lock": "the kernel lock is ours, and the directory has our mark; the original's: 30 s old",
}


def test_the_table_is_whole() -> None:
    """Every place in the program that ends a process or drops a record is listed in the table, and the table lists no
    other."""
    assert set(_places()) == set(PROOFS)


def _places() -> Iterator[str]:
    for file in sorted(SOURCE.rglob("*.py")):
        yield from _places_in(ast.parse(file.read_text()), str(file.relative_to(SOURCE)), [])


def _places_in(node: ast.AST, file: str, where: list[str]) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        inner = [*where, child.name] if isinstance(child, ast.FunctionDef | ast.ClassDef) else where
        if isinstance(child, ast.Call) and _ends(child):
            yield f"{file} {'.'.join(where)}"
        yield from _places_in(child, file, inner)


def _ends(call: ast.Call) -> bool:
    called = ast.unparse(call.func)
    if called.endswith(".callback"):  # called when the block ends
        called = ast.unparse(call.args[0])
    name = called.rpartition(".")[2]
    if (
        call.args
        and isinstance(call.args[0], ast.Constant)
        and call.args[0].value in ("thread/archive", "thread/delete")
    ):
        return True
    if name == "kill_pane":
        return True
    if name == "kill":  # not the command of that name
        return called != "kill"
    dropped = called.endswith(("store.remove", "sessions.pop"))
    return dropped or name in ("terminate", "killpg", "_end_process", "rmdir", "rmtree")


@dataclass
class Machine:
    """A home directory with its own programs and processes that stand in for running agents; none of them may be
    ended."""

    home: Path
    standing_in: list[subprocess.Popen[bytes]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def program(self, name: str, script: str) -> None:
        """Install a program that takes precedence over the system's."""
        file = self.home / "bin" / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def agent(self) -> subprocess.Popen[bytes]:
        """Start a process that stands in for an agent."""
        self.standing_in.append(subprocess.Popen(["sleep", "1000"], start_new_session=True))
        return self.standing_in[-1]

    @property
    def store(self) -> Store:
        """Return the session store of this home."""
        return Store(paths.store_file())

    def save(self, *sessions: Session) -> None:
        """Write these sessions to the store."""
        with self.store.edit() as content:
            content.sessions.update({session.id: session for session in sessions})

    @property
    def manager(self) -> SessionManager:
        """Return a session manager over the store, as the commands use it."""
        return SessionManager(
            Context(self.store, lambda cli: make_backend(cli, self.warnings.append), self.warnings.append)
        )


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Provide a machine without any recorded session."""
    found = Machine(tmp_path_factory.mktemp("h"))
    (found.home / "bin").mkdir()
    for name in ("TMUX", "CODEX_HOME", "CLAUDE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(found.home))
    monkeypatch.setenv("TMUX_TMPDIR", str(found.home))
    monkeypatch.setenv("PATH", f"{found.home}/bin:{system_path()}")
    monkeypatch.setattr(process, "PS_INTERVAL", 0.0)
    _forget_domain()
    yield found
    for child in found.standing_in:
        child.kill()
        child.wait()
    monkeypatch.undo()
    _forget_domain()


def _forget_domain() -> None:
    for known in (pid_namespace.domain, pid_namespace.sees_own_processes, pid_namespace.is_sandboxed):
        known.cache_clear()


def claude(machine: Machine, name: str = "fizz-top", **changes: object) -> ClaudeSession:
    """Return a Claude session whose process runs and that has no conversation: `list` drops such a session once it
    ended."""
    agent = machine.agent()
    at = timestamp(1.0)
    known = {"claude_pid": agent.pid, "claude_proc_start": process.start_time(agent.pid)}
    known["claude_pid_domain"] = pid_namespace.domain()
    common = {"id": name, "internal_id": "4d1e8066-7cd4-407a-990f-9d0a60769dba", "path": "/", "tmux_socket": None}
    return ClaudeSession(**{**common, "created_at": at, "last_used": at, **known, **changes})  # type: ignore[arg-type] # of any field


def nothing_is_done(machine: Machine) -> None:
    """Run every command that may end sessions, and assert that each record is kept and every process still runs."""
    before = machine.store.read().sessions
    manager = machine.manager
    assert set(before) == {row.session.id for row in manager.execute(List(everything=True)).rows} or any(
        session.claimed_by for session in before.values()
    )
    assert all(row.state is None or row.state.state != "lost" for row in manager.execute(List()).rows)
    for name in before:
        with pytest.raises(DevSessionsError):
            manager.execute(Kill(session_id=name))
    many: tuple[Operation[Any], ...] = (
        KillMany(),
        KillMany(older_than="1s"),
        Recover(yes=True),
        Recover(session_ids=tuple(before), yes=True),
        Recover(prune=True, yes=True),
    )
    for operation in many:
        with contextlib.suppress(LivenessUnknown):
            manager.execute(operation)
    with contextlib.suppress(DevSessionsError):
        manager.execute(Create(path=str(machine.home), cli="codex"))
    assert machine.store.read().sessions == before
    assert all(child.poll() is None for child in machine.standing_in)


#: `ps` that has failed, whatever its exit code says.
FAILED_PS = {
    "is missing": None,
    "fails": "echo no such option >&2; exit 2",
    "fails without a word": "exit 1",
    "says nothing": "exit 0",
    "prints garbage": 'echo "  PID TTY"; echo "?? what"',
    "lists others": "echo '1 0 Ss Mon Jan  5 10:00:00 2026'",
    "hangs": "exec sleep 1000",
}


def without_proc(machine: Machine, monkeypatch: pytest.MonkeyPatch, script: str | None) -> None:
    """Simulate macOS, where only `ps` reports processes, with this script as `ps`, or without any `ps` if None."""
    monkeypatch.setattr(pid_namespace, "ON_LINUX", False)
    _forget_domain()
    run = programs.run
    monkeypatch.setattr(programs, "run", lambda argv, **options: run(argv, **{**options, "timeout": 0.5}))
    if script is None:
        for name in ("sh", "sleep", "tmux", "git"):
            with contextlib.suppress(FileExistsError):
                (machine.home / "bin" / name).symlink_to(f"/usr/bin/{name}")
        monkeypatch.setenv("PATH", f"{machine.home}/bin")
    else:
        machine.program("ps", script)


@pytest.mark.parametrize("script", FAILED_PS.values(), ids=FAILED_PS)
def test_a_ps_that_has_failed_proves_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, script: str | None
) -> None:
    """A `ps` that fails is no proof that a process has ended or that its pid was reused."""
    monkeypatch.setattr(pid_namespace, "ON_LINUX", False)
    _forget_domain()
    session = claude(machine)
    machine.save(session, claude(machine, "vi-jg", claimed_by=process.this_process()))
    without_proc(machine, monkeypatch, script)
    agent = session.process
    assert agent is not None
    for ask in (process.start_time, process.parent, process.is_alive):
        with pytest.raises(LivenessUnknown):
            ask(agent.pid)
    with pytest.raises(LivenessUnknown):
        process.terminate(agent)
    with pytest.raises(LivenessUnknown):
        process.command_lines()
    assert process.owner_is_alive(f"{agent.pid}:1:{pid_namespace.domain()}")
    nothing_is_done(machine)


def test_a_start_time_does_not_depend_on_language_and_time_zone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start time that `ps` reports is the same in every language and time zone, and a record of an older version in
    local time proves nothing."""
    monkeypatch.setattr(pid_namespace, "ON_LINUX", False)
    _forget_domain()
    agent = machine.agent()
    started = process.start_time(agent.pid)
    assert started is not None
    for zone, language in (("Asia/Tokyo", "C"), ("America/New_York", "de_DE.UTF-8"), ("UTC", "ja_JP.UTF-8")):
        monkeypatch.setenv("TZ", zone)
        monkeypatch.setenv("LC_ALL", language)
        assert process.start_time(agent.pid) == started
    assert process.is_running(ProcessId(agent.pid, started))
    assert not process.is_running(ProcessId(agent.pid, str(int(started) - 60)))
    machine.save(claude(machine, claude_proc_start="Mo 5 Jan 11:00:00 2026"))
    nothing_is_done(machine)
    child = subprocess.Popen(["true"])
    child.wait()
    assert process.start_time(child.pid) is None


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_proc_that_can_not_be_read_proves_nothing(machine: Machine) -> None:
    """A process is not taken for ended because too many files are open to read /proc."""
    pid = machine.agent().pid
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert process.is_alive(pid)
    with open(os.devnull, "rb") as last:
        resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno() + 1, hard))
        try:
            with pytest.raises(LivenessUnknown, match="Too many open files"):
                process.start_time(pid)
            assert process.owner_is_alive(f"{pid}:1:{pid_namespace.domain()}")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


#: tmux that has failed, or does not answer.
FAILED_TMUX = {
    "hangs": "exec sleep 1000",
    "prints garbage": "echo 'what is this?'",
    "says nothing": "exit 0",
    "fails without a word": "exit 1",
    "speaks of something else": "echo 'das geht gerade nicht' >&2; exit 1",
    "does not start": "echo 'tmux: error while loading shared libraries: libevent.so: cannot open shared object file:"
    " No such file or directory' >&2; exit 127",
    "is not allowed to": "echo 'error connecting to /tmp/tmux-0/default (Permission denied)' >&2; exit 1",
}


@pytest.mark.parametrize("script", FAILED_TMUX.values(), ids=FAILED_TMUX)
def test_a_tmux_that_has_failed_proves_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A session of the original, which only tmux knows, is neither lost nor dropped while tmux fails, and its pane
    keeps running."""
    subprocess.run(["tmux", "new-session", "-d", "-s", "dev-fizz-top", "sleep", "1000"], check=True)
    panes = ["tmux", "list-panes", "-a", "-F", "#{pane_pid}"]
    pid = int(subprocess.run(panes, check=True, capture_output=True).stdout)
    try:
        machine.save(claude(machine, claude_pid=None, claude_proc_start=None, claude_pid_domain=None))
        machine.program("tmux", script)
        monkeypatch.setattr(claude_tmux, "COMMAND_TIMEOUT", 0.2)
        assert Tmux().liveness("dev-fizz-top") in ("alive", "unknown")
        with pytest.raises(ProtocolError):
            Tmux().list_panes("dev-fizz-top")
        with pytest.raises((ProtocolError, TimeoutError)):
            Tmux().snapshot("=dev-fizz-top:")
        with pytest.raises((ProtocolError, TimeoutError)):
            new_session(Tmux(), "dev-vi-jg", ["sleep", "1"], "/")
        nothing_is_done(machine)
        assert process.is_alive(pid)
    finally:
        (machine.home / "bin" / "tmux").unlink()
        subprocess.run(["tmux", "kill-server"], check=True)


def elsewhere(machine: str | None = None, boot: str | None = None) -> str:
    """Return the domain of another pid namespace, on this machine and boot unless others are given."""
    system, here, now, _ = (pid_namespace.domain() or "").split(":", 3)
    return f"{system}:{machine or here}:{boot or now}:pid:[4026539999]"


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
@pytest.mark.parametrize("case", ["no lock", "no file", "another file", "held", "machine", "claim"])
def test_a_pid_of_another_namespace_proves_nothing(machine: Machine, case: str) -> None:
    """A session in another pid namespace is not taken for ended when its lock is missing, replaced or held, or while
    its create may still run."""
    domain = elsewhere("login2/", "5ad0") if case == "machine" else elsewhere()
    lock = paths.alive_lock("fizz-top")
    lock.parent.mkdir(mode=0o700, parents=True)
    descriptor = new_locked(lock)
    found = os.fstat(descriptor)
    name = None if case == "no lock" else f"{found.st_dev}:{found.st_ino}"
    mark = f"4711:1:{domain}" if case == "claim" else None
    if case != "held":
        os.close(descriptor)
    if case == "no file":
        lock.unlink()
    elif case == "another file":
        lock.rename(lock.with_name("kept"))
        lock.touch(mode=0o600)
    session = claude(machine, claude_pid_domain=domain, claude_lock=name, claimed_by=mark, claude_proc_start="1")
    machine.save(session)
    try:
        if case == "claim":
            with pytest.raises(
                DevSessionsError, match="Cannot determine whether the create of fizz-top is still running"
            ):
                machine.manager.execute(Kill(session_id="fizz-top"))
        nothing_is_done(machine)
    finally:
        if case == "held":
            os.close(descriptor)


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_the_lock_that_its_process_let_go_is_proof(machine: Machine) -> None:
    """A session in another namespace has ended once its lock is released or the machine was rebooted, and `list` drops
    it if it has no conversation."""
    lock = paths.alive_lock("fizz-top")
    lock.parent.mkdir(mode=0o700, parents=True)
    descriptor = new_locked(lock)
    found = os.fstat(descriptor)
    os.close(descriptor)
    one = claude(machine, claude_pid_domain=elsewhere(), claude_lock=f"{found.st_dev}:{found.st_ino}")
    two = claude(machine, "vi-jg", claude_pid_domain=elsewhere(boot="5ad0"))
    machine.save(one, two)
    assert machine.manager.execute(List(everything=True)).rows == ()
    assert machine.store.read().sessions == {}
    assert all(child.poll() is None for child in machine.standing_in), "their pids were those of others"


def codex(machine: Machine) -> CodexSession:
    """Return a Codex session with a conversation."""
    del machine
    at = timestamp(1.0)
    return CodexSession(
        id="fizz-top", internal_id="t1", path="/", created_at=at, last_used=at, codex_active_turn_id="turn-1"
    )


@pytest.mark.parametrize("step", [silence, hang_up], ids=["is silent", "closes connections"])
def test_an_app_server_that_is_busy_is_not_gone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, step: Callable[..., None]
) -> None:
    """An app-server that does not answer is not replaced, and its sessions are kept."""
    monkeypatch.setattr(client, "CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr("dev_sessions.codex.app_server.CLOSE_TIMEOUT", 0.2)
    monkeypatch.setattr(process, "terminate", lambda pid, *_, **__: pytest.fail(f"process {pid} ended"))
    machine.program("codex", "[ $1 = --version ] && echo codex-cli 0.169.0 || echo started >> ~/started")
    paths.codex_dir().mkdir(mode=0o700, parents=True)
    machine.save(codex(machine))
    with app_server(paths.codex_dir() / "app-server.sock", {"initialize": step}):
        nothing_is_done(machine)
    assert not (machine.home / "started").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
@pytest.mark.parametrize("domain", ["held", "no lock", "machine"])
def test_an_app_server_of_another_namespace_is_not_gone(machine: Machine, domain: str) -> None:
    """An app-server in another namespace is not replaced while it may be running, even if nobody listens on its socket
    here."""
    machine.program("codex", "[ $1 = --version ] && echo codex-cli 0.169.0 || echo started >> ~/started")
    folder = paths.codex_dir()
    folder.mkdir(mode=0o700, parents=True)
    descriptor = new_locked(folder / "alive.lock")
    found = os.fstat(descriptor)
    where = elsewhere("login2/", "5ad0") if domain == "machine" else elsewhere()
    lock = None if domain == "no lock" else f"{found.st_dev}:{found.st_ino}"
    agent = machine.agent()
    state = {"version": 1, "pid": agent.pid, "started": process.start_time(agent.pid), "codex_version": "0.169.0"}
    state |= {"codex_home": "/", "address": f"unix://{folder}/app-server.sock", "domain": where, "lock": lock}
    (folder / "state.json").write_text(json.dumps(state))
    machine.save(codex(machine))
    nothing_is_done(machine)
    assert not (machine.home / "started").exists()
    os.close(descriptor)
    if domain == "held":  # and is released now: then it may be started
        machine.manager.execute(List())
        assert poll(lambda: (machine.home / "started").exists() or None, Deadline(30))


def test_a_file_that_its_writer_has_not_finished_is_not_swept_away(tmp_path: Path) -> None:
    """An unfinished file is kept while its writer runs, even if its pid is unknown here, and removed afterwards."""
    file, half = tmp_path / "store.json", tmp_path / ".store.json.4194304.1"
    code = (
        "import fcntl, os, sys\nhalf = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o600)\n"
        "fcntl.flock(half, fcntl.LOCK_EX)\nprint('locked', flush=True)\nsys.stdin.read()"
    )
    argv = [sys.executable, "-c", code, str(half)]
    writer = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"locked\n"
    replace_file(file, b"one")
    assert half.exists()
    writer.communicate()
    replace_file(file, b"two")
    assert not half.exists()
    assert file.read_bytes() == b"two"


@pytest.mark.usefixtures("machine")
def test_a_worktree_is_left_while_it_is_not_known_who_works_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worktree is kept while it is unknown whether the git of a killed create still fills it."""
    monkeypatch.setattr(pid_namespace, "sees_own_processes", lambda: False)
    monkeypatch.setattr(pid_namespace, "ON_LINUX", True)
    tree = tmp_path / "repository.worktrees" / "fizz-top"
    tree.mkdir(parents=True)
    session = CodexSession(
        id="fizz-top",
        internal_id="",
        path=str(tree),
        created_at="",
        last_used="",
        claimed_by="1:1",
        worktree=str(tree),
        worktree_branch="fizz-top",
    )
    (note,) = worktree_removal.remove_if_clean(session, ())
    assert f"The worktree of fizz-top was left in {tree}: Cannot list processes" in note
    assert tree.is_dir()


@pytest.mark.skipif(not have_namespaces(), reason="no pid namespaces can be made here")
def test_no_advice_names_a_process_of_another_namespace(machine: Machine) -> None:
    """An error in a sandbox does not advise to end a pid of another namespace."""
    machine.save(claude(machine))
    script = (
        "import sys\nfrom dev_sessions.system import paths\nfrom dev_sessions.sessions.store import holder_of\n"
        "print(holder_of(paths.store_file().with_name('.sessions.holder')))"
    )
    argv = [sys.executable, "-c", script]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == f"{os.getpid()}\n"
    assert subprocess.run([*SANDBOX, *argv], capture_output=True, text=True, check=True).stdout == "None\n"
