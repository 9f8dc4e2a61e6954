"""Read transcripts from an offset and backwards from the end."""

import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev_sessions import jsonl
from dev_sessions.claude import transcript_file
from dev_sessions.claude.transcript_file import Tail, continued_session_id, find_transcript
from dev_sessions.jsonl import CUT, LONGEST_LINE, lines_backward

LINES = [b"one", b"", b"x" * 200_000, "zw\u00f6lf".encode(), b"last"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file of LINES."""
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in LINES))
    return path


def test_a_tail_yields_every_line_once(tmp_path: Path) -> None:
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
    """Lines before the offset are not read."""
    assert list(Tail(file, file.stat().st_size - 5).lines()) == [b"last"]


def test_a_partial_last_line_waits_for_its_end(file: Path) -> None:
    """A line without its end is not read yet."""
    with open(file, "ab") as stream:
        stream.write(b"torn")
    assert list(Tail(file, 0).lines()) == LINES
    assert list(lines_backward(file)) == LINES[::-1]


def test_backward_reading_gives_the_same_lines(file: Path) -> None:
    """The end of a conversation is read without its beginning."""
    assert list(lines_backward(file)) == LINES[::-1]
    assert next(lines_backward(file)) == b"last"


def test_a_missing_file_has_no_lines(tmp_path: Path) -> None:
    """A missing transcript has no lines."""
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


#: What 2.1.332 writes last into the transcript of a conversation that went on in the background.
MOVED = """\
{"type":"system","subtype":"turn_duration","uuid":"d19b2288-be0e-4c33-a06c-6e8f3d5e0e15","sessionId":"%s"}
{"type":"continued-in","timestamp":"2026-11-29T04:54:50.469Z","sessionId":"%s","continuedInSessionId":"%s"}
{"type":"last-prompt","lastPrompt":"say one","leafUuid":"f867c74a-ebbb-41ac-b156-9f0a3ac622e3","sessionId":"%s"}
{"type":"cost-state","sessionId":"%s","totalCostUSD":0.01}
"""


def test_the_continuing_session_is_at_the_end(tmp_path: Path) -> None:
    """The line is found above others that the program writes about itself, unless a message follows it."""
    path = tmp_path / "a.jsonl"
    path.write_text(MOVED % ("a", "a", "b", "a", "a"))
    assert continued_session_id(path) == "b"
    with open(path, "a") as stream:
        stream.write('{"type":"user","uuid":"2"}\n')
    assert continued_session_id(path) is None
    assert continued_session_id(tmp_path / "none") is None


@pytest.mark.parametrize("more", [1, 1 << 16, (1 << 16) + 1, 5 * (1 << 16) - 7, LONGEST_LINE, 4 * LONGEST_LINE + 12345])
@pytest.mark.parametrize("before", [b"first\n", b""], ids=["behind another line", "first"])
def test_a_long_line_is_read_by_its_ends(tmp_path: Path, more: int, before: bytes) -> None:
    """The two ends of a line that is too long are read, and the lines around it completely."""
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


#: As long as what is read at once, as is searched at once, and as is kept, give or take a byte.
lengths = st.sampled_from([0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 63, 64, 65, 66, 130])


@given(st.lists(lengths, max_size=8), lengths, st.lists(st.sampled_from([1, 5, 8, 16, 40, 200]), min_size=1))
def test_every_line_is_read_once_whatever_its_length(whole: list[int], torn: int, writes: list[int]) -> None:
    """Forwards and backwards, each line is read as it was written, or as its two ends."""
    lines = [bytes(97 + at % 26 for at in range(length)) for length in whole]
    expected = [line if len(line) <= 64 else line[:8] + CUT + line[-8:] for line in lines]
    data = b"".join(line + b"\n" for line in lines) + b"#" * torn
    with (
        patch.multiple(jsonl, _FIRST_CHUNK=2, _CHUNK=8, SEARCH=16, LONGEST_LINE=64, _KEPT_BYTES=8),
        patch.object(transcript_file, "SEARCH", 16),
        tempfile.TemporaryDirectory() as folder,
    ):
        path = Path(folder) / "t.jsonl"
        path.touch()
        growing = Tail(path, 0)
        seen: list[bytes] = []
        with open(path, "ab", buffering=0) as stream:
            while data:
                for count in writes:
                    stream.write(data[:count])
                    data = data[count:]
                    seen += growing.lines()
        assert seen == expected
        assert list(lines_backward(path)) == expected[::-1]
