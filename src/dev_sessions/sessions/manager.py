"""SessionManager: executes operations on the sessions of this machine, whichever agent runs in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from dev_sessions.agent import Backends
from dev_sessions.attempt import delivering
from dev_sessions.errors import (
    DevSessionsError,
    MovedToBackground,
    SessionLost,
)
from dev_sessions.models import (
    Goal,
    Interrupted,
    JsonObject,
    KillReport,
    Listing,
    LogTurn,
    Receipt,
    RecoverReport,
    Reply,
    Session,
    StatusResult,
    Terminal,
    WaitResult,
)
from dev_sessions.operations import (
    Ask,
    ClearGoal,
    Create,
    Fork,
    GetGoal,
    Inspect,
    Interrupt,
    Kill,
    KillMany,
    LastMessage,
    List,
    Logs,
    Operation,
    Recover,
    Respond,
    Send,
    SetGoal,
    Status,
    Wait,
)
from dev_sessions.record_json import session_to_json
from dev_sessions.sessions.context import Context
from dev_sessions.sessions.store import Store
from dev_sessions.system import pid_namespace
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.fast_dataclass import replace

R = TypeVar("R")


class SessionManager:
    """Executes operations on the sessions in this machine's store.

    `backends` returns the backend of an agent, created on first use; `warn` prints a warning for the user.
    """

    def __init__(self, store: Store, backends: Backends, warn: Callable[[str], None]) -> None:
        self._backends = backends
        self._context = Context(store, backends, warn)

    def execute(self, operation: Operation[R]) -> R:
        """Execute an operation on this machine's sessions. Raises the errors of `dev_sessions.errors`."""
        result: R = _METHODS[type(operation)](self, operation)
        return result

    def create(self, request: Create) -> Session:
        """Start a session. On any error neither a process nor a record is left behind."""
        from dev_sessions.sessions import create

        return create.create(self._context, request)

    def fork(self, request: Fork) -> Session:
        """Start a session with the conversation of another one. On any error nothing is left behind."""
        from dev_sessions.sessions import fork

        return fork.fork(self._context, request)

    def claim_and_start(
        self,
        request: Create,
        start: Callable[[Session], Session],
        undo: Callable[[Session, BaseException], None],
    ) -> Session:
        """Claim an id here for a session that `start` starts elsewhere; see `create.claim_and_start`."""
        from dev_sessions.sessions import create

        return create.claim_and_start(self._context, request, request.path or "", start, undo)

    def send(self, request: Send) -> Receipt:
        """Deliver a message. Only one command at a time sends to a session."""
        from dev_sessions.sessions import send

        return send.send(self._context, request)

    def ask(self, request: Ask) -> Reply:
        """Deliver a message, wait for its turn to end and return the last text of the reply."""
        from dev_sessions.sessions import send

        return send.ask(self._context, request)

    def wait(self, request: Wait) -> WaitResult:
        """Wait for the turn of the last send and everything queued behind it, for a goal, or for the next turn.

        Raises TurnFailed if the turn failed or was interrupted, WaitTimedOut.
        """
        from dev_sessions.sessions import wait

        return wait.wait(self._context, request)

    def last_message(self, request: LastMessage) -> list[str]:
        """Return the last text blocks of the assistant, also of a lost session."""
        session = self._context.created_session(request.session_id)
        return self._backends(session.cli).last_messages(session, request.count)

    def logs(self, request: Logs) -> Iterable[LogTurn]:
        """Yield the whole conversation, also of a lost session."""
        session = self._context.created_session(request.session_id)
        return self._backends(session.cli).logs(session)

    def status(self, request: Status) -> StatusResult:
        """Return the state of a session. Raises SessionLost, MovedToBackground, and why it is not known."""
        session = self._context.created_session(request.session_id)
        state = self._backends(session.cli).states([session], detail=request.detail)[session.id]
        if isinstance(state, DevSessionsError):
            raise state
        if state.state == "lost":
            raise SessionLost(session.id, "its process is gone")
        if state.moved_to is not None:
            raise MovedToBackground(session.id, state.moved_to)
        if not request.detail:
            if state.continues_at is not None:
                self._context.warn(
                    f"{session.id} waits for the end of a usage limit, and continues by itself after"
                    f" {state.continues_at}: dev-sessions wait {session.id} --through-limits"
                )
            return StatusResult(**vars(state))
        pending = self._backends(session.cli).pending(session) if state.state == "waiting_for_input" else None
        if pending is not None and pending.kind == "dialog":
            state = replace(state, waiting_for=pending.what)
        options = len(pending.questions[0].options) if pending is not None and pending.questions else None
        return StatusResult(**vars(state), worktree=session.worktree, options=options)

    def respond(self, request: Respond) -> None:
        """Answer what the session asks, or close it. Only one command at a time sends to a session."""
        with delivering(request.session_id, "answer") as attempt, self._context.sending(request.session_id):
            session = self._context.created_session(request.session_id)
            backend = self._backends(session.cli)
            if request.cancel:
                backend.cancel(session, attempt)
            else:
                backend.respond(session, request.answers, attempt, allow=request.allow)

    def interrupt(self, request: Interrupt) -> Interrupted:
        """Interrupt the running turn and wait until it has ended."""
        session = self._context.created_session(request.session_id)
        interrupted, changes = self._backends(session.cli).interrupt(session, Deadline(request.timeout))
        if changes:
            self._context.store.update(session.id, changes)
        return interrupted

    def terminal(self, session_id: str) -> Terminal:
        """Return the program that shows a session in a terminal. Raises SessionLost."""
        session = self._context.created_session(session_id)
        return self._backends(session.cli).terminal(session)

    def get_goal(self, request: GetGoal) -> Goal | None:
        """Return the goal of a session, without starting anything."""
        from dev_sessions.sessions import goals

        return goals.get_goal(self._context, request)

    def set_goal(self, request: SetGoal) -> Goal:
        """Set or change a goal. Only one command at a time sends to a session."""
        from dev_sessions.sessions import goals

        return goals.set_goal(self._context, request)

    def clear_goal(self, request: ClearGoal) -> bool:
        """Remove the goal of a session. Return whether it had one."""
        from dev_sessions.sessions import goals

        return goals.clear_goal(self._context, request)

    def list(self, request: List) -> Listing:
        """Return the running sessions, last used first; the state of a session is None if it is unknown.

        Lost sessions that never had a conversation are deleted.
        """
        from dev_sessions.sessions import listing

        return listing.list_sessions(self._context, request)

    def inspect(self, request: Inspect) -> JsonObject:
        """Return the stored record."""
        return session_to_json(self._context.created_session(request.session_id))

    def kill(self, request: Kill) -> KillReport:
        """End a session, running or lost, and delete its record; or end an orphan, which has no record.

        Raises InSandbox where the session's processes cannot be seen.
        """
        from dev_sessions.sessions import kill

        return kill.kill_session(self._context, request)

    def kill_many(self, request: KillMany) -> KillReport:
        """End all running sessions, or those not used recently; continue after a failure. The caller's own is last."""
        from dev_sessions.sessions import kill_many

        return kill_many.kill_many(self._context, request)

    def recover(self, request: Recover) -> RecoverReport:
        """Recover the named sessions, or all lost ones that have a conversation; or prune the old ones."""
        from dev_sessions.sessions import end, recover

        pid_namespace.require_outlasting("Nothing was recovered")
        if request.prune:
            rows = self.list(List(everything=True)).rows
            return recover.prune(rows, partial(end.end_session, self._context), yes=request.yes)
        return recover.recover(self._context, request)


_METHODS: dict[type[Operation[Any]], Callable[[SessionManager, Any], Any]] = {
    Create: SessionManager.create,
    Fork: SessionManager.fork,
    Send: SessionManager.send,
    Ask: SessionManager.ask,
    Wait: SessionManager.wait,
    LastMessage: SessionManager.last_message,
    Status: SessionManager.status,
    List: SessionManager.list,
    Kill: SessionManager.kill,
    KillMany: SessionManager.kill_many,
    Recover: SessionManager.recover,
    Logs: SessionManager.logs,
    Inspect: SessionManager.inspect,
    Respond: SessionManager.respond,
    Interrupt: SessionManager.interrupt,
    GetGoal: SessionManager.get_goal,
    SetGoal: SessionManager.set_goal,
    ClearGoal: SessionManager.clear_goal,
}
