"""An attempt to deliver a message or an answer, and the errors of one that fails.

Sending again is safe only if nothing was typed. So every error says whether that is so: before the first key, or the
request to Codex, *nothing was typed*; after it the message *may have arrived*, with how to find out. When a signal ends
the delivery, a note of the exception says the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, TypeAlias

from dev_sessions.errors import AfterArrival, DevSessionsError, MayHaveArrived, NothingTyped
from dev_sessions.operations import Ask, Operation, Respond, Send

DeliveryKind: TypeAlias = Literal["message", "answer"]


class Attempt:
    """The progress of a delivery. `begin` is called right before its first key or request."""

    def __init__(self) -> None:
        self.has_begun = False

    def begin(self) -> None:
        """Note that the message may arrive from now on, whatever fails."""
        self.has_begun = True

    def mark_rejected(self) -> None:
        """Note that the agent's program reported that it took nothing of the message."""
        self.has_begun = False


@contextmanager
def delivering(session_id: str, what: DeliveryKind = "message") -> Iterator[Attempt]:
    """Inside, convert every error into one that says whether the message may have arrived.

    Raises NothingTyped or MayHaveArrived. Errors that say it themselves (`reports_arrival`) are not converted.
    """
    attempt = Attempt()
    try:
        yield attempt
    except (DevSessionsError, OSError) as error:
        if isinstance(error, DevSessionsError) and error.reports_arrival:
            raise
        raise _failure(session_id, what, attempt, error) from error
    except BaseException as error:
        if not getattr(error, "__notes__", None):
            error.add_note(str(_failure(session_id, what, attempt, None)))
        raise


def delivering_if_needed(operation: Operation[Any]) -> AbstractContextManager[Attempt]:
    """Return `delivering` for an operation that delivers something, else a context that changes no errors."""
    match operation:
        case Send(session_id=session_id) | Ask(session_id=session_id):
            return delivering(session_id)
        case Respond(session_id=session_id):
            return delivering(session_id, "answer")
    return nullcontext(Attempt())


@contextmanager
def after_arrival(session_id: str) -> Iterator[None]:
    """Inside, convert every error into AfterArrival, which says that the message has arrived.

    Errors that say it themselves (`reports_arrival`) are not converted.
    """
    try:
        yield
    except (DevSessionsError, OSError) as error:
        if isinstance(error, DevSessionsError) and error.reports_arrival:
            raise
        raise AfterArrival(session_id, summary_of(error)) from error
    except BaseException as error:
        error.add_note(str(AfterArrival(session_id)))
        raise


def summary_of(error: DevSessionsError | OSError) -> str:
    """Return what happened, from an error's message without its advice."""
    return error.summary if isinstance(error, DevSessionsError) else str(error)


def _failure(
    session_id: str, what: DeliveryKind, attempt: Attempt, error: DevSessionsError | OSError | None
) -> NothingTyped | MayHaveArrived:
    exit_code = getattr(error, "exit_code", 1)
    if not attempt.has_begun:
        reason = str(error) if isinstance(error, DevSessionsError) else f"{error or 'the command was ended'}; try again"
        return NothingTyped(
            f"The {what} for {session_id} was not sent, nothing was typed: {reason}", exit_code=exit_code
        )
    reason = summary_of(error) if error is not None else "the command was ended before that was proved"
    text = f"The {what} for {session_id} may have arrived: {reason}"
    advice = (
        f"check before you send it again: dev-sessions wait {session_id}, then dev-sessions logs {session_id},"
        f" or dev-sessions attach {session_id}"
    )
    if what == "answer":
        advice = f"see what it asks now before you answer again: dev-sessions last-message {session_id}"
    return MayHaveArrived(text, advice, getattr(error, "screen", ""), exit_code=exit_code)
