"""Show progress to a person at a terminal while a command waits."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from dev_sessions.cli.progress import elapsed
from dev_sessions.system.deadline import Deadline
from tests.support.claude import NOT_READY, fake_claude
from tests.support.cli import both, create, ok
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked


class AtTerminal:
    """A command whose standard error is a terminal; its standard output goes to a file."""

    def __init__(self, home: Home, out: Path, *arguments: str, **env: str) -> None:
        self._leader, follower = pty.openpty()
        self._out = out
        with out.open("wb") as stdout:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dev_sessions", *arguments],
                stdin=follower,
                stdout=stdout,
                stderr=follower,
                cwd=home.workspace(),
                env={**home.env, **env},
            )
        os.close(follower)
        os.set_blocking(self._leader, False)
        self.errors = ""

    def shows(self, pattern: str) -> bool:
        """Return whether a text is written to the terminal."""
        deadline = Deadline(20)
        while not re.search(pattern, self.errors) and not deadline.expired:
            if not self._read():
                deadline.pause(0.05)
        return re.search(pattern, self.errors) is not None

    def ends(self) -> tuple[int, str]:
        """Wait for its end: the exit code, and what it printed."""
        code = self.process.wait(60)
        while self._read():
            pass
        return code, self._out.read_text()

    def left(self) -> str:
        """Return the final text on the terminal; a line that was overwritten counts as what covers it."""
        screen = []
        for line in self.errors.split("\n"):
            cells: list[str] = []
            for piece in line.split("\r"):
                cells[: len(piece)] = piece
            screen.append("".join(cells).rstrip())
        return "\n".join(screen)

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        os.close(self._leader)

    def _read(self) -> bool:
        try:
            data = os.read(self._leader, 65536)
        except (BlockingIOError, OSError):
            return False
        self.errors += data.decode()
        return bool(data)


@contextmanager
def at_terminal(home: Home, out: Path, *arguments: str, **env: str) -> Iterator[AtTerminal]:
    """Run a command at a terminal, and end it after the block."""
    command = AtTerminal(home, out, *arguments, **env)
    try:
        yield command
    finally:
        command.close()


@both
def test_a_wait_shows_that_it_lives(home: Home, model: ScriptedModel, tmp_path: Path, agent: str) -> None:
    """A wait redraws the state and the elapsed time in place, and clears them before its usual output."""
    sid = create(home, agent)
    ok(home.cli("send", sid, "when told say late"))
    with at_terminal(home, tmp_path / "out", "wait", sid) as command:
        shown = rf"\r{sid} working (\d+) s *\r"
        assert command.shows(shown)
        assert command.shows(rf"{shown}(?s:.*)\r{sid} working (?!\1 )\d+ s *\r")
        model.allow("told")
        assert command.ends() == (0, "completed\n")
        assert command.left() == ""
        assert "\n" not in command.errors


@both
def test_an_ask_shows_that_it_lives(home: Home, model: ScriptedModel, tmp_path: Path, agent: str) -> None:
    """An ask shows the same progress as a wait, without the texts of message or reply, and clears it at the end."""
    sid = create(home, agent)
    with at_terminal(home, tmp_path / "out", "ask", sid, "when told say late") as command:
        assert command.shows(rf"\r{sid} working \d s *\r")
        model.allow("told")
        assert command.ends() == (0, "late\n")
        assert command.left() == ""
        assert "say" not in command.errors
        assert "late" not in command.errors


def test_how_to_go_on_with_a_session_that_asks_is_shown(home: Home, tmp_path: Path) -> None:
    """On a terminal, ask and wait say how to read the question of a session; in a pipe they print no more than ever."""
    sid = create(home, "claude")
    hint = f"{sid} asks something; to read it: dev-sessions last-message {sid}"
    for arguments in (("ask", sid, "ask Which? | red | blue"), ("wait", sid)):
        with at_terminal(home, tmp_path / "out", *arguments) as command:
            assert command.ends() == (3, "waiting_for_input\n")
            assert hint in command.errors
        done = home.cli("wait", sid)
        assert (done.returncode, done.stdout, done.stderr) == (3, "waiting_for_input\n", "")


def test_a_wait_for_several_shows_them_all(home: Home, model: ScriptedModel, tmp_path: Path) -> None:
    """A wait for several sessions has one progress line, which is cleared for each result."""
    first, second = create(home, "codex"), create(home, "claude")
    ok(home.cli("send", first, "when soon say soon"))
    ok(home.cli("send", second, "when late say late"))
    with at_terminal(home, tmp_path / "out", "wait", first, second) as command:
        assert command.shows(rf"{first} working, {second} working \d s")
        model.allow("soon")
        assert command.shows(rf"{first} idle, {second} working \d+ s")
        model.allow("late")
        assert command.ends() == (0, f"{first} completed\n{second} completed\n")
        assert command.left() == ""
    with at_terminal(home, tmp_path / "out", "wait", "--any", first, second) as command:
        assert command.ends()[0] == 0


def test_an_error_stands_alone(home: Home, tmp_path: Path) -> None:
    """If the wait fails, times out or is ended with Ctrl-C, the progress line is cleared before the message."""
    sid = create(home, "codex")
    ok(home.cli("send", sid, "when never say late"))
    with at_terminal(home, tmp_path / "out", "wait", sid, "--timeout", "2.5") as command:
        assert command.shows(rf"{sid} working \d+ s")
        assert command.ends() == (124, "")
        assert command.left() == f"Timed out waiting for {sid}\n"
    with at_terminal(home, tmp_path / "out", "wait", sid) as command:
        assert command.shows(rf"{sid} working \d+ s")
        command.process.send_signal(signal.SIGINT)
        assert command.ends() == (130, "")
        assert command.left().strip() == ""


def test_a_create_shows_that_it_lives(home: Home, tmp_path: Path) -> None:
    """create shows which program it starts and for how long; a warning replaces the progress line."""
    env = {**fake_claude(home, NOT_READY), "DEV_SESSIONS_TRANSCRIPT_TIMEOUT_MS": "3000"}
    with at_terminal(home, tmp_path / "out", "create", **env) as command:
        assert command.shows(r"\rstarting claude \d+ s *\r")
        code, printed = command.ends()
        assert code == 0
        sid = printed.removeprefix("Created session ").strip()
        assert command.left() == (
            f"Warning: Claude has not reported that it is ready; attach with: dev-sessions attach {sid}\n"
        )


def test_who_wants_quiet_has_it(home: Home, model: ScriptedModel, tmp_path: Path) -> None:
    """No progress is shown with -q, nor if standard error is not a terminal."""
    sid = create(home, "codex")
    slow = {**fake_claude(home, NOT_READY), "DEV_SESSIONS_TRANSCRIPT_TIMEOUT_MS": "3000"}
    ok(home.cli("send", sid, "when told say late"))
    with ExitStack() as stack:
        quiet, piped = [], []
        for arguments, env in ((("wait", sid), {}), (("ask", sid, "say more"), {}), (("create",), slow)):
            out = tmp_path / arguments[0]
            quiet.append(stack.enter_context(at_terminal(home, out, *arguments, "-q", **env)))
            argv = (sys.executable, "-m", "dev_sessions", *arguments)
            piped.append(home.popen(*argv, cwd=home.workspace(), env=env))
        # By then they would have shown something, too: this one was started after them.
        other = stack.enter_context(at_terminal(home, tmp_path / "other", "wait", sid))
        assert other.shows(f"{sid} working [3-9] s")
        model.allow("told")
        for shown in quiet:
            assert shown.ends()[0] == 0
            assert not re.search(r"\d s", shown.errors)
        for child in piped:
            _, errors = child.communicate(timeout=60)
            assert child.returncode == 0
            assert not re.search(r"\r|\d s", errors)


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0 s"), (59.9, "59 s"), (125, "2 min 05 s"), (3725, "1 h 02 min")])
def test_a_duration_is_shown_as_people_read_it(seconds: float, text: str) -> None:
    """A duration is shown in its two largest units."""
    assert elapsed(seconds) == text
