"""Running, identifying and ending other processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dev_sessions.errors import ProgramMissing
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.listeners import port_owners
from dev_sessions.system.proc_stat import read_stat
from dev_sessions.system.process import (
    command_line,
    identify,
    is_alive,
    is_running,
    owner_is_alive,
    start_time,
    terminate,
    this_process,
)
from dev_sessions.system.process_exit import wait_for_exit
from dev_sessions.system.process_id import ProcessId
from dev_sessions.system.programs import find_program, run, run_in_own_group, spawn_detached
from tests.support.cli import needs_proc
from tests.support.processes import HEADLESS
from tests.support.signals import signal_at_start

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def test_a_process_is_known_by_pid_and_start_time() -> None:
    """A reused pid is not taken for the process that had it before."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = identify(child.pid)
    assert process is not None
    assert is_running(process)
    assert not is_running(ProcessId(child.pid, "1"))
    child.communicate()
    assert not is_running(process)


def test_a_dead_child_that_nobody_reaped_is_dead() -> None:
    """A process that has exited does not count as alive."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    assert poll(lambda: True if start_time(child.pid) is None else None, Deadline(10))
    assert not is_alive(child.pid)
    child.wait()


@needs_proc
def test_a_process_runs_as_long_as_one_of_its_threads() -> None:
    """A process whose first thread has ended is still running, and can be ended."""
    with subprocess.Popen([sys.executable, "-c", HEADLESS]) as child:
        assert poll(lambda: True if read_stat(child.pid).state == "Z" else None, Deadline(30))
        process = identify(child.pid)
        assert process is not None
        assert is_running(process)
        assert terminate(process)
        assert not is_running(process)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="not every Python on Linux has pidfd_open")
def test_the_exit_of_a_process_is_told() -> None:
    """Waiting for the exit of a process ends when it has exited, also if nobody has reaped it, or after the time."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert child.stdin is not None
    assert wait_for_exit(child.pid, 0.1)
    assert is_alive(child.pid)
    child.stdin.close()
    assert wait_for_exit(child.pid, 60)
    assert not is_alive(child.pid)
    child.wait()
    assert not wait_for_exit(child.pid, 60)


def test_a_python_that_was_built_for_old_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that has no pidfds, as one that was built for old kernels, runs and ends programs, too."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    assert run_in_own_group(["echo", "done"], env=os.environ, timeout=60).stdout == "done\n"
    with subprocess.Popen(["sleep", "600"]) as child:
        process = identify(child.pid)
        assert process is not None
        assert terminate(process)


def test_a_reused_pid_is_never_signalled() -> None:
    """A process that got a reused pid is not ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert terminate(ProcessId(child.pid, "1"))
    assert child.poll() is None
    child.communicate()


def test_a_process_that_ignores_the_polite_signal_is_ended() -> None:
    """A process that ignores SIGTERM is killed."""
    child = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    process = identify(child.pid)
    assert process is not None
    assert terminate(process, timeout=0.3)
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()


def test_a_missing_program_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for a missing agent or tmux says how to install it, with an agent's own installer first."""
    monkeypatch.setenv("PATH", "")
    for name, package in (("claude", "@anthropic-ai/claude-code"), ("codex", "@openai/codex")):
        with pytest.raises(ProgramMissing, match=rf"with: curl .*/install\.sh \| \w+ \(or npm install -g {package}\)"):
            find_program(name)
    with pytest.raises(ProgramMissing, match="tmux was not found"):
        run(["tmux", "-V"])


def test_a_hanging_program_is_given_up() -> None:
    """A program that hangs is given up after the timeout."""
    with pytest.raises(TimeoutError, match=r"did not answer within 0\.2 s"):
        run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.2)


def test_a_detached_program_writes_to_its_log(tmp_path: Path) -> None:
    """The output of a server goes to its log."""
    code = "import os; print(os.getcwd())"
    with open(tmp_path / "log", "ab") as log:
        pid = spawn_detached([sys.executable, "-c", code], env=dict(os.environ), log=log.fileno(), cwd=tmp_path)
    os.waitpid(pid, 0)
    assert (tmp_path / "log").read_text() == f"{os.path.realpath(tmp_path)}\n"


def test_a_mark_lives_as_long_as_its_process() -> None:
    """The claim of a killed command is free again."""
    assert owner_is_alive(this_process())
    assert not owner_is_alive(f"{os.getpid()}:1")
    assert not owner_is_alive("nonsense")


def test_a_program_that_runs_others_is_waited_for_alone(tmp_path: Path) -> None:
    """Background processes that a program leaves do not delay its result."""
    script = f"echo out; echo err >&2; sleep 1000 & echo $! >{tmp_path}/pid; exit 3"
    done = run_in_own_group(["sh", "-c", script], env=os.environ, timeout=10)
    assert (done.code, done.stdout, done.stderr) == (3, "out\n", "err\n")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    with pytest.raises(ProgramMissing, match="nonesuch was not found on PATH"):
        run_in_own_group(["nonesuch"], env=os.environ, timeout=10)


def test_a_program_that_hangs_is_ended_with_what_it_runs(tmp_path: Path) -> None:
    """A program that hangs is ended with its whole process group."""
    with pytest.raises(TimeoutError, match=r"^sh did not answer within 0.5 s$"):
        run_in_own_group(["sh", "-c", f"sleep 1000 & echo $! >{tmp_path}/pid; wait"], env=os.environ, timeout=0.5)
    child = int((tmp_path / "pid").read_text())
    assert poll(lambda: None if is_alive(child) else True, Deadline(5))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_while_it_starts_git_leaves_none_behind(number: signal.Signals) -> None:
    """A signal in the moment in which git is started ends the command, and git with it."""
    with signal_at_start(number) as started, pytest.raises(SystemExit, match=str(number.value)):
        run_in_own_group(["sleep", "10"], env=os.environ, timeout=10)
    assert [child.returncode is None for child in started] == [False], "waited for"


def test_an_impatient_second_signal_leaves_nothing_behind(tmp_path: Path) -> None:
    """A program that ignores SIGTERM is killed, even if the command is told a second time to end meanwhile."""
    code = (
        "import os, signal, sys; from dev_sessions.system.programs import run_in_own_group;"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7));"
        "run_in_own_group(['sh', '-c', sys.argv[1]], env=os.environ, timeout=60)"
    )
    pid = tmp_path / "pid"
    stubborn = f"trap '' TERM; echo $$ >{pid}.new; mv {pid}.new {pid}; sleep 60"
    command = subprocess.Popen([sys.executable, "-c", code, stubborn])
    assert poll(lambda: pid.exists() or None, Deadline(10))
    command.terminate()
    assert poll(lambda: command.poll() is not None or None, Deadline(0.5)) is None, "it waits for the program"
    command.terminate()
    assert command.wait(10) == 7
    assert not is_alive(int(pid.read_text()))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_who_listens_on_a_port(family: socket.AddressFamily) -> None:
    """The user who listens on a port is found for IPv4 and IPv6, and none for a free port."""
    with socket.create_server(("", 0), family=family) as server:
        port = server.getsockname()[1]
        assert port_owners(port) == {os.getuid()}
        with socket.create_connection(("127.0.0.1" if family == socket.AF_INET else "::1", port)):
            assert port_owners(port) == {os.getuid()}
    assert port_owners(port) == set()


def test_the_command_line_of_a_process() -> None:
    """The command line of a live process of this user is returned, and of no other."""
    with subprocess.Popen(["sleep", "600"]) as child:
        # The kernel closes the pipe by which Popen sees the new program start just before it sets the words.
        found = poll(lambda: command_line(child.pid) or None, Deadline(10))
        child.kill()
    assert found == "sleep 600"
    assert command_line(child.pid) is None
