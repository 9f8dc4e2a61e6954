"""Signals and streams: a command that is ended from outside, or that nobody listens to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from itertools import count, cycle
from pathlib import Path
from typing import Any

import pytest

from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.file_locks import is_held
from tests.support.cli import await_waiting, both, create, needs_proc, ok, record
from tests.support.commands import SAMPLE_COMMANDS
from tests.support.forks import Forks
from tests.support.home import Home
from tests.support.killing import sampled
from tests.support.model import ScriptedModel


def await_proof(home: Home, sid: str, before: dict[str, Any]) -> None:
    """Wait until a message is proved, when its sender releases the session; `before` is the record as it was."""
    assert poll(lambda: record(home, sid) != before or None, Deadline(30), 0.05)
    lock = home.path / ".dev-sessions" / "locks" / f"{sid}.lock"
    assert poll(lambda: None if is_held(lock) else True, Deadline(30), 0.05)


@needs_proc
@both
def test_a_signal_ends_a_command_and_nothing_else(home: Home, model: ScriptedModel, agent: str) -> None:
    """SIGTERM, SIGINT and SIGHUP end a wait and an ask at once with their exit code; ask says that its message was
    sent, and the session goes on."""
    sid = create(home, agent)
    ok(home.cli("send", sid, "when told say done"))
    for number, command in ((signal.SIGTERM, ["ask"]), (signal.SIGINT, ["wait"]), (signal.SIGHUP, ["wait"])):
        before = record(home, sid)
        running = home.popen("dev-sessions", *command, sid, *(["say more"] if command == ["ask"] else []))
        await_waiting(running)
        if command == ["ask"]:
            await_proof(home, sid, before)
        running.send_signal(number)
        output, errors = running.communicate(timeout=20)
        arrived = f"The message was sent to {sid}, do not send it again: dev-sessions wait {sid}."
        assert (output, errors.strip()) == ("", arrived if command == ["ask"] else "")
        assert running.returncode == 128 + number
    model.allow("told")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("ask", sid, "say still here")) == "still here\n"


@both
@sampled
def test_a_send_that_is_ended_leaves_nothing_half_done(home: Home, agent: str, step: int) -> None:
    """Wherever SIGTERM, SIGINT or SIGHUP ends a send, it exits with their code and says whether the message may have
    arrived; the message is sent whole, once, or not at all."""
    text = "say {}\n" + "and so on\n" * 40
    # What is followed by another point has been done.
    sent = {"started tmux set-buffe", "started tmux paste-buffe", "sent turn/start"}
    ended = cycle((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    with Forks(home) as forks:
        sid = forks.cli("create", "-q", "--cli", agent).stdout.strip()
        sure: set[str] = set()
        perhaps: set[str] = set()
        not_typed: set[str] = set()
        # The points right behind those at which the message goes are in every sample.
        ran = forks.cli("send", sid, text.format("whole")).points
        behind = {at + 1 for at, name in enumerate(ran, 1) if name in sent}
        for at in (at for at in count(1) if at % step == 0 or at in behind):
            message = text.format(f"m{at}").strip()
            number = next(ended)
            done = forks.wait(forks.start("send", sid, message, at=at, number=number))
            print(f"{at:3} {number.name} {done.points[-1]}")
            (sure if sent & set(done.points[:-1]) else perhaps).add(message)
            if done.points[-1] == "the end":
                break
            assert (done.code, done.stdout) == (128 + number, "")
            said_so = {words: words in done.stderr for words in ("nothing was typed", "may have arrived")}
            assert list(said_so.values()).count(True) == 1, done.stderr
            if said_so["nothing was typed"]:
                not_typed.add(message)
        last = forks.cli("ask", sid, "say last")
        assert (last.stdout, last.stderr) == ("last\n", "")
        turns = json.loads(forks.cli("logs", sid, "--json").stdout)
        said = [turn["text"].strip() for turn in turns if turn["role"] == "human"]
        # What waited together is taken up together.
        counted = {message: "\n".join(said).count(message) for message in sure | perhaps}
        assert {message: times for message, times in counted.items() if times != 1 and message in sure} == {}
        assert max(counted.values()) == 1
        assert max(counted[message] for message in not_typed) == 0
        assert not_typed


#: Presses Ctrl-C when a module is about to be loaded.
PRESSED = """
import os, signal, sys
from importlib.metadata import entry_points
signal.signal(signal.SIGINT, signal.default_int_handler)
class Keyboard:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)
module = sys.argv.pop(1)
sys.meta_path.insert(0, Keyboard())
(command,) = entry_points(group="console_scripts", name="dev-sessions")
command.load()()
"""


@pytest.mark.parametrize(
    "module", ["dev_sessions.cli", "click", "dev_sessions.cli.listing", "dev_sessions.sessions.store"]
)
def test_ctrl_c_at_the_very_beginning_is_quiet(module: str, tmp_path: Path) -> None:
    """Ctrl-C while the program is still loading ends it without a traceback."""
    done = subprocess.run(
        [sys.executable, "-c", PRESSED, module, "list"],
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path)},
        check=False,
    )
    assert (done.stdout, done.stderr.strip()) == ("", "")
    assert done.returncode in (-signal.SIGINT, 130)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_the_caller_ignores_is_ignored(home: Home, number: signal.Signals) -> None:
    """A gateway under nohup outlives the terminal in which it was started."""
    ignoring = (
        f"import os, signal, sys; signal.signal({int(number)}, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    running = home.popen(sys.executable, "-c", ignoring, "dev-sessions", "gateway", "--port", "0")
    assert running.stdout is not None
    assert running.stdout.readline().startswith("Gateway listening")
    running.send_signal(number)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)
    assert running.returncode == 130


#: A help, an answer, an error and a refusal; all the others, help aside, in the soak.
FEW = [["--help"], ["list", "--all", "--json"], ["status", "fizz-top"], ["nothing"]]
MANY = [line for line in SAMPLE_COMMANDS if "--help" not in line and line not in FEW]


@pytest.mark.parametrize(
    "arguments", [*FEW, *(pytest.param(line, marks=pytest.mark.soak) for line in MANY)], ids=" ".join
)
@pytest.mark.parametrize("streams", ["<&- >&-", "2>&-", "| true"])
def test_a_stream_that_nobody_takes_is_no_traceback(arguments: list[str], streams: str, tmp_path: Path) -> None:
    """A standard stream that is closed, full or no longer read never leads to a traceback or a message of Python's."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -m dev_sessions "$@" {streams}', sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TMUX_TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stderr.count("\n") <= 3


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    """Output that could not be written is an error, not a success."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dev_sessions", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={"HOME": str(tmp_path)},
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "Cannot write the output: No space left on device\n")
