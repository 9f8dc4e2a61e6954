"""Claude Code with its telemetry and other traffic on, as most users have it, is driven in the same way.

All tests run so with DEV_SESSIONS_TEST_TELEMETRY=1; this is a sample.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import VERSION, process_environment, screen
from tests.support.cli import create, ok
from tests.support.forks import ForkServer
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked

#: Makes 2.1.332 show a survey over the first empty box; the last one stands for telemetry of the user's own.
WITH_SURVEYS = {
    "CLAUDE_CODE_DISABLE_FEEDBACK_SURVEY": "0",
    "CLAUDE_FORCE_DISPLAY_SURVEY": "1",
    "CLAUDE_CODE_ENABLE_FEEDBACK_SURVEY_FOR_OTEL": "1",
}
SURVEY = "How is Claude doing this session?"


@pytest.fixture(scope="module")
def traffic_home(model: ScriptedModel, fork_server: ForkServer) -> Iterator[Home]:
    """Provide a home in which telemetry is on."""
    with Home(model.port, telemetry=True) as home:
        home.runner = fork_server
        yield home
    assert home.leftovers() == {}


@pytest.fixture(scope="module")
def sid(traffic_home: Home) -> str:
    """Provide a session of Claude."""
    return create(traffic_home, "claude")


def test_a_long_message_is_the_users_own(traffic_home: Home, model: ScriptedModel, sid: str) -> None:
    """A long message reaches the model exactly as it was sent, and all traffic stays on this machine."""
    text = "say " + "\n".join(f"line {number}" for number in range(40))
    for sent in (text, 'say <pasted_content id="1">\nx\n</pasted_content id="1">'):
        ok(traffic_home.cli("ask", sid, "--file", "-", stdin=sent))
        assert model.last_text() == sent
    turns = json.loads(ok(traffic_home.cli("logs", sid, "--json")))
    assert text in [turn["text"] for turn in turns if turn["role"] == "human"]
    assert poll(lambda: "api.anthropic.com:443" in model.refused or None, Deadline(30), 0.1)


def test_menus_are_read_and_closed(traffic_home: Home, sid: str) -> None:
    """A menu is shown with its options and closed, though Claude Code draws it in another way."""
    ok(traffic_home.cli("send", sid, "/model"))
    assert ok(traffic_home.cli("last-message", sid)).startswith("Select model")
    ok(traffic_home.cli("respond", sid, "--cancel"))
    assert ok(traffic_home.cli("status", sid)) == "idle\n"


def test_a_question_gets_a_free_text_answer(traffic_home: Home, sid: str) -> None:
    """A question is answered with text that is none of its options."""
    assert traffic_home.cli("ask", sid, "ask Which colour? | red | blue").returncode == 3
    assert traffic_home.cli("send", sid, "neither").returncode == 0
    assert ok(traffic_home.cli("wait", sid)) == "completed\n"
    assert ok(traffic_home.cli("last-message", sid)) == "answered: neither\n"


@pytest.mark.skipif(VERSION < (2, 1, 332), reason="this version shows no survey here")
@pytest.mark.parametrize("text", ["1", pytest.param("2 of the tests fail", marks=pytest.mark.matrix)])
def test_a_survey_over_the_box_takes_no_message(traffic_home: Home, model: ScriptedModel, text: str) -> None:
    """In a session that somebody lets have surveys, one over the box is not taken for a question to answer, and a
    message that begins with a digit, or is one, is answered by the model and nothing is left of the survey."""
    options = ("create", "-q", "--cli", "claude")
    sid = ok(traffic_home.cli(*options, cwd=traffic_home.workspace(), env=WITH_SURVEYS)).strip()
    assert poll(lambda: SURVEY in screen(traffic_home, sid) or None, Deadline(30), 0.1)
    assert ok(traffic_home.cli("status", sid)) == "idle\n"
    assert "asks nothing" in traffic_home.cli("respond", sid, "1").stderr
    assert SURVEY in screen(traffic_home, sid)
    assert ok(traffic_home.cli("ask", sid, text)) == f"echo: {text}\n"
    assert model.last_text() == text
    assert [turn["text"] for turn in json.loads(ok(traffic_home.cli("logs", sid, "--json")))] == [text, f"echo: {text}"]


def test_no_survey_takes_a_message_for_its_answer(traffic_home: Home, sid: str) -> None:
    """A message that begins with a digit is answered by the model, and Claude Code runs without surveys."""
    for text in ("1", "2 of the tests fail"):
        assert ok(traffic_home.cli("ask", sid, text)) == f"echo: {text}\n"
    assert process_environment(traffic_home, sid)["CLAUDE_CODE_DISABLE_FEEDBACK_SURVEY"] == "1"
