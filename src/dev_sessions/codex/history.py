"""Read the turns of a thread, and tell whether a session without any has lost them or never had any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from dev_sessions import failures
from dev_sessions.codex import protocol, rollout, turns
from dev_sessions.codex.client import CallRefused, Client
from dev_sessions.codex.protocol import ItemsView, ThreadStatus, Turn
from dev_sessions.codex.thread import MAX_TURNS, Thread
from dev_sessions.errors import DevSessionsError, InvalidRequest, SessionLost
from dev_sessions.jsonl import lines_backward
from dev_sessions.models import CodexSession, LogTurn, Outcome
from dev_sessions.system import paths
from dev_sessions.system.fast_dataclass import replace


class ConversationGone(SessionLost):
    """Raised when Codex has neither a session's thread nor its history."""

    def __init__(self, session: CodexSession, client: Client) -> None:
        home = f" in {client.codex_home}" if client.codex_home else ""
        DevSessionsError.__init__(
            self,
            f"{session.id} is lost: Codex finds no thread {session.internal_id}{home}. If it is elsewhere, start the"
            f" app-server with that CODEX_HOME; `dev-sessions kill {session.id}` deletes its record",
        )


class ConversationArchived(InvalidRequest):
    """Raised when a person has archived a session's thread in Codex."""

    def __init__(self, session: CodexSession, client: Client) -> None:
        home = Path(str(client.codex_home or paths.codex_home()))
        variable = "" if home == paths.home() / ".codex" else f"CODEX_HOME={home} "
        super().__init__(
            f"{session.id} was archived in Codex; bring it back with: {variable}codex unarchive {session.internal_id}"
        )


def has_conversation(session: CodexSession) -> bool:
    """Return whether the record shows that a message was sent or a goal set, by this version or by 0.4."""
    return (
        session.codex_active_turn_id is not None
        or session.codex_last_completed_at is not None
        or session.last_turn_status is not None
        or bool(session.codex_turn_in_progress)
        or bool(session.extra.get("lastAssistantMessages"))
    )


def history(thread: Thread, session: CodexSession, view: ItemsView) -> Iterator[Turn]:
    """Return the thread's turns, newest first; none before its first message. Raises ConversationGone."""
    try:
        yield from thread.turns(view)
    except CallRefused as refusal:
        if protocol.is_unmaterialised(refusal.error):
            return
        if not protocol.is_unknown_thread(refusal.error):
            raise
        if has_conversation(session):
            raise ConversationGone(session, thread.client) from refusal


def turns_back_to(turn_id: str | None, thread: Thread, session: CodexSession, view: ItemsView) -> list[Turn]:
    """Return the newest turns down to a turn, including it, newest first; only the newest turn for None."""
    recent: list[Turn] = []
    for turn in islice(history(thread, session, view), MAX_TURNS):
        recent.append(turn)
        if turn_id in (None, turn.id):
            break
    return recent


def with_limit_reset(outcome: Outcome, status: ThreadStatus) -> Outcome:
    """Return an outcome with the time at which the usage limit that it met ends, which only the rollout says."""
    if outcome.reason != "usage_limit" or status.rollout is None:
        return outcome
    return replace(outcome, resets_at=rollout.limit_resets_at(lines_backward(Path(status.rollout))))


def last_messages(thread: Thread, session: CodexSession, count: int, warn: Callable[[str], None]) -> list[str]:
    """Return the agent's last `count` messages, read from the end of the thread. What it asks is the last one."""
    open_request = thread.open_request()
    messages = [open_request.pending.text] if open_request is not None else []
    newest_first = history(thread, session, "full")
    newest: Turn | None = None
    while len(messages) < count and (turn := next(newest_first, None)) is not None:
        newest = newest or turn
        messages[:0] = turns.agent_texts(turn)
    if newest is not None and newest.state in ("failed", "interrupted"):
        outcome = Outcome(newest.state, newest.error, newest.reason)
        said_some = bool(turns.agent_texts(newest))
        text = messages[-1] if messages else ""
        warn(failures.no_answer_warning(session.id, outcome, said_some=said_some, newest=text))
    return messages[max(0, len(messages) - count) :]


def logs(thread: Thread, session: CodexSession) -> list[LogTurn]:
    """Return everything that was said in the thread."""
    newest_first = list(history(thread, session, "full"))
    return [said for turn in reversed(newest_first) for said in turns.log_turns(turn)]
