"""The interface between the session manager and the agents: what a backend must be able to do."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Generic, Self, TypeAlias, TypeVar

from dev_sessions.attempt import Attempt
from dev_sessions.errors import DevSessionsError, InvalidRequest
from dev_sessions.models import (
    Answer,
    Cli,
    FieldChanges,
    Goal,
    GoalChange,
    Interrupted,
    LogTurn,
    Mode,
    Outcome,
    Pending,
    Receipt,
    Session,
    SessionState,
    Terminal,
)
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.fast_dataclass import fast_dataclass, field

S = TypeVar("S", bound=Session)


@fast_dataclass(frozen=True)
class Sent:
    """A delivered message: the proof, and the changed fields of the record, which tell where its turn begins."""

    receipt: Receipt
    changes: FieldChanges = field(default_factory=FieldChanges)


@fast_dataclass(frozen=True)
class Forked:
    """The changed fields of a fork's record; `is_cut`: the last turn has not finished, and is left out."""

    changes: FieldChanges
    is_cut: bool


def nothing_to_fork(source: Session) -> InvalidRequest:
    """Return the error for a fork of a session without a finished turn."""
    return InvalidRequest(
        f"{source.id} has no finished turn yet, so there is nothing to fork; wait for one, or use: dev-sessions create"
    )


@fast_dataclass(frozen=True)
class Recovery:
    """A way to bring a lost session back.

    `action` describes it, as in "would …". `changes` are stored before it begins, and undone when it fails;
    `permanent_changes` are facts, which are stored first and stay. `in_use` says that something else runs in its
    terminal, which is kept.
    """

    action: str
    changes: FieldChanges = field(default_factory=FieldChanges)
    permanent_changes: FieldChanges = field(default_factory=FieldChanges)
    in_use: bool = False


class PreparedMessage(ABC, Generic[S]):
    """A message that can be sent now. `changes` are stored before it is.

    It is a context manager, whose exit undoes what had to be changed for it, whether it was sent or not.
    """

    changes: FieldChanges
    #: What is to be undone.
    cleanup: contextlib.ExitStack | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.cleanup is not None:
            self.cleanup.close()

    @abstractmethod
    def send(self, session: S, attempt: Attempt, deadline: Deadline) -> Sent:
        """Deliver the message once, and prove that it arrived.

        `session` has the `changes`; `attempt` is told when the delivery begins. A program that works on something else
        before it takes the message has until the deadline. Raises DeliveryFailed without a proof.
        """


class Backend(ABC, Generic[S]):
    """One kind of agent. Methods raise the errors of `dev_sessions.errors`, and leave the store to the manager."""

    def initial_fields(self) -> FieldChanges:
        """Return the fields of a new record that find the agent again if its start is cut short."""
        return {}

    @abstractmethod
    def initial_fork_fields(self, source: S) -> FieldChanges:
        """Return the fields that the new record of a fork takes from the forked session, for the same purpose."""

    def require_mode(self, mode: Mode) -> None:
        """Raise InvalidRequest if the agent does not have a mode."""

    @abstractmethod
    def start(self, session: S, *, trust: bool = False) -> FieldChanges:
        """Start the agent of a claimed session, and return the changed fields when it is ready for a message.

        With `trust`, a dialog in which it asks whether it may trust the directory is accepted.
        On any error nothing is left running.
        """

    @abstractmethod
    def fork(self, session: S, source: S) -> Forked:
        """Start the agent of a claimed session with the conversation of another one up to its last finished turn.

        The other one, which may be working or lost, is left as it is. Returns when the agent is ready for a message. On
        any error nothing is left running. Raises InvalidRequest without a finished turn.
        """

    @abstractmethod
    def prepare(self, session: S, text: str, *, discard_draft: bool = False) -> PreparedMessage[S]:
        """Check that a message can be sent now; nothing is typed.

        With `discard_draft`, what somebody has typed but not sent is cleared. Raises DeliveryFailed, InvalidRequest.
        """

    @abstractmethod
    def wait(self, session: S, deadline: Deadline, interval: float | None, *, through_limits: bool = False) -> Outcome:
        """Wait until the turn of the last send has ended, with all that is queued behind it.

        `interval` is the minimum number of seconds between two polls. With `through_limits`, a turn has not ended that
        the agent continues by itself after a usage limit. Raises WaitTimedOut.
        """

    @abstractmethod
    def answer(self, session: S, deadline: Deadline, *, through_limits: bool = False) -> tuple[Outcome, Answer]:
        """Wait until the last send is answered, whatever other turns run or follow, and return the answer.

        `through_limits` as in `wait`. The outcome is that of its own turn, or of its own part of one. Raises
        WaitTimedOut.
        """

    @abstractmethod
    def last_messages(self, session: S, count: int) -> list[str]:
        """Return the agent's last `count` text blocks, oldest first. Nothing is started or resumed."""

    @abstractmethod
    def logs(self, session: S) -> Iterable[LogTurn]:
        """Return the whole conversation, oldest first, read as it is iterated. Nothing is started or resumed."""

    @abstractmethod
    def states(self, sessions: Iterable[S], *, detail: bool = False) -> Mapping[str, SessionState | DevSessionsError]:
        """Return what each session does right now, by id, or the error that says why that is not known.

        With `detail`, states have their activity and tokens, too.
        """

    @abstractmethod
    def pending(self, session: S) -> Pending | None:
        """Return what the session asks its user; None when it asks nothing."""

    @abstractmethod
    def respond(self, session: S, answers: Sequence[str], attempt: Attempt, *, allow: bool | None) -> None:
        """Answer what the session asks, and prove that the answer was taken.

        One answer to each question (the number or label of an option, or free text), or a decision on a permission
        (`allow`). Raises InvalidRequest when nothing is asked or the answers do not fit, DeliveryFailed.
        """

    @abstractmethod
    def cancel(self, session: S, attempt: Attempt) -> None:
        """Close what the session asks without an answer, and prove that it is closed.

        Raises InvalidRequest when nothing is asked or it can't be closed, DeliveryFailed.
        """

    @abstractmethod
    def interrupt(self, session: S, deadline: Deadline) -> tuple[Interrupted, FieldChanges]:
        """End the running turn; returns when it has ended, with the changed fields.

        Raises InvalidRequest when nothing runs.
        """

    @abstractmethod
    def terminal(self, session: S) -> Terminal:
        """Return the program that shows the session to a person, who can type into it."""

    @abstractmethod
    def stop(self, session: S) -> None:
        """End the session's process or thread. One that is gone already is fine."""

    @abstractmethod
    def plan_recovery(self, session: S) -> Recovery | None:
        """Return what would bring the session back; None when it lives. Nothing is changed.

        Raises when it can't come back, and when it is not certain that nothing has its conversation any more.
        """

    @abstractmethod
    def recover(self, session: S) -> FieldChanges:
        """Bring back a session that `plan_recovery` has just judged, with its `changes`; return the changed fields.

        On any error nothing is left running.
        """

    @abstractmethod
    def has_conversation(self, session: S) -> bool:
        """Return whether the session has a conversation: a lost session without one is not worth keeping."""

    def undo_recover(self, session: S) -> None:
        """End what `recover` started, when it could not be stored. The conversation stays."""

    def declared_gone(self, session: S) -> FieldChanges:
        """Return the fields that record the user's word that a session's processes have ended.

        Empty where that can be checked from here, unless even its `create` is declared ended (`claimed_by`).
        """
        del session
        return {}

    def changed_fields(self, session: S) -> FieldChanges:
        """Return the fields of the record that others have changed, such as a new conversation."""
        del session
        return {}

    def find_orphan(self, session_id: str) -> FieldChanges | None:
        """Return the fields of a record for what runs under the name of a session without one; None: nothing does."""
        del session_id
        return None

    def release(self, sessions: Callable[[], Iterable[Session]]) -> None:
        """Stop what sessions share, after one was deleted, unless one of `sessions` (it reads the store) needs it.

        `sessions` is called under the lock under which the shared thing is started, so that a create is never raced.
        """

    def end_orphans(self, sessions: Callable[[], Iterable[Session]]) -> None:
        """End what killed commands have left running and no session has; `sessions` reads the store.

        What somebody else may have made is left alone.
        """


class SupportsGoals(ABC, Generic[S]):
    """The further abilities of an agent that works towards goals, turn after turn, by itself.

    Its `Backend.wait` waits until the turns of a goal have stopped, too.
    """

    @abstractmethod
    def wait_for_next_turn(self, session: S, deadline: Deadline, record: Callable[[], S]) -> Outcome:
        """Wait until a turn has ended, from now on: the running one, or the next to begin.

        `record` reads the session from the store: a first message may change it. Raises WaitTimedOut.
        """

    @abstractmethod
    def wait_for_goal(self, session: S, deadline: Deadline) -> tuple[Outcome, Goal | None]:
        """Wait until the goal is over and its last turn has ended, or the session asks something.

        Returns the outcome of the last turn, and the goal, None when it was cleared. Raises InvalidRequest when there
        is none, TurnFailed when it is active and nothing works on it any more, WaitTimedOut.
        """

    @abstractmethod
    def get_goal(self, session: S) -> Goal | None:
        """Return the goal. Nothing is started or resumed."""

    @abstractmethod
    def set_goal(
        self, session: S, objective: str | None, status: GoalChange | None, token_budget: int | None
    ) -> tuple[Goal, FieldChanges]:
        """Set a goal, or change what is not None of it; return it, and the changed fields of the record.

        If it becomes active, work on it has begun on return. Raises InvalidRequest when there is no goal to change, or
        Codex does not take the objective; DeliveryFailed when work does not begin.
        """

    @abstractmethod
    def clear_goal(self, session: S) -> bool:
        """Clear the goal, and return whether there was one. A turn that runs for it runs on to its end."""


Backends: TypeAlias = Callable[[Cli], Backend[Session]]
