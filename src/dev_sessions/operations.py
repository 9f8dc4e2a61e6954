"""Every operation, once: its request, its result, its command line and how a manager runs it.

A transport is anything with `execute(operation)`. Here, in a container over HTTP, or on another machine over ssh: the
same operations travel. `argv()` with `stdin()` is the operation as a command line; parsed by the click tree it gives
the operation back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from dev_sessions.models import (
    Cli,
    JsonObject,
    KillReport,
    Listing,
    LogTurn,
    Mode,
    Receipt,
    RecoverReport,
    Reply,
    Session,
    Standing,
    WaitResult,
)

if TYPE_CHECKING:
    from dev_sessions.manager import SessionManager

R = TypeVar("R")
DEFAULT_TIMEOUT = 300.0


class Operation(ABC, Generic[R]):
    """Something that can be asked of a machine with sessions, answered with an R."""

    @abstractmethod
    def argv(self) -> list[str]:
        """The arguments of the `dev-sessions` command line that does the same."""

    def stdin(self) -> str | None:
        """What that command line reads from its standard input; None for nothing."""
        return None

    @abstractmethod
    def run(self, manager: SessionManager) -> R:
        """Do it on this machine."""


class Transport(Protocol):
    """Carries operations to where they are done."""

    def execute(self, operation: Operation[R]) -> R:
        """Do it, wherever that is; raises the errors of `dev_sessions.errors`."""


@dataclass(frozen=True, kw_only=True)
class Create(Operation[Session]):
    """Start a session in the folder `path`. `id` None: a free name is chosen. Returns when it takes messages.

    With `worktree` it gets a git worktree for itself, on that branch, or if that is "" on one named after the session.
    """

    path: str
    cli: Cli = "claude"
    mode: Mode = "native"
    description: str | None = None
    model: str | None = None
    id: str | None = None
    worktree: str | None = None

    def argv(self) -> list[str]:
        arguments = ["create", "--path", self.path, "--cli", self.cli, "--mode", self.mode, "--json"]
        options = {"--description": self.description, "--model": self.model, "--id": self.id}
        for option, value in options.items():
            if value is not None:
                arguments += [option, value]
        if self.worktree is not None:
            arguments.append(f"--worktree={self.worktree}" if self.worktree else "--worktree")
        return arguments

    def run(self, manager: SessionManager) -> Session:
        return manager.create(self)


@dataclass(frozen=True, kw_only=True)
class Send(Operation[Receipt]):
    """Deliver a message to a session, once, with proof. `discard_draft` throws away what somebody has begun to type."""

    session_id: str
    message: str
    discard_draft: bool = False

    def argv(self) -> list[str]:
        discard = ["--discard-draft"] if self.discard_draft else []
        return ["send", self.session_id, "--file", "-", "--json", *discard]

    def stdin(self) -> str:
        return self.message

    def run(self, manager: SessionManager) -> Receipt:
        return manager.send(self)


@dataclass(frozen=True, kw_only=True)
class Ask(Operation[Reply]):
    """Send a message and wait, at most `timeout` seconds, for the reply to this very message."""

    session_id: str
    message: str
    timeout: float = DEFAULT_TIMEOUT

    def argv(self) -> list[str]:
        return ["ask", self.session_id, "--file", "-", "--timeout", f"{self.timeout:g}"]

    def stdin(self) -> str:
        return self.message

    def run(self, manager: SessionManager) -> Reply:
        return manager.ask(self)


@dataclass(frozen=True, kw_only=True)
class Wait(Operation[WaitResult]):
    """Wait, at most `timeout` seconds, until the turn of the last send has ended.

    `interval` (seconds) bounds the pause between two looks wherever something has to be looked at.
    """

    session_id: str
    timeout: float = DEFAULT_TIMEOUT
    interval: float | None = None

    def argv(self) -> list[str]:
        interval = [] if self.interval is None else ["--interval", f"{self.interval:g}"]
        return ["wait", self.session_id, "--timeout", f"{self.timeout:g}", *interval]

    def run(self, manager: SessionManager) -> WaitResult:
        return manager.wait(self)


@dataclass(frozen=True, kw_only=True)
class LastMessage(Operation[list[str]]):
    """The last `count` text blocks that the agent wrote, oldest first."""

    session_id: str
    count: int = 1

    def argv(self) -> list[str]:
        return ["last-message", self.session_id, "--count", str(self.count), "--json"]

    def run(self, manager: SessionManager) -> list[str]:
        return manager.last_message(self)


@dataclass(frozen=True, kw_only=True)
class Status(Operation[Standing]):
    """What a session does right now."""

    session_id: str

    def argv(self) -> list[str]:
        return ["status", self.session_id, "--json"]

    def run(self, manager: SessionManager) -> Standing:
        return manager.status(self)


@dataclass(frozen=True, kw_only=True)
class List(Operation[Listing]):
    """The sessions that live; with `everything` also the lost ones that hold a conversation."""

    everything: bool = False

    def argv(self) -> list[str]:
        return ["list", "--json", *(["--all"] if self.everything else [])]

    def run(self, manager: SessionManager) -> Listing:
        return manager.list(self)


@dataclass(frozen=True, kw_only=True)
class Kill(Operation[KillReport]):
    """End one session and forget it."""

    session_id: str

    def argv(self) -> list[str]:
        return ["kill", self.session_id]

    def run(self, manager: SessionManager) -> KillReport:
        return manager.kill(self)


@dataclass(frozen=True, kw_only=True)
class KillMany(Operation[KillReport]):
    """End all sessions that live, or those that were not used for a duration such as `72h`."""

    older_than: str | None = None

    def argv(self) -> list[str]:
        return ["kill", "--all"] if self.older_than is None else ["kill", "--older-than", self.older_than]

    def run(self, manager: SessionManager) -> KillReport:
        return manager.kill_many(self)


@dataclass(frozen=True, kw_only=True)
class Recover(Operation[RecoverReport]):
    """Bring lost sessions back: those that are named, or all that hold a conversation (`everything`, or none named).

    Nothing is done without `yes`: the report says what would be. With `prune` sessions are not brought back, but those
    that have been lost for long are forgotten.
    """

    session_ids: tuple[str, ...] = ()
    everything: bool = False
    yes: bool = False
    prune: bool = False

    def argv(self) -> list[str]:
        options = {"--all": self.everything, "--yes": self.yes, "--prune": self.prune}
        return ["recover", "--json", *(option for option, given in options.items() if given), "--", *self.session_ids]

    def run(self, manager: SessionManager) -> RecoverReport:
        return manager.recover(self)


@dataclass(frozen=True, kw_only=True)
class Logs(Operation[list[LogTurn]]):
    """Everything that was said in a session, oldest first."""

    session_id: str

    def argv(self) -> list[str]:
        return ["logs", self.session_id, "--json"]

    def run(self, manager: SessionManager) -> list[LogTurn]:
        return manager.logs(self)


@dataclass(frozen=True, kw_only=True)
class Inspect(Operation[JsonObject]):
    """The stored record of a session."""

    session_id: str

    def argv(self) -> list[str]:
        return ["inspect", self.session_id]

    def run(self, manager: SessionManager) -> JsonObject:
        return manager.inspect(self)


@dataclass(frozen=True, kw_only=True)
class Respond(Operation[None]):
    """Answer what a session asks: one answer to each question, or `allow` for a permission."""

    session_id: str
    answers: tuple[str, ...] = ()
    allow: bool | None = None

    def argv(self) -> list[str]:
        decision = {None: [], True: ["--allow"], False: ["--deny"]}[self.allow]
        return ["respond", *decision, "--", self.session_id, *self.answers]

    def run(self, manager: SessionManager) -> None:
        manager.respond(self)


@dataclass(frozen=True, kw_only=True)
class Interrupt(Operation[None]):
    """End the running turn of a session, within `timeout` seconds."""

    session_id: str
    timeout: float = 30.0

    def argv(self) -> list[str]:
        return ["interrupt", self.session_id, "--timeout", f"{self.timeout:g}"]

    def run(self, manager: SessionManager) -> None:
        manager.interrupt(self)
