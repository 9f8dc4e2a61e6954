"""Execute operations on another machine, as command lines of the `dev-sessions` there, over ssh.

The other machine may have version 0.4. An operation that it lacks is an error before anything is sent.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from typing import Any, TypeVar

from dev_sessions import __version__, arguments, failures
from dev_sessions.attempt import Attempt, delivering_if_needed
from dev_sessions.errors import HostUnreachable, InvalidRequest, ProgramMissing, ProtocolError, Relayed, WaitTimedOut
from dev_sessions.models import Terminal, WaitResult
from dev_sessions.operations import (
    FIRST_FULL_VERSION,
    Ask,
    Create,
    Fork,
    Interrupt,
    Operation,
    Recover,
    Wait,
    is_read_only,
    needs_full_version,
    timeout_message,
)
from dev_sessions.remote import command_line, ssh
from dev_sessions.remote.command_line import CommandLine
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.fast_dataclass import replace
from dev_sessions.system.programs import Completed
from dev_sessions.system.version import parse_version

R = TypeVar("R")

_NOT_FOUND = 127
_MAX_VERSION = 80
#: Seconds for connecting and for starting dev-sessions there, in addition to the timeout of an operation that has one.
MARGIN = 5.0
#: Timeouts in seconds of `--version` and of operations that read; of those that change something, and may have to wait
#: for other commands; of those that start agents, check out worktrees, or end and recover many sessions.
_READ_TIMEOUT, _CHANGE_TIMEOUT, _START_TIMEOUT = 30.0, 180.0, 900.0


class Relay:
    """The transport to a host, where the command `remote_bin` is run. `warn` prints a warning for the user.

    `version` is the version of dev-sessions on the host, None if it is unknown.
    """

    def __init__(self, host: str, remote_bin: str, version: str | None, warn: Callable[[str], None]) -> None:
        self._host = ssh.require_host(host)
        self._remote_bin = remote_bin
        self.version = version
        self._warn = warn

    def query_version(self, timeout: float = _READ_TIMEOUT) -> str:
        """Return the version of dev-sessions on the host; warn if it may be incompatible with this one."""
        printed = command_line.last_line(self._run(CommandLine(["--version"]), timeout))
        if len(printed) > _MAX_VERSION or not parse_version(printed):
            raise ProtocolError(
                f"dev-sessions --version on {self._host} printed no version: {printed[:80]!r}; check that its login"
                f" shell prints nothing: ssh {self._host} bash -lc true"
            )
        self.version = printed
        if not is_compatible(self.version):
            self._warn(
                f"dev-sessions on {self._host} is {self.version}, and {__version__} here; they may be incompatible:"
                " update the older one"
            )
        return self.version

    def execute(self, operation: Operation[R]) -> R:
        """Execute an operation on the host. Raises its errors as they would be raised here."""
        with delivering_if_needed(operation) as attempt:
            return self._execute(operation, attempt)

    def _execute(self, operation: Operation[R], attempt: Attempt) -> R:
        deadline = Deadline(_timeout(operation))
        if needs_full_version(operation):
            self._require_full_version(min(deadline.remaining(), _READ_TIMEOUT))
        line = command_line.encode(operation, full_version=is_full(self.version or ""))
        began = time.monotonic()
        attempt.begin()
        try:
            done = self._run(line, deadline.remaining(), command_line.exit_codes(operation))
        except (InvalidRequest, ProgramMissing):
            # ssh here, or dev-sessions there, is not installed.
            attempt.mark_rejected()
            raise
        except HostUnreachable as error:
            if isinstance(error, ssh.NoAnswer) and isinstance(operation, Wait):
                raise WaitTimedOut(f"{timeout_message(operation)}, and {error}") from error
            if is_read_only(operation):
                raise
            raise HostUnreachable(f"{error}; it may have been executed there: check before you repeat it") from error
        for printed in done.stderr.splitlines():
            if printed.startswith("Warning: "):
                self._warn(printed.removeprefix("Warning: "))
        try:
            result = command_line.decode(operation, done)
        except ValueError as error:  # Malformed is one
            raise ProtocolError(
                f"The output of dev-sessions {line.arguments[0]} on {self._host} is invalid ({error}); check that its"
                f" login shell prints nothing: ssh {self._host} bash -lc true"
            ) from error
        if isinstance(result, WaitResult):
            return replace(result, elapsed_ms=round((time.monotonic() - began) * 1000))
        return result

    def terminal(self, session_id: str) -> Terminal:
        """Return the program that shows a session of the host: ssh with a terminal, running `attach` there."""
        self._require_full_version()
        command = f"{self._remote_bin} {shlex.join(['attach', session_id])}"
        return Terminal(tuple(ssh.terminal_argv(self._host, command)))

    def _require_full_version(self, timeout: float = _READ_TIMEOUT) -> None:
        if not is_full(self.version or "") and not is_full(self.query_version(timeout)):
            raise ProtocolError(
                f"dev-sessions on {self._host} is {self.version}, too old for this command; update it there to"
                f" {FIRST_FULL_VERSION} or newer"
            )

    def _run(self, line: CommandLine, timeout: float, exit_codes: tuple[int, ...] = (0,)) -> Completed:
        """Run a command line on the host. Raises its error, with its text, for any other exit code."""
        words, stdin, is_private = line.arguments, line.stdin, line.is_private
        if is_private and is_full(self.version or ""):
            words, stdin, is_private = [arguments.OPTION], arguments.encode(words, stdin), False
        command = f"{self._remote_bin} {shlex.join(words)}"
        done = ssh.run(self._host, command, stdin, timeout, private=is_private)
        if done.code in exit_codes and (done.code == 0 or done.stdout.strip()):
            return done
        if done.code == _NOT_FOUND:
            raise InvalidRequest(
                f"{self._remote_bin.split()[0]} was not found on {self._host}, in the PATH of a login shell: install "
                "dev-sessions there, or set DEV_SESSIONS_REMOTE_BIN"
            )
        text = done.stderr or f"dev-sessions on {self._host} failed with exit code {done.code} and no message"
        if done.code == WaitTimedOut.exit_code:
            raise WaitTimedOut(text)
        raise Relayed(text, done.code, *failures.read(text))


def _timeout(operation: Operation[Any]) -> float:
    """Return the seconds after which a host that has not executed an operation counts as hanging."""
    if isinstance(operation, Ask | Wait | Interrupt):
        return operation.timeout + MARGIN
    if isinstance(operation, Create | Fork | Recover):
        return _START_TIMEOUT
    return _READ_TIMEOUT if is_read_only(operation) else _CHANGE_TIMEOUT


def is_full(version: str) -> bool:
    """Return whether a remote version knows every operation and field."""
    return parse_version(version) >= parse_version(FIRST_FULL_VERSION)


def is_compatible(version: str) -> bool:
    """Return whether a remote version is compatible with this one.

    It has the same major version; before 1.0 also the same minor version, or 0.4.
    """
    remote, local = parse_version(version), parse_version(__version__)
    return remote[:2] in ((0, 4), local[:2]) if local[0] == 0 else remote[:1] == local[:1]
