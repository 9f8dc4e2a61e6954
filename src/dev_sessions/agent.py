"""What every kind of agent must be able to do for the session manager."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from dev_sessions.attempt import Attempt
from dev_sessions.errors import ProcessesUnseen
from dev_sessions.models import (
    Activity,
    Answer,
    Cli,
    Goal,
    GoalChange,
    LogTurn,
    Outcome,
    Pending,
    Receipt,
    Session,
    SessionState,
    Terminal,
)
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.fast_dataclass import fast_dataclass

S = TypeVar("S", bound=Session, contravariant=True)


@fast_dataclass(frozen=True)
class Sent:
    """A delivered message: the proof, and the fields of the session's record that tell where its turn begins."""

    receipt: Receipt
    changes: Mapping[str, Any] = field(default_factory=dict)


@fast_dataclass(frozen=True)
class GoalUpdate:
    """A goal that was set or changed, and the fields to remember in the session's record."""

    goal: Goal
    changes: Mapping[str, Any] = field(default_factory=dict)


@fast_dataclass(frozen=True)
class Recovery:
    """What brings a lost session back, as in "would …", and fields to remember before that is begun; `proved` are those
    that stay true when it fails."""

    action: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    proved: Mapping[str, Any] = field(default_factory=dict)


class Backend(Protocol[S]):
    """One kind of agent. Methods raise the errors of `dev_sessions.errors` and leave the store to the manager."""

    def initial_fields(self) -> Mapping[str, Any]:
        """Fields of a new record that tell where the agent is about to be started, should that be cut short."""

    def start(self, session: S) -> Mapping[str, Any]:
        """Bring up the agent for a claimed session; returns when it is ready for its first message.

        Returns the fields to remember. On any error nothing is left running.
        """

    def prepare_send(self, session: S, text: str, *, discard_draft: bool = False) -> Mapping[str, Any]:
        """Check that a message can be sent now, before anything is typed; fields to remember before it is.

        With `discard_draft` what somebody has typed but not sent is thrown away instead of being in the way.
        """

    def send(self, session: S, text: str, attempt: Attempt, deadline: Deadline) -> Sent:
        """Deliver one message and prove that it arrived. Never sends anything twice.

        `session` has the fields of `prepare_send`; `attempt` is told when the delivery begins. A program that is seen
        to work on something else before the message may take until the deadline to prove it. Raises: DeliveryFailed
        with what was seen when there is no proof.
        """

    def wait(self, session: S, deadline: Deadline, interval: float | None) -> Outcome:
        """Block until the turn of the last send (and what is queued behind it) has ended. WaitTimedOut."""

    def answer(self, session: S, deadline: Deadline) -> tuple[Outcome, Answer]:
        """Block until the last send is answered, whatever turns follow or others began meanwhile. WaitTimedOut.

        The outcome is that of its own turn, or of its own part of one.
        """

    def last_messages(self, session: S, count: int) -> list[str]:
        """The last `count` text blocks of the assistant, oldest first. Never starts or resumes anything."""

    def logs(self, session: S) -> Iterable[LogTurn]:
        """The whole conversation, oldest first, read as it is asked for. Never starts or resumes anything."""

    def states(self, sessions: Iterable[S], *, detail: bool = False) -> Mapping[str, SessionState | ProcessesUnseen]:
        """What each session does right now, by id, or why that can't be told; in `detail` also what `with_activity`
        adds."""

    def pending(self, session: S) -> Pending | None:
        """What the session asks of somebody, if it asks anything."""

    def respond(self, session: S, answers: Sequence[str], attempt: Attempt, *, allow: bool | None) -> None:
        """Answer what the session asks: one answer to each question (the number or label of an option, or free text),
        or a permission (`allow`). Returns when the answer is proved to have arrived; refuses when nothing is asked.
        """

    def interrupt(self, session: S, deadline: Deadline) -> None:
        """End the running turn; returns when it has ended. Refuses when nothing runs."""

    def news(self, session: S) -> Mapping[str, Any]:
        """Fields of the record that somebody else's doings have changed, such as a conversation begun anew."""

    def terminal(self, session: S) -> Terminal:
        """The program that shows the session to a person, who can type into it."""

    def stop(self, session: S) -> None:
        """End the session's process or thread; one that is gone already is fine."""

    def release(self, in_use: Callable[[], bool]) -> None:
        """A session was forgotten: stop what all sessions share unless `in_use` (asks the store) says it is needed.

        `in_use` is called under the lock under which the shared thing is started, so that this never races a create.
        """

    def orphan(self, session_id: str) -> Mapping[str, Any] | None:
        """Fields of a record for what we started under a name that has none any more; None when nothing of it runs."""

    def end_orphans(self, sessions: Callable[[], Iterable[Session]]) -> None:
        """End what commands that were killed have left running and that no session has; `sessions` reads the store.

        What somebody else may have made is left alone.
        """

    def recovery(self, session: S) -> Recovery | None:
        """What would bring the session back; None when it lives. Changes nothing.

        Raises when the session can't come back, and when it is not certain that nothing has its conversation any more.
        """

    def recover(self, session: S) -> Mapping[str, Any]:
        """Bring back a session that `recovery` has just judged, with its fields, and return the fields to remember.

        On any error nothing is left running.
        """

    def undo_recover(self, session: S) -> None:
        """End what `recover` brought back, because it could not be remembered. The conversation stays."""

    def has_conversation(self, session: S) -> bool:
        """Whether anything was ever said in it, so that a lost session is worth keeping."""


@runtime_checkable
class SupportsGoals(Protocol[S]):
    """What an agent can do besides that works towards goals, turn after turn, by itself.

    Where the installed version of it can't, all but the first raise ProgramMissing, which names the version.
    """

    def wait_for_rest(self, session: S, deadline: Deadline) -> Outcome:
        """As `Backend.wait`, and until the turns of a goal have stopped, too. WaitTimedOut."""

    def wait_for_next_turn(self, session: S, deadline: Deadline, record: Callable[[], S]) -> Outcome:
        """Block until a turn has ended, from now on: that which runs, or the next to begin. WaitTimedOut.

        `record` gives the session as it is in the store by then: a first message may change it.
        """

    def wait_for_goal(self, session: S, deadline: Deadline) -> tuple[Outcome, Goal | None]:
        """Block until the goal is over and its last turn has ended, or the session asks something.

        Gives the goal as it is then, None when it was cleared; the outcome is that of its last turn. InvalidRequest
        when there is none, TurnFailed when it is active and nothing works on it any more, WaitTimedOut.
        """

    def get_goal(self, session: S) -> Goal | None:
        """The goal. Never starts or resumes anything."""

    def set_goal(
        self, session: S, objective: str | None, status: GoalChange | None, token_budget: int | None
    ) -> GoalUpdate:
        """Set a goal, or change what is not None of it. One that it makes active is seen to be worked on.

        InvalidRequest when there is no goal to change, or Codex does not take the objective; DeliveryFailed when it is
        not seen to begin.
        """

    def clear_goal(self, session: S) -> bool:
        """Forget the goal; a turn that runs for it runs on to its end. Whether there was one."""


def with_activity(state: SessionState, trace: Activity) -> SessionState:
    """A standing with when something was last said or done, and with tokens."""
    return replace(state, last_activity=trace.at or None, tokens=trace.tokens, tokens_total=trace.tokens_total)


Backends: TypeAlias = Callable[[Cli], Backend[Session]]
