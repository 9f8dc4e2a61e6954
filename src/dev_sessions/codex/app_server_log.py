"""The app-server's log: what it said last, kept from growing without bound.

Codex logs errors alone, nothing in 30 turns (10 of them failed); with RUST_LOG=info, 300 KB in each turn.
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
#: Bytes at which the log of a running app-server is emptied, and how many are kept beside it.
_LIMIT, _KEPT = 10_000_000, 1_000_000


class ServerLog:
    """`app-server.log`, and beside it what was in it before."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "app-server.log"
        self._older = directory / "app-server.log.1"

    @property
    def files(self) -> tuple[Path, Path]:
        """Both files, there or not."""
        return self._file, self._older

    def __str__(self) -> str:
        return str(self._file)

    def begin(self) -> BinaryIO:
        """Open it, empty, for a new app-server; what the one before said last is kept: it may have crashed. OSError."""
        if self._size() > 0:
            self._file.replace(self._older)
            # It may have grown large without anybody looking.
            if self._older.stat().st_size > _LIMIT:
                with open(self._older, "rb") as stream:
                    self._keep_end(stream)
        return open(self._file, "ab", opener=open_private)

    def bound(self, lock: Callable[[], AbstractContextManager[None]]) -> None:
        """Keep of one that has grown large its end. Its writer appends, so that it goes on in the emptied file."""
        if self._size() <= _LIMIT:
            return
        with lock(), contextlib.suppress(OSError):  # a full disk is told by what needs the disk
            if self._size() > _LIMIT:
                with open(self._file, "r+b") as stream:
                    self._keep_end(stream)
                    stream.truncate(0)

    def printed(self) -> str:
        """Its end, without colours."""
        try:
            with open(self._file, "rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL_BYTES))
                return re.sub(r"\x1b\[[0-9;]*m", "", stream.read().decode(errors="replace"))
        except OSError:
            return ""

    def tail(self) -> str:
        """Its last lines, for an error."""
        return "\n".join(self.printed().splitlines()[-_TAIL_LINES:]) or f"nothing ({self._file})"

    def _keep_end(self, stream: BinaryIO) -> None:
        stream.seek(-_KEPT, os.SEEK_END)
        replace_file(self._older, stream.read())

    def _size(self) -> int:
        try:
            return self._file.stat().st_size
        except FileNotFoundError:
            return 0
