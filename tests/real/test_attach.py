"""A person at a real terminal looks into sessions."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import AGENTS, IN_A_TERMINAL, both, create, ok
from tests.support.gateway import running_gateway
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.person import Person
from tests.support.remote import NAME, Remote

pytestmark = pytest.mark.forked

ATTACH = f"{sys.executable} -m dev_sessions attach"


@pytest.fixture
def person(home: Home) -> Iterator[Person]:
    """Provide a person in the home."""
    with Person(home) as person:
        yield person


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
