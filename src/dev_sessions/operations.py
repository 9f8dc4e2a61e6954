"""The operations: each with its arguments and the type of its result. Pure data.

A transport executes them: on this machine (`SessionManager`), over HTTP on a container's host (`GatewayClient`), or
over ssh on another machine (`Relay`). `gateway/http_codec.py` and `remote/command_line.py` encode them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

from dev_sessions.models import (
    Cli,
    Goal,
    GoalChange,
    Interrupted,
    JsonObject,
    KillReport,
    Listing,
    LogTurn,
    Mode,
    Receipt,
    RecoverReport,
    Reply,
    Serializable,
    Session,
    StatusResult,
    WaitResult,
)
from dev_sessions.system.fast_dataclass import fast_dataclass

R = TypeVar("R")
DEFAULT_TIMEOUT = 300.0
#: The first version that knows every operation and field; see `needs_full_version`.
FIRST_FULL_VERSION = "0.5.0"


class Operation(Serializable, Generic[R]):
    """A request to a machine with sessions, whose result is an R."""


class Transport(Protocol):
    """An object that executes operations, here or elsewhere."""

    def execute(self, operation: Operation[R]) -> R:
        """Execute an operation and return its result. Raises the errors of `dev_sessions.errors`."""


@fast_dataclass(frozen=True, kw_only=True)
class Create(Operation[Session]):
    """Start a session in the directory `path`, and return when it takes messages.

    `id` None: a free name is chosen. `worktree`: the branch of a new git worktree for the session; "": a branch named
    after the session. `host`: the machine to start it on, as ssh names it. `path` None: the current directory of the
    command, on that machine. `created_by`: the caller, see `Session`. `trust`: accept the dialog in which the agent
    asks whether it may trust the directory. `args`: options for the agent, as on its own command line.
    """

    path: str | None = None
    host: str | None = None
    cli: Cli = "claude"
    mode: Mode = "native"
    description: str | None = None
    model: str | None = None
    id: str | None = None
    worktree: str | None = None
    created_by: str | None = None
    trust: bool = False
    args: tuple[str, ...] = ()


@fast_dataclass(frozen=True, kw_only=True)
class Fork(Operation[Session]):
    """Start a session that has the conversation of another one up to the end of its last finished turn.

    The other one is left as it is. `description` None: one that names the other session; `id`, `worktree` and
    `created_by` as in `Create`.
    """

    session_id: str
    description: str | None = None
    id: str | None = None
    worktree: str | None = None
    created_by: str | None = None


@fast_dataclass(frozen=True, kw_only=True)
class Send(Operation[Receipt | None]):
    """Deliver a message to a session once, and prove that it arrived.

    `receipt`: the caller needs the receipt, so that the message is not sent to a version 0.4 elsewhere, which returns
    none. `discard_draft`: clear what somebody has typed but not sent.
    """

    session_id: str
    message: str
    receipt: bool = False
    discard_draft: bool = False


@fast_dataclass(frozen=True, kw_only=True)
class Ask(Operation[Reply]):
    """Send a message and wait up to `timeout` seconds for the reply to it; other fields as in `Wait`."""

    session_id: str
    message: str
    timeout: float = DEFAULT_TIMEOUT
    through_limits: bool = False
    caller: str | None = None


@fast_dataclass(frozen=True, kw_only=True)
class Wait(Operation[WaitResult]):
    """Wait up to `timeout` seconds until the turn of the last send has ended, and the turns of a goal have stopped.

    With `goal`, until the goal has ended; with `next_turn`, until any turn has ended from now on. They exclude each
    other. `interval` is the minimum number of seconds between two polls. With `through_limits`, a turn has not ended
    that the agent continues by itself after a usage limit. `caller`: the session that waits; two sessions never wait
    for each other.
    """

    session_id: str
    timeout: float = DEFAULT_TIMEOUT
    interval: float | None = None
    goal: bool = False
    next_turn: bool = False
    through_limits: bool = False
    caller: str | None = None


@fast_dataclass(frozen=True, kw_only=True)
class LastMessage(Operation[list[str]]):
    """Return the agent's last `count` text blocks, oldest first."""

    session_id: str
    count: int = 1


@fast_dataclass(frozen=True, kw_only=True)
class Status(Operation[StatusResult]):
    """Return the state of a session; with `detail`, all of its fields, which version 0.4 elsewhere does not know."""

    session_id: str
    detail: bool = False


@fast_dataclass(frozen=True, kw_only=True)
class List(Operation[Listing]):
    """Return the live sessions; with `everything`, also the lost ones that have a conversation.

    With `detail`, states have all of their fields. Over ssh they always have: the operation is `list --json` there.
    """

    everything: bool = False
    detail: bool = False


@fast_dataclass(frozen=True, kw_only=True)
class Kill(Operation[KillReport]):
    """End a session and remove its record. `gone`: the user declares its process gone, if that is not known."""

    session_id: str
    gone: bool = False


@fast_dataclass(frozen=True, kw_only=True)
class KillMany(Operation[KillReport]):
    """End all live sessions, or those that were not used for a duration such as `72h`; that of the `caller` last."""

    older_than: str | None = None
    caller: str | None = None


@fast_dataclass(frozen=True, kw_only=True)
class Recover(Operation[RecoverReport]):
    """Bring back lost sessions: the given ones, or all that have a conversation if none are given.

    Without `yes` nothing is done, and the report says what would be. With `prune`, sessions that have been lost for
    long are removed instead. `gone` as in `Kill`.
    """

    session_ids: tuple[str, ...] = ()
    yes: bool = False
    prune: bool = False
    gone: bool = False


@fast_dataclass(frozen=True, kw_only=True)
class Logs(Operation[Iterable[LogTurn]]):
    """Return the conversation of a session, oldest first."""

    session_id: str


@fast_dataclass(frozen=True, kw_only=True)
class Inspect(Operation[JsonObject]):
    """Return the stored record of a session."""

    session_id: str


@fast_dataclass(frozen=True, kw_only=True)
class Respond(Operation[None]):
    """Answer what a session asks: one answer to each question, or a decision on a permission (`allow`).

    `cancel`: close it without an answer.
    """

    session_id: str
    answers: tuple[str, ...] = ()
    allow: bool | None = None
    cancel: bool = False


@fast_dataclass(frozen=True, kw_only=True)
class Interrupt(Operation[Interrupted]):
    """End the running turn of a session, within `timeout` seconds, or cancel a continuation after a usage limit."""

    session_id: str
    timeout: float = 30.0


@fast_dataclass(frozen=True, kw_only=True)
class GetGoal(Operation[Goal | None]):
    """Return the goal of a Codex session; None when it has none."""

    session_id: str


@fast_dataclass(frozen=True, kw_only=True)
class SetGoal(Operation[Goal]):
    """Set the goal of a Codex session, or change it; arguments that are None leave it as it is.

    Work on a new `objective` always begins at once, whatever `status` is.
    """

    session_id: str
    objective: str | None = None
    status: GoalChange | None = None
    token_budget: int | None = None


@fast_dataclass(frozen=True, kw_only=True)
class ClearGoal(Operation[bool]):
    """Clear the goal of a Codex session, and return whether it had one."""

    session_id: str


def needs_full_version(operation: Operation[Any]) -> bool:
    """Return whether version 0.4 would execute an operation wrongly or not at all, and must not be sent it."""
    match operation:
        case Create():
            return operation.worktree is not None or operation.trust or bool(operation.args)
        case Send():
            return operation.receipt or operation.discard_draft
        case Status():
            return operation.detail
        case Kill():
            return operation.gone
        case Wait() | Ask():
            return operation.through_limits
    return isinstance(operation, Recover | Respond | Interrupt | Fork)


def is_read_only(operation: Operation[Any]) -> bool:
    """Return whether an operation changes nothing, so that it is safe to repeat."""
    return isinstance(operation, GetGoal | Inspect | LastMessage | List | Logs | Status | Wait)


def timeout_message(wait: Wait) -> str:
    """Return the error message of a wait whose timeout has passed."""
    what = "goal on " if wait.goal else "the next turn on " if wait.next_turn else ""
    return f"Timed out waiting for {what}{wait.session_id}"
