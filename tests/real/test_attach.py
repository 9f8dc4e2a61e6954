"""A person at a real terminal looks into sessions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from subprocess import CompletedProcess

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import AGENTS, IN_A_TERMINAL, both, create, ok
from tests.support.gateway import running_gateway
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.remote import NAME, Remote

ATTACH = f"{sys.executable} -m dev_sessions attach"


class Person:
    """A person at a terminal, which is a pane of another tmux server."""

    def __init__(self, home: Home) -> None:
        self._home = home
        ok(self._tmux("new-session", "-d", "-x", "150", "-y", "40", "-s", "person", "env", "-u", "TMUX", "bash"))

    def types(self, *keys: str) -> None:
        """Press keys."""
        ok(self._tmux("send-keys", "-t", "person", *keys))

    def sees(self, text: str) -> bool:
        """Return whether a text appears on the screen."""
        return poll(lambda: text in self._screen() or None, Deadline(20), 0.1) is not None

    def leaves(self, *keys: str) -> bool:
        """Press keys, again while they have no effect, until the shell is back."""

        def is_back() -> bool | None:
            if ok(self._tmux("display-message", "-p", "-t", "person", "#{pane_current_command}")) == "bash\n":
                return True
            self.types(*keys)
            return None

        return poll(is_back, Deadline(20), 1.0) is not None

    def _screen(self) -> str:
        return ok(self._tmux("capture-pane", "-p", "-t", "person"))

    def _tmux(self, *words: str) -> CompletedProcess[str]:
        return self._home.run("tmux", "-L", "person", *words)


@pytest.fixture
def person(home: Home) -> Iterator[Person]:
    """Provide a person in the home."""
    yield Person(home)
    home.run("tmux", "-L", "person", "kill-server")


@both
def test_a_person_looks_in_and_types_along(home: Home, person: Person, agent: str) -> None:
    """A person who attaches sees the conversation and can type a turn, and the session outlives the visit."""
    sid = create(home, agent)
    ok(home.cli("ask", sid, "say hello from the session"))
    person.types(f"{ATTACH} {sid}", "Enter")
    assert person.sees("hello from the session")
    person.types("say typed by hand")
    assert person.sees("say typed by hand")
    person.types("Enter")
    said = poll(lambda: ok(home.cli("last-message", sid)) == "typed by hand\n" or None, Deadline(20), 0.2)
    assert said, ok(home.cli("logs", sid))
    assert person.leaves("C-b", "d") if agent == "claude" else person.leaves("C-c")
    assert ok(home.cli("ask", sid, "say still here")) == "still here\n"


@both
def test_a_person_looks_into_another_machine(home: Home, person: Person, model: ScriptedModel, agent: str) -> None:
    """attach reaches a session on another machine as it reaches a local one."""
    with Home(model.port) as far, Remote(home, far):
        options = ("--host", NAME, "--cli", agent, "--path", str(far.workspace()))
        sid = ok(home.cli("create", "-q", *options)).strip()
        ok(home.cli("ask", sid, "say hello from afar"))
        person.types(f"PATH={home.env['PATH']} {ATTACH} {sid}", "Enter")
        assert person.sees("hello from afar")


def test_a_session_that_cannot_be_shown_is_reported(home: Home) -> None:
    """Without a terminal, a session or (Codex) a message, or in a container, attach says what to do instead."""
    sid = create(home, AGENTS[1])
    done = home.cli("attach", sid)
    assert (done.returncode, done.stderr) == (
        1,
        f"attach needs a terminal; to read the session: dev-sessions logs {sid}\n",
    )
    with running_gateway(home, "--port", "0") as (_, container):
        shown = home.run(*IN_A_TERMINAL, *ATTACH.split(), sid, env=container.env)
    assert f"run on the host: dev-sessions attach {sid}" in shown.stdout
    empty = home.run(*IN_A_TERMINAL, *ATTACH.split(), sid)
    assert f"before its first message: dev-sessions send {sid} MESSAGE" in empty.stdout
    unknown = home.run(*IN_A_TERMINAL, *ATTACH.split(), "nobody-top")
    assert "Session not found: nobody-top" in unknown.stdout
