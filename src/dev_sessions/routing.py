"""Route operations to this machine, or to the host of their session."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from dev_sessions.errors import DevSessionsError, HostUnreachable, IdInUse, Relayed, StoreError, is_not_found
from dev_sessions.models import (
    FieldChanges,
    KillReport,
    Listed,
    Listing,
    RecoverReport,
    RecoverRow,
    Session,
    SessionState,
    Terminal,
    timestamp,
)
from dev_sessions.operations import (
    Ask,
    Create,
    Fork,
    Inspect,
    Kill,
    KillMany,
    List,
    Operation,
    Recover,
    Send,
    Status,
    Wait,
)
from dev_sessions.sessions.manager import SessionManager
from dev_sessions.sessions.store import Store
from dev_sessions.system import paths
from dev_sessions.system.fast_dataclass import replace
from dev_sessions.system.process import owner_is_alive
from dev_sessions.system.threads import gather

if TYPE_CHECKING:
    from dev_sessions.remote.relay import Relay

R = TypeVar("R")

_LOST = SessionState("lost")

#: Return the relay for a host, the command to run there, and its version if that is known.
Relays = Callable[[str, str, str | None], "Relay"]


class Router:
    """The transport for the sessions of this machine, and for those that were created from here on others.

    The record of a session on another machine has its id, its host and the fields that were set at its creation. `warn`
    prints a warning for the user.
    """

    def __init__(self, store: Store, manager: SessionManager, relays: Relays, warn: Callable[[str], None]) -> None:
        self._store = store
        self._manager = manager
        self._relays = relays
        self._warn = warn

    def execute(self, operation: Operation[R]) -> R:
        """Execute an operation here, or on the host of its session."""
        result: Any
        match operation:
            case Create(host=str(host)):
                result = self._create_on_host(operation, operation, host)
            case List():
                result = self._list(operation)
            case KillMany():
                result = self._kill_many(operation)
            case Recover():
                result = self._recover(operation)
            case Wait(caller=str(caller)) | Ask(caller=str(caller)):
                from dev_sessions.sessions import wait_cycles

                with wait_cycles.recorded(caller, operation.session_id, self._is_working):
                    result = self._execute_one(operation)
            case Fork() if (source := self._remote_session(operation.session_id)) is not None:
                from dev_sessions.sessions.fork import as_create

                result = self._create_on_host(operation, as_create(operation, source), source.host or "")
            case _:
                result = self._execute_one(operation)
        value: R = result
        return value

    def _execute_one(self, operation: Operation[Any]) -> Any:
        """Execute an operation on one session, or here."""
        session = self._remote_session(getattr(operation, "session_id", None))
        return self._manager.execute(operation) if session is None else self._relay(operation, session)

    def _is_working(self, session_id: str) -> bool:
        with contextlib.suppress(DevSessionsError):
            return bool(self._execute_one(Status(session_id=session_id)).state == "working")
        return False

    def running_in(self) -> set[str]:
        """Return the ids of the sessions of this machine in which this very process runs."""
        from dev_sessions.sessions.process_tree import running_in

        return running_in(self._store.read().sessions.values())

    def terminal(self, session_id: str) -> Terminal:
        """Return the program that shows a session to a person; for another machine, it runs dev-sessions there."""
        session = self._remote_session(session_id)
        return self._manager.terminal(session_id) if session is None else self._relay_to(session).terminal(session_id)

    def _relay_to(self, session: Session) -> Relay:
        return self._relays(session.host or "", session.remote_bin or paths.DEFAULT_REMOTE_BIN, session.remote_version)

    def _remote_session(self, session_id: str | None) -> Session | None:
        """Return the record of a session on another machine; None for any other id."""
        session = self._store.read().sessions.get(session_id) if session_id else None
        return session if session is not None and session.host is not None else None

    def _relay(self, operation: Operation[Any], session: Session) -> Any:
        relay = self._relay_to(session)
        try:
            result = relay.execute(operation)
        except Relayed as error:
            if not isinstance(operation, Kill) or not is_not_found(error):
                raise
            result = KillReport((session.id,))  # it was killed on its host, so only our record is left
        changes: FieldChanges = {}
        if relay.version != session.remote_version:
            changes["remote_version"] = relay.version
        match operation:
            case Kill():
                self._store.remove(session.id)
                return result
            case Send() | Ask():
                changes["last_used"] = timestamp(time.time())
            case Inspect():
                return {**result, "host": session.host, "remoteBin": session.remote_bin}
        if changes:
            try:
                self._store.update(session.id, changes)
            except StoreError as error:
                self._warn(f"done on {session.host}, but not recorded here: {error.summary}")
        return result

    def _create_on_host(self, operation: Create | Fork, request: Create, host: str) -> Session:
        """Create a session on a host, as `request` describes it, by an operation.

        Its id is chosen here, so that it is unique among all machines.
        """
        remote_bin = paths.remote_bin()
        relay = self._relays(host, remote_bin, None)
        relay.query_version()
        self._end_abandoned(host)

        def start(claim: Session) -> Session:
            # From here on, other commands can query the host about it, even if this process is killed.
            self._store.update(claim.id, {"remote_bin": remote_bin, "remote_version": relay.version})
            try:
                made = relay.execute(_without_host(replace(operation, id=claim.id)))
            except Relayed as error:
                if request.id is None and "already in use" in str(error):
                    raise IdInUse(claim.id) from error
                raise
            return self._store.update(claim.id, {**_reported(made), "claimed_by": None})

        def undo(claim: Session, error: BaseException) -> None:
            if isinstance(error, HostUnreachable):
                # It may exist. So its record stays, for `list` to query the host and for `kill` to end it.
                self._store.update(claim.id, {"claimed_by": None})
            elif isinstance(error, Relayed | IdInUse):
                self._store.remove(claim.id)
            else:
                # The record is removed only if the host confirms that it is gone; otherwise the next list queries it.
                with contextlib.suppress(DevSessionsError):
                    self._end(self._store.get(claim.id))

        return self._manager.claim_and_start(request, start, undo)

    def _end_abandoned(self, host: str) -> None:
        """End the sessions that killed creates have left on a host: nobody knows their ids."""
        for session in self._store.read().sessions.values():
            if session.host == host and session.claimed_by is not None and not owner_is_alive(session.claimed_by):
                with contextlib.suppress(DevSessionsError):
                    self._end(session)

    def _list(self, request: List) -> Listing:
        """List all sessions. All hosts are queried at once, while this machine reads its own sessions."""
        with self._rows_of_hosts() as rows_of_hosts:
            here = self._manager.execute(request)
        found = [row for rows in rows_of_hosts for row in rows]
        lost = sum(row.state == _LOST for row in found)
        rows = [*here.rows, *(row for row in found if request.everything or row.state != _LOST)]
        rows.sort(key=lambda row: row.session.last_used, reverse=True)
        return Listing(tuple(rows), here.lost + (0 if request.everything else lost), here.unseen)

    def _kill_many(self, request: KillMany) -> KillReport:
        from dev_sessions.sessions.kill_each import kill_each

        with self._rows_of_hosts() as rows_of_hosts:
            pass
        alive = (row.session for rows in rows_of_hosts for row in rows if row.state != _LOST)
        there = kill_each(alive, self._end, request.older_than)
        # Last, because this command may run in a session of this machine.
        here = self._manager.execute(request)
        return KillReport((*there.killed, *here.killed), (*there.errors, *here.errors), (*there.notes, *here.notes))

    def _end(self, session: Session) -> tuple[str, ...]:
        """End a session on another machine, and return notes about what was left of it."""
        report: KillReport = self._relay(Kill(session_id=session.id), session)
        return report.notes

    def _recover(self, request: Recover) -> RecoverReport:
        """Recover each session on its own host."""
        if request.prune:
            from dev_sessions.sessions.recover import prune

            with self._rows_of_hosts() as rows_of_hosts:
                here = self._manager.execute(request)
            pruned = prune((row for rows in rows_of_hosts for row in rows), self._end, yes=request.yes)
            return RecoverReport((*here.rows, *pruned.rows), (*here.notes, *pruned.notes))
        elsewhere = {
            session.id: session
            for session in self._store.read().sessions.values()
            if session.host is not None and (not request.session_ids or session.id in request.session_ids)
        }
        local = tuple(session_id for session_id in request.session_ids if session_id not in elsewhere)
        rows: list[RecoverRow] = []
        if local or not request.session_ids:
            rows += self._manager.execute(replace(request, session_ids=local)).rows
        for session in elsewhere.values():
            try:
                report: RecoverReport = self._relay(replace(request, session_ids=(session.id,)), session)
                rows += [row for row in report.rows if request.session_ids or row.action or row.error]
            except DevSessionsError as error:
                rows.append(RecoverRow(session.id, error=f"{session.id}: {error}"))
        return RecoverReport(tuple(rows))

    def _rows_of_hosts(self) -> AbstractContextManager[list[list[Listed]]]:
        """Query all hosts at once while the block runs; at its end, the list has the rows of each host."""
        groups: dict[tuple[str, str], list[Session]] = {}
        for session in self._store.read().sessions.values():
            if session.host is not None and not owner_is_alive(session.claimed_by):
                place = (session.host, session.remote_bin or paths.DEFAULT_REMOTE_BIN)
                groups.setdefault(place, []).append(session)
        return gather(partial(self._rows, group) for group in groups.values())

    def _rows(self, sessions: list[Session]) -> list[Listed]:
        """Return the rows of our sessions on one host; as they are recorded, if it does not respond."""
        host, remote_bin = sessions[0].host or "", sessions[0].remote_bin or paths.DEFAULT_REMOTE_BIN
        versions = {session.remote_version for session in sessions if session.remote_version}
        try:
            relay = self._relays(host, remote_bin, max(versions, default=None))
            there = {row.session.id: row for row in relay.execute(List(everything=True)).rows}
        except DevSessionsError as error:
            self._warn(f"cannot query {host}, so its sessions are shown as last recorded: {error}")
            return [Listed(session, None) for session in sessions]
        return [_merged(session, there.get(session.id)) for session in sessions]


def _without_host(operation: Create | Fork) -> Create | Fork:
    return replace(operation, host=None) if isinstance(operation, Create) else operation


def _reported(made: Session) -> FieldChanges:
    """Return the fields in which another machine reports a session that it made."""
    return {
        "internal_id": made.internal_id,
        "path": made.path,
        "model": made.model,
        "mode": made.mode,
        "worktree": made.worktree,
        "worktree_branch": made.worktree_branch,
    }


def _merged(local: Session, remote: Listed | None) -> Listed:
    """Return a session as its host reports it, with our id for it and our fields about the host."""
    if remote is None:
        return Listed(replace(local, status="inactive"), _LOST)
    session = replace(
        remote.session,
        id=local.id,
        host=local.host,
        remote_bin=local.remote_bin,
        remote_version=local.remote_version,
        created_by=local.created_by,
        last_used=max(local.last_used, remote.session.last_used),
    )
    return Listed(session, remote.state)
