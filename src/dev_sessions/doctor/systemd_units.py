"""Check whether a systemd unit, which ends what it has started, will end the servers of all sessions."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dev_sessions.claude.tmux import Tmux
from dev_sessions.codex.app_server import AppServer
from dev_sessions.doctor.check import TIMEOUT, Check
from dev_sessions.errors import DevSessionsError
from dev_sessions.system import paths
from dev_sessions.system.programs import run

#: The services of a user's own manager, and of logins: they end with the user's last session.
_MANAGERS = ("user@", "ssh", "getty@", "display-manager")


def units() -> Iterator[Check]:
    """Check that neither tmux nor an app-server lives in a systemd service that ends it with its own command."""
    for name, pid in _servers():
        unit = service_of(_cgroup(pid))
        if unit is None or _kill_mode(unit, pid) not in ("control-group", "mixed"):
            continue
        text = (
            f"{name} (process {pid}) runs in the systemd unit {unit}, which ends it, with its sessions, when it stops"
        )
        yield Check("unit", "warning", f"{text}; set KillMode=process in that unit, or start {name} outside of it")


def _servers() -> Iterator[tuple[str, int]]:
    """Yield the running servers with their pids."""
    with contextlib.suppress(DevSessionsError, TimeoutError, ValueError):  # other checks say so
        yield "tmux", int(Tmux(Tmux.current_socket()).output("display-message", "-p", "#{pid}")[0])
    for directory in paths.codex_dirs():
        state = AppServer(directory).state()
        if state is not None and state.pid_here:
            yield "Codex's app-server", state.pid_here


def service_of(cgroup: str) -> str | None:
    """Return the systemd service in the text of /proc/PID/cgroup::

        0::/user.slice/user-1000.slice/user@1000.service/app.slice/nightly.service

    None for a scope, such as that of a login, and for the manager itself.
    """
    for line in cgroup.splitlines():
        _, _, path = line.partition("::") if line.startswith("0::") else line.partition(":name=systemd:")
        unit = os.path.basename(path)
        if unit.endswith(".service") and not unit.startswith(_MANAGERS):
            return unit
    return None


def _cgroup(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
    except OSError:
        return ""


def _kill_mode(unit: str, pid: int) -> str:
    """Return the KillMode of a unit; "" if it is unknown."""
    managers: list[list[str]] = [["--user"], []]
    for manager in managers if "/user@" in _cgroup(pid) else reversed(managers):
        try:
            done = run(["systemctl", *manager, "show", "--property=LoadState,KillMode", unit], timeout=TIMEOUT)
        except (DevSessionsError, OSError, TimeoutError):
            return ""
        found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        if found.get("LoadState") == "loaded":
            return found.get("KillMode", "")
    return ""
