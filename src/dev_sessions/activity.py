"""Reading a conversation's file (JSONL) from its end: its last lines, and when something was last written to it.

What is kept of a line is bounded, so that reading takes no more memory than a long message does, whatever a tool has
put there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from dev_sessions.models import Trace, parse_timestamp, timestamp

_CHUNK = 1 << 16
#: Bytes at a time in which the beginning of a long line is looked for.
_SEARCH = 1 << 19
#: Bytes of the longest line that is kept whole. A message has some 1 MB at most.
LONGEST_LINE = 1 << 22
#: Stands in a longer line for its middle, which is left out. No whole line holds it.
CUT = b"\n"
#: Bytes that are read at most to find the last figures of an agent. One tool's output may be as long.
_FAR = 1 << 23


def last_activity(path: Path | None, read: Callable[[bytes], Trace]) -> Trace:
    """The latest time among a file's last lines, back to the last figures, and these. `read` understands a line."""
    latest, seen = "", 0
    for line in lines_backward(path) if path is not None else ():
        seen += len(line)
        trace = read(line)
        # The lines of one flush are not always in order.
        latest = max(latest, _normal(trace.at))
        if trace.tokens is not None:
            return Trace(latest, trace.tokens, trace.tokens_total)
        if seen > _FAR or CUT in line:
            break
    return Trace(latest)


def _normal(at: str) -> str:
    try:
        return timestamp(parse_timestamp(at)) if at else ""
    except ValueError:
        return ""


class Line:
    """A line that comes in pieces; of one that grows too long only the beginning and the end are kept."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0

    def add(self, piece: bytes) -> None:
        """One more piece of it."""
        self._pieces.append(piece)
        self._length += len(piece)
        if self._length > LONGEST_LINE:
            del self._pieces[2:-2]

    @property
    def is_long(self) -> bool:
        """Whether its middle is left out."""
        return self._length > LONGEST_LINE

    def skip(self, count: int) -> None:
        """So many bytes more of it, of the middle."""
        self._length += count

    def joined(self, *, last_first: bool = False) -> bytes:
        """What was kept of it; `last_first`: the pieces came in that order."""
        pieces = self._pieces[::-1] if last_first else self._pieces
        if self._length <= LONGEST_LINE:
            return b"".join(pieces)
        return b"".join([*pieces[:2], CUT, *pieces[2:]])


def lines_backward(path: Path) -> Iterator[bytes]:
    """The lines of a file from the last to the first; what follows the last newline is not one yet.

    A line of more than `LONGEST_LINE` bytes comes without its middle (`CUT`).
    """
    try:
        stream = open(path, "rb")  # noqa: SIM115 - closed by the with below; opening alone may fail
    except FileNotFoundError:
        return
    with stream:
        position = stream.seek(0, os.SEEK_END)
        line = Line()  # whose beginning is not read yet
        torn = True
        while position > 0:
            step = min(_CHUNK, position)
            position -= step
            stream.seek(position)
            first, *others = stream.read(step).split(b"\n")
            if others:
                line.add(others.pop())
                if not torn:
                    yield line.joined(last_first=True)
                torn = False
                yield from reversed(others)
                line = Line()
            line.add(first)
            if line.is_long:
                # What is left out need not be kept, and not even be split: that takes ten times as long.
                kept = min(position, _newline_before(stream, position) + 1 + 2 * _CHUNK)
                line.skip(position - kept)
                position = kept
        if not torn:
            yield line.joined(last_first=True)


def _newline_before(stream: BinaryIO, end: int) -> int:
    """Where the last newline before a position stands; -1: nowhere."""
    buffer = bytearray(_SEARCH)
    with memoryview(buffer) as view:
        while end > 0:
            start = max(0, end - _SEARCH)
            count = os.preadv(stream.fileno(), [view[: end - start]], start)
            found = buffer.rfind(b"\n", 0, count)
            if found >= 0:
                return start + found
            end = start
    return -1
