"""Reading a conversation's file (JSONL) from its end: its last lines, and when something was last written to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from dev_sessions.models import Trace, parse_timestamp, timestamp

_CHUNK = 1 << 16
#: Bytes that are read at most to find the last figures of an agent. One tool's output may be as long.
_FAR = 1 << 23
#: Bytes from which on the result of a tool is not held whole, and of its beginning, which tells whose result it is.
LONGEST, BEGINNING = 1 << 22, 1 << 12
_RESULT = b'"tool_use_id"'


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
        if seen > _FAR:
            break
    return Trace(latest)


def _normal(at: str) -> str:
    try:
        return timestamp(parse_timestamp(at)) if at else ""
    except ValueError:
        return ""


def lines_backward(path: Path) -> Iterator[bytes]:
    """The lines of a file from the last to the first; what follows the last newline is not one yet.

    Of the result of a tool that is very long only the beginning comes.
    """
    try:
        stream = open(path, "rb")  # noqa: SIM115 - closed by the with below; opening alone may fail
    except FileNotFoundError:
        return
    with stream:
        position = end = stream.seek(0, os.SEEK_END)  # `end` of the line whose beginning is not read yet
        torn = True
        while position > 0:
            step = min(_CHUNK, position)
            position -= step
            stream.seek(position)
            first, *others = stream.read(step).split(b"\n")
            if not others:
                continue
            if not torn:
                yield _line(stream, position + step - len(others[-1]), end)
            torn = False
            yield from reversed(others[:-1])
            end = position + len(first)
        if not torn:
            yield _line(stream, 0, end)


def is_too_long(beginning: bytes | bytearray, length: int) -> bool:
    """Whether a line of Claude's is a tool's result that is not held whole."""
    return length > LONGEST and _RESULT in beginning[:BEGINNING]


def _line(stream: BinaryIO, start: int, end: int) -> bytes:
    stream.seek(start)
    beginning = stream.read(min(BEGINNING, end - start))
    return beginning if is_too_long(beginning, end - start) else beginning + stream.read(end - start - len(beginning))
