"""The app-server that dev-sessions 0.4 started: it is only read, and serves its sessions until the last has ended.

0.4 runs `codex app-server --listen ws://127.0.0.1:0`, and records it in `~/.dev-sessions/codex-appserver.json`::

    {"version": 1, "pid": 4711, "port": 40123, "url": "ws://127.0.0.1:40123", "startedAt": "2026-01-01T00:00:00Z"}
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from dev_sessions.codex import client
from dev_sessions.codex.client import Client, NotListening, require_supported_server, server_name
from dev_sessions.errors import StoreError
from dev_sessions.models import CodexSession
from dev_sessions.system import paths, process
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.json_object import parse_object
from dev_sessions.system.private_files import read_owned


@fast_dataclass(frozen=True)
class LegacyAppServer:
    """The app-server of 0.4, which serves the sessions whose records name it."""

    pid: int
    port: int

    @property
    def address(self) -> str:
        """The address that it listens on."""
        return f"ws://127.0.0.1:{self.port}"

    def serves(self, session: CodexSession) -> bool:
        """Return whether it has a session's thread."""
        return (session.app_server_pid, session.app_server_port) == (self.pid, self.port)

    @contextlib.contextmanager
    def connect(self) -> Iterator[Client]:
        """Connect to it. Raises NotListening when it has ended."""
        with client.connect(self.address, server=server_name(self.pid)) as connected:
            require_supported_server(connected, self.pid)
            yield connected


def legacy_app_server() -> LegacyAppServer | None:
    """Return the running app-server of 0.4; None when it has ended.

    Its pid may belong to another process by now, so that process must be an app-server of this user. Who listens on
    the port is checked when it is connected to.
    """
    try:
        record = parse_object(read_owned(paths.legacy_appserver_file()))
    except (OSError, StoreError):
        return None
    match record:
        case {"pid": int(pid), "port": int(port)} if pid > 0 and process.is_alive(pid):
            if "app-server" in (process.command_line(pid) or "").split():
                return LegacyAppServer(pid, port)
    return None


@contextlib.contextmanager
def connect_to_legacy(session: CodexSession) -> Iterator[Client | None]:
    """Connect to the app-server of 0.4 when it still serves a session; None otherwise."""
    with contextlib.ExitStack() as stack:
        connected: Client | None = None
        legacy = legacy_app_server() if session.app_server_pid is not None else None
        if legacy is not None and legacy.serves(session):
            with contextlib.suppress(NotListening):
                connected = stack.enter_context(legacy.connect())
        yield connected
