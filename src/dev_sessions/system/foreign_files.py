"""Files that other programs write, with limits of size, depth and time.

An agent, a container or another user of a repository may have put anything there: a pipe, which would block; a link to
/dev/zero, which never ends; JSON that is nested without end.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

#: Maximum bytes of a file of settings or state: the largest, Claude's own, has some MB after years.
_MAX_SIZE = 64 * 1024 * 1024


class NotRegular(OSError):
    """Raised for a file that is a pipe, a device or a folder."""


def open_regular(file: str | Path) -> int:
    """Open a file for reading and return its descriptor. Raises NotRegular, OSError."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegular(errno.EINVAL, "not a regular file", str(file))
    return descriptor


def read_regular(file: str | Path, limit: int = _MAX_SIZE) -> bytes:
    """Return the content of a regular file. Raises OSError for any other, and for one of more than `limit` bytes."""
    with open(open_regular(file), "rb") as stream:
        content = stream.read(limit + 1) or b""  # None: nothing to read yet, as from /proc/kmsg
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(file))
    return content
