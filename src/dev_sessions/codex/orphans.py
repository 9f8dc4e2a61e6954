"""Threads without a session: a create was killed between the making of its thread and the record of that.

The app-server is ours alone, but a person who looks into a session may begin a thread there. So what is ended was made
by us, is empty, has no session, and is of no command that goes on: a create has its claim in the store before its
thread, and whoever makes a thread anew for a session holds that session's sender lock until the record names it.

Such a thread has no history, so that 0.150 does not archive it; nor does that unload it on its own, as 0.169 does, a
minute after its creator left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from dev_sessions.codex import protocol
from dev_sessions.codex.client import CallRefused, Client
from dev_sessions.models import Session
from dev_sessions.system import paths
from dev_sessions.system.file_locks import is_held
from dev_sessions.system.process import owner_is_alive


def find(client: Client, sessions: Callable[[], Iterable[Session]]) -> list[str]:
    """Our empty threads in memory that are of no session, nor of one that is being made. `sessions` reads the store."""
    # The threads first: whoever goes on to make one, or has just made one, is seen after that.
    loaded = protocol.loaded_threads(client.call("thread/loaded/list", {}))
    if any(_may_make_one(session) for session in sessions()):
        return []
    known = {session.internal_id for session in sessions()}  # once more: who ended since then has named his own
    return [thread for thread in sorted(set(loaded) - known) if _is_empty(client, thread)]


def end(client: Client, sessions: Callable[[], Iterable[Session]]) -> None:
    """End them."""
    for thread in find(client, sessions):
        with contextlib.suppress(CallRefused):  # somebody else did
            client.call("thread/delete", {"threadId": thread})


def _may_make_one(session: Session) -> bool:
    if session.cli != "codex" or session.host is not None:
        return False
    if session.claimed_by is not None and owner_is_alive(session.claimed_by):
        return True
    return is_held(paths.sender_lock(session.id))


def _is_empty(client: Client, thread: str) -> bool:
    try:
        found = client.call("thread/read", {"threadId": thread})
        if not protocol.is_ours_and_empty(found):
            return False
        # The turns of a goal are no messages.
        client.call("thread/read", {"threadId": thread, "includeTurns": True})
    except CallRefused as refusal:
        return protocol.is_unmaterialised(refusal.error)
    return False
