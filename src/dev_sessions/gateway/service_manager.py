"""The interface of service managers (launchd, systemd), and what their service files have in common.

Both stop only the gateway, not its children: tmux servers, agents and app-servers are among them, and their sessions
must survive a reinstallation. Service files hold no secrets.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev_sessions.errors import InvalidRequest
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.programs import Completed

#: Seconds for one command of a service manager, and for a service to stop.
COMMAND_TIMEOUT, STOP_TIMEOUT = 30.0, 10.0
#: Matches version 0.4's service file, too, so that its gateway is found and replaced.
_PORT = rb'--port(?:</string>\s*<string>|"? ?=?"?)(\d+)'
#: Characters that neither XML nor systemd accepts, and the surrogates that stand for bytes which are not UTF-8.
_UNWRITABLE = r"[\x00-\x1f\x7f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"


@fast_dataclass(frozen=True)
class ServiceSpec:
    """A command to keep running, the variables added to the service manager's own environment, and its log file."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    log: str


class ServiceManager(ABC):
    """A service manager that runs the gateway."""

    service_file: Path

    @abstractmethod
    def require(self, instead: str) -> None:
        """Raise ProgramMissing if it cannot run services of this user; `instead` is the command to suggest."""

    @abstractmethod
    def file_content(self, spec: ServiceSpec) -> bytes:
        """Return the content of the service file. Raises InvalidRequest for text that no service file can hold."""

    @abstractmethod
    def start(self) -> None:
        """Start or restart the service, now and at every login. Raises ProtocolError."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the service, so that its port is free; does nothing if it is stopped. Raises ProtocolError."""

    @abstractmethod
    def remove(self) -> None:
        """Stop the service for good and remove its file. Raises ProtocolError."""

    @abstractmethod
    def is_running(self) -> bool:
        """Return whether the service runs now."""

    def hints(self) -> tuple[str, ...]:
        """Return what the user has to do or know, one line each."""
        return ()


def port_of(service_file: bytes) -> int | None:
    """Return the port in a service file, ours or version 0.4's."""
    found = re.search(_PORT, service_file)
    return int(found[1]) if found else None


def requires_token(service_file: bytes) -> bool:
    """Return whether the gateway of a service file of ours requires its token."""
    return b"--token-file" in service_file


def require_writable(spec: ServiceSpec) -> None:
    """Raise InvalidRequest if a text of the service can't stand in a service file."""
    for text in (*spec.argv, *spec.environment.values(), spec.log):
        if re.search(_UNWRITABLE, text):
            raise InvalidRequest(
                f"No service file can hold {text!r}: it has control characters or is not UTF-8 text; change that"
            )


def printed(done: Completed) -> str:
    """Return what a program printed, in one line."""
    return " ".join((done.stderr or done.stdout).split()) or f"exit code {done.code}"
