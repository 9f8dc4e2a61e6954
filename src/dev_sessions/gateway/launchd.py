"""The gateway as a LaunchAgent of macOS (launchctl(1), launchd.plist(5)).

Exit codes of launchctl decide, which are error numbers. Its output is only shown in errors, except that `list` is
searched for a PID.
"""

from __future__ import annotations

import os
import plistlib
import shlex

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
from dev_sessions.system.deadline import Deadline, wait_until
from dev_sessions.system.programs import Completed, run

LABEL = "com.dev-sessions.gateway"
_POLL_INTERVAL = 0.1
#: What bootstrap exits with for a moment after a bootout: I/O error, operation (already) in progress.
_BUSY = (5, 36, 37)
#: The service is disabled; its file has the wrong owner or permissions.
_DISABLED, _BAD_PERMISSIONS = 119, 122


class Launchd(ServiceManager):
    """launchd, in the domain of this user's login at the screen."""

    def __init__(self) -> None:
        self.service_file = paths.home() / "Library" / "LaunchAgents" / f"{LABEL}.plist"
        self._domain = f"gui/{os.getuid()}"
        self._service = f"{self._domain}/{LABEL}"

    def require(self, instead: str) -> None:
        otherwise = f"nothing was installed; run the gateway yourself: {instead}"
        try:
            done = self._launchctl("print", self._domain)
        except ProgramMissing as error:
            raise ProgramMissing(f"{error}; {otherwise}") from error
        if done.code != 0:
            raise ProgramMissing(
                f"macOS runs services of a user only after a login at the screen, which ssh is not ({printed(done)});"
                f" log in there first; {otherwise}"
            )

    def file_content(self, spec: ServiceSpec) -> bytes:
        return property_list(spec)

    def start(self) -> None:
        self.stop()
        self._launchctl("enable", self._service)
        deadline = Deadline(STOP_TIMEOUT)
        while (done := self._launchctl("bootstrap", self._domain, str(self.service_file))).code != 0:
            if done.code not in _BUSY or deadline.expired:
                raise ProtocolError(f"launchctl bootstrap {self._domain} failed: {printed(done)}; {self._advice(done)}")
            deadline.pause(_POLL_INTERVAL)

    def stop(self) -> None:
        # bootout returns before the service has ended, and a service that is still ending cannot be loaded again.
        done = self._launchctl("bootout", self._service)
        if not wait_until(lambda: not self._is_loaded(), Deadline(STOP_TIMEOUT), _POLL_INTERVAL):
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

    def _advice(self, done: Completed) -> str:
        if done.code == _DISABLED:
            return "allow it in System Settings, Login Items & Extensions, then try again"
        if done.code == _BAD_PERMISSIONS:
            return f"{self.service_file} and its folder must be yours and writable for nobody else; then try again"
        return f"fix that (plutil -lint {shlex.quote(str(self.service_file))} checks its file), then try again"

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
            # After a failure, and at most every ThrottleInterval seconds: a port that is in use stays so for long.
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 10,
            # Sessions outlive the gateway: their processes are in its process group, or began there.
            "AbandonProcessGroup": True,
            # Otherwise launchd throttles the gateway and the agents that it starts.
            "ProcessType": "Interactive",
        },
        sort_keys=False,
    )
