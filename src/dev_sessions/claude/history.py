"""Read what was said in a session, from its transcript."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from dev_sessions import failures
from dev_sessions.claude import session_file
from dev_sessions.claude.conversation import last_texts, log_turns
from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.session_file import NOT_WORKING
from dev_sessions.claude.transcript_file import MAX_FLUSH_DELAY, Tail
from dev_sessions.claude.wait import TurnWait
from dev_sessions.errors import LivenessUnknown, MovedToBackground, SessionLost, WaitTimedOut
from dev_sessions.jsonl import lines_backward
from dev_sessions.models import ClaudeSession, LogTurn, Outcome, Pending
from dev_sessions.system.deadline import Deadline

#: Seconds within which it is certain how the last turn of an idle session ended: for so long a message that was taken
#: back by an interruption looks like one whose answer is about to be written.
_SETTLE_TIMEOUT = MAX_FLUSH_DELAY + 0.1


def last_messages(
    process: ClaudeProcess, pending: Pending | None, count: int, warn: Callable[[str], None]
) -> list[str]:
    """Return the last `count` texts, the question that is `pending` as the last one.

    The transcript is read backwards, so that the cost does not grow with the conversation.
    """
    asked = [pending.text] if pending is not None else []
    transcript = process.require_transcript()
    if transcript is None or count <= len(asked):
        return asked[:count]
    failed = _failed_turn(process) if not asked else None
    texts, skipped_causes = last_texts(lines_backward(transcript), count - len(asked))
    if skipped_causes:
        causes = "; ".join(dict.fromkeys(skipped_causes[::-1]))
        warn(
            f"what {process.session.id} said last answers somebody else ({causes}) and is left out; to see it:"
            f" dev-sessions logs {process.session.id}"
        )
    if failed is not None:
        outcome, said_some = failed
        newest = texts[0] if texts else ""
        warn(failures.no_answer_warning(process.session.id, outcome, said_some=said_some, newest=newest))
    return [*texts[::-1], *asked]


def _failed_turn(process: ClaudeProcess) -> tuple[Outcome, bool] | None:
    """Return how the last turn of an idle session ended and whether it has a text, if it did not end well.

    Then the newest text is not its answer.
    """
    turn_wait = TurnWait(process)
    outcome = None
    try:
        if turn_wait.state().state == "idle":
            outcome = turn_wait.ended() or turn_wait.wait(Deadline.cancellable(_SETTLE_TIMEOUT))
    except (SessionLost, MovedToBackground, LivenessUnknown, WaitTimedOut):
        return None
    return (outcome, bool(turn_wait.turn().reply)) if outcome is not None and outcome.reason is not None else None


def logs(process: ClaudeProcess) -> Iterable[LogTurn]:
    """Return all texts of the conversation, without the program's own markup."""
    transcript = process.require_transcript()
    return log_turns(Tail(transcript, 0).lines(), _idle(process)) if transcript is not None else ()


def _idle(process: ClaudeProcess) -> tuple[float, float] | None:
    """Return when Claude began its session file, and since when it has been idle, by that file.

    None if it works, has ended, has no such file, or went idle so recently that the transcript may lag behind.
    """
    try:
        found = session_file.for_session(process.session)
    except LivenessUnknown:
        return None
    if found is None or found.status not in NOT_WORKING or time.time() - found.status_since < MAX_FLUSH_DELAY:
        return None
    return found.registered_at, found.status_since


def has_conversation(session: ClaudeSession) -> bool:
    """Return whether anybody has sent a message."""
    return session.claude_send_digest is not None or ClaudeProcess(session).transcript() is not None
