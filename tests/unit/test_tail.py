"""Reading transcripts from an offset and from the end."""

from pathlib import Path

import pytest

from dev_sessions.activity import CUT, LONGEST_LINE, lines_backward
from dev_sessions.claude.tail import Tail, find_transcript

LINES = [b"one", b"", b"x" * 200_000, "zw\u00f6lf".encode(), b"last"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of LINES."""
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in LINES))
    return path


def test_a_tail_gives_every_line_once_in_whatever_pieces_it_is_written(tmp_path: Path) -> None:
    """A line that is written in pieces is read as one line."""
    path = tmp_path / "t.jsonl"
    path.touch()
    data = b"".join(line + b"\n" for line in LINES)
    tail = Tail(path, 0)
    seen: list[bytes] = []
    with open(path, "ab", buffering=0) as stream:
        for start in range(0, len(data), 65_537 * 3 // 7):
            stream.write(data[start : start + 65_537 * 3 // 7])
            seen += tail.lines()
    assert seen == LINES


def test_a_tail_begins_at_its_offset(file: Path) -> None:
    """What was written before a message is not read again."""
    assert list(Tail(file, file.stat().st_size - 5).lines()) == [b"last"]


def test_a_torn_last_line_waits_for_its_end(file: Path) -> None:
    """A line without its end is not a line yet."""
    with open(file, "ab") as stream:
        stream.write(b"torn")
    assert list(Tail(file, 0).lines()) == LINES
    assert list(lines_backward(file)) == LINES[::-1]


def test_backward_reading_gives_the_same_lines(file: Path) -> None:
    """The end of a conversation is read without its beginning."""
    assert list(lines_backward(file)) == LINES[::-1]
    assert next(lines_backward(file)) == b"last"


def test_backward_reading_of_nothing_is_nothing(tmp_path: Path) -> None:
    """No transcript, no lines."""
    assert list(lines_backward(tmp_path / "none")) == []
    (tmp_path / "empty").touch()
    assert list(lines_backward(tmp_path / "empty")) == []


def test_a_transcript_is_found_by_its_session(tmp_path: Path) -> None:
    """A session's transcript is found whatever its folder is called."""
    folder = tmp_path / "projects" / "-some-path"
    folder.mkdir(parents=True)
    (folder / "abc.jsonl").touch()
    assert find_transcript(tmp_path, "abc") == folder / "abc.jsonl"
    assert find_transcript(tmp_path, "abd") is None
    assert find_transcript(tmp_path / "nowhere", "abc") is None


@pytest.mark.parametrize("more", [1, 1 << 16, (1 << 16) + 1, 5 * (1 << 16) - 7, LONGEST_LINE, 4 * LONGEST_LINE + 12345])
@pytest.mark.parametrize("before", [b"first\n", b""], ids=["behind another line", "first"])
def test_a_long_line_is_found_by_its_ends(tmp_path: Path, more: int, before: bytes) -> None:
    """Of a line that is too long to be kept both ends are known, and the lines around it are whole."""
    line = (b"0123456789abcdef" * ((LONGEST_LINE + more) // 16 + 1))[: LONGEST_LINE + more]
    file = tmp_path / "file"
    file.write_bytes(before + line + b"\nlast\n")
    last, cut, *others = lines_backward(file)
    assert (last, others) == (b"last", before.splitlines())
    beginning, middle, end = cut.partition(CUT)
    assert middle == CUT
    assert len(cut) < LONGEST_LINE
    assert len(beginning) >= 1 << 16
    assert len(end) >= 1 << 16
    assert (line.startswith(beginning), line.endswith(end)) == (True, True)
