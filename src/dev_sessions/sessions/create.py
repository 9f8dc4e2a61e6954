"""Creating a session: its name is claimed before anything starts, and on any error nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import random
import time
import uuid
from collections.abc import Callable

from dev_sessions.agent import Backend, Backends
from dev_sessions.errors import DevSessionsError, IdInUse, InvalidRequest
from dev_sessions.models import (
    DROPPED_MODELS,
    ClaudeSession,
    CodexSession,
    FieldChanges,
    Session,
    timestamp,
    with_changes,
)
from dev_sessions.operations import Create
from dev_sessions.sessions import champion_ids, worktree
from dev_sessions.sessions.end import Ending
from dev_sessions.sessions.store import Store
from dev_sessions.system import pid_namespace
from dev_sessions.system.process import this_process


class Creation:
    """Creates sessions on this machine. `warn` takes a line for the user."""

    def __init__(self, store: Store, backends: Backends, ending: Ending, warn: Callable[[str], None]) -> None:
        self._store = store
        self._backends = backends
        self._ending = ending
        self._warn = warn

    def create(self, request: Create) -> Session:
        """Start a session. On any error nothing is left behind, neither a process nor a record."""
        path = os.path.abspath(request.path or os.curdir)
        if not os.path.exists(path):
            raise InvalidRequest(f"Workspace path does not exist: {path}")
        if not os.path.isdir(path):
            raise InvalidRequest(f"Workspace path is not a directory: {path}")
        pid_namespace.require_outlasting("Nothing was started")
        if request.mode == "docker" and request.cli == "codex":
            self._warn("Codex has no docker mode: it runs on this machine, with full access")
        backend = self._backends(request.cli)
        self._ending.end_abandoned()
        refused: set[str] = set()
        while True:
            session = self.claim(request, path, refused)
            try:
                return self._start(session, backend, request.worktree)
            except IdInUse:
                self._give_back(session)
                if request.id is not None:
                    raise
                refused.add(session.id)
            except BaseException:
                self._give_back(session)
                raise

    def claim(self, request: Create, path: str, refused: set[str]) -> Session:
        """Reserve an id under the lock, before anything is spawned."""
        if request.id is not None and not champion_ids.is_valid(request.id):
            raise InvalidRequest(f"{request.id!r} is no session id: use lower-case letters, digits and dashes")
        with self._store.edit() as content:
            taken = content.taken_ids()
            if request.id is not None and request.id in taken:
                raise IdInUse(request.id)
            now = timestamp(time.time())
            kind = ClaudeSession if request.cli == "claude" else CodexSession
            session = kind(
                id=request.id or champion_ids.allocate(taken | refused, random.SystemRandom()),
                internal_id=str(uuid.uuid4()) if request.cli == "claude" else "",
                cli=request.cli,
                mode=request.mode,
                path=path,
                host=request.host,
                description=request.description,
                model=None if request.model in DROPPED_MODELS else request.model,
                created_at=now,
                last_used=now,
                claimed_by=this_process(),
            )
            session = with_changes(session, self._backends(request.cli).initial_fields())
            content.sessions[session.id] = session
        return session

    def _start(self, session: Session, backend: Backend[Session], branch: str | None) -> Session:
        with contextlib.ExitStack() as undo:
            if branch is not None:
                repository = worktree.find(session.path)
                with worktree.alone(repository.common):
                    site = repository.site(session.id, branch)
                    where: FieldChanges = {
                        "path": site.folder,
                        "worktree": site.path,
                        "worktree_branch": site.branch,
                        "worktree_base": site.base,
                    }
                    # On file before it is made, should that be cut short.
                    session = self._store.update(session.id, where)
                    undo.callback(site.discard)
                    site.make()
            changes = backend.start(session)
            undo.callback(self._stop, with_changes(session, changes))
            created = self._store.update(session.id, {**changes, "claimed_by": None, "worktree_base": None})
            undo.pop_all()
        return created

    def _stop(self, session: Session) -> None:
        """End a session's agent because something else failed, which this must not hide."""
        with contextlib.suppress(DevSessionsError, OSError):
            self._backends(session.cli).stop(session)

    def _give_back(self, session: Session) -> None:
        """Undo a claim. Whatever goes wrong here must not hide why the create failed."""
        with contextlib.suppress(DevSessionsError):
            self._store.remove(session.id)
        with contextlib.suppress(DevSessionsError):
            self._ending.release(session.cli)
