"""The app-server's log, with a bounded size.

Codex logs errors only: nothing in 30 turns, 10 of them failed. With RUST_LOG=info it logs 300 KB per turn.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from dev_sessions.system.private_files import open_private, replace_file

_TAIL_LINES = 10
_TAIL_BYTES = 4096
#: Bytes at which the log of a running app-server is rotated, and how many of them are kept.
_MAX_BYTES, _KEPT_BYTES = 10_000_000, 1_000_000


class ServerLog:
    """`app-server.log`, and `app-server.log.1` with the end of the log before it."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "app-server.log"
        self._older = directory / "app-server.log.1"

    @property
    def files(self) -> tuple[Path, Path]:
        """Both files, whether they exist or not."""
        return self._file, self._older

    def __str__(self) -> str:
        return str(self._file)

    def open_new(self) -> BinaryIO:
        """Open an empty log for a new app-server, and keep the old one: it may name a crash. Raises OSError."""
        if self._size() > 0:
            self._file.replace(self._older)
            if self._older.stat().st_size > _MAX_BYTES:
                with open(self._older, "rb") as stream:
                    self._keep_end(stream)
        return open(self._file, "ab", opener=open_private)

    def rotate(self, lock: Callable[[], AbstractContextManager[None]]) -> None:
        """Move the end of a log that has grown large to the older file, under the lock.

        The file is emptied, not replaced: the app-server has it open for appending.
        """
        if self._size() <= _MAX_BYTES:
            return
        with lock(), contextlib.suppress(OSError):  # no reason to fail: what needs the disk reports that it is full
            if self._size() > _MAX_BYTES:
                with open(self._file, "r+b") as stream:
                    self._keep_end(stream)
                    stream.truncate(0)

    def read_end(self) -> str:
        """Return the end of the log, without colours; "" when there is none."""
        try:
            with open(self._file, "rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL_BYTES))
                return re.sub(r"\x1b\[[0-9;]*m", "", stream.read().decode(errors="replace"))
        except OSError:
            return ""

    def tail(self) -> str:
        """Return the last lines of the log, for an error."""
        return "\n".join(self.read_end().splitlines()[-_TAIL_LINES:]) or f"nothing ({self._file})"

    def _keep_end(self, stream: BinaryIO) -> None:
        stream.seek(-_KEPT_BYTES, os.SEEK_END)
        replace_file(self._older, stream.read())

    def _size(self) -> int:
        try:
            return self._file.stat().st_size
        except FileNotFoundError:
            return 0
