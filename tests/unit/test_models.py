"""Sessions and their records."""

from __future__ import annotations

import pytest

from dev_sessions.models import ClaudeSession, CodexSession, FieldChanges, Session, parse_timestamp, timestamp
from dev_sessions.record_json import session_from_json, session_to_json
from tests.support.records import CLAUDE, TIME


def test_a_record_becomes_a_session_and_the_same_record_again() -> None:
    """A record is read and written without any change."""
    assert session_to_json(session_from_json(CLAUDE)) == CLAUDE
    assert isinstance(session_from_json(CLAUDE), ClaudeSession)


def test_the_originals_codex_fields_are_read() -> None:
    """A Codex session of 0.4 keeps its app-server and its turn."""
    record = {**CLAUDE, "cli": "codex", "appServerPid": 7, "appServerPort": 8, "codexActiveTurnId": "t"}
    session = session_from_json(record)
    assert isinstance(session, CodexSession)
    assert (session.app_server_pid, session.app_server_port, session.codex_active_turn_id) == (7, 8, "t")


def test_unknown_fields_travel_along() -> None:
    """A field that only another version knows is kept."""
    record = {**CLAUDE, "fromTheFuture": {"a": [1]}, "claudeSystemCountAtSend": 3}
    assert session_to_json(session_from_json(record)) == record


@pytest.mark.parametrize(
    "change",
    [
        {"cli": "gemini"},
        {"championId": 5},
        {"lastUsed": None},
        {"lastUsed": "yesterday"},
        {"cli": ["claude"]},
        {"appServerPort": "8", "cli": "codex"},
    ],
)
def test_a_record_of_another_form_is_refused(change: dict[str, object]) -> None:
    """An invalid record is an error, and never read in part."""
    with pytest.raises(ValueError, match=r"\w"):
        session_from_json({**CLAUDE, **change})


def test_a_record_without_a_name_is_refused() -> None:
    """A record without a required field is an error."""
    with pytest.raises(ValueError, match="id"):
        session_from_json({name: value for name, value in CLAUDE.items() if name != "championId"})


def test_times_are_utc_with_milliseconds() -> None:
    """Times are written as 0.4 writes them, and read back."""
    assert timestamp(parse_timestamp(TIME)) == TIME
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"


def test_changes_of_a_record_are_changes_of_its_fields() -> None:
    """Every change that can be stored has a field of the record, of the same type."""
    fields = ClaudeSession.__annotations__ | CodexSession.__annotations__ | Session.__annotations__
    changes = {name: getattr(kind, "__forward_arg__", kind) for name, kind in FieldChanges.__annotations__.items()}
    assert changes == {name: fields[name] for name in changes}
