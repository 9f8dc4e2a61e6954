"""Command lines on standard input."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev_sessions import arguments
from dev_sessions.cli import run
from dev_sessions.cli.app import Application
from dev_sessions.errors import InvalidRequest
from dev_sessions.operations import Operation, Respond, Send

#: With bytes that are no UTF-8, as arguments may have them.
WORDS = st.text(st.characters(exclude_categories=["Cs"]) | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF))


class Recorder:
    """A transport that records its operations."""

    def __init__(self) -> None:
        self.seen: list[Operation[object]] = []

    def execute(self, operation: Operation[object]) -> object:
        self.seen.append(operation)
        return None


@given(words=st.lists(WORDS), rest=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_arguments_arrive_unchanged(words: list[str], rest: str) -> None:
    """Arguments of any characters are read as they were given, and what follows them is left to be read."""
    stream = io.BytesIO(arguments.encode(words, rest).encode())
    assert arguments.read(stream) == words
    assert stream.read().decode() == rest


@given(text=st.binary() | st.sampled_from([b"[" * 100_000, b"null", b'["kill"]\n', b'["--arguments-from-stdin", 5]']))
def test_what_is_no_command_line_is_refused(text: bytes) -> None:
    """If something else has read a part of standard input, nothing is executed."""
    with pytest.raises(InvalidRequest, match="check that no start-up file"):
        arguments.read(io.BytesIO(text))


@pytest.mark.parametrize(
    ("words", "rest", "expected"),
    [
        (["respond", "fizz-top", "--", "-n", "b\nc"], "", Respond(session_id="fizz-top", answers=("-n", "b\nc"))),
        (["send", "fizz-top", "--file", "-"], "one\ntwo", Send(session_id="fizz-top", message="one\ntwo")),
    ],
)
def test_a_command_runs_with_them(
    words: list[str], rest: str, expected: Operation[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A command whose arguments are on standard input is the same as with them on its command line."""
    (tmp_path / "stdin").write_text(arguments.encode(words, rest))
    recorder = Recorder()
    with open(tmp_path / "stdin", encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert run([arguments.OPTION], Application(recorder)) == 0  # type: ignore[arg-type] # a transport that does nothing
    assert recorder.seen == [expected]
