"""The state file of an app-server: the process, its address and its version. Pure."""

from __future__ import annotations

import json

from dev_sessions.system import pid_namespace
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.json_object import parse_object
from dev_sessions.system.process_id import ProcessId

_STATE_VERSION = 1


@fast_dataclass(frozen=True)
class ServerState:
    """The state file of an app-server.

    `pid` with `started` (see `process.start_time`) names the leader of its process group, in the pid namespace
    `domain`; `lock` is the id of the lock that it holds (see `file_locks.lock_id`). `address` is empty while it starts.
    `codex_version`, `codex_home` and the names of the `variables` in its environment (None: an earlier version did not
    record them) are those that it was started with.
    """

    pid: int
    started: str
    address: str
    codex_version: str
    codex_home: str
    token_file: str | None = None
    domain: str | None = None
    lock: str | None = None
    variables: tuple[str, ...] | None = None

    @property
    def process(self) -> ProcessId:
        """The leader of its process group."""
        return ProcessId(self.pid, self.started)

    @property
    def pid_here(self) -> int:
        """The pid, if it is one of this pid namespace; else 0."""
        where = pid_namespace.place(self.domain)
        here = where == "here" or (where == "unknown" and not pid_namespace.is_sandboxed())
        return self.pid if here else 0


def parse_state(text: bytes) -> ServerState | None:
    """Parse a state file; None for an invalid one::

    {"version": 1, "pid": 4711, "started": "99", "address": "unix:///home/me/.dev-sessions/codex/…", …}
    """
    found = parse_object(text) or {}
    match found:
        case {"version": 1, "pid": int(pid), "started": str(started), "address": str(address)} if pid > 0:
            token_file = found.get("token_file")
            return ServerState(
                pid,
                started,
                address,
                str(found.get("codex_version")),
                str(found.get("codex_home")),
                token_file if isinstance(token_file, str) else None,
                str(found["domain"]) if found.get("domain") else None,
                str(found["lock"]) if found.get("lock") else None,
                tuple(map(str, names)) if isinstance(names := found.get("variables"), list) else None,
            )
    return None


def serialize_state(state: ServerState) -> bytes:
    """Return the content of a state file, as `parse_state` reads it."""
    return json.dumps({"version": _STATE_VERSION, **vars(state)}, indent=2).encode()
