"""Operations on another machine: as a command line of the `dev-sessions` there, its output read back as a result.

The far end may be version 0.4. What that cannot do is an error before anything is sent.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from dev_sessions import __version__
from dev_sessions.attempt import Attempt, carrying
from dev_sessions.errors import (
    HostUnreachable,
    InvalidRequest,
    ProgramMissing,
    ProtocolError,
    Relayed,
    WaitTimedOut,
)
from dev_sessions.models import (
    Goal,
    KillReport,
    Listing,
    LogTurn,
    Receipt,
    RecoverReport,
    RecoverRow,
    Reply,
    SessionStatus,
    Terminal,
    WaitResult,
)
from dev_sessions.operations import (
    FIRST_WITH_ALL,
    Ask,
    ClearGoal,
    Create,
    GetGoal,
    Inspect,
    Interrupt,
    Kill,
    LastMessage,
    List,
    Logs,
    Operation,
    Recover,
    Respond,
    Send,
    SetGoal,
    Status,
    Wait,
)
from dev_sessions.parsing import Malformed, from_json, read_rows, read_session
from dev_sessions.process import Completed
from dev_sessions.remote import ssh

R = TypeVar("R")

_NOT_FOUND = 127
_SOME_FAILED = 1
_ASKS = 3
_TIMED_OUT = 124
#: Seconds for what people wait for while they look at it. Everything else may take what it takes: the connection is
#: watched by ssh.
_LOOK_PATIENCE = 30.0
#: What changes nothing, and can be asked again.
_READS = (GetGoal, Inspect, LastMessage, List, Logs, Status, Wait)


class Relay:
    """The sessions of one host, driven by the `remote_bin` there. `warn` takes a line for the user.

    `version` is that of the far end as far as it is known.
    """

    def __init__(self, host: str, remote_bin: str, version: str | None, warn: Callable[[str], None]) -> None:
        self._host = ssh.require_host(host)
        self._remote_bin = remote_bin
        self.version = version
        self._warn = warn

    def greet(self, patience: float = _LOOK_PATIENCE) -> str:
        """Ask the far end for its version, and warn when it may not get along with this one."""
        said = self._run(["--version"], None, patience).stdout
        self.version = said.strip().rpartition("\n")[2].strip()
        if not _is_compatible(self.version):
            self._warn(
                f"dev-sessions on {self._host} is {self.version}, and {__version__} here: update one of them if they "
                "do not get along"
            )
        return self.version

    def execute(self, operation: Operation[R]) -> R:
        """Do it there. Raises what went wrong there as it would be raised here."""
        with carrying(operation) as attempt:
            return self._execute(operation, attempt)

    def _execute(self, operation: Operation[R], attempt: Attempt) -> R:
        if operation.is_new and not _has_all(self.version or "") and not _has_all(self.greet()):
            raise ProtocolError(self._too_old())
        has_all = _has_all(self.version or "")
        arguments, stdin = (operation.argv(), operation.stdin()) if has_all else _for_old(operation)
        patience = _LOOK_PATIENCE if isinstance(operation, List) else None
        began = time.monotonic()
        attempt.begin()
        try:
            done = self._run(arguments, stdin, patience, _answers(operation))
        except (InvalidRequest, ProgramMissing):
            # Either ssh or dev-sessions there is not installed.
            attempt.refused()
            raise
        except HostUnreachable as error:
            if isinstance(operation, _READS):
                raise
            raise HostUnreachable(
                f"{error}; whether it was done there is not known, so look before you repeat it"
            ) from error
        for line in done.stderr.splitlines():
            if line.startswith("Warning: "):
                self._warn(line.removeprefix("Warning: "))
        try:
            result: R = _READERS[type(operation)](operation, done)
        except ValueError as error:  # Malformed is one
            raise ProtocolError(
                f"dev-sessions on {self._host} answered {arguments[0]} with something else than its result "
                f"({error}); see what `ssh {self._host} bash -lc true` prints"
            ) from error
        if isinstance(result, WaitResult):
            return replace(result, elapsed_ms=round((time.monotonic() - began) * 1000))
        return result

    def terminal(self, session_id: str) -> Terminal:
        """ssh with a terminal, in which `attach` runs there."""
        if not _has_all(self.version or "") and not _has_all(self.greet()):
            raise ProtocolError(self._too_old())
        command = f"{self._remote_bin} {shlex.join(['attach', session_id])}"
        return Terminal(tuple(ssh.command_line(self._host, command, terminal=True)))

    def _too_old(self) -> str:
        needed = f"update it there to {FIRST_WITH_ALL} or newer"
        return f"dev-sessions on {self._host} is {self.version}, too old for this: {needed}"

    def _run(
        self, arguments: list[str], stdin: str | None, patience: float | None, answers: tuple[int, ...] = (0,)
    ) -> Completed:
        """Run a command line there; an exit code that is none of `answers` is its error, with its words."""
        done = ssh.run(self._host, f"{self._remote_bin} {shlex.join(arguments)}", stdin, patience)
        if done.code in answers and (done.code == 0 or done.stdout.strip()):
            return done
        if done.code == _NOT_FOUND:
            raise InvalidRequest(
                f"{self._remote_bin.split()[0]} was not found on {self._host}, in the PATH of bash -l: install "
                "dev-sessions there, or set DEV_SESSIONS_REMOTE_BIN"
            )
        text = done.stderr or f"dev-sessions on {self._host} failed with exit code {done.code} and said nothing"
        if done.code == _TIMED_OUT:
            raise WaitTimedOut(text)
        raise Relayed(text, done.code)


def _has_all(version: str) -> bool:
    """Whether a far end of this version has all of what 0.4 did not have."""
    return _numbers(version) >= _numbers(FIRST_WITH_ALL)


def _for_old(operation: Operation[Any]) -> tuple[list[str], str | None]:
    """The arguments and the standard input for a far end that is 0.4, or may be."""
    match operation:
        case List():  # it knows no --all, and has forgotten the lost ones anyway
            return List().argv(), None
        case SetGoal(objective=str(objective)):  # it is given one in the arguments
            return [*replace(operation, objective=None, status=None).argv(), "--", objective], None
    return operation.argv(), operation.stdin()


def _is_compatible(version: str) -> bool:
    """Whether a far end gets along with us: the same major version, and before 1.0 0.4 or the same minor one."""
    theirs, ours = _numbers(version), _numbers(__version__)
    return theirs[:2] in ((0, 4), ours[:2]) if ours[0] == 0 else theirs[0] == ours[0]


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split("-", maxsplit=1)[0].split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else (0,)


def _answers(operation: Operation[Any]) -> tuple[int, ...]:
    match operation:
        case Wait() | Ask():
            return (0, _ASKS)
        case Recover():
            return (0, _SOME_FAILED)
    return (0,)


def _json(done: Completed) -> Any:
    """The JSON that was printed. A login shell may have printed something before it."""
    lines = done.stdout.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line[:1] in ("{", "[", "n", "t", "f"):
            try:
                return json.loads("".join(lines[number:]))
            except ValueError:
                continue
    raise Malformed("no JSON")


def _last_line(done: Completed) -> str:
    return done.stdout.strip().rpartition("\n")[2].strip()


def _read_ask(_: Ask, done: Completed) -> Reply:
    return Reply("", "waiting_for_input") if done.code == _ASKS else Reply(done.stdout.removesuffix("\n"), "completed")


def _read_wait(operation: Wait, done: Completed) -> WaitResult:
    if done.code == _ASKS:
        return WaitResult("waiting_for_input", 0)
    if operation.goal:
        # The status is all that is told of it.
        status = _last_line(done)
        goal = None if status == "cleared" else Goal(thread_id="", objective="", status=status)
        return WaitResult("completed", 0, goal)
    if _last_line(done) != "completed":
        raise Malformed(f"{_last_line(done)!r}")
    return WaitResult("completed", 0)


def _read_status(operation: Status, done: Completed) -> SessionStatus:
    status = from_json(SessionStatus, _json(done) if operation.detail else {"state": _last_line(done)})
    assert isinstance(status, SessionStatus)
    return status


def _nothing(_: Operation[Any], done: Completed) -> None:
    """What was printed says no more than the exit code."""


_READERS: dict[type[Operation[Any]], Callable[[Any, Completed], Any]] = {
    Create: lambda _, done: read_session(_json(done)),
    Send: lambda operation, done: from_json(Receipt, _json(done)) if operation.receipt else None,
    Ask: _read_ask,
    Wait: _read_wait,
    LastMessage: lambda _, done: from_json(list[str], _json(done)),
    Status: _read_status,
    List: lambda _, done: Listing(read_rows(_json(done)), 0),
    Kill: lambda operation, done: KillReport((operation.session_id,), (), tuple(done.stderr.splitlines())),
    Logs: lambda _, done: from_json(list[LogTurn], _json(done)),
    Inspect: lambda _, done: from_json(dict[str, Any], _json(done)),
    GetGoal: lambda _, done: from_json(Goal | None, _json(done)),
    SetGoal: lambda _, done: from_json(Goal, _json(done)),
    ClearGoal: lambda _, done: from_json(dict[str, bool], _json(done))["cleared"],
    Recover: lambda _, done: RecoverReport(from_json(tuple[RecoverRow, ...], _json(done))),
    Respond: _nothing,
    Interrupt: _nothing,
}
