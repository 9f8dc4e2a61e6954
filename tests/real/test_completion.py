"""Completion in real shells, typed at a terminal, and what is offered to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import create, ok
from tests.support.gateway import running_gateway
from tests.support.home import Home

SHELLS = {
    "bash": ("bash --norc --noprofile -i", 'eval "$(dev-sessions completion bash)"'),
    "zsh": ("zsh -f -i", 'autoload -U compinit; compinit -u -D; eval "$(dev-sessions completion zsh)"'),
    "fish": (
        "fish --no-config -i",
        "dev-sessions completion fish > $HOME/dev-sessions.fish; source $HOME/dev-sessions.fish",
    ),
}


class Keyboard:
    """A person who types into a shell; `shows` reads the screen."""

    def __init__(self, home: Home, shell: str) -> None:
        self._home = home
        self._tmux("new-session", "-d", "-x", "150", "-y", "40", "-s", "keys", shell)

    def types(self, *keys: str) -> None:
        """Press keys."""
        self._tmux("send-keys", "-t", "keys", *keys)

    def shows(self, text: str) -> bool:
        """Return whether a text appears on the screen."""
        return poll(lambda: text in self._screen() or None, Deadline(20), 0.1) is not None

    def _screen(self) -> str:
        return self._tmux("capture-pane", "-p", "-t", "keys")

    def _tmux(self, *words: str) -> str:
        return ok(self._home.run("tmux", "-L", "keys", *words))


@pytest.fixture
def sessions(home: Home) -> Iterator[Home]:
    """Provide a home with two sessions, one of which has a name and a description."""
    ok(home.cli("create", "--cli", "codex", "--id", "fizz-top", "--description", "fix the tests,\nall of them"))
    ok(home.cli("create", "--cli", "codex", "--id", "fizz-mid"))
    yield home
    home.run("tmux", "-L", "keys", "kill-server")


@pytest.mark.parametrize("shell", list(SHELLS))
def test_a_shell_completes_what_is_typed(sessions: Home, shell: str) -> None:
    """Commands, options and session ids are completed; zsh and fish show what a session is for."""
    program, loads = SHELLS[shell]
    keyboard = Keyboard(sessions, program)
    keyboard.types(loads, "Enter", "echo read''y", "Enter")
    assert keyboard.shows("ready")
    keyboard.types("dev-sessions insp", "Tab")
    assert keyboard.shows("dev-sessions inspect")
    keyboard.types("fizz-t", "Tab")
    assert keyboard.shows("dev-sessions inspect fizz-top")
    keyboard.types("C-u", "dev-sessions create --desc", "Tab")
    assert keyboard.shows("dev-sessions create --description")
    # The first one completes what is common to all.
    keyboard.types("C-u", "dev-sessions status ", "Tab", "Tab", "Tab")
    assert keyboard.shows("fizz-mid")
    if shell != "bash":
        assert keyboard.shows("fix the tests")


def offers(done: CompletedProcess[str]) -> list[str]:
    """Return the values that a shell would be offered."""
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def asked(words: str) -> dict[str, str]:
    """Return the environment in which bash requests completions."""
    return {"_DEV_SESSIONS_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}


def test_every_command_with_sessions_completes_them(sessions: Home) -> None:
    """Every command that takes an id completes ids, and none twice."""
    commands = "send ask wait last-message status logs inspect goal respond interrupt attach kill recover".split()
    for command in commands:
        assert offers(sessions.cli(env=asked(f"dev-sessions {command} "))) == ["fizz-top", "fizz-mid"], command
    for command in ("wait", "recover"):
        assert offers(sessions.cli(env=asked(f"dev-sessions {command} fizz-top f"))) == ["fizz-mid"]
    assert offers(sessions.cli(env=asked("dev-sessions status f --js"))) == ["--json"]
    assert sessions.cli(env=asked("dev-sessions create --path ")).stdout.startswith("dir,")


def test_a_store_that_cannot_be_read_offers_nothing(home: Home) -> None:
    """A store that cannot be read leads to no completions, and to no error at the prompt."""
    for content in ("{", json.dumps({"version": 9, "sessions": []})):
        store = home.path / ".dev-sessions" / "sessions.json"
        store.parent.mkdir(exist_ok=True)
        store.write_text(content)
        assert offers(home.cli(env=asked("dev-sessions status "))) == []


def test_in_a_container_the_hosts_sessions_are_offered(home: Home, tmp_path: Path) -> None:
    """A container completes the host's sessions if its gateway answers at once, and nothing without a gateway."""
    sid = create(home, "codex")
    with running_gateway(home, "--port", "0") as (gateway, container):

        def offered() -> bool | None:
            return offers(container.cli(cwd=tmp_path, **asked("dev-sessions status "))) == [sid] or None

        assert poll(offered, Deadline(20), 0.1), "pressed again where the machine was busy"
        gateway.end()
        assert offers(container.cli(cwd=tmp_path, **asked("dev-sessions status "))) == []
        assert "complete -o nosort" in ok(container.cli("completion", "bash"))
