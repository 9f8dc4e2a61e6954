"""What keeps the gateway running: launchd on macOS, systemd on Linux, driven by their own commands.

Their words are not interpreted here: exit codes decide, and what they said is passed on.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Protocol

from dev_sessions import paths
from dev_sessions.deadline import Deadline, poll
from dev_sessions.errors import InvalidRequest, ProgramMissing, ProtocolError
from dev_sessions.gateway.units import LAUNCHD_LABEL, SYSTEMD_NAME, Daemon, launchd_plist, systemd_unit
from dev_sessions.process import Completed, run

#: Seconds that a service manager may take for one order, and a service to end.
_ORDER = 30.0
_STOP = 10.0
_LOOK = 0.1


class ServiceManager(Protocol):
    """launchd or systemd, for the one service that is ours."""

    service_file: Path

    def require(self, instead: str) -> None:
        """ProgramMissing, naming what to run `instead`, when it is not there to start anything for this user."""

    def text(self, daemon: Daemon) -> bytes:
        """The content of the service file. InvalidRequest when it can hold no such text."""

    def start(self) -> None:
        """Start, or start anew, what the service file says, now and at every login. ProtocolError."""

    def stop(self) -> None:
        """Stop it, so that its port is free; one that does not run is fine. ProtocolError."""

    def remove(self) -> None:
        """Stop it for good and remove the service file. ProtocolError."""

    def is_running(self) -> bool:
        """Whether it runs now."""

    def hints(self) -> tuple[str, ...]:
        """What is left for the user to do."""


class Systemd:
    """systemd's manager of this user."""

    def __init__(self) -> None:
        self.service_file = paths.home() / ".config" / "systemd" / "user" / SYSTEMD_NAME

    def require(self, instead: str) -> None:
        try:
            done = self._ask("show", "--property=Version")
            words = _words(done) if done.code != 0 else None
        except ProgramMissing:
            words = "systemctl was not found on PATH"
        if words is not None:
            raise ProgramMissing(
                f"There is no systemd that runs services of this user here ({words}), so nothing was installed; "
                f"run the gateway yourself: {instead}"
            )

    def text(self, daemon: Daemon) -> bytes:
        return systemd_unit(daemon)

    def start(self) -> None:
        self._order("daemon-reload")
        self._order("enable", SYSTEMD_NAME)
        self._order("restart", SYSTEMD_NAME)

    def stop(self) -> None:
        self._order("stop", SYSTEMD_NAME)

    def remove(self) -> None:
        self._order("disable", "--now", SYSTEMD_NAME)
        self.service_file.unlink()
        self._order("daemon-reload")
        # Else the failure of one that is gone is shown for ever.
        self._ask("reset-failed", SYSTEMD_NAME)

    def is_running(self) -> bool:
        try:
            return self._ask("is-active", "--quiet", SYSTEMD_NAME).code == 0
        except ProgramMissing:
            return False

    def hints(self) -> tuple[str, ...]:
        lingers = os.path.exists(f"/var/lib/systemd/linger/{pwd.getpwuid(os.getuid()).pw_name}")
        return () if lingers else ("It ends when you log out, with its sessions, unless: loginctl enable-linger",)

    def _ask(self, *arguments: str) -> Completed:
        return run(["systemctl", "--user", *arguments], timeout=_ORDER)

    def _order(self, *arguments: str) -> None:
        done = self._ask(*arguments)
        if done.code != 0:
            raise ProtocolError(
                f"systemctl --user {' '.join(arguments)} failed: {_words(done)}; mend that, then try again"
            )


class Launchd:
    """launchd's domain of this user's login."""

    def __init__(self) -> None:
        self.service_file = paths.home() / "Library" / "LaunchAgents" / f"{LAUNCHD_LABEL}.plist"
        self._domain = f"gui/{os.getuid()}"
        self._service = f"{self._domain}/{LAUNCHD_LABEL}"

    def require(self, instead: str) -> None:
        try:
            self._ask("list")
        except ProgramMissing as error:
            raise ProgramMissing(f"{error}; nothing was installed; run the gateway yourself: {instead}") from error

    def text(self, daemon: Daemon) -> bytes:
        return launchd_plist(daemon)

    def start(self) -> None:
        self.stop()
        self._ask("enable", self._service)
        done = self._ask("bootstrap", self._domain, str(self.service_file))
        if done.code != 0:
            # Before 10.11 there was no other way.
            self._ask("load", "-w", str(self.service_file))
        if not self._is_loaded():
            raise ProtocolError(f"launchctl bootstrap {self._domain} failed: {_words(done)}; mend that, then try again")

    def stop(self) -> None:
        # It returns before the service has ended, and a service that is still ending cannot be loaded again.
        done = self._ask("bootout", self._service)
        if done.code != 0 and self._is_loaded():
            self._ask("unload", str(self.service_file))
        if poll(lambda: None if self._is_loaded() else True, Deadline(_STOP), _LOOK) is None:
            raise ProtocolError(f"launchctl bootout {self._service} failed: {_words(done)}; mend that, then try again")

    def remove(self) -> None:
        self.stop()
        self.service_file.unlink()

    def is_running(self) -> bool:
        try:
            return '"PID" = ' in self._ask("list", LAUNCHD_LABEL).stdout
        except ProgramMissing:
            return False

    def hints(self) -> tuple[str, ...]:
        return ()

    def _is_loaded(self) -> bool:
        return self._ask("list", LAUNCHD_LABEL).code == 0

    def _ask(self, *arguments: str) -> Completed:
        return run(["launchctl", *arguments], timeout=_ORDER)


def manager_of(platform: str) -> ServiceManager:
    """The service manager of a platform, by `sys.platform`'s name for it."""
    if platform == "darwin":
        return Launchd()
    if platform == "linux":
        return Systemd()
    raise InvalidRequest(
        f"There are services of the gateway for Linux and macOS only, not for {platform}: run dev-sessions gateway"
    )


def _words(done: Completed) -> str:
    """What a program said, in one line."""
    return " ".join((done.stderr or done.stdout).split()) or f"exit code {done.code}"
