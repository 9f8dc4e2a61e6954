"""Read what a thread waits for, and answer it."""

from __future__ import annotations

from collections.abc import Sequence

from dev_sessions.attempt import Attempt
from dev_sessions.codex import question_protocol
from dev_sessions.codex.question_protocol import OpenRequest
from dev_sessions.codex.thread import Thread
from dev_sessions.errors import DeliveryFailed, InvalidRequest
from dev_sessions.models import CodexSession, Pending


def pending(thread: Thread) -> Pending | None:
    """Return what the thread asks; None when it asks nothing."""
    open_request = thread.open_request()
    return open_request.pending if open_request is not None else None


def respond(
    thread: Thread, session: CodexSession, answers: Sequence[str], attempt: Attempt, *, allow: bool | None
) -> None:
    """Answer what the thread asks. The turn continues after a denied permission, too.

    Raises InvalidRequest when nothing is asked or the answers do not fit, DeliveryFailed when it cannot be answered.
    """
    open_request = thread.open_request()
    if open_request is None:
        raise InvalidRequest(f"{session.id} asks nothing; to say something: dev-sessions send {session.id}")
    if open_request.request is None or open_request.pending.kind == "dialog":
        raise _not_answered(session, open_request.pending)
    result = question_protocol.result(open_request.request, session.id, answers, allow)
    thread.answer(open_request.request, result, attempt)


def cancel(thread: Thread, session: CodexSession, attempt: Attempt) -> None:
    """Leave what the thread asks without an answer. Raises InvalidRequest when it needs one, or nothing is asked."""
    open_request = thread.open_request()
    if open_request is None:
        raise InvalidRequest(f"{session.id} asks nothing; to say something: dev-sessions send {session.id}")
    request = open_request.request
    if request is not None and (result := question_protocol.cancel_result(request)) is not None:
        thread.answer(request, result, attempt)
        return
    what = f"{session.id} waits for {open_request.pending.what}, which Codex can't leave unanswered"
    raise InvalidRequest(f"{what}; end its turn: dev-sessions interrupt {session.id}")


def answer_with_text(
    thread: Thread, session: CodexSession, open_request: OpenRequest, text: str, attempt: Attempt
) -> None:
    """Answer what the thread asks with a message. Raises DeliveryFailed when that cannot be its answer."""
    request = open_request.request
    result = question_protocol.text_result(request, text) if request is not None else None
    if request is None or result is None:
        raise _not_answered(session, open_request.pending)
    thread.answer(request, result, attempt)


def _not_answered(session: CodexSession, pending: Pending) -> DeliveryFailed:
    advice = {
        "question": f"answer it: dev-sessions respond {session.id}" + " ANSWER" * len(pending.questions),
        "permission": f"decide: dev-sessions respond {session.id} --allow, or --deny",
        "dialog": f"end its turn: dev-sessions interrupt {session.id}",
    }
    return DeliveryFailed(f"{session.id} waits for {pending.what}; {advice[pending.kind]}")
