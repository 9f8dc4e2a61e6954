"""Proof of arrival when Claude is slow or somebody interferes: hooks, compactions, drafts."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from dev_sessions.claude.screen import box_text
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.process import is_alive
from tests.support.claude import VERSION, press
from tests.support.cli import ok
from tests.support.forks import Ended, Forks
from tests.support.home import Home
from tests.support.model import ScriptedModel

only_new = pytest.mark.skipif(VERSION < (2, 1, 332), reason="this version writes at once which message is queued")

#: So that a message that is not proved soon is given up soon.
SOON = {"dev_sessions.claude.send.PROOF_TIMEOUT": 3.0}
#: A hook that holds up what has a word in it until a file is there.
HOOK = "grep -q '{word}' || exit 0; touch '{begun}'; until [ -e '{allowed}' ]; do sleep 0.05; done"


class Desk:
    """A session of Claude in which hooks delay slow messages and compactions."""

    def __init__(self, home: Home, forks: Forks) -> None:
        self.home, self.forks = home, forks
        self.begun, self.allowed = home.path / "hook-begun", home.path / "hook-allowed"
        settings = home.path / ".claude" / "settings.json"
        hooks = {
            event: [{"hooks": [{"type": "command", "command": self._hook(word), "timeout": 120}]}]
            for event, word in (("UserPromptSubmit", "slow"), ("PreCompact", "."))
        }
        settings.write_text(json.dumps({**json.loads(settings.read_text()), "hooks": hooks}))
        self.sid = forks.cli("create", "-q").stdout.strip()

    def _hook(self, word: str) -> str:
        return HOOK.format(word=word, begun=self.begun, allowed=self.allowed)

    def start(self, *args: str) -> int:
        """Start a command; return its process id."""
        return self.forks.start(*args, constants=SOON)

    def cli(self, *args: str) -> Ended:
        """Run a command to its end."""
        return self.forks.wait(self.start(*args))

    def ran(self, *args: str) -> str:
        """Run a command that must succeed; return its output."""
        done = self.cli(*args)
        assert (done.code, done.stderr) == (0, ""), done
        return done.stdout

    def receipt(self, *args: str) -> str:
        """Send a text; return the state in its receipt."""
        state: str = json.loads(self.ran("send", self.sid, "--json", *args))["state"]
        return state

    def hook_begins(self) -> None:
        """Wait until a hook runs, and Claude reports that it works."""
        assert poll(lambda: self.begun.exists() or None, Deadline(30), 0.02)
        assert poll(lambda: self.ran("status", self.sid) == "working\n" or None, Deadline(30), 0.02)
        self.begun.unlink()

    def let_hooks_end(self) -> None:
        """Let hooks end at once from now on."""
        self.allowed.touch()

    def write_late(self) -> bool:
        """Write the lines of the /clear and the turn before, with the present time, as a busy Claude does.

        Return whether there are any yet.
        """
        (conversation,) = {record["internalId"] for record in json.loads(self.ran("list", "--json"))}
        (transcript,) = self.home.path.glob(f".claude/projects/*/{conversation}.jsonl")
        with transcript.open("r+b") as file:
            marks = (b"<command-name>/clear<", b'"type":"assistant"', b'"turn_duration"')
            late = [line for line in file if any(mark in line for mark in marks)]
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
            file.write(re.sub(rb'"timestamp":"[^"]*"', b'"timestamp":"' + now + b'"', b"".join(late)))
        return bool(late)

    def box(self) -> str | None:
        """Return the text in the input box."""
        return box_text(ok(self.home.tmux("capture-pane", "-e", "-p", "-t", f"=dev-{self.sid}:")))

    def said(self) -> list[str]:
        """Return the user's messages in the logs."""
        return [turn["text"] for turn in json.loads(self.ran("logs", self.sid, "--json")) if turn["role"] == "human"]


@pytest.fixture(scope="module")
def _desks(_home_of_module: Home) -> Iterator[list[Desk]]:
    with Forks(_home_of_module) as forks:
        yield [Desk(_home_of_module, forks)]


@pytest.fixture
def desk(_desks: list[Desk], model: ScriptedModel) -> Desk:
    """Provide the session whose hooks delay slow messages, which the tests of this file share, with a new
    conversation."""
    model.forget()
    model.hold()
    desk = _desks[-1]
    for file in (desk.begun, desk.allowed):
        file.unlink(missing_ok=True)
    if desk.cli("send", desk.sid, "/clear").code != 0:
        # A test has failed, and left it at work or with a text in its box.
        desk.cli("kill", desk.sid)
        _desks.append(Desk(desk.home, desk.forks))
    return _desks[-1]


@pytest.fixture
def own_desk(home: Home) -> Iterator[Desk]:
    """Provide such a session for one test, which leaves it with a hint in its box (2.1.332)."""
    with Forks(home) as forks:
        yield Desk(home, forks)


def goes_on(pid: int, seconds: float) -> bool:
    """Return whether a command is still running after some seconds."""
    return poll(lambda: not is_alive(pid) or None, Deadline(seconds), 0.05) is None


def test_the_proof_of_a_message_waits_for_its_hook(desk: Desk, model: ScriptedModel) -> None:
    """Messages that hooks delay, the first one and a later one, are proved when the hooks have ended, whatever Claude
    writes late of a command or a turn before them, and a draft that a person types in the meantime stays in the box."""
    for text in ("say slow one", "say slow two"):
        sending = desk.start("send", desk.sid, "--json", text)
        desk.hook_begins()
        assert desk.write_late() or text == "say slow one"
        press(desk.home, desk.sid, "-l", "half a sentence")
        assert goes_on(sending, 6)
        desk.let_hooks_end()
        done = desk.forks.wait(sending)
        assert (done.code, done.stderr, json.loads(done.stdout)["state"]) == (0, "", "submitted")
        assert desk.ran("wait", desk.sid) == "completed\n"
        assert desk.box() == "half a sentence"
        press(desk.home, desk.sid, "C-u")
        assert poll(lambda: desk.box() == "" or None, Deadline(30), 0.02)
        desk.allowed.unlink()
    assert [turn.user_text for turn in model.turns()] == ["say slow one", "say slow two"]


def test_the_proof_of_an_ask_waits_no_longer_than_the_ask(desk: Desk) -> None:
    """An ask that times out during a hook says that the message may have arrived; wait and last-message then find
    it."""
    done = desk.cli("ask", desk.sid, "--timeout", "4", "say slow")
    assert (done.code, done.stdout) == (1, "")
    assert f"The message for {desk.sid} may have arrived: it is not in the transcript; check before you" in done.stderr
    desk.let_hooks_end()
    assert desk.ran("wait", desk.sid) == "completed\n"
    assert desk.said() == ["say slow"]


@only_new
def test_a_hook_that_outlasts_the_turn_before_is_waited_for(desk: Desk, model: ScriptedModel) -> None:
    """A message behind a running turn whose hook outlasts that turn is proved when the hook has ended, although Claude
    Code reports that it is idle meanwhile; and a wait ends with the message's own turn."""
    desk.ran("send", desk.sid, "when first say one")
    sending = desk.start("send", desk.sid, "--json", "say slow two")
    desk.hook_begins()
    model.allow("first")
    assert poll(lambda: desk.ran("last-message", desk.sid) == "one\n" or None, Deadline(30), 0.05)
    waiting = desk.start("wait", desk.sid)
    assert goes_on(sending, 6)
    assert goes_on(waiting, 0)
    desk.let_hooks_end()
    done = desk.forks.wait(sending)
    assert (done.code, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"state": "queued"}
    done = desk.forks.wait(waiting)
    assert (done.code, done.stdout, done.stderr) == (0, "completed\n", "")
    assert desk.ran("last-message", desk.sid) == "slow two\n"
    assert [turn.user_text for turn in model.turns()] == ["when first say one", "say slow two"]


@only_new
def test_a_hook_that_outlasts_the_turn_before_is_interrupted(desk: Desk, model: ScriptedModel) -> None:
    """A message behind a running turn whose hook outlasts that turn is not typed again after its send was killed; an
    interrupt takes it back, and names it."""
    desk.ran("send", desk.sid, "when first say one")
    sending = desk.start("send", desk.sid, "say slow two")
    desk.hook_begins()
    model.allow("first")
    assert poll(lambda: desk.ran("last-message", desk.sid) == "one\n" or None, Deadline(30), 0.05)
    assert poll(lambda: desk.ran("status", desk.sid) == "idle\n" or None, Deadline(30), 0.05)
    os.kill(sending, signal.SIGKILL)
    assert desk.forks.wait(sending).code == -signal.SIGKILL
    again = desk.start("send", desk.sid, "say slow two")
    assert not goes_on(again, 30)
    assert "before, and may still arrive; wait for its reply" in desk.forks.wait(again).stderr
    interrupted = desk.cli("interrupt", desk.sid)
    assert interrupted.stdout == f"Interrupted {desk.sid}\n"
    assert interrupted.stderr == f"Not delivered to {desk.sid}: say slow two\n"
    assert "the message was not delivered, because a hook still held it up" in desk.cli("wait", desk.sid).stderr
    desk.let_hooks_end()
    assert desk.ran("ask", desk.sid, "say next") == "next\n"
    assert [turn.user_text for turn in model.turns()] == ["when first say one", "say next"]


@pytest.mark.skipif(VERSION < (2, 1, 300), reason="this version may write a message whose hook is interrupted")
def test_a_message_that_is_interrupted_before_it_is_proved_is_not_submitted_again(
    desk: Desk, model: ScriptedModel
) -> None:
    """A message that was interrupted during a hook is taken out of the input box and named, also by a wait that runs
    already; sent again, it arrives once."""
    sending = desk.start("send", desk.sid, "say slow")
    desk.hook_begins()
    waiting = desk.start("wait", desk.sid)
    assert goes_on(waiting, 1)
    interrupted = desk.cli("interrupt", desk.sid)
    assert interrupted.stdout == f"Interrupted {desk.sid}\n"
    assert interrupted.stderr == f"Not delivered to {desk.sid}: say slow\n"
    assert desk.box() == ""
    done = desk.forks.wait(sending)
    assert (done.code, done.stdout) == (1, "")
    assert "may have arrived: it is not in the transcript; check before you send it again" in done.stderr
    for waited in (desk.forks.wait(waiting), desk.cli("wait", desk.sid)):
        assert (waited.code, waited.stdout) == (1, "")
        assert waited.stderr == (
            f"The turn of {desk.sid} was interrupted: the message was not delivered, because a hook still held it up;"
            f" continue the conversation with: dev-sessions send {desk.sid}\n"
        )
    assert model.turns() == []
    desk.let_hooks_end()
    assert desk.ran("ask", desk.sid, "say slow") == "slow\n"
    assert [turn.user_text for turn in model.turns()] == ["say slow"]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.matrix)])
def test_a_send_that_is_ended_before_its_proof_says_so(desk: Desk, number: signal.Signals) -> None:
    """A send that is interrupted says in one line that the message may have arrived; the advice in it finds the
    message."""
    sending = desk.start("send", desk.sid, "say slow")
    desk.hook_begins()
    os.kill(sending, number)
    done = desk.forks.wait(sending)
    assert (done.code, done.stdout) == (130 if number == signal.SIGINT else 128 + number, "")
    assert done.stderr.strip() == (
        f"The message for {desk.sid} may have arrived: the command was ended before that was proved; check before you"
        f" send it again: dev-sessions wait {desk.sid}, then dev-sessions logs {desk.sid}, or dev-sessions attach"
        f" {desk.sid}"
    )
    desk.let_hooks_end()
    assert desk.ran("wait", desk.sid) == "completed\n"
    assert desk.said() == ["say slow"]


def enough_to_compact(desk: Desk) -> None:
    """Make the conversation long enough for 2.1.250 to compact it."""
    for number in range(3):
        desk.ran("ask", desk.sid, f"say {number}")


def test_a_compaction_is_a_command_and_what_follows_it_is_queued(desk: Desk, model: ScriptedModel) -> None:
    """Two messages sent during a compaction are proved, wait lasts until both are done, and they are done in order."""
    enough_to_compact(desk)
    desk.let_hooks_end()
    assert desk.receipt("/compact when told say what was said") in ("command", "submitted")
    assert desk.receipt("history") == "queued"
    assert desk.ran("status", desk.sid) == "working\n"
    model.allow("told")
    assert desk.ran("wait", desk.sid) == "completed\n"
    assert "what was said" in desk.ran("last-message", desk.sid)
    assert desk.ran("ask", desk.sid, "say after") == "after\n"


@pytest.mark.parametrize(
    "command", [pytest.param("/compact", marks=pytest.mark.matrix), "/compact when told say what was said"]
)
def test_an_interrupted_compaction_leaves_nothing_in_the_box(
    own_desk: Desk, model: ScriptedModel, command: str
) -> None:
    """A command that Escape restored to the box is not sent with the next message, and is not run again."""
    desk = own_desk
    enough_to_compact(desk)
    if command != "/compact":
        desk.let_hooks_end()
    sending = desk.start("send", desk.sid, "--json", command)
    assert poll(lambda: desk.ran("status", desk.sid) == "working\n" or None, Deadline(30), 0.02)
    assert desk.ran("interrupt", desk.sid) == f"Interrupted {desk.sid}\n"
    desk.forks.wait(sending)
    assert desk.box() == ""
    done = desk.home.cli("wait", desk.sid)
    assert f"The turn of {desk.sid} was interrupted: " in done.stderr
    desk.let_hooks_end()
    model.allow("told")
    assert desk.ran("ask", desk.sid, "history").startswith("1: say 0\n"), "it was not compacted"


def test_an_interrupted_compaction_is_not_a_draft(own_desk: Desk) -> None:
    """A command that Escape restored, with the hint that Claude draws after it, does not count as a draft."""
    desk = own_desk
    enough_to_compact(desk)
    assert desk.receipt("/compact") in ("command", "submitted")
    press(desk.home, desk.sid, "Escape")
    assert poll(lambda: (desk.box() or "").startswith("/compact") or None, Deadline(30), 0.05)
    assert desk.ran("ask", desk.sid, "history").startswith("1: say 0\n")
