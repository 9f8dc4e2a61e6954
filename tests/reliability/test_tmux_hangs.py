"""tmux that hangs, fails or dies in the middle of a delivery: at each call of it, before and after it did its work."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from itertools import count

import pytest

from dev_sessions.deadline import Deadline, poll
from tests.real.test_claude_delivery import press, screen
from tests.real.test_flow import ok
from tests.support.faulty_tmux import Fault, FaultyTmux
from tests.support.forks import Ended, Forks
from tests.support.home import Home

#: So that a call that hangs is given up soon, and a message that does not arrive, too.
SOON = {"dev_sessions.claude.tmux._TIMEOUT": 2.0, "dev_sessions.claude.delivery._TAKEN": 3.0}
FAULTS: tuple[Fault, ...] = ("server stops", "hangs", "works, hangs", "fails", "works, fails", "works, dies")


class Desk:
    """Somebody with one session of Claude, whose tmux is faulty."""

    def __init__(self, home: Home, forks: Forks) -> None:
        self.home, self.forks = home, forks
        self.sid = forks.cli("create", "-q").stdout.strip()
        self.server = int(ok(home.tmux("display-message", "-p", "#{pid}")))
        self.tmux = FaultyTmux(home, self.server)

    def cli(self, *args: str) -> Ended:
        """Run a command, with a tmux that works unless it is armed."""
        return self.forks.cli(*args, env=self.tmux.env, constants=SOON)

    def go_on(self) -> None:
        """Let the tmux server go on, if it was stopped, and nothing fail any more."""
        self.tmux.arm("fails", 0)
        os.kill(self.server, signal.SIGCONT)

    def said(self) -> list[str]:
        """The messages of the conversation."""
        turns = json.loads(self.cli("logs", self.sid, "--json").stdout)
        return [turn["text"].strip() for turn in turns if turn["role"] == "human"]

    def rests(self) -> None:
        """Wait until the session is idle."""
        assert poll(lambda: self.cli("status", self.sid).stdout == "idle\n" or None, Deadline(20), 0.05)


@pytest.fixture
def desk(home: Home) -> Iterator[Desk]:
    """One session, and a tmux server that is not left stopped."""
    with Forks(home) as forks:
        desk = Desk(home, forks)
        yield desk
        desk.go_on()


def sent_once_by_the_advice(desk: Desk, fault: Fault, at: int) -> bool:
    """Send a message with a fault at one call, and do as the error says; False when there is no such call any more."""
    text = f"say {fault.replace(', ', ' and ')} at {at}"
    desk.tmux.arm(fault, at)
    done = desk.cli("send", desk.sid, text)
    calls = desk.tmux.calls()
    print(f"{fault:12} {at:2} {calls[at - 1][2:] if at <= len(calls) else ''} {done.code} {done.stderr[:150]}")
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
        waited = desk.cli("wait", desk.sid)
        if text not in desk.said():
            assert (waited.code, "the message is not in the transcript" in waited.stderr) == (1, True)
            desk.go_on()
            again = desk.cli("ask", desk.sid, text)
            assert again.code == 0 or "has arrived in" in again.stderr, again
    desk.go_on()
    desk.rests()
    assert desk.said().count(text) == 1
    return at <= len(calls)


def places(desk: Desk) -> tuple[int, int]:
    """The places of the calls that load and paste a text, among all calls of a send."""
    desk.tmux.arm("fails", 0)
    assert desk.cli("ask", desk.sid, "say hello").code == 0
    calls = [" ".join(call) for call in desk.tmux.calls()]
    (loads,) = (at for at, call in enumerate(calls, 1) if "load-buffer" in call)
    (pastes,) = (at for at, call in enumerate(calls, 1) if "paste-buffer" in call)
    return loads, pastes


def test_a_message_through_a_tmux_that_fails_is_sent_once(desk: Desk) -> None:
    """Whether its look, the loading or the pasting of the text fails, hangs or dies, and before or after its work: who
    does as the error says has the message arrive once."""
    loads, pastes = places(desk)
    for fault in ("server stops", "hangs", "works, hangs", "fails", "works, dies"):
        assert sent_once_by_the_advice(desk, fault, pastes)
    assert sent_once_by_the_advice(desk, "server stops", 1)
    assert sent_once_by_the_advice(desk, "works, fails", loads)


@pytest.mark.soak
@pytest.mark.parametrize("fault", FAULTS)
def test_a_message_through_a_tmux_that_fails_at_any_call_is_sent_once(desk: Desk, fault: Fault) -> None:
    """The same at every call of a send, and of one more to a session in which the last message was not proved."""
    for at in count(1):
        if not sent_once_by_the_advice(desk, fault, at):
            break


def test_an_enter_that_was_lost_is_pressed_again_on_the_message(desk: Desk) -> None:
    """Whether Claude shows the message as text or in short, it is submitted, once."""
    _, pastes = places(desk)
    texts = ["say short", "say " + "\n".join(f"line {number}" for number in range(12)), "say " + "word " * 160 + "end"]
    for text in texts:
        desk.tmux.arm("no Enter", pastes)
        assert desk.cli("send", desk.sid, text).code == 0
        assert desk.cli("wait", desk.sid).stdout == "completed\n"
    assert desk.said() == ["say hello", *texts]


def test_no_enter_is_pressed_on_what_a_person_has_typed(desk: Desk) -> None:
    """Where the Enter of a message was lost and a person goes on typing behind it, nothing is submitted, and the error
    says what stands there."""
    _, pastes = places(desk)
    desk.tmux.arm("no Enter", pastes)
    later = {"dev_sessions.claude.delivery._TAKEN": 6.0, "dev_sessions.claude.delivery._PROOF": 8.0}
    sending = desk.forks.start("send", desk.sid, "say lost", env=desk.tmux.env, constants=later)
    assert poll(lambda: "say lost" in screen(desk.home, desk.sid) or None, Deadline(20), 0.02)
    press(desk.home, desk.sid, "-l", " and half a")
    done = desk.forks.wait(sending)
    assert done.code == 1
    assert "may have arrived: it is not in the transcript, and 'say lost and half a' stands in the input" in done.stderr
    assert "say lost and half a" in screen(desk.home, desk.sid)
    assert desk.said() == ["say hello"]
    done = desk.cli("send", desk.sid, "say more")
    assert (done.code, "nothing was typed: Somebody has typed into the box" in done.stderr) == (1, True)
