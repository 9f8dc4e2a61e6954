"""The gateway as a LaunchAgent of macOS.

Exit codes of launchctl decide. Its output is only shown in errors, except that `list` is searched for a PID.
"""

from __future__ import annotations

import os
import plistlib

from dev_sessions.errors import ProgramMissing, ProtocolError
from dev_sessions.gateway.service_manager import (
    COMMAND_TIMEOUT,
    STOP_TIMEOUT,
    ServiceManager,
    ServiceSpec,
    printed,
    require_writable,
)
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.programs import Completed, run

LABEL = "com.dev-sessions.gateway"
_POLL_INTERVAL = 0.1


class Launchd(ServiceManager):
    """launchd, in the domain of this user's login."""

    def __init__(self) -> None:
        self.service_file = paths.home() / "Library" / "LaunchAgents" / f"{LABEL}.plist"
        self._domain = f"gui/{os.getuid()}"
        self._service = f"{self._domain}/{LABEL}"

    def require(self, instead: str) -> None:
        try:
            self._launchctl("list")
        except ProgramMissing as error:
            raise ProgramMissing(f"{error}; nothing was installed; run the gateway yourself: {instead}") from error

    def file_content(self, spec: ServiceSpec) -> bytes:
        return property_list(spec)

    def start(self) -> None:
        self.stop()
        self._launchctl("enable", self._service)
        done = self._launchctl("bootstrap", self._domain, str(self.service_file))
        if done.code != 0:
            # macOS before 10.11 has no bootstrap.
            self._launchctl("load", "-w", str(self.service_file))
        if not self._is_loaded():
            raise ProtocolError(f"launchctl bootstrap {self._domain} failed: {printed(done)}; fix that, then try again")

    def stop(self) -> None:
        # bootout returns before the service has ended, and a service that is still ending cannot be loaded again.
        done = self._launchctl("bootout", self._service)
        if done.code != 0 and self._is_loaded():
            self._launchctl("unload", str(self.service_file))
        if poll(lambda: None if self._is_loaded() else True, Deadline(STOP_TIMEOUT), _POLL_INTERVAL) is None:
            raise ProtocolError(f"launchctl bootout {self._service} failed: {printed(done)}; fix that, then try again")

    def remove(self) -> None:
        self.stop()
        self.service_file.unlink()

    def is_running(self) -> bool:
        try:
            return '"PID" = ' in self._launchctl("list", LABEL).stdout
        except ProgramMissing:
            return False

    def _is_loaded(self) -> bool:
        return self._launchctl("list", LABEL).code == 0

    def _launchctl(self, *arguments: str) -> Completed:
        return run(["launchctl", *arguments], timeout=COMMAND_TIMEOUT)


def property_list(spec: ServiceSpec) -> bytes:
    """Return the LaunchAgent's property list. Raises InvalidRequest for text that no service file can hold."""
    require_writable(spec)
    return plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": list(spec.argv),
            "EnvironmentVariables": dict(spec.environment),
            # `python -m` looks for modules in the directory that it starts in.
            "WorkingDirectory": "/",
            "StandardOutPath": spec.log,
            "StandardErrorPath": spec.log,
            "Umask": 0o077,
            "RunAtLoad": True,
            "KeepAlive": True,
            "AbandonProcessGroup": True,
            # Otherwise launchd throttles the gateway and the agents that it starts.
            "ProcessType": "Interactive",
        },
        sort_keys=False,
    )
