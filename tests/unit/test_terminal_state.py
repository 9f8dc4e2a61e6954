"""The conversation after /clear, for a session without a session file, as in a container."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dev_sessions.claude.terminal_state import current_conversation

DATA = Path(__file__).parent.parent / "data" / "claude"
BEGUN = (DATA / "2.1.250-clear-new-file.jsonl").read_text(encoding="utf-8")
HISTORY = [json.loads(line) for line in (DATA / "2.1.250-clear.history.jsonl").read_text(encoding="utf-8").splitlines()]
GIVEN = HISTORY[-1]
OLD = GIVEN["sessionId"]
CREATED = "2026-11-29T08:30:00.000Z"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return Claude's folder, with the conversation OLD that was cleared."""
    folder = tmp_path / "projects" / "-home-user-workspace"
    folder.mkdir(parents=True)
    for name in (OLD, "other"):
        (folder / f"{name}.jsonl").write_text("")
    (folder / "new.jsonl").write_text(BEGUN)
    write_history(tmp_path, *HISTORY)
    return tmp_path


def write_history(config: Path, *records: dict[str, object]) -> None:
    """Write the history of what was typed into all sessions."""
    (config / "history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_cleared_conversation_continues_in_the_new_one(config: Path) -> None:
    """The transcript that /clear began belongs to the session, and to no other one."""
    assert current_conversation(config, OLD, CREATED) == "new"
    assert current_conversation(config, "new", CREATED) == "new"
    assert current_conversation(config, "other", CREATED) == "other"


def test_two_sessions_cleared_in_one_folder_are_distinguished(config: Path) -> None:
    """Two conversations begun by /clear in the same folder are each found for their own session, also after another
    /clear."""
    later = {**GIVEN, "timestamp": GIVEN["timestamp"] + 5_000, "sessionId": "other"}
    again = {**GIVEN, "timestamp": GIVEN["timestamp"] + 8_000, "sessionId": "new", "display": "/clear "}
    write_history(config, *HISTORY, later, again)
    for name, second in (("others", 36), ("news", 39)):
        begun = BEGUN.replace("08:35:31.", f"08:35:{second}.")
        (config / "projects" / "-home-user-workspace" / f"{name}.jsonl").write_text(begun)
    assert current_conversation(config, OLD, CREATED) == "news"
    assert current_conversation(config, "other", CREATED) == "others"


def test_nothing_is_guessed(config: Path) -> None:
    """Without a history, before the first message, and for files older than the session, the conversation stays the
    same."""
    assert current_conversation(config, OLD, "2099-01-01T00:00:00.000Z") == OLD
    write_history(config, *HISTORY[:-1])
    assert current_conversation(config, OLD, CREATED) == OLD
    (config / "history.jsonl").unlink()
    assert current_conversation(config, OLD, CREATED) == OLD
    assert current_conversation(config / "none", OLD, CREATED) == OLD


def test_a_session_cleared_before_its_first_message_is_followed(config: Path) -> None:
    """A session whose first message is /clear is followed to its new conversation."""
    (config / "projects" / "-home-user-workspace" / f"{OLD}.jsonl").unlink()
    assert current_conversation(config, OLD, CREATED) == "new"
