"""A command line on standard input, where no list of processes shows it: for users' own words.

`dev-sessions --arguments-from-stdin` reads its arguments from the first line; what follows is the standard input of the
command. For example:

    ["--arguments-from-stdin", "respond", "--", "fizz-top", "the old one"]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import IO

from dev_sessions.errors import InvalidRequest

OPTION = "--arguments-from-stdin"
_MAX_LENGTH = 32 * 1024 * 1024


def encode(arguments: Sequence[str], stdin: str | None) -> str:
    """Return the standard input with which a command has these arguments, and this standard input."""
    return f"{json.dumps([OPTION, *arguments])}\n{stdin or ''}"


def read(stream: IO[bytes] | None) -> list[str]:
    """Read arguments, and leave the rest of the stream. Raises InvalidRequest."""
    line = stream.readline(_MAX_LENGTH) if stream is not None else b""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    # Start-up files of a login shell may have read the beginning.
    if isinstance(found, list) and found[:1] == [OPTION] and all(isinstance(word, str) for word in found):
        return found[1:]
    raise InvalidRequest(
        f"Standard input does not begin with a command line for {OPTION}; check that no start-up file of the login"
        " shell reads it"
    )
