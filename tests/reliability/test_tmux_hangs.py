"""Deliver messages and answers through a tmux that hangs, fails or dies at each of its calls, before and after its
work."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from itertools import count

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import press, screen
from tests.support.cli import ok
from tests.support.faulty_tmux import Fault, FaultyTmux
from tests.support.forks import Ended, Forks
from tests.support.home import Home

#: So that a call that hangs is given up soon, and a message that does not arrive, too.
SOON = {"dev_sessions.claude.tmux.COMMAND_TIMEOUT": 2.0, "dev_sessions.claude.send.TAKEN_TIMEOUT": 3.0}
FAULTS: tuple[Fault, ...] = ("server stops", "hangs", "works, hangs", "fails", "works, fails", "works, dies")


class Desk:
    """A user with one Claude session whose tmux is faulty."""

    def __init__(self, home: Home, forks: Forks) -> None:
        self.home, self.forks = home, forks
        self.sid = forks.cli("create", "-q").stdout.strip()
        self.server = int(ok(home.tmux("display-message", "-p", "#{pid}")))
        self.tmux = FaultyTmux(home, self.server)

    def cli(self, *args: str) -> Ended:
        """Run a command while tmux works, with all the patience that a busy machine needs."""
        return self.forks.cli(*args, env=self.tmux.env)

    def cli_with_fault(self, *args: str) -> Ended:
        """Run a command that may meet a fault, or a tmux server that is stopped, and gives up soon."""
        return self.forks.cli(*args, env=self.tmux.env, constants=SOON)

    def go_on(self) -> None:
        """Resume the tmux server if it was stopped, and disarm the fault."""
        self.tmux.arm("fails", 0)
        os.kill(self.server, signal.SIGCONT)

    def said(self) -> list[str]:
        """Return the user's messages in the conversation."""
        done = self.cli("logs", self.sid, "--json")
        assert done.code == 0 or "or never existed, because no message has arrived" in done.stderr
        turns = json.loads(done.stdout or "[]")
        return [turn["text"].strip() for turn in turns if turn["role"] == "human"]

    def rests(self) -> None:
        """Wait until the session is idle."""
        assert poll(lambda: self.cli("status", self.sid).stdout == "idle\n" or None, Deadline(20), 0.05)


@pytest.fixture
def desk(home: Home) -> Iterator[Desk]:
    """Provide a user with one session, and resume its tmux server after the test."""
    with Forks(home) as forks:
        desk = Desk(home, forks)
        yield desk
        desk.go_on()


def send_through_fault(desk: Desk, fault: Fault, at: int, word: str = "") -> bool:
    """Send a message with a fault at one tmux call (`FaultyTmux.arm`), follow the error's advice, and assert that the
    message arrived once. Return False if there is no such call."""
    text = f"say {fault.replace(', ', ' and ')} at {word} {at} {len(desk.said())}"
    desk.tmux.arm(fault, at, word)
    done = desk.cli_with_fault("send", desk.sid, text)
    has_failed = desk.tmux.has_failed()
    print(f"{fault:12} {word} {at:2} {done.code} {done.stderr[:150]}")
    if done.code == 0:
        desk.go_on()
        assert desk.cli("wait", desk.sid).stdout == "completed\n"
    elif "nothing was typed" in done.stderr:
        assert "may have arrived" not in done.stderr
        desk.go_on()
        # What a stopped server was given before it goes on with is done before it answers.
        assert text not in screen(desk.home, desk.sid)
        assert text not in desk.said()
        assert desk.cli("ask", desk.sid, text).stdout == f"{text.removeprefix('say ')}\n"
    else:
        assert "may have arrived: tmux " in done.stderr
        assert f"dev-sessions wait {desk.sid}, then dev-sessions logs {desk.sid}" in done.stderr
        if fault != "server stops" or at % 2:
            desk.go_on()
        waited = desk.cli_with_fault("wait", desk.sid)
        if text not in desk.said():
            assert (waited.code, "the message is not in the transcript" in waited.stderr) == (1, True)
            desk.go_on()
            again = desk.cli("ask", desk.sid, text)
            assert again.code == 0 or "has arrived after all" in again.stderr, again
    desk.go_on()
    desk.rests()
    assert desk.said().count(text) == 1
    return has_failed


def test_a_message_through_a_tmux_that_fails_is_sent_once(desk: Desk) -> None:
    """A message arrives exactly once for a user who follows the error's advice, whichever call of tmux fails, hangs or
    dies, and whether before or after its work."""
    for fault in ("server stops", "hangs", "works, dies"):
        assert send_through_fault(desk, fault, 1, "paste-buffer")
    assert send_through_fault(desk, "server stops", 1, "capture-pane")
    assert send_through_fault(desk, "works, fails", 1, "load-buffer")


@pytest.mark.soak
@pytest.mark.parametrize("fault", FAULTS)
def test_a_message_through_a_tmux_that_fails_at_any_call_is_sent_once(desk: Desk, fault: Fault) -> None:
    """A message arrives exactly once whichever call fails, whether the tmux server resumes before or after the user
    checks."""
    for _ in range(2):
        for at in count(1):
            if not send_through_fault(desk, fault, at):
                break


def answer_through_fault(desk: Desk, fault: Fault, at: int, word: str, answer: str) -> bool:
    """Answer a question with a fault at one tmux call, follow the error's advice, and assert that the answer was given
    as meant. Return False if there is no such call."""
    asked = desk.cli("ask", desk.sid, "ask Which? | red | blue")
    assert asked.code == 3, asked
    desk.tmux.arm(fault, at, word)
    done = desk.cli_with_fault("respond", desk.sid, answer)
    has_failed = desk.tmux.has_failed()
    print(f"{fault:12} {word} {at:2} {done.code} {done.stderr[:150]}")
    if done.code:
        assert ("nothing was typed" in done.stderr) != ("may have arrived" in done.stderr)
        assert "nothing was typed" in done.stderr or f": dev-sessions last-message {desk.sid}" in done.stderr
        desk.go_on()
        # Claude takes a moment for the keys that a stopped server goes on with.
        poll(lambda: desk.cli("status", desk.sid).stdout != "waiting_for_input\n" or None, Deadline(3), 0.1)
        if "nothing was typed" in done.stderr or "Which?" in desk.cli("last-message", desk.sid).stdout:
            again = desk.cli("respond", desk.sid, answer)
            assert again.code == 0 or "asks nothing" in again.stderr, again
    desk.go_on()
    assert desk.cli("wait", desk.sid).stdout == "completed\n"
    assert desk.cli("last-message", desk.sid).stdout == f"answered: {answer}\n"
    return has_failed


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(
            [
                ("works, hangs", "send-keys", "blue"),
                ("server stops", "send-keys", "blue"),
                ("hangs", "paste-buffer", "neither of them"),
            ],
            id="keys",
        ),
        pytest.param([("fails", "capture-pane", "blue")], id="screen", marks=pytest.mark.matrix),
    ],
)
def test_an_answer_through_a_tmux_that_fails_is_given_once(desk: Desk, cases: list[tuple[Fault, str, str]]) -> None:
    """A question is answered as meant for a user who follows the error's advice, whether keys hang, are lost or are
    typed without a reply from tmux."""
    for fault, word, answer in cases:
        assert answer_through_fault(desk, fault, 2 if word == "capture-pane" else 1, word, answer)


@pytest.mark.soak
@pytest.mark.parametrize("fault", FAULTS)
def test_an_answer_through_a_tmux_that_fails_at_any_call_is_given_once(desk: Desk, fault: Fault) -> None:
    """A question is answered as meant whichever key or screen capture fails."""
    for word in ("send-keys", "capture-pane"):
        for at in range(1, 20):
            if not answer_through_fault(desk, fault, at, word, "blue"):
                break


def test_an_enter_that_was_lost_is_pressed_again_on_the_message(desk: Desk) -> None:
    """A message whose Enter was lost is submitted once, whether Claude shows it as text or abbreviated."""
    texts = ["say short", "say " + "\n".join(f"line {number}" for number in range(12)), "say " + "word " * 160 + "end"]
    for text in texts:
        desk.tmux.arm("no Enter", 1, "paste-buffer")
        assert desk.cli_with_fault("send", desk.sid, text).code == 0
        assert desk.cli("wait", desk.sid).stdout == "completed\n"
    assert desk.said() == texts


def test_no_enter_is_pressed_on_what_a_person_has_typed(desk: Desk) -> None:
    """When the Enter of a message was lost and a person types on behind it, nothing is submitted and the error quotes
    the input."""
    desk.tmux.arm("no Enter", 1, "paste-buffer")
    later = {"dev_sessions.claude.send.TAKEN_TIMEOUT": 6.0, "dev_sessions.claude.send.PROOF_TIMEOUT": 8.0}
    sending = desk.forks.start("send", desk.sid, "say lost", env=desk.tmux.env, constants=later)
    assert poll(lambda: "say lost" in screen(desk.home, desk.sid) or None, Deadline(20), 0.02)
    press(desk.home, desk.sid, "-l", " and half a")
    done = desk.forks.wait(sending)
    assert done.code == 1
    assert "may have arrived: it is not in the transcript, and 'say lost and half a' is in the input" in done.stderr
    assert "say lost and half a" in screen(desk.home, desk.sid)
    assert desk.said() == []
    done = desk.cli("send", desk.sid, "say more")
    assert (done.code, "nothing was typed: Somebody has typed into the box" in done.stderr) == (1, True)
