"""Read the file of a conversation (JSONL) from its end: its lines in reverse order, and its last activity.

Only the ends of an overlong line are read, so that memory stays bounded whatever output of a tool a line holds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dev_sessions.models import Activity, parse_timestamp, timestamp
from dev_sessions.system.foreign_files import NotRegular, open_regular

#: Bytes that are read at a time, first and at most: what is looked for stands mostly in the last few lines.
_FIRST_CHUNK, _CHUNK = 1 << 12, 1 << 16
#: Bytes that are read at a time to find the end or the beginning of a long line.
SEARCH = 1 << 18
#: Bytes of the longest line that is read whole. A message has some 1 MB at most.
LONGEST_LINE = 1 << 22
#: Bytes in which the beginning of a line is looked for. A file with a longer one was not written by an agent.
_MAX_LINE = 1 << 28
#: Bytes of either end of a longer line that are read.
_KEPT_BYTES = 1 << 17
#: Stands for the middle of a longer line. No whole line contains it.
CUT = b"\n"
#: Bytes that are read at most to find an agent's last token count. One tool's output may be as long.
_MAX_SEARCH = 1 << 23


def last_activity(path: Path | None, parse: Callable[[bytes], Activity]) -> Activity:
    """Return the last token count in a file, with the latest time of the lines from there on.

    `parse` parses one line. Without a token count in the last 8 MB, only the time is returned.
    """
    latest, size = "", 0
    for line in lines_backward(path) if path is not None else ():
        size += len(line)
        activity = parse(line)
        # The lines of one flush are not always in order.
        latest = max(latest, _normalized(activity.at))
        if activity.tokens is not None:
            return Activity(latest, activity.tokens, activity.tokens_total, activity.context_window)
        if size > _MAX_SEARCH or CUT in line:
            break
    return Activity(latest)


def _normalized(at: str) -> str:
    try:
        return timestamp(parse_timestamp(at)) if at else ""
    except ValueError:
        return ""


def lines_backward(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file from the last to the first; what follows the last newline is not a line yet."""
    try:
        descriptor = open_regular(path)
    except (FileNotFoundError, NotRegular):  # some people link Claude's history to /dev/null
        return
    try:
        end, chunk = _newline_before(descriptor, os.fstat(descriptor).st_size) + 1, _FIRST_CHUNK
        while end > 0:
            start, chunk = max(0, end - chunk), min(chunk * 4, _CHUNK)
            block = os.pread(descriptor, end - start, start)
            if len(block) < end - start:
                return  # the file has been truncated since
            # The block's first line begins before the block, except at the beginning of the file.
            whole = block.find(b"\n", 0, -1) + 1 if start > 0 else 0
            if whole > 0 or start == 0:
                yield from reversed(block[whole:-1].split(b"\n"))
                end = start + whole
            elif end - start == _CHUNK:  # else a larger block is read
                begin = _newline_before(descriptor, start) + 1
                yield line_between(descriptor, begin, end - 1)
                end = begin
    finally:
        os.close(descriptor)


def line_between(descriptor: int, begin: int, end: int) -> bytes:
    """Return the line between two positions; of more than `LONGEST_LINE` bytes only the ends, joined by `CUT`."""
    if end - begin <= LONGEST_LINE:
        return os.pread(descriptor, end - begin, begin)
    return os.pread(descriptor, _KEPT_BYTES, begin) + CUT + os.pread(descriptor, _KEPT_BYTES, end - _KEPT_BYTES)


def _newline_before(descriptor: int, end: int) -> int:
    """Return the position of the last newline before a position; -1 when there is none, or only `_MAX_LINE` before."""
    step, limit = _FIRST_CHUNK, end - _MAX_LINE
    while end > max(0, limit):
        start = max(0, end - step)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found
        end, step = start, SEARCH
    return -1
