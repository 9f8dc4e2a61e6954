"""Several requests at once, and questions that look like something else: each answer goes to what it was meant for."""

from __future__ import annotations

import json
import re

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import switch_to
from tests.support.cli import create, ok, record, records, state_of
from tests.support.home import Home

pytestmark = pytest.mark.forked


@pytest.fixture
def sid(shared_home: Home) -> str:
    """Provide the session that the tests of this file share."""
    return next(iter(records(shared_home)), "") or create(shared_home, "claude")


def questions(*asked: tuple[str, list[str]]) -> dict[str, object]:
    """Return the input of a call of AskUserQuestion: each question with its options."""
    return {
        "questions": [
            {
                "question": text,
                "header": "Choose",
                "multiSelect": False,
                "options": [{"label": label, "description": f"number {at}"} for at, label in enumerate(labels, 1)],
            }
            for text, labels in asked
        ]
    }


def answers(home: Home, sid: str, count: int) -> list[str]:
    """Return the last answers that Claude has passed on to the model, from the results of its calls."""
    (transcript,) = (home.path / ".claude" / "projects").rglob(f"{record(home, sid)['internalId']}.jsonl")
    lines = (json.loads(line) for line in transcript.read_text().splitlines())
    contents = (line["message"]["content"] for line in lines if line.get("type") == "user")
    blocks = (block for content in contents if isinstance(content, list) for block in content)
    results = [str(block["content"]) for block in blocks if block["type"] == "tool_result"]
    return re.findall(r'"[^"]*"="(.*?)"[,.]', " ".join(results), re.DOTALL)[-count:]


def transcripts(home: Home) -> int:
    """Return the number of subagents that have called a tool."""
    files = (home.path / ".claude" / "projects").rglob("agent-*.jsonl")
    return sum('"tool_use"' in file.read_text() for file in files)


@pytest.mark.parametrize("decision", ["--allow", pytest.param("--deny", marks=pytest.mark.soak)])
def test_one_decision_decides_one_request(shared_home: Home, decision: str) -> None:
    """Of several requests that wait, and look the same where the screen shows them, one answer decides one, and
    last-message shows it whole."""
    home = shared_home
    sid = create(home, "claude")
    switch_to(home, sid, "manual mode")
    home.workspace(decision)
    made = [home.workspace() / f"{decision}{at}" for at in range(3)]
    comment = "\n".join(f"# line {line}" for line in range(60))
    agents = [
        ["Agent", {"description": "d", "prompt": f"run touch ./{file.name}; sleep 20\n{comment}"}] for file in made
    ]
    before = transcripts(home)
    ok(home.cli("send", sid, f"tools {json.dumps(agents)}"))
    assert poll(lambda: state_of(home, sid)["state"] == "waiting_for_input" or None, Deadline(30), 0.1)
    # The model asks for them one after the other.
    assert poll(lambda: transcripts(home) == before + len(made) or None, Deadline(30), 0.1)
    shown = ok(home.cli("last-message", sid))
    assert "touch ./" in shown
    assert ok(home.cli("respond", sid, decision)) == f"Answered {sid}\n"
    next_one = ok(home.cli("last-message", sid))
    assert "touch ./" in next_one
    assert next_one != shown
    if decision == "--allow":
        assert poll(lambda: any(file.exists() for file in made) or None, Deadline(30), 0.1)
    assert [file.exists() for file in made].count(True) == (decision == "--allow")
    ok(home.cli("kill", sid))


@pytest.mark.parametrize(
    "script",
    [pytest.param("tools", id="written"), pytest.param("trail 3 tools", id="unwritten", marks=pytest.mark.soak)],
)
def test_two_questions_in_one_message_are_answered_one_by_one(shared_home: Home, sid: str, script: str) -> None:
    """last-message shows the question that is on the screen, and respond answers that one alone, even if the next one
    is the same, or has labels that begin like its own."""
    home = shared_home
    go = questions(("Go?", ["No, delete everything", "Yes, but delete everything"]))
    calls = [["AskUserQuestion", given] for given in (go, questions(("Go?", ["No", "Yes"])), go)]
    assert home.cli("ask", sid, f"{script} {json.dumps(calls)}").returncode == 3
    assert "1. No, delete everything" in ok(home.cli("last-message", sid))
    ok(home.cli("respond", sid, "Yes, but delete everything"))
    assert poll(lambda: "1. No -" in ok(home.cli("last-message", sid)) or None, Deadline(30), 0.1)
    ok(home.cli("respond", sid, "No"))
    assert poll(lambda: "1. No, delete" in ok(home.cli("last-message", sid)) or None, Deadline(30), 0.1)
    assert "the message answered it: Go?" in home.cli("send", sid, "neither").stderr
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert answers(home, sid, 3) == ["Yes, but delete everything", "No", "neither"]


@pytest.mark.parametrize(
    "script",
    [pytest.param("tool", id="written", marks=pytest.mark.soak), pytest.param("trail 2 tool", id="unwritten")],
)
def test_labels_are_no_part_of_a_dialog(shared_home: Home, sid: str, script: str) -> None:
    """A label that looks like a checkbox, a frame or Claude's own option, or that holds characters which a terminal
    does not draw, is chosen by its number like any other."""
    home = shared_home
    given = questions(
        ("First?", ["[x] delete all", "[ ] keep all", "a │ b", "src/ └ x"]),
        ("Second?", ["Submit answers", "two\nrows", "Option 👍🏽 emoji", "Cancel"]),
    )
    for first, second in ((2, 1), (3, 2), (4, 3)):
        assert home.cli("ask", sid, f"{script} AskUserQuestion {json.dumps(given)}").returncode == 3
        assert "(several may be chosen)" not in ok(home.cli("last-message", sid))
        ok(home.cli("respond", sid, str(first), str(second)))
        assert ok(home.cli("wait", sid)) == "completed\n"
        chosen = answers(home, sid, 2)
        labels = [["[ ] keep all", "a │ b", "src/ └ x"], ["Submit answers", "two�rows", "Option 👍🏽 emoji"]]
        assert chosen == [labels[0][first - 2], labels[1][second - 1]]


def test_an_answer_of_several_lines_arrives_as_it_is(shared_home: Home, sid: str) -> None:
    """A free text of several lines reaches the model with newlines, and a digit of another script is such a text."""
    home = shared_home
    for text in ("one\ntwo\n\nfour", "²"):
        assert home.cli("ask", sid, "ask Which? | red | blue").returncode == 3
        ok(home.cli("respond", sid, text))
        assert ok(home.cli("wait", sid)) == "completed\n"
        assert answers(home, sid, 1) == [text]


def test_questions_are_answered_in_a_small_window(shared_home: Home, sid: str) -> None:
    """Several questions with long options are answered in a window that shows only a part of the first."""
    home = shared_home
    labels = [f"option {at} is long enough to wrap at forty columns" for at in range(4)]
    given = questions(("First question?", labels), ("Second question?", labels))
    ok(home.tmux("resize-window", "-t", f"=dev-{sid}:", "-x", "40", "-y", "12"))
    assert home.cli("ask", sid, f"tool AskUserQuestion {json.dumps(given)}").returncode == 3
    ok(home.cli("respond", sid, "2", "4"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert answers(home, sid, 2) == [labels[1], labels[3]]
    assert ok(home.tmux("display-message", "-p", "-t", f"=dev-{sid}:", "#{window_width}x#{window_height}")) == "40x12\n"
