"""The states of sessions, as the app-server reports them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dev_sessions.codex import goals, protocol, rollout, turns
from dev_sessions.codex.client import CallRefused, Client
from dev_sessions.codex.history import ConversationGone, has_conversation, turns_back_to, with_limit_reset
from dev_sessions.codex.protocol import ThreadStatus
from dev_sessions.codex.thread import Thread
from dev_sessions.jsonl import last_activity, lines_backward
from dev_sessions.models import CodexSession, Outcome, SessionState


def states(client: Client, sessions: Sequence[CodexSession], *, detail: bool) -> dict[str, SessionState]:
    """Return the states of sessions; with `detail`, their activity, tokens, failure and goal, too.

    A thread that the app-server does not know is lost, unless it never had a message: Codex drops such a thread from
    memory after a minute, and the first message starts a new one.
    """
    statuses = _statuses(client, [session.internal_id for session in sessions])
    found: dict[str, SessionState] = {}
    for session in sessions:
        status = statuses[session.internal_id]
        if status is None:
            found[session.id] = SessionState("lost" if has_conversation(session) else "idle")
        else:
            found[session.id] = turns.state(status)
    if not detail:
        return found
    # Reading turns takes the app-server longest, so it is done only for those whose rollout does not tell.
    others = {
        session.id: Thread(client, session)
        for session in sessions
        if found[session.id].state == "idle" and _may_need_turns(session, statuses[session.internal_id])
    }
    pages = client.call_each("thread/turns/list", [thread.first_page_params() for thread in others.values()])
    for thread, page in zip(others.values(), pages, strict=True):
        thread.first_page = page
    all_goals = goals.read_each(client, [session.internal_id for session in sessions])
    for session, goal in zip(sessions, all_goals, strict=True):
        status = statuses[session.internal_id]
        if status is None:
            continue
        state = replace(found[session.id], goal=goal)
        if session.id in others:
            state = state.with_outcome(_ended(others[session.id], session, status))
        if status.rollout is not None:
            state = state.with_activity(last_activity(Path(status.rollout), rollout.activity))
        found[session.id] = state
    return found


def _may_need_turns(session: CodexSession, status: ThreadStatus | None) -> bool:
    """Return whether an idle thread's turns have to be read to know why the turn of the last send did not end well."""
    # Of a thread without any, Codex says so only after milliseconds (0.171).
    if status is None or not (status.has_message or has_conversation(session)):
        return False
    if status.kind == "systemError" or status.rollout is None:
        return True
    answered = rollout.answered_turn(lines_backward(Path(status.rollout)))
    return answered is None or session.codex_active_turn_id not in (None, answered)


def _statuses(client: Client, thread_ids: Sequence[str]) -> dict[str, ThreadStatus | None]:
    """Return the status of each thread, None if the app-server has neither the thread nor a history of it."""
    found: dict[str, ThreadStatus | None] = {}
    if client.version >= protocol.LISTS_IDS and len(thread_ids) > 1:
        parts = [thread_ids[at : at + protocol.MAX_LISTED] for at in range(0, len(thread_ids), protocol.MAX_LISTED)]
        for part in parts:
            found.update(protocol.listed_statuses(client.call("thread/list", protocol.thread_list(part))))
    others = [thread_id for thread_id in thread_ids if thread_id not in found]
    answers = client.call_each("thread/read", [{"threadId": thread_id} for thread_id in others])
    for thread_id, answer in zip(others, answers, strict=True):
        if not isinstance(answer, CallRefused):
            found[thread_id] = protocol.read_status(answer)
        elif protocol.is_unknown_thread(answer.error):
            found[thread_id] = None
        else:
            raise answer
    return found


def _ended(thread: Thread, session: CodexSession, status: ThreadStatus) -> Outcome | None:
    """Return how the turn of the last send ended; None if that is not known, or is not in the history yet."""
    own = session.codex_active_turn_id
    try:
        outcome = turns.outcome(status, turns_back_to(own, thread, session, "notLoaded"), own)
    except ConversationGone:
        return None
    return outcome and with_limit_reset(outcome, status)
