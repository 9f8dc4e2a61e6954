"""Finding a transcript, and reading it from an offset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dev_sessions.claude.transcript import continued_in
from dev_sessions.jsonl import SEARCH, line_between, lines_backward


def find_transcript(config_dir: Path, session_id: str) -> Path | None:
    """`<config>/projects/<any>/<session>.jsonl`; None when nothing was written yet.

    The project's folder is named after the working directory by rules of the program's own; the session's UUID is
    unique, so the folders are searched. Whatever else has such a name (a folder, a pipe) is none.
    """
    try:
        with os.scandir(config_dir / "projects") as entries:
            for entry in entries:
                path = os.path.join(entry.path, f"{session_id}.jsonl")
                if os.path.isfile(path):
                    return Path(path)
    except OSError:
        return None
    return None


def moved_to(path: Path) -> str | None:
    """Return the session id under which a conversation went on in Claude's background, None when it ends in its file.

    Behind the line that says so stand others of the program about itself, which have no `uuid` (2.1.332).
    """
    for line in lines_backward(path):
        if (found := continued_in(line)) is not None:
            return found
        if b'"uuid"' in line:
            break
    return None


def size(path: Path | None) -> int:
    """Bytes in a file; 0 when there is none."""
    try:
        return os.stat(path).st_size if path is not None else 0
    except OSError:
        return 0


def line_begins_at(path: Path, offset: int) -> bool:
    """Whether a file is one of which so many bytes may have been read, line by line: what was read ends with a line.

    False for one that was cut off since, or in whose place another one was put.
    """
    if offset == 0:
        return True
    try:
        with open(path, "rb") as stream:
            stream.seek(offset - 1)
            return stream.read(1) == b"\n"
    except FileNotFoundError:
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Tail:
    """The whole lines of a growing file from an offset on; a torn last line is kept until its end is there.

    A line of more than `LONGEST_LINE` bytes comes without its middle (`activity.CUT`).
    """

    def __init__(self, path: Path, offset: int) -> None:
        self.path = path
        self._offset = offset
        self._whole = offset  # where the line begins whose end is not read yet
        self._file = _identity(path)

    @property
    def is_replaced(self) -> bool:
        """Whether what was read is not in the file any more: it was cut off, or another one is in its place."""
        unchanged = size(self.path) == self._offset and _identity(self.path) == self._file
        if unchanged:
            return False
        self._file = _identity(self.path)
        return size(self.path) < self._offset or not line_begins_at(self.path, self._whole)

    def lines(self) -> Iterator[bytes]:
        """Every line that became whole since the last call."""
        if size(self.path) <= self._offset:
            return
        with open(self.path, "rb", buffering=0) as stream:
            stream.seek(self._offset)
            while chunk := stream.read(SEARCH):
                position, self._offset = self._offset, self._offset + len(chunk)
                first = chunk.find(b"\n")
                if first < 0:
                    continue
                line = line_between(stream.fileno(), self._whole, position + first)
                *others, torn = chunk[first + 1 :].split(b"\n")
                self._whole = self._offset - len(torn)
                yield line
                yield from others
