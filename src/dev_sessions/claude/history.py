"""Read what was said in a session, from its transcript."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.transcript import last_texts, log_turns
from dev_sessions.claude.transcript_file import Tail
from dev_sessions.jsonl import lines_backward
from dev_sessions.models import ClaudeSession, LogTurn, Pending


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
    return [*texts[::-1], *asked]


def logs(process: ClaudeProcess) -> Iterable[LogTurn]:
    """Return all texts of the conversation, without the program's own markup."""
    transcript = process.require_transcript()
    return log_turns(Tail(transcript, 0).lines()) if transcript is not None else ()


def has_conversation(session: ClaudeSession) -> bool:
    """Return whether anybody has sent a message."""
    return session.claude_send_digest is not None or ClaudeProcess(session).transcript() is not None
