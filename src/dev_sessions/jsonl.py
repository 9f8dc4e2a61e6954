"""Reading a conversation's file (JSONL) from its end: its last lines, and when something was last written to it.

What is kept of a line is bounded, so that reading takes no more memory than a long message does, whatever a tool has
put there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dev_sessions.models import Activity, parse_timestamp, timestamp

_CHUNK = 1 << 16
#: Bytes at a time in which the end or the beginning of a long line is looked for.
SEARCH = 1 << 18
#: Bytes of the longest line that is kept whole. A message has some 1 MB at most.
LONGEST_LINE = 1 << 22
#: Bytes of either end of a longer one that are kept.
_KEPT = 1 << 17
#: Stands in a longer line for its middle, which is left out. No whole line holds it.
CUT = b"\n"
#: Bytes that are read at most to find the last figures of an agent. One tool's output may be as long.
_FAR = 1 << 23


def last_activity(path: Path | None, read: Callable[[bytes], Activity]) -> Activity:
    """The latest time among a file's last lines, back to the last figures, and these. `read` understands a line."""
    latest, seen = "", 0
    for line in lines_backward(path) if path is not None else ():
        seen += len(line)
        trace = read(line)
        # The lines of one flush are not always in order.
        latest = max(latest, _normal(trace.at))
        if trace.tokens is not None:
            return Activity(latest, trace.tokens, trace.tokens_total)
        if seen > _FAR or CUT in line:
            break
    return Activity(latest)


def _normal(at: str) -> str:
    try:
        return timestamp(parse_timestamp(at)) if at else ""
    except ValueError:
        return ""


def lines_backward(path: Path) -> Iterator[bytes]:
    """The lines of a file from the last to the first; what follows the last newline is not one yet."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        end = _newline_before(descriptor, os.fstat(descriptor).st_size) + 1
        while end > 0:
            start = max(0, end - _CHUNK)
            block = os.pread(descriptor, end - start, start)
            if len(block) < end - start:
                return  # it was cut off meanwhile
            # The block's first line begins before it, but for the first of all.
            whole = block.find(b"\n", 0, -1) + 1 if start > 0 else 0
            if whole > 0 or start == 0:
                yield from reversed(block[whole:-1].split(b"\n"))
                end = start + whole
            else:
                begin = _newline_before(descriptor, start) + 1
                yield line_between(descriptor, begin, end - 1)
                end = begin
    finally:
        os.close(descriptor)


def line_between(descriptor: int, begin: int, end: int) -> bytes:
    """The line of a file between two positions; one of more than `LONGEST_LINE` bytes without its middle (`CUT`)."""
    if end - begin <= LONGEST_LINE:
        return os.pread(descriptor, end - begin, begin)
    return os.pread(descriptor, _KEPT, begin) + CUT + os.pread(descriptor, _KEPT, end - _KEPT)


def _newline_before(descriptor: int, end: int) -> int:
    """Where the last newline before a position stands; -1: nowhere."""
    step = _CHUNK
    while end > 0:
        start = max(0, end - step)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found
        end, step = start, SEARCH
    return -1
