"""The last activity in a conversation's file, on files that real agents wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dev_sessions.claude import transcript
from dev_sessions.cli import run
from dev_sessions.cli.app import Application
from dev_sessions.codex import rollout
from dev_sessions.jsonl import last_activity
from dev_sessions.models import Activity
from dev_sessions.operations import List, Status
from tests.support.operations import Recorder

DATA = Path(__file__).parent.parent / "data"
FILES = [
    ("claude/2.1.330-plain-turn", Activity("2026-11-22T21:25:09.446Z", 15)),
    ("claude/2.1.330-interrupt-mid-tool", Activity("2026-11-22T21:25:43.441Z", 15)),
    ("claude/2.1.330-api-error-400", Activity("2026-11-22T21:25:47.004Z")),
    ("rollouts/0.169.0", Activity("2026-11-23T09:57:56.097Z", 5455, 16047, 258400)),
]


@pytest.mark.parametrize(("name", "expected"), FILES)
def test_the_last_lines_report_the_time_and_the_tokens(name: str, expected: Activity) -> None:
    """The time of the last line and the tokens of the last response are found for every version."""
    read = transcript.activity if name.startswith("claude") else rollout.activity
    assert last_activity(DATA / f"{name}.jsonl", read) == expected


@pytest.mark.parametrize(
    ("name", "kept", "expected"),
    [
        ("0.169.0", None, "01a207d7-39c5-7272-9d6a-ca26c870bee5"),
        ("0.169.0", -1, None),  # not ended yet
        ("0.150.0-usage-limit", None, None),  # failed
        ("0.171.0-usage-limit", None, None),
    ],
)
def test_a_turn_that_ended_with_an_answer_is_known_from_its_file(
    name: str, kept: int | None, expected: str | None
) -> None:
    """The last turn of a thread counts as answered only if its file says so."""
    lines = (DATA / "rollouts" / f"{name}.jsonl").read_bytes().splitlines()[:kept]
    assert rollout.answered_turn(reversed(lines)) == expected


def test_a_later_turn_without_an_end_is_not_answered() -> None:
    """A turn that has begun or was interrupted since, or a line that is no JSON, is no answer."""
    ended = {"type": "event_msg", "payload": {"type": "task_complete", "turn_id": "a", "last_agent_message": "hi"}}
    later = [
        {"type": "event_msg", "payload": {"type": kind, "turn_id": "b"}} for kind in ("task_started", "turn_aborted")
    ]
    for line in (*(json.dumps(event).encode() for event in later), b'{"task_complete"'):
        assert rollout.answered_turn([b"{}", line, json.dumps(ended).encode()]) is None
    assert (
        rollout.answered_turn([b'{"type": "response_item", "payload": "task_started"}', json.dumps(ended).encode()])
        == "a"
    )


def test_cached_tokens_count(tmp_path: Path) -> None:
    """Tokens that a model read from its cache count, too."""
    usage = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 100,
        "output_tokens": 7,
        "server_tool_use": {"web_search_requests": 5},
    }
    message = {"content": [{"type": "text", "text": "hello"}], "usage": usage}
    line = {"type": "assistant", "timestamp": "2026-01-02T03:04:05.678Z", "message": message}
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(line) + "\n")
    assert last_activity(path, transcript.activity) == Activity("2026-01-02T03:04:05.678Z", 130)


def test_a_conversation_is_read_from_its_end_alone(tmp_path: Path) -> None:
    """The cost does not grow with the length of the conversation."""
    recorded = (DATA / "claude/2.1.330-plain-turn.jsonl").read_bytes()
    path = tmp_path / "long.jsonl"
    path.write_bytes(recorded * 500)
    lines: list[bytes] = []

    def read(line: bytes) -> Activity:
        lines.append(line)
        return transcript.activity(line)

    assert last_activity(path, read).tokens == 15
    assert len(lines) < len(recorded.splitlines())


def test_what_was_written_in_one_flush_may_be_in_any_order(tmp_path: Path) -> None:
    """The latest time counts, also if it is not in the last line."""
    path = tmp_path / "t.jsonl"
    times = ("2026-01-02T03:04:05.900Z", "2026-01-02T03:04:05.100Z")
    path.write_text("".join(json.dumps({"type": "event_msg", "timestamp": at, "payload": {}}) + "\n" for at in times))
    assert last_activity(path, rollout.activity) == Activity(times[0])


@pytest.mark.parametrize("text", ["", "{", "[]\n", '{"type": "event_msg", "timestamp": "soon"}\n', "\x00\n" * 9])
def test_an_unreadable_line_yields_nothing(text: str, tmp_path: Path) -> None:
    """A damaged or missing file is no error."""
    path = tmp_path / "t.jsonl"
    for read in (transcript.activity, rollout.activity):
        assert last_activity(path, read) == last_activity(None, read) == Activity()
    path.write_text(text)
    for read in (transcript.activity, rollout.activity):
        assert last_activity(path, read) == Activity()


def test_only_json_is_detailed() -> None:
    """Plain `status` and `list` do not read any conversation."""
    for words, detail in ((["status", "fizz-top"], False), (["list"], False), (["list", "--json"], True)):
        recorder = Recorder()
        assert run(words, Application(recorder)) == 0
        (asked,) = recorder.seen
        assert isinstance(asked, Status | List)
        assert asked.detail is detail
