"""Drive the rig with the real agents directly: every other test relies on this."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.home import Home
from tests.support.model import ScriptedModel

T = TypeVar("T")
Entry = dict[str, Any]


class Claude:
    """A Claude in the home's tmux, used as by a person: through its keyboard and its files."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.session = str(uuid.uuid4())
        argv = ("env", "IS_SANDBOX=1", "claude", "--dangerously-skip-permissions", "--session-id", self.session)
        started = home.tmux("new-session", "-d", "-s", "claude", "-x", "160", "-y", "50", "-c", home.workspace(), *argv)
        assert started.returncode == 0, started.stderr

    def say(self, text: str) -> None:
        """Paste a text, and press Enter once it is in the box."""
        self.home.tmux("load-buffer", "-", stdin=text)
        self.home.tmux("paste-buffer", "-p", "-d", "-t", "claude")
        self.await_screen(text.splitlines()[0])
        self.press("Enter")

    def press(self, key: str) -> None:
        """Press one key."""
        self.home.tmux("send-keys", "-t", "claude", key)

    def choose(self, option: str) -> None:
        """Press an option's key in a dialog, again if need be: Claude 2.1.330 drops keys in the first 0.2 s after it
        has drawn a dialog, and shows nothing when that is over."""

        def gone() -> bool | None:
            self.press(option)
            return poll(lambda: "Enter to select" not in self.screen() or None, Deadline(1))

        self.await_screen("Enter to select")
        self._await(gone, "end of the dialog")

    def screen(self) -> str:
        """Return the text on the terminal."""
        return self.home.tmux("capture-pane", "-p", "-t", "claude").stdout

    def await_screen(self, text: str) -> None:
        """Wait until the terminal shows a text."""
        self._await(lambda: text in self.screen() or None, f"{text!r} on the screen")

    def await_status(self, status: str) -> None:
        """Wait until Claude's own record of the session has this status."""
        self._await(lambda: self._status() == status or None, f"status {status}")

    def await_entry(self, wanted: Callable[[Entry], object]) -> Entry:
        """Wait for the first entry of the transcript that is wanted."""
        return self._await(lambda: next(filter(wanted, self._transcript()), None), "the entry in the transcript")

    def await_reply(self, text: str) -> Entry:
        """Wait for an assistant's text."""
        return self.await_entry(lambda entry: {"type": "text", "text": text} in _blocks(entry))

    def _status(self) -> str | None:
        for record in (self.home.path / ".claude/sessions").glob("*.json"):
            status: str | None = json.loads(record.read_text(encoding="utf-8") or "{}").get("status")
            return status
        return None

    def _transcript(self) -> list[Entry]:
        files = (self.home.path / ".claude/projects").glob(f"*/{self.session}.jsonl")
        lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines(keepends=True)]
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def _await(self, probe: Callable[[], T | None], what: str) -> T:
        found = poll(probe, Deadline(20))
        assert found is not None, f"not seen: {what}\n{self.screen()}"
        return found


def _blocks(entry: Entry) -> list[Entry]:
    content = entry.get("message", {}).get("content", [])
    return content if isinstance(content, list) else []


@pytest.fixture
def claude(home: Home) -> Claude:
    """Provide a Claude that is ready for its first message."""
    started = Claude(home)
    started.await_status("idle")
    return started


def test_claude_answers_by_script(claude: Claude, model: ScriptedModel) -> None:
    """The real Claude talks to the scripted model, runs its commands, and receives each message as it was typed."""
    claude.say("say hello")
    claude.await_reply("hello")
    assert model.last_text() == "say hello"
    claude.await_status("idle")
    claude.say("run echo hi")
    claude.await_reply("ran: hi")
    claude.await_status("idle")
    claude.say("runs sleep 0.3; echo a ;; echo b")
    claude.await_reply("ran: a | b")


def test_claude_sockets_lie_in_the_home(claude: Claude) -> None:
    """Claude's sockets lie below the home, and go with it."""
    assert list((claude.home.path / "run").glob("cc-socks/*.sock"))


def test_claude_shows_a_failure(claude: Claude) -> None:
    """A failure of the API is marked as one in Claude's transcript."""
    claude.say("fail 400")
    entry = claude.await_entry(lambda entry: entry.get("isApiErrorMessage"))
    assert "scripted failure 400" in _blocks(entry)[0]["text"]


def test_claude_asks(claude: Claude) -> None:
    """A scripted question is a real one: Claude waits for its user, and the model gets the answer."""
    claude.say("ask Which one? | Yes | No")
    claude.await_status("waiting")
    claude.choose("2")
    claude.await_reply("answered: No")
    # On a busy machine it is written when it is answered.
    asked = claude.await_entry(lambda entry: any(block.get("name") == "AskUserQuestion" for block in _blocks(entry)))
    assert _blocks(asked)[-1]["input"]["questions"][0]["question"] == "Which one?"


def test_claude_takes_a_message_in_mid_turn(claude: Claude) -> None:
    """A message typed while a command runs becomes the script of the rest of the turn."""
    claude.say("run sleep 1")
    claude.await_entry(lambda entry: any(block["type"] == "tool_use" for block in _blocks(entry)))
    claude.say("say instead")
    claude.await_reply("instead")


@pytest.mark.parametrize(
    ("trusted", "bypass_accepted", "dialog"),
    [
        (False, True, "Yes, I trust this folder"),
        pytest.param(True, False, "Bypass Permissions mode", marks=pytest.mark.matrix),
    ],
)
def test_claude_start_up_dialogs(model: ScriptedModel, trusted: bool, bypass_accepted: bool, dialog: str) -> None:
    """A home can be one in which Claude's questions at the start were never answered."""
    with Home(model.port, trusted=trusted, bypass_accepted=bypass_accepted) as home:
        Claude(home).await_screen(dialog)


@pytest.mark.parametrize(
    ("script", "reply"),
    [
        ("say hello", "hello"),
        ("run echo hi", "ran: hi"),
        ("runs sleep 0.3; echo a ;; echo b", "ran: a | b"),
        ("drip 0.2 say slowly", "slowly"),
    ],
)
def test_codex_answers_by_script(home: Home, model: ScriptedModel, script: str, reply: str) -> None:
    """The real Codex talks to the scripted model and runs its commands."""
    done = _codex(home, script)
    assert (done.stdout, done.returncode) == (f"{reply}\n", 0)
    assert model.last_text() == script


def test_codex_shows_a_failure(home: Home) -> None:
    """A failure of the API is a failure of Codex, with the API's message."""
    done = _codex(home, "fail 400")
    assert done.returncode == 1
    assert "scripted failure 400" in done.stderr


def _codex(home: Home, message: str) -> subprocess.CompletedProcess[str]:
    bypass = "--dangerously-bypass-approvals-and-sandbox"
    return home.run("codex", "exec", "--skip-git-repo-check", bypass, message, cwd=home.workspace())
