"""The process and the user behind a connected or listening socket."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from dev_sessions.system import pid_namespace

if TYPE_CHECKING:
    import socket

#: Seconds for a connection to a unix socket.
_CONNECT_TIMEOUT = 3.0


def port_owners(port: int) -> set[int]:
    """Return the ids of the users who listen on a TCP port of this machine, as far as it is known.

    Source: /proc/net/tcp on Linux, where listening sockets (`0A`) come first::

        0: 0100007F:1A2B 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 568851 1 …

    `lsof` elsewhere, which is part of macOS and lists only this user's.
    """
    if not pid_namespace.ON_LINUX:
        from dev_sessions.system.programs import run

        argv = ["lsof", "-nP", "-a", "-t", "-u", str(os.getuid()), f"-iTCP:{port}", "-sTCP:LISTEN"]
        return {os.getuid()} if run(argv).stdout.strip() else set()
    owners: set[int] = set()
    # An IPv6 socket gets IPv4 connections only if no IPv4 socket listens.
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if owners:
            break
        with contextlib.suppress(OSError), open(table, encoding="ascii") as lines:
            next(lines)
            for line in lines:
                _, local, _, state, _, _, _, owner, *_ = line.split()
                if state != "0A":
                    break
                if int(local.rpartition(":")[2], 16) == port:
                    owners.add(int(owner))
    return owners


def listener(opened: socket.socket) -> int | None:
    """Return the pid of the process that a connected unix socket leads to.

    None when it is unknown, or not in this pid namespace or a child of it.
    """
    import socket
    import struct

    if sys.platform == "darwin":
        # SOL_LOCAL and LOCAL_PEERPID of <sys/un.h>.
        (pid,) = struct.unpack("i", opened.getsockopt(0, 2, 4))
    else:
        pid, _, _ = struct.unpack("3i", opened.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid or None


def listens_here(path: str, pid: int) -> bool:
    """Return whether a unix socket is served in this pid namespace, by the process `pid`."""
    import socket

    if not pid_namespace.ON_LINUX:
        return True
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as opened:
        opened.settimeout(_CONNECT_TIMEOUT)
        opened.connect(path)
        found = listener(opened)
        # The process that listens may have passed the socket on to the server, as systemd does.
        return found is not None and (found == pid or pid_namespace.contains(found))
    return False
