"""JSON that other programs wrote."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dev_sessions.claude import session_file
from dev_sessions.system.json_object import parse_object, read_object

MALFORMED = [b"", b"{", b"[1]", b"null", b"\xff", b'{"a":' * 100_000, b"[" * 100_000]


@pytest.mark.parametrize("text", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_files_of_other_programs_are_no_error(text: bytes, tmp_path: Path) -> None:
    """What another program, or a container, has written is never more than missing."""
    file = tmp_path / "sessions" / f"{os.getpid()}.json"
    assert read_object(file) == {}
    file.parent.mkdir()
    file.write_bytes(text)
    assert parse_object(text) is None
    assert read_object(file) == {}
    assert list(session_file.scan(tmp_path, "0a1b")) == []
