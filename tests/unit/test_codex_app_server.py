"""Starting and finding the app-server, with scripts in place of Codex."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dev_sessions.codex.app_server import AppServer
from dev_sessions.codex.client import NotListening
from dev_sessions.codex.legacy import LegacyAppServer, legacy_app_server
from dev_sessions.codex.preflight import require_supported, socket_dir_problem
from dev_sessions.errors import DevSessionsError, ProgramMissing, ProtocolError, StartFailed
from dev_sessions.models import CodexSession
from dev_sessions.system import paths, process
from tests.support.scripted_app_server import app_server, save_state, silence
from tests.support.users import NOBODY, as_root

SESSION = CodexSession(id="fizz-top", internal_id="t1", path="/w", created_at="", last_used="")


def install_codex(version: str, server: str) -> None:
    """Install a program `codex` that prints a version, and whose app-server is a shell script."""
    program = paths.home() / "bin" / "codex"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo "{version}"; exit; fi\n{server}\n')
    program.chmod(0o755)


def start(directory: Path) -> None:
    """Connect, and start the app-server if none runs."""
    with AppServer(directory).connect():
        pass


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        pytest.param("of another user", r"belongs to user 65534, not to you \(user 0\); have that user", marks=as_root),
        ("a file", "is not a directory; remove it: rm "),
        ("a link", "is not a directory; remove it: rm "),
        ("open", r"has mode 0777; chmod 700 "),
        ("good", None),
        ("missing", None),
    ],
)
def test_a_socket_directory_that_codex_refuses_is_named(tmp_path: Path, kind: str, words: str | None) -> None:
    """If somebody has put something else where Codex has its sockets, the error names it, its owner and the remedy."""
    directory = tmp_path / "codex-daemon-0"
    if kind == "a file":
        directory.touch()
    elif kind == "a link":
        directory.symlink_to(tmp_path)
    elif kind != "missing":
        directory.mkdir()
        directory.chmod(0o777 if kind == "open" else 0o700)
        if kind == "of another user":
            os.chown(directory, NOBODY, NOBODY)
    found = socket_dir_problem(str(directory))
    assert (found is None) == (words is None)
    assert re.search(f"^Codex does not start because {directory}, .*{words or ''}", found or "") or words is None


def test_without_codex_the_error_says_how_to_get_it(directory: Path) -> None:
    """A missing Codex is an error with the command that installs it, and leaves no state behind."""
    with pytest.raises(ProgramMissing, match=r"codex/install\.sh \| sh \(or npm install -g @openai/codex\)"):
        start(directory)
    assert AppServer(directory).state() is None


@pytest.mark.parametrize("version", ["0.99.3", "0.149.9"])
def test_a_codex_that_can_not_be_used_is_refused_by_name(directory: Path, version: str) -> None:
    """A Codex that is too old is refused with both versions before anything is started."""
    install_codex(f"codex-cli {version}", "echo started >&2")
    with pytest.raises(
        ProgramMissing,
        match=rf"Codex {version} is too old: 0.150.0 or newer is needed; install it with: curl .*/install\.sh",
    ):
        start(directory)
    assert not (directory / "app-server.log").exists()


@pytest.mark.parametrize("version", [(0, 150, 0), (0, 171, 0), (1, 0, 0)])
def test_every_newer_codex_is_taken(version: tuple[int, int, int]) -> None:
    """Every version from 0.150 on is accepted."""
    require_supported(version)


def test_a_program_that_names_no_version_is_refused(directory: Path) -> None:
    """A program without a version is refused, and the error quotes its output."""
    install_codex("hello", "")
    with pytest.raises(ProgramMissing, match="names no version"):
        start(directory)


def test_an_app_server_that_ends_at_once_shows_its_log(directory: Path) -> None:
    """The error shows the end of the log, without colours."""
    install_codex("codex-cli 0.169.0", "seq 1 5000; printf '\\033[31mconfig is broken\\033[0m\\n' >&2; exit 3")
    with pytest.raises(StartFailed, match="ended while it started") as caught:
        start(directory)
    text = str(caught.value)
    assert text.endswith("\nconfig is broken")
    assert len(text) < 500
    assert (directory / "app-server.log").stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700
    assert AppServer(directory).state() is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"version": 1}', '{"version": 2, "pid": 1, "started": "", "address": ""}', "\x00\x00"],
)
def test_a_state_file_that_is_garbage_is_none(directory: Path, text: str) -> None:
    """An invalid state file does not prevent a start, and no process is ended because of it."""
    directory.mkdir(parents=True)
    (directory / "state.json").write_text(text)
    daemon = AppServer(directory)
    assert daemon.state() is None
    with daemon.connect_if_running() as found:
        assert found is None
    daemon.release(lambda: False)
    assert not (directory / "state.json").exists()


def test_releasing_what_never_ran_makes_nothing(directory: Path) -> None:
    """Releasing an app-server that never ran does not even create its directory."""
    AppServer(directory).release(lambda: False)
    assert not directory.exists()


@pytest.mark.parametrize("address", ["unix", "ws://127.0.0.1:9", ""])
def test_a_process_with_the_reused_pid_of_a_dead_app_server_is_left_alone(directory: Path, address: str) -> None:
    """A process that got the pid of an ended app-server is not ended."""
    unrelated = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        save_state(directory, pid=unrelated.pid, started="1", address=address)
        daemon = AppServer(directory)
        with daemon.connect_if_running() as found:
            assert found is None
        daemon.release(lambda: False)
        assert unrelated.poll() is None
    finally:
        unrelated.kill()
        unrelated.wait()


def test_what_a_killed_command_left_half_started_is_ended(directory: Path) -> None:
    """An app-server whose start was killed is ended: its state is written before it is ready."""
    half_started = subprocess.Popen(["sleep", "60"], start_new_session=True)
    save_state(directory, pid=half_started.pid, started=process.start_time(half_started.pid) or "", address="")
    install_codex("codex-cli 0.169.0", "exit 3")
    with pytest.raises(StartFailed):
        start(directory)
    assert half_started.wait(5) != 0


def test_an_app_server_in_use_is_not_stopped(directory: Path) -> None:
    """The check for use runs under the lock that a start takes."""
    directory.mkdir(parents=True)
    with app_server(directory / "app-server.sock", {}):
        save_state(directory, pid=os.getpid(), started=process.start_time(os.getpid()) or "", address="unix")
        AppServer(directory).release(lambda: True)
        with AppServer(directory).connect_if_running() as found:
            assert found is not None


def test_an_app_server_that_hangs_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names its process and what to do; it is not ended, and no second one is started."""
    monkeypatch.setattr("dev_sessions.codex.client.CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(process, "terminate", lambda pid, *_, **__: pytest.fail(f"process {pid} ended"))
    directory.mkdir(parents=True)
    with app_server(directory / "app-server.sock", {"initialize": silence}):
        save_state(directory, pid=os.getpid(), started=process.start_time(os.getpid()) or "", address="unix")
        with pytest.raises(
            ProtocolError, match=rf"process {os.getpid()}\) does not answer; .*kill -9 -- {os.getpid()}"
        ):
            start(directory)


def test_the_state_is_on_file_in_words_that_others_can_read(directory: Path) -> None:
    """The state file says where the app-server listens, and which process and version it is."""
    save_state(directory, pid=4711, started="99", address="ws://127.0.0.1:1")
    state = AppServer(directory).state()
    assert state is not None
    assert (state.pid, state.started, state.address) == (4711, "99", "ws://127.0.0.1:1")
    assert (state.codex_version, state.codex_home, state.token_file) == ("0.169.0", "/home/user/.codex", None)


def test_the_daemon_of_the_original_serves_its_own_sessions_only(directory: Path) -> None:
    """The app-server of 0.4 serves only the sessions that name it, and only while it runs."""
    del directory
    file = paths.legacy_appserver_file()
    assert legacy_app_server() is None
    file.parent.mkdir(parents=True)
    # What tells it from any other process is its command line.
    argv = [sys.executable, "-c", "input(1)", "app-server"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as original:
        assert original.stdout is not None
        assert original.stdout.read(1) == b"1"  # before it runs, it may have no command line
        record = {
            "version": 1,
            "pid": original.pid,
            "port": 9,
            "url": "ws://127.0.0.1:9",
            "startedAt": "2026-01-01T00:00:00Z",
        }
        file.write_text(json.dumps(record))
        legacy = legacy_app_server()
        assert legacy == LegacyAppServer(original.pid, 9)
        assert not legacy.serves(SESSION)
        with pytest.raises(NotListening), legacy.connect():
            pass
        for text in (
            "",
            "{",
            "[]",
            json.dumps({**record, "pid": "1"}),
            json.dumps({**record, "pid": os.getpid()}),
            json.dumps({**record, "pid": dead_pid()}),
        ):
            file.write_text(text)
            assert legacy_app_server() is None
        original.communicate(b"\n")


def test_a_directory_that_can_not_be_used_is_a_clear_error(directory: Path) -> None:
    """A file in place of the directory is reported as an error."""
    directory.parent.mkdir(parents=True)
    directory.write_text("")
    with pytest.raises(DevSessionsError, match="Cannot use"):
        start(directory)


def dead_pid() -> int:
    """Return the pid of a process that has ended."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid
