"""The states of sessions, as the app-server reports them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from dev_sessions.codex import goals, protocol, rollout, turns
from dev_sessions.codex.client import CallRefused, Client, NoAnswer, time_limit
from dev_sessions.codex.history import ConversationGone, has_conversation, turns_back_to, with_limit_reset
from dev_sessions.codex.protocol import ThreadStatus
from dev_sessions.codex.thread import Thread
from dev_sessions.errors import ProtocolError
from dev_sessions.jsonl import last_activity, lines_backward
from dev_sessions.models import CodexSession, Outcome, SessionState
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.fast_dataclass import replace

#: Seconds without any answer after which `thread/list`, and what is asked about each thread, is given up: one thread
#: about which the app-server does not respond must not keep the states of all others from the caller.
LIST_TIMEOUT, STATE_TIMEOUT = 3.0, 5.0
#: Seconds after the last write to a thread's history in which the next turn of its goal may be about to begin
#: (measured: at most 0.03).
_GOAL_PAUSE_AGE = 60.0
#: Seconds in which that turn begins (measured: 0.05, on a busy machine 0.3).
GOAL_PAUSE_TIMEOUT = 1.0


def states(
    client: Client, sessions: Sequence[CodexSession], *, detail: bool
) -> dict[str, SessionState | ProtocolError]:
    """Return the states of sessions, or why one is not known; with `detail`, their activity, failure and goal, too.

    A thread that the app-server does not know is lost, unless it never had a message: Codex drops such a thread from
    memory after a minute, and the first message starts a new one. Raises NoAnswer if it responds about none of several.
    """
    statuses = _statuses(client, [session.internal_id for session in sessions])
    statuses.update(_between_goal_turns(client, sessions, statuses))
    found: dict[str, SessionState | ProtocolError] = {}
    known: list[tuple[CodexSession, ThreadStatus]] = []
    for session in sessions:
        status = statuses[session.internal_id]
        if isinstance(status, ProtocolError):
            found[session.id] = _not_known(session, status)
        elif status is None:
            found[session.id] = SessionState("lost" if has_conversation(session) else "idle")
        else:
            found[session.id] = turns.state(status)
            known.append((session, status))
    silences = [status for status in statuses.values() if isinstance(status, NoAnswer)]
    if len(silences) == len(sessions) > 1:
        raise silences[0]
    return {**found, **_details(client, known)} if detail else found


def _between_goal_turns(
    client: Client, sessions: Sequence[CodexSession], statuses: Mapping[str, ThreadStatus | ProtocolError | None]
) -> dict[str, ThreadStatus | ProtocolError]:
    """Return the status of idle threads once the next turn of their goal has begun, or why it is not known.

    Asks only about those that were written lately, and waits for the turn: a goal may also be active without one.
    """
    latest: dict[str, ThreadStatus] = {}
    for session in sessions:
        status = statuses[session.internal_id]
        if isinstance(status, ThreadStatus) and status.kind == "idle" and _was_written_lately(session, status):
            latest[session.internal_id] = status
    awaited, silences = _with_active_goal(client, latest)
    begun: set[str] = set()
    deadline = Deadline(GOAL_PAUSE_TIMEOUT)
    # The last turn of a goal may have begun before its goal was read, which it may have completed since.
    while (event := client.next_event(deadline if awaited - begun else Deadline(0))) is not None:
        thread_id = str(event.params.get("threadId"))
        change = turns.status_change(event, thread_id)
        if change is not None and thread_id in latest:
            latest[thread_id] = replace(latest[thread_id], kind=change.kind, waiting_for=change.waiting_for)
            if change.kind != "idle":
                begun.add(thread_id)
    # Meanwhile, a turn may have begun and ended: then the one after it is about to begin, unless it was the last one.
    between, silent = _with_active_goal(client, [thread_id for thread_id in begun if latest[thread_id].kind == "idle"])
    working = {thread_id: replace(latest[thread_id], kind="active") for thread_id in between}
    return {**latest, **working, **silences, **silent}


def _with_active_goal(client: Client, thread_ids: Collection[str]) -> tuple[set[str], dict[str, NoAnswer]]:
    """Return the threads whose goal is active, and those about which the app-server does not respond."""
    answers = client.call_each([goals.get_request(thread_id) for thread_id in thread_ids], STATE_TIMEOUT)
    active: set[str] = set()
    silences: dict[str, NoAnswer] = {}
    for thread_id, answer in zip(thread_ids, answers, strict=True):
        if isinstance(answer, NoAnswer):
            silences[thread_id] = answer
        elif (goal := goals.goal_in(answer)) is not None and goal.active:
            active.add(thread_id)
    return active, silences


def _was_written_lately(session: CodexSession, status: ThreadStatus) -> bool:
    # The time that Codex 0.150 reports is that at which the goal's work began, for as long as that goes on.
    with contextlib.suppress(OSError):
        if status.rollout is not None:
            return time.time() - os.stat(status.rollout).st_mtime < _GOAL_PAUSE_AGE
    return has_conversation(session)


def _details(
    client: Client, sessions: Sequence[tuple[CodexSession, ThreadStatus]]
) -> dict[str, SessionState | ProtocolError]:
    """Return the states of sessions with their activity, tokens, failure and goal, or why one is not known."""
    # Reading turns takes the app-server longest, so it is done only for those whose rollout does not tell.
    threads = {session.id: Thread(client, session) for session, status in sessions if _may_need_turns(session, status)}
    requests = [goals.get_request(session.internal_id) for session, _ in sessions]
    requests += [thread.first_page_request() for thread in threads.values()]
    answers = client.call_each(requests, STATE_TIMEOUT)
    for thread, page in zip(threads.values(), answers[len(sessions) :], strict=True):
        thread.use_first_page(page)
    found: dict[str, SessionState | ProtocolError] = {}
    for (session, status), answer in zip(sessions, answers[: len(sessions)], strict=True):
        try:
            state = replace(turns.state(status), goal=goals.goal_in(answer))
            if session.id in threads:
                with time_limit(Deadline(STATE_TIMEOUT)):
                    state = state.with_outcome(_ended(threads[session.id], session, status))
        except NoAnswer as error:
            found[session.id] = _not_known(session, error)
            continue
        if status.rollout is not None:
            state = state.with_activity(last_activity(Path(status.rollout), rollout.activity))
        found[session.id] = state
    return found


def _not_known(session: CodexSession, error: ProtocolError) -> ProtocolError:
    # A plain `kill` does not end a Codex (0.171) that has stopped to answer about a thread.
    return ProtocolError(
        f"The state of {session.id} is not known: {error.summary}; try again, and if that stays so, end the app-server"
        " with kill -9 once its other sessions are idle (conversations are kept, and the next command starts a new one)"
    )


def _may_need_turns(session: CodexSession, status: ThreadStatus) -> bool:
    """Return whether an idle thread's turns have to be read to know why the turn of the last send did not end well."""
    # Of a thread without any, Codex says so only after milliseconds (0.171).
    if status.kind == "active" or not (status.has_message or has_conversation(session)):
        return False
    if status.kind == "systemError" or status.rollout is None:
        return True
    answered = rollout.answered_turn(lines_backward(Path(status.rollout)))
    return answered is None or session.codex_active_turn_id not in (None, answered)


def _statuses(client: Client, thread_ids: Sequence[str]) -> dict[str, ThreadStatus | ProtocolError | None]:
    """Return the status of each thread, or why it is not known; None if the app-server has neither it nor a history."""
    found: dict[str, ThreadStatus | ProtocolError | None] = {}
    if client.version >= protocol.FIRST_LISTING_BY_ID and len(thread_ids) > 1:
        parts = [thread_ids[at : at + protocol.MAX_LISTED] for at in range(0, len(thread_ids), protocol.MAX_LISTED)]
        for page in client.call_each([("thread/list", protocol.thread_list(part)) for part in parts], LIST_TIMEOUT):
            if isinstance(page, CallRefused):
                raise page
            if not isinstance(page, NoAnswer):
                found.update(protocol.listed_statuses(page))
    others = [thread_id for thread_id in thread_ids if thread_id not in found]
    answers = client.call_each([("thread/read", {"threadId": thread_id}) for thread_id in others], STATE_TIMEOUT)
    for thread_id, answer in zip(others, answers, strict=True):
        if isinstance(answer, CallRefused) and protocol.is_unknown_thread(answer.error):
            found[thread_id] = None
        else:
            found[thread_id] = answer if isinstance(answer, ProtocolError) else protocol.read_status(answer)
    return found


def _ended(thread: Thread, session: CodexSession, status: ThreadStatus) -> Outcome | None:
    """Return how the turn of the last send ended; None if that is not known, or is not in the history yet."""
    own = session.codex_active_turn_id
    try:
        outcome = turns.outcome(status, turns_back_to(own, thread, session, "notLoaded"), own)
    except ConversationGone:
        return None
    return outcome and with_limit_reset(outcome, status)
