"""Have Python behave as on macOS, as far as Linux can: loaded by every interpreter that has this folder on its path."""

import errno
import os
import socket
import struct
import sys
import sysconfig
import types

sysconfig.get_config_vars()  # of the Python that really runs
sys.platform = "darwin"
# The proxies of macOS's settings, of which urllib asks.
sys.modules["_scproxy"] = types.ModuleType("_scproxy")
sys.modules["_scproxy"].__dict__.update(_get_proxy_settings=dict, _get_proxies=dict)
# What Codex sets in its sandbox on macOS.
with open("/proc/1/comm", encoding="utf-8") as _comm:
    if "CODEX_THREAD_ID" in os.environ and _comm.read().strip() in ("bwrap", "codex-linux-san"):
        os.environ["CODEX_SANDBOX"] = "seatbelt"
_SOL_LOCAL, _LOCAL_PEERCRED, _LOCAL_PEERPID = 0, 1, 2
_PATH_LIMIT = 104
_getsockopt, _connect, _bind = socket.socket.getsockopt, socket.socket.connect, socket.socket.bind


def _getsockopt_of_macos(self, level, option, size=0):  # type: ignore[no-untyped-def]
    """Answer what macOS knows of the peer of a unix socket."""
    if level != _SOL_LOCAL or option not in (_LOCAL_PEERCRED, _LOCAL_PEERPID):
        return _getsockopt(self, level, option, size) if size else _getsockopt(self, level, option)
    pid, uid, gid = struct.unpack("3i", _getsockopt(self, socket.SOL_SOCKET, 17, 12))
    if option == _LOCAL_PEERPID:
        return struct.pack("i", pid)
    return struct.pack("IIh16I", 0, uid, 1, gid, *[0] * 15)


def _require_short(address: object) -> None:
    if isinstance(address, str | bytes) and len(os.fsencode(address)) >= _PATH_LIMIT:
        raise OSError("AF_UNIX path too long")


def _connect_of_macos(self, address):  # type: ignore[no-untyped-def]
    """Refuse a unix socket's path that macOS has no room for, and a connection beyond the backlog."""
    _require_short(address)
    if self.family != socket.AF_UNIX:
        return _connect(self, address)
    timeout = self.gettimeout()
    self.setblocking(False)
    try:
        return _connect(self, address)
    except BlockingIOError as error:
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)) from error
    finally:
        self.settimeout(timeout)


def _bind_of_macos(self, address):  # type: ignore[no-untyped-def]
    """Refuse a unix socket's path that macOS has no room for."""
    _require_short(address)
    return _bind(self, address)


for _name, _method in (("getsockopt", _getsockopt_of_macos), ("connect", _connect_of_macos), ("bind", _bind_of_macos)):
    setattr(socket.socket, _name, _method)
