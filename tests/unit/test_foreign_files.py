"""Files of other programs: whatever is there, reading it ends, and soon."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import dev_sessions
from dev_sessions import jsonl
from dev_sessions.claude import background, preflight, session_file, terminal_state, transcript
from dev_sessions.codex import preflight as codex_preflight
from dev_sessions.models import ClaudeSession, parse_timestamp
from dev_sessions.record_json import session_from_json
from dev_sessions.sessions import worktree_files
from dev_sessions.system.foreign_files import NotRegular, open_regular, read_regular
from dev_sessions.system.json_object import parse_object, read_object
from tests.support.records import CLAUDE, TIME

SOURCE = Path(dev_sessions.__file__).parent
DEEP, HUGE = "[" * 100_000, "9" * 400


def put(file: Path, what: str) -> None:
    """Put something odd in place of a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    match what:
        case "a pipe":
            os.mkfifo(file)
        case "a folder":
            file.mkdir()
        case "a link to /dev/zero":
            file.symlink_to("/dev/zero")
        case "a huge file":
            with open(file, "wb") as stream:
                stream.truncate(1 << 40)
        case _:
            file.write_text(what)


ODD = ["a pipe", "a folder", "a link to /dev/zero", "a huge file", DEEP, f'{{"a": {DEEP}', "", "\0", "null", "[]"]
IDS = ["pipe", "folder", "zero", "huge", "deep", "deep object", "empty", "NUL", "null", "list"]


@pytest.mark.parametrize("what", ODD, ids=IDS)
def test_what_is_no_json_file_is_empty(tmp_path: Path, what: str) -> None:
    """What is in place of a JSON file is read within limits of size and depth, and never waited for."""
    put(tmp_path / "file", what)
    assert read_object(tmp_path / "file") == {}


@pytest.mark.parametrize("what", ["a pipe", "a folder", "a link to /dev/zero"])
def test_only_a_regular_file_is_opened(tmp_path: Path, what: str) -> None:
    """A pipe or a device is an error at once, and leaves no file open."""
    put(tmp_path / "file", what)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with pytest.raises(NotRegular, match="not a regular file"):
        open_regular(tmp_path / "file")
    assert before in (0, len(os.listdir("/proc/self/fd")))
    assert list(jsonl.lines_backward(tmp_path / "file")) == []


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    """A file of exactly the limit is read, and a larger one is an error."""
    (tmp_path / "file").write_text("12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_regular(tmp_path / "file", 4)


def test_any_json_that_is_no_object_counts_as_none() -> None:
    """Text of another program that is no JSON object counts as none."""
    assert [parse_object(text) for text in ('{"a": 1}', "[1]", DEEP, b"\xff", "9" * 5000)] == [{"a": 1}, *[None] * 4]


CLEARED = {
    "type": "user",
    "uuid": "u",
    "timestamp": TIME,
    "message": {"role": "user", "content": "<command-name>/clear</command-name>\n<command-args></command-args>"},
}


def conversation_after_clear(folder: Path) -> str | None:
    """Return the conversation to which a /clear has led, None without one."""
    (folder / "projects/-w").mkdir(parents=True, exist_ok=True)
    (folder / "projects/-w/other.jsonl").write_text(json.dumps(CLEARED) + "\n")
    found = terminal_state.current_conversation(folder, "id", TIME)
    return None if found == "id" else found


def background_job(folder: Path) -> object:
    """Return the process of the background job to which a session has moved."""
    (folder / "jobs").mkdir(exist_ok=True)
    session = session_from_json({**CLAUDE, "claudeConfigDir": str(folder)})
    assert isinstance(session, ClaudeSession)
    found = background.find(session, replace(NOTHING, parked_job_id="job"))
    assert found is not None
    return found.worker


NOTHING = session_file.SessionFile(5, "id", status=None, status_since=0.0, waiting_for=None, version=())
#: What is read below a folder, and the file of that.
READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "session file by pid": ("sessions/5.json", lambda folder: session_file.read(folder, 5)),
    "session files": ("sessions/5.json", lambda folder: list(session_file.scan(folder, "id"))),
    "session files of containers": (
        "clauded-sessions/5.json",
        lambda folder: list(session_file.scan(folder, "id", in_container=True)),
    ),
    "background job": ("jobs/job/state.json", background_job),
    "history": ("history.jsonl", conversation_after_clear),
    "transcript": ("projects/-w/new.jsonl", conversation_after_clear),
    "key bindings": ("keybindings.json", preflight.rebound_enter),
    "copies of a worktree": (
        "dev-sessions-copies.json",
        lambda folder: list(worktree_files.changed(lambda *_: "", str(folder), str(folder))),
    ),
    "login of codex": ("config.toml", lambda folder: codex_preflight.login(folder, {})),
}


@pytest.mark.parametrize("what", [*ODD[:6], f'{{"timestamp": {HUGE}, "display": "/clear", "sessionId": "id"}}\n'])
@pytest.mark.parametrize("name", READERS)
def test_no_file_of_an_agent_ends_or_stops_a_command(tmp_path: Path, name: str, what: str) -> None:
    """Whatever an agent or a container has put in place of one of its files, commands go on."""
    file, read = READERS[name]
    put(tmp_path / file, what)
    try:
        assert not read(tmp_path)
    except ValueError:
        assert name == "login of codex"  # which says that it is not valid


@pytest.mark.parametrize("field", ["pid", "startedAt", "statusUpdatedAt", "version", "procStart", "pidDomain"])
@pytest.mark.parametrize("value", [HUGE, f"-{HUGE}", "NaN", "true", "null", "[]", '"\\ud800"', '"a\\u0000"', '"9.9"'])
def test_no_value_in_a_session_file_is_a_failure(tmp_path: Path, field: str, value: str) -> None:
    """A session file with an odd value is ignored, or read without that value."""
    put(tmp_path / "sessions/5.json", f'{{"pid": 2, "sessionId": "id", "{field}": {value}}}')
    assert session_file.find_live(tmp_path, "other") is None
    for found in session_file.scan(tmp_path, "id"):
        assert found.session_id == "id"


def test_a_line_of_any_depth_is_one_of_no_meaning() -> None:
    """A line of a transcript that is nested without end means nothing."""
    assert transcript.continued_in(b'{"type":"continued-in","x":' + DEEP.encode()) is None


def test_a_text_that_looks_like_json_is_a_text() -> None:
    """An answer that only looks like a JSON string is taken as it is."""
    assert transcript.split_answers('a, "\\x", "b, c"') == ["a", '"\\x"', "b, c"]


def test_a_history_is_read_for_its_clears(tmp_path: Path) -> None:
    """A good line beside odd ones still counts."""
    given = {"timestamp": parse_timestamp(TIME) * 1000, "display": "/clear", "sessionId": "id"}
    (tmp_path / "history.jsonl").write_text(f'{json.dumps(given)}\n{DEEP}\n{{"timestamp": {HUGE}}}\n')
    assert conversation_after_clear(tmp_path) == "other"


#: What is parsed there was written by dev-sessions a moment before.
OWN_FILES = {"claude/launch.py"}


def _guarded(tree: ast.AST) -> Iterable[ast.AST]:
    """Yield what stands in a `try` that expects a text to be nested too deeply."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and any("RecursionError" in ast.unparse(handler) for handler in node.handlers):
            yield from (child for statement in node.body for child in ast.walk(statement))


def test_no_parser_is_ended_by_depth() -> None:
    """Every text that is parsed as JSON or TOML may be nested without end."""
    found = 0
    for file in SOURCE.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        guarded = set(_guarded(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.loads", "json.load", "tomllib.loads"):
                found += 1
                name = str(file.relative_to(SOURCE))
                assert node in guarded or name in OWN_FILES, f"{name}:{node.lineno} does not expect a RecursionError"
    assert found > 10
