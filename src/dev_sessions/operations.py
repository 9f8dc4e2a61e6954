"""Every operation, once: what is asked for, and the type of its result. Pure data.

A transport is anything with `execute(operation)`: this machine (`SessionManager`), a container's host over HTTP
(`GatewayClient`), another machine over ssh (`Relay`). How an operation travels is said where it does:
`remote/command_line.py` and `gateway/http_codec.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

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
from dev_sessions.system.fast_dataclass import fast_dataclass

R = TypeVar("R")
DEFAULT_TIMEOUT = 300.0
#: The first version that knows every operation and field; see `needs_full_version`.
FIRST_FULL_VERSION = "0.5.0"


class Operation(Portable, Generic[R]):
    """A request to a machine with sessions, answered with an R."""


class Transport(Protocol):
    """Carries operations to where they are executed."""

    def execute(self, operation: Operation[R]) -> R:
        """Execute an operation and return its result. Raises the errors of `dev_sessions.errors`."""


@fast_dataclass(frozen=True, kw_only=True)
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


@fast_dataclass(frozen=True, kw_only=True)
class Send(Operation[Receipt | None]):
    """Deliver a message to a session, once, with proof.

    `receipt` says that the caller wants to be shown the proof: an older version elsewhere cannot do that, and is not
    given the message then. `discard_draft` throws away what somebody has begun to type.
    """

    session_id: str
    message: str
    receipt: bool = False
    discard_draft: bool = False


@fast_dataclass(frozen=True, kw_only=True)
class Ask(Operation[Reply]):
    """Send a message and wait, at most `timeout` seconds, for the reply to this very message."""

    session_id: str
    message: str
    timeout: float = DEFAULT_TIMEOUT


@fast_dataclass(frozen=True, kw_only=True)
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


@fast_dataclass(frozen=True, kw_only=True)
class LastMessage(Operation[list[str]]):
    """The last `count` text blocks that the agent wrote, oldest first."""

    session_id: str
    count: int = 1


@fast_dataclass(frozen=True, kw_only=True)
class Status(Operation[SessionStatus]):
    """What a session does right now; in `detail` all that is known of it, which a 0.4 elsewhere cannot tell."""

    session_id: str
    detail: bool = False


@fast_dataclass(frozen=True, kw_only=True)
class List(Operation[Listing]):
    """The sessions that live; with `everything` also the lost ones that hold a conversation.

    In `detail` the states have their later fields, too. As a command line it is always so: only JSON can be read.
    """

    everything: bool = False
    detail: bool = False


@fast_dataclass(frozen=True, kw_only=True)
class Kill(Operation[KillReport]):
    """End one session and forget it. With `gone` it is its user's word that what ran it is gone, where nothing else
    tells."""

    session_id: str
    gone: bool = False


@fast_dataclass(frozen=True, kw_only=True)
class KillMany(Operation[KillReport]):
    """End all sessions that live, or those that were not used for a duration such as `72h`."""

    older_than: str | None = None


@fast_dataclass(frozen=True, kw_only=True)
class Recover(Operation[RecoverReport]):
    """Bring lost sessions back: those that are named, or all that hold a conversation (`everything`, or none named).

    Nothing is done without `yes`: the report says what would be. With `prune` sessions are not brought back, but those
    that have been lost for long are forgotten. `gone` as in `Kill`.
    """

    session_ids: tuple[str, ...] = ()
    everything: bool = False
    yes: bool = False
    prune: bool = False
    gone: bool = False


@fast_dataclass(frozen=True, kw_only=True)
class Logs(Operation[Iterable[LogTurn]]):
    """Everything that was said in a session, oldest first."""

    session_id: str


@fast_dataclass(frozen=True, kw_only=True)
class Inspect(Operation[JsonObject]):
    """The stored record of a session."""

    session_id: str


@fast_dataclass(frozen=True, kw_only=True)
class Respond(Operation[None]):
    """Answer what a session asks: one answer to each question, or `allow` for a permission."""

    session_id: str
    answers: tuple[str, ...] = ()
    allow: bool | None = None


@fast_dataclass(frozen=True, kw_only=True)
class Interrupt(Operation[None]):
    """End the running turn of a session, within `timeout` seconds."""

    session_id: str
    timeout: float = 30.0


@fast_dataclass(frozen=True, kw_only=True)
class GetGoal(Operation[Goal | None]):
    """The goal of a Codex session; None when it has none."""

    session_id: str


@fast_dataclass(frozen=True, kw_only=True)
class SetGoal(Operation[Goal]):
    """Give a Codex session a goal, or change the one that it has; what is None stays as it is.

    An `objective` is always begun at once: beside it, `status` says nothing.
    """

    session_id: str
    objective: str | None = None
    status: GoalChange | None = None
    token_budget: int | None = None


@fast_dataclass(frozen=True, kw_only=True)
class ClearGoal(Operation[bool]):
    """Forget the goal of a Codex session; whether it had one."""

    session_id: str


def needs_full_version(operation: Operation[Any]) -> bool:
    """Return whether version 0.4 cannot execute an operation as it is meant, so that it must not be sent there."""
    match operation:
        case Create():
            return operation.worktree is not None
        case Send():
            return operation.receipt or operation.discard_draft
        case Status():
            return operation.detail
        case Kill():
            return operation.gone
    return isinstance(operation, Recover | Respond | Interrupt)


def is_read_only(operation: Operation[Any]) -> bool:
    """Return whether an operation changes nothing, so that it can be repeated when it is not known to have run."""
    return isinstance(operation, GetGoal | Inspect | LastMessage | List | Logs | Status | Wait)


def timed_out(wait: Wait) -> str:
    """Return the error of a wait whose timeout has passed."""
    what = "goal on " if wait.goal else "the next turn on " if wait.next_turn else ""
    return f"Timed out waiting for {what}{wait.session_id}"
