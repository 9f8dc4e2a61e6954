"""Every operation, once: its request, its result, its command line and how a manager runs it.

A transport is anything with `execute(operation)`. Here, in a container over HTTP, or on another machine over ssh: the
same operations travel. `argv()` with `stdin()` is the operation as a command line; parsed by the click tree it gives
the operation back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from dev_sessions.dataclass import dataclass
from dev_sessions.deadline import seconds_text
from dev_sessions.models import (
    Cli,
    Goal,
    GoalChange,
    JsonObject,
    KillReport,
    Listing,
    LogTurn,
    Mode,
    Portable,
    Receipt,
    RecoverReport,
    Reply,
    Session,
    SessionStatus,
    WaitResult,
)

if TYPE_CHECKING:
    from dev_sessions.manager import SessionManager

R = TypeVar("R")
DEFAULT_TIMEOUT = 300.0
#: The first version that does all that 0.4 does not (`Operation.is_new`).
FIRST_WITH_ALL = "0.5.0"


class Operation(Portable, ABC, Generic[R]):
    """Something that can be asked of a machine with sessions, answered with an R."""

    @property
    def is_new(self) -> bool:
        """Whether version 0.4 cannot do it."""
        return False

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

    `host` is the machine that it is to live on, as ssh knows it. `path` None: where the command runs, there or here.
    """

    path: str | None = None
    host: str | None = None
    cli: Cli = "claude"
    mode: Mode = "native"
    description: str | None = None
    model: str | None = None
    id: str | None = None
    worktree: str | None = None

    @property
    def is_new(self) -> bool:
        return self.worktree is not None

    def argv(self) -> list[str]:
        arguments = ["create", "--cli", self.cli, "--mode", self.mode, "--json"]
        options = {
            "--path": self.path,
            "--host": self.host,
            "--description": self.description,
            "--model": self.model,
            "--id": self.id,
        }
        for option, value in options.items():
            if value is not None:
                arguments += [option, value]
        if self.worktree is not None:
            arguments.append(f"--worktree={self.worktree}" if self.worktree else "--worktree")
        return arguments

    def run(self, manager: SessionManager) -> Session:
        return manager.create(self)


@dataclass(frozen=True, kw_only=True)
class Send(Operation[Receipt | None]):
    """Deliver a message to a session, once, with proof.

    `receipt` says that the caller wants to be shown the proof: an older version elsewhere cannot do that, and is not
    given the message then. `discard_draft` throws away what somebody has begun to type.
    """

    session_id: str
    message: str
    receipt: bool = False
    discard_draft: bool = False

    @property
    def is_new(self) -> bool:
        return self.receipt or self.discard_draft

    def argv(self) -> list[str]:
        receipt = ["--json"] if self.receipt else []
        discard = ["--discard-draft"] if self.discard_draft else []
        return ["send", self.session_id, "--file", "-", *receipt, *discard]

    def stdin(self) -> str:
        return self.message

    def run(self, manager: SessionManager) -> Receipt | None:
        return manager.send(self)


@dataclass(frozen=True, kw_only=True)
class Ask(Operation[Reply]):
    """Send a message and wait, at most `timeout` seconds, for the reply to this very message."""

    session_id: str
    message: str
    timeout: float = DEFAULT_TIMEOUT

    def argv(self) -> list[str]:
        return ["ask", self.session_id, "--file", "-", "--timeout", seconds_text(self.timeout)]

    def stdin(self) -> str:
        return self.message

    def run(self, manager: SessionManager) -> Reply:
        return manager.ask(self)


@dataclass(frozen=True, kw_only=True)
class Wait(Operation[WaitResult]):
    """Wait, at most `timeout` seconds, until the turn of the last send has ended, and the turns of a goal have stopped.

    With `goal` until the goal has ended, with `next_turn` until any turn has, from now on: one of the two at most.
    `interval` (seconds) bounds the pause between two looks wherever something has to be looked at.
    """

    session_id: str
    timeout: float = DEFAULT_TIMEOUT
    interval: float | None = None
    goal: bool = False
    next_turn: bool = False

    @property
    def timed_out(self) -> str:
        """The line that says so."""
        what = "goal on " if self.goal else "the next turn on " if self.next_turn else ""
        return f"Timed out waiting for {what}{self.session_id}"

    def argv(self) -> list[str]:
        interval = [] if self.interval is None else ["--interval", seconds_text(self.interval)]
        until = [*(["--goal"] if self.goal else []), *(["--next-turn"] if self.next_turn else [])]
        return ["wait", self.session_id, "--timeout", seconds_text(self.timeout), *interval, *until]

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
class Status(Operation[SessionStatus]):
    """What a session does right now; in `detail` all that is known of it, which a 0.4 elsewhere cannot tell."""

    session_id: str
    detail: bool = False

    @property
    def is_new(self) -> bool:
        return self.detail

    def argv(self) -> list[str]:
        return ["status", self.session_id, *(["--json"] if self.detail else [])]

    def run(self, manager: SessionManager) -> SessionStatus:
        return manager.status(self)


@dataclass(frozen=True, kw_only=True)
class List(Operation[Listing]):
    """The sessions that live; with `everything` also the lost ones that hold a conversation.

    In `detail` also what `Standing` says of its later fields. As a command line it is always so: only JSON can be read.
    """

    everything: bool = False
    detail: bool = False

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
    is_new = True

    def argv(self) -> list[str]:
        options = {"--all": self.everything, "--yes": self.yes, "--prune": self.prune}
        return ["recover", "--json", *(option for option, given in options.items() if given), "--", *self.session_ids]

    def run(self, manager: SessionManager) -> RecoverReport:
        return manager.recover(self)


@dataclass(frozen=True, kw_only=True)
class Logs(Operation[Iterable[LogTurn]]):
    """Everything that was said in a session, oldest first."""

    session_id: str

    def argv(self) -> list[str]:
        return ["logs", self.session_id, "--json"]

    def run(self, manager: SessionManager) -> Iterable[LogTurn]:
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
    is_new = True

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
    is_new = True

    def argv(self) -> list[str]:
        return ["interrupt", self.session_id, "--timeout", seconds_text(self.timeout)]

    def run(self, manager: SessionManager) -> None:
        manager.interrupt(self)


@dataclass(frozen=True, kw_only=True)
class GetGoal(Operation[Goal | None]):
    """The goal of a Codex session; None when it has none."""

    session_id: str

    def argv(self) -> list[str]:
        return ["goal", self.session_id, "--json"]

    def run(self, manager: SessionManager) -> Goal | None:
        return manager.get_goal(self)


@dataclass(frozen=True, kw_only=True)
class SetGoal(Operation[Goal]):
    """Give a Codex session a goal, or change the one that it has; what is None stays as it is.

    An `objective` is always begun at once: beside it, `status` says nothing.
    """

    session_id: str
    objective: str | None = None
    status: GoalChange | None = None
    token_budget: int | None = None

    def argv(self) -> list[str]:
        change = {"active": ["--resume"], "paused": ["--pause"]}
        flag = change[self.status] if self.status is not None and self.objective is None else []
        budget = [] if self.token_budget is None else ["--budget", str(self.token_budget)]
        objective = [] if self.objective is None else ["--file", "-"]
        return ["goal", self.session_id, "--json", *flag, *budget, *objective]

    def stdin(self) -> str | None:
        return self.objective

    def run(self, manager: SessionManager) -> Goal:
        return manager.set_goal(self)


@dataclass(frozen=True, kw_only=True)
class ClearGoal(Operation[bool]):
    """Forget the goal of a Codex session; whether it had one."""

    session_id: str

    def argv(self) -> list[str]:
        return ["goal", self.session_id, "--clear", "--json"]

    def run(self, manager: SessionManager) -> bool:
        return manager.clear_goal(self)
