"""Read what was said in a session, from its transcript."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from dev_sessions import failures
from dev_sessions.claude import session_file
from dev_sessions.claude.conversation import last_texts, log_turns
from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.session_file import NOT_WORKING
from dev_sessions.claude.transcript_file import Tail
from dev_sessions.claude.wait import TurnWait
from dev_sessions.errors import MovedToBackground, ProcessesUnseen, SessionLost
from dev_sessions.jsonl import lines_backward
from dev_sessions.models import ClaudeSession, LogTurn, Pending

#: Seconds by which the transcript may lag behind the session file (on a busy machine more than 1).
_FLUSH_DELAY = 2.0


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
    texts, skipped_causes = last_texts(lines_backward(transcript), count - len(asked))
    if skipped_causes:
        causes = "; ".join(dict.fromkeys(skipped_causes[::-1]))
        warn(
            f"what {process.session.id} said last answers somebody else ({causes}) and is left out; to see it:"
            f" dev-sessions logs {process.session.id}"
        )
    if not asked:
        _warn_of_failure(process, texts[0] if texts else "", warn)
    return [*texts[::-1], *asked]


def _warn_of_failure(process: ClaudeProcess, newest: str, warn: Callable[[str], None]) -> None:
    """Warn if the last turn of an idle session did not end well, so that the newest text is not its answer."""
    turn_wait = TurnWait(process)
    try:
        outcome = turn_wait.ended() if turn_wait.state().state == "idle" else None
    except (SessionLost, MovedToBackground, ProcessesUnseen):
        return
    if outcome is not None and outcome.reason is not None:
        said_some = bool(turn_wait.turn().reply)
        warn(failures.no_answer_warning(process.session.id, outcome, said_some=said_some, newest=newest))


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
    except ProcessesUnseen:
        return None
    if found is None or found.status not in NOT_WORKING or time.time() - found.status_since < _FLUSH_DELAY:
        return None
    return found.registered_at, found.status_since


def has_conversation(session: ClaudeSession) -> bool:
    """Return whether anybody has sent a message."""
    return session.claude_send_digest is not None or ClaudeProcess(session).transcript() is not None
