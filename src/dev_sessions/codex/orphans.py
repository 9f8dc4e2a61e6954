"""Threads without a session, which a `create` leaves behind that is killed before its record names the thread.

A person who attaches to a session may start a thread in the app-server, too. So a thread is deleted only if
dev-sessions started it, it is empty, no session has it, and no running command may be about to record it: `create`
writes its claim to the store before it starts a thread, and a command that starts a new thread for an existing session
holds that session's sender lock until the record names it.

Such a thread has no history, so 0.150 does not archive it. Nor does 0.150 unload it by itself, as 0.169 does a minute
after its client disconnected.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from dev_sessions.codex import protocol, rollout
from dev_sessions.codex.client import CallRefused, Client
from dev_sessions.codex.thread import MAX_TURNS
from dev_sessions.models import CodexSession, Session
from dev_sessions.system import paths
from dev_sessions.system.file_locks import is_held
from dev_sessions.system.process import owner_is_alive

#: Bytes of the longest first line of a rollout: it has the instructions for the model, of some 20 KB.
_LONGEST_FIRST_LINE = 1 << 22


def find(client: Client, sessions: Callable[[], Iterable[Session]]) -> list[str]:
    """Return the loaded threads that can be deleted; `sessions` reads the store."""
    # The threads are listed first: a command that starts one later, or has just started one, is found after that.
    loaded = protocol.loaded_threads(client.call("thread/loaded/list", {}))
    if any(_may_be_starting_thread(session) for session in sessions()):
        return []
    known = {session.internal_id for session in sessions()}  # read again: a command that has ended since named its own
    return [thread for thread in sorted(set(loaded) - known) if _is_empty(client, thread)]


def end(client: Client, sessions: Callable[[], Iterable[Session]]) -> None:
    """Delete the threads of `find`."""
    for thread in find(client, sessions):
        with contextlib.suppress(CallRefused):  # another command has deleted it
            client.call("thread/delete", {"threadId": thread})


def end_fork(client: Client, session: CodexSession) -> None:
    """Delete the thread of a fork that was killed before its record named the thread.

    Its source names the session. If it has a turn that the forked thread does not have, somebody uses it.
    """
    newest = protocol.listed_statuses(client.call("thread/list", protocol.newest_thread_list()))
    for thread, status in newest.items():
        if status.kind not in ("idle", "notLoaded") or status.rollout is None:
            continue
        source = protocol.source_of_fork(session.id)
        forked = rollout.forked_thread(_first_line(status.rollout), source, session.created_at)
        with contextlib.suppress(CallRefused):  # somebody has deleted it, or the forked one
            if forked is not None and {*_newest_turns(client, thread)[:1]} <= {*_newest_turns(client, forked)}:
                client.call("thread/delete", {"threadId": thread})


def _first_line(file: str) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.readline(_LONGEST_FIRST_LINE)
    except OSError:
        return b""


def _newest_turns(client: Client, thread: str) -> list[str]:
    page = client.call("thread/turns/list", protocol.turns_list(thread, MAX_TURNS, "notLoaded", None))
    return [turn.id for turn in protocol.turns_page(page).turns]


def _may_be_starting_thread(session: Session) -> bool:
    if session.cli != "codex" or session.host is not None:
        return False
    if session.claimed_by is not None and owner_is_alive(session.claimed_by):
        return True
    return is_held(paths.sender_lock(session.id))


def _is_empty(client: Client, thread: str) -> bool:
    try:
        if not protocol.is_own_empty_thread(client.call("thread/read", {"threadId": thread})):
            return False
        # A thread may have turns of a goal without any message.
        client.call("thread/read", {"threadId": thread, "includeTurns": True})
    except CallRefused as refusal:
        return protocol.is_unmaterialised(refusal.error)
    return False
