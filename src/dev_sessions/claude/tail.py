"""Finding a transcript, and reading it from an offset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dev_sessions.activity import BEGINNING, is_too_long

_CHUNK = 1 << 16


def find_transcript(config_dir: Path, session_id: str) -> Path | None:
    """`<config>/projects/<any>/<session>.jsonl`; None when nothing was written yet.

    The project's folder is named after the working directory by rules that changed between versions; the session's
    UUID is unique, so the folders are searched.
    """
    try:
        with os.scandir(config_dir / "projects") as entries:
            for entry in entries:
                path = os.path.join(entry.path, f"{session_id}.jsonl")
                if os.path.exists(path):
                    return Path(path)
    except OSError:
        return None
    return None


def size(path: Path | None) -> int:
    """Bytes in a file; 0 when there is none."""
    try:
        return os.stat(path).st_size if path is not None else 0
    except OSError:
        return 0


class Tail:
    """The whole lines of a growing file from an offset on; a torn last line is kept until its end is there.

    Of the result of a tool that is very long only pieces are kept, its beginning among them.
    """

    def __init__(self, path: Path, offset: int) -> None:
        self._path = path
        self._offset = offset
        self._rest = bytearray()

    def lines(self) -> Iterator[bytes]:
        """Every line that became whole since the last call."""
        if size(self._path) <= self._offset:
            return
        with open(self._path, "rb") as stream:
            stream.seek(self._offset)
            while chunk := stream.read(_CHUNK):
                self._offset += len(chunk)
                *whole, torn = chunk.split(b"\n")
                if whole:
                    whole[0] = bytes(self._rest) + whole[0]
                    self._rest.clear()
                self._rest += torn
                if is_too_long(self._rest, len(self._rest)):
                    del self._rest[BEGINNING:]
                yield from whole
