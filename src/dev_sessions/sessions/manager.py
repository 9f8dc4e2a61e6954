"""SessionManager: executes operations on the sessions of this machine, whichever agent runs in them."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from dev_sessions import failures
from dev_sessions.agent import Backends, SupportsGoals
from dev_sessions.attempt import Attempt, after_arrival, delivering, summary_of
from dev_sessions.errors import (
    AfterArrival,
    DevSessionsError,
    InSandbox,
    InvalidRequest,
    MovedToBackground,
    ProcessesUnseen,
    SessionLost,
    SessionNotFound,
    StoreError,
    WaitTimedOut,
)
from dev_sessions.models import (
    SESSION_TYPES,
    Cli,
    FieldChanges,
    Goal,
    Interrupted,
    JsonObject,
    KillReport,
    Listed,
    Listing,
    LogTurn,
    Outcome,
    Receipt,
    RecoverReport,
    Reply,
    Session,
    SessionState,
    StatusResult,
    Terminal,
    WaitOutcome,
    WaitResult,
    timestamp,
    undo_changes,
    with_changes,
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
    timed_out,
)
from dev_sessions.record_json import session_to_json
from dev_sessions.sessions.context import Context, require_created
from dev_sessions.sessions.store import Store, exclusive
from dev_sessions.system import paths, pid_namespace
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.process import mark_is_local, owner_is_alive

R = TypeVar("R")

#: Seconds to wait for another command that is sending to the same session.
_SENDER_TIMEOUT = 120.0
#: Characters of a question that a warning quotes.
_MAX_QUOTE = 200


class SessionManager:
    """Executes operations on the sessions in this machine's store.

    `backends` returns the backend of an agent, created on first use; `warn` prints a warning for the user.
    """

    def __init__(self, store: Store, backends: Backends, warn: Callable[[str], None]) -> None:
        self._store = store
        self._backends = backends
        self._warn = warn
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
        deadline = Deadline.cancellable(math.inf)
        receipt = self._deliver(request.session_id, request.message, deadline, discard_draft=request.discard_draft)[1]
        if not request.receipt:
            self._warn_of_answer(request.session_id, receipt)
        return receipt

    def ask(self, request: Ask) -> Reply:
        """Deliver a message, wait for its turn to end and return the last text of the reply."""
        deadline = Deadline.cancellable(request.timeout)
        session, receipt = self._deliver(request.session_id, request.message, deadline)
        self._warn_of_answer(session.id, receipt)
        with after_arrival(session.id):
            backend = self._backends(session.cli)
            ended, answer = backend.answer(session, deadline, through_limits=request.through_limits)
            outcome = self._outcome_or_raise(session, ended)
            if outcome == "waiting_for_input":
                return Reply("", outcome)
            return Reply(answer.texts[-1] if answer.texts else "", outcome, answer.messages)

    def wait(self, request: Wait) -> WaitResult:
        """Wait for the turn of the last send and everything queued behind it, for a goal, or for the next turn.

        Raises TurnFailed if the turn failed or was interrupted, WaitTimedOut.
        """
        began = time.monotonic()
        session = self._session(request.session_id)
        deadline = Deadline.cancellable(request.timeout)
        goal: Goal | None = None
        if request.goal and request.next_turn:
            raise InvalidRequest("Wait for the goal or for the next turn, not for both")
        try:
            if request.goal:
                outcome, goal = self._wait_for_goal(session, deadline)
            elif request.next_turn:
                outcome = self._wait_for_next_turn(session, deadline)
            else:
                outcome = self._wait_for_turn(session, deadline, request)
        except WaitTimedOut as error:
            raise WaitTimedOut(timed_out(request)) from error
        return WaitResult(outcome, round((time.monotonic() - began) * 1000), goal)

    def last_message(self, request: LastMessage) -> list[str]:
        """Return the last text blocks of the assistant, also of a lost session."""
        session = self._session(request.session_id)
        return self._backends(session.cli).last_messages(session, request.count)

    def logs(self, request: Logs) -> Iterable[LogTurn]:
        """Yield the whole conversation, also of a lost session."""
        session = self._session(request.session_id)
        return self._backends(session.cli).logs(session)

    def status(self, request: Status) -> StatusResult:
        """Return the state of a session. Raises SessionLost, MovedToBackground, ProcessesUnseen."""
        session = self._session(request.session_id)
        state = self._backends(session.cli).states([session], detail=request.detail)[session.id]
        if isinstance(state, ProcessesUnseen):
            raise state
        if state.state == "lost":
            raise SessionLost(session.id, "its process is gone")
        if state.moved_to is not None:
            raise MovedToBackground(session.id, state.moved_to)
        if not request.detail:
            return StatusResult(**vars(state))
        pending = self._backends(session.cli).pending(session) if state.state == "waiting_for_input" else None
        if pending is not None and pending.kind == "dialog":
            state = replace(state, waiting_for=pending.what)
        options = len(pending.questions[0].options) if pending is not None and pending.questions else None
        return StatusResult(**vars(state), worktree=session.worktree, options=options)

    def respond(self, request: Respond) -> None:
        """Answer what the session asks, or close it. Only one command at a time sends to a session."""
        with delivering(request.session_id, "answer") as attempt, self._sending(request.session_id):
            session = self._session(request.session_id)
            backend = self._backends(session.cli)
            if request.cancel:
                backend.cancel(session, attempt)
            else:
                backend.respond(session, request.answers, attempt, allow=request.allow)

    def interrupt(self, request: Interrupt) -> Interrupted:
        """Interrupt the running turn and wait until it has ended."""
        session = self._session(request.session_id)
        return self._backends(session.cli).interrupt(session, Deadline(request.timeout))

    def terminal(self, session_id: str) -> Terminal:
        """Return the program that shows a session in a terminal. Raises SessionLost."""
        session = self._session(session_id)
        return self._backends(session.cli).terminal(session)

    def get_goal(self, request: GetGoal) -> Goal | None:
        """Return the goal of a session, without starting anything."""
        session = self._session(request.session_id)
        return self._goal_backend(session).get_goal(session)

    def set_goal(self, request: SetGoal) -> Goal:
        """Set or change a goal. Only one command at a time sends to a session."""
        objective = request.objective.strip() if request.objective is not None else None
        if objective == "":
            raise InvalidRequest("Objective is required. Use <objective> or --file <path>.")
        with self._sending(request.session_id):
            session = self._session(request.session_id)
            backend = self._goal_backend(session)
            update = backend.set_goal(session, objective, request.status, request.token_budget)
            self._store.update(session.id, {**update.changes, "last_used": timestamp(time.time())})
        if request.status == "active" and not update.goal.active:
            self._warn(
                f"the goal of {session.id} stays {update.goal.status}; if it has used its budget, raise that:"
                f" dev-sessions goal {session.id} --resume --budget TOKENS"
            )
        return update.goal

    def clear_goal(self, request: ClearGoal) -> bool:
        """Remove the goal of a session. Return whether it had one."""
        session = self._session(request.session_id)
        return self._goal_backend(session).clear_goal(session)

    def list(self, request: List) -> Listing:
        """Return the running sessions, last used first; the state of a session is None if it is unknown.

        Lost sessions that never had a conversation are deleted.
        """
        from dev_sessions.sessions import end

        end.end_abandoned(self._context)
        sessions = [session for session in self._store.read().sessions.values() if session.claimed_by is None]
        here = [session for session in sessions if session.host is None]
        states, unseen = self._states(here, detail=request.detail)
        lost = SessionState("lost")
        empty = [session.id for session in sessions if states.get(session.id) == lost and self._is_gone_unused(session)]
        for session in sessions:
            if session.id in empty:
                self._drop_unused(session)
        kept = [Listed(session, states.get(session.id)) for session in here if session.id not in empty]
        rows = [row for row in kept if request.everything or row.state != lost]
        rows.sort(key=lambda row: row.session.last_used, reverse=True)
        return Listing(tuple(rows), len(kept) - len(rows), unseen)

    def _drop_unused(self, session: Session) -> None:
        from dev_sessions.sessions import end

        if end.drop(self._context, session):
            removed = session.worktree is not None and not os.path.lexists(session.worktree)
            what = "record and its worktree were" if removed else "record was"
            self._warn(f"{session.id} ended before it was sent a message; its {what} deleted")

    def _is_gone_unused(self, session: Session) -> bool:
        """Return whether a lost session never had a conversation, and nothing else runs in its terminal."""
        backend = self._backends(session.cli)
        try:
            if backend.has_conversation(session):
                return False
            plan = backend.recovery(session)
            return plan is not None and not plan.in_use
        except (DevSessionsError, OSError):
            return False

    def inspect(self, request: Inspect) -> JsonObject:
        """Return the stored record."""
        return session_to_json(self._session(request.session_id))

    def kill(self, request: Kill) -> KillReport:
        """End a session, running or lost, and delete its record; or end an orphan, which has no record.

        Raises InSandbox where the session's processes cannot be seen.
        """
        from dev_sessions.sessions.end import end_session

        pid_namespace.require_outlasting(f"{request.session_id} was left alone")
        try:
            session = self._store.get(request.session_id)
        except SessionNotFound:
            return KillReport((request.session_id,), notes=end_session(self._context, self._adopt(request.session_id)))
        if request.gone:
            from dev_sessions.sessions import recover

            session = self._store.update(session.id, recover.declared_gone(self._context, session))
        if session.claimed_by is not None and owner_is_alive(session.claimed_by):
            raise _being_created(session)
        return KillReport((session.id,), notes=end_session(self._context, session))

    def kill_many(self, request: KillMany) -> KillReport:
        """End all running sessions, or those not used recently; continue after a failure. The caller's own is last."""
        from dev_sessions.sessions import end
        from dev_sessions.sessions.kill_many import kill_each
        from dev_sessions.sessions.process_tree import running_in

        pid_namespace.require_outlasting("No session was killed")
        rows = self.list(List()).rows
        own = running_in(row.session for row in rows) | {request.caller}
        rows = tuple(sorted(rows, key=lambda row: row.session.id in own))
        report = kill_each(request, rows, partial(end.end_session, self._context))
        for cli in SESSION_TYPES:
            if any(found.is_dir() for found in paths.state_dir().glob(f"{cli}*")):
                # An interrupted kill may have left running what its sessions share.
                end.release(self._context, cli)
        return report

    def recover(self, request: Recover) -> RecoverReport:
        """Recover the named sessions, or all lost ones that have a conversation; or prune the old ones."""
        from dev_sessions.sessions import end, recover

        pid_namespace.require_outlasting("Nothing was recovered")
        if request.prune:
            rows = self.list(List(everything=True)).rows
            return recover.prune(rows, partial(end.end_session, self._context), yes=request.yes)
        return recover.recover(self._context, request)

    def _session(self, session_id: str) -> Session:
        session = self._store.get(session_id)
        require_created(session)
        return session

    @contextlib.contextmanager
    def _sending(self, session_id: str) -> Iterator[None]:
        self._session(session_id)  # first, so that an unknown id leaves no lock file
        busy = f"Another command has been sending to {session_id}"
        with exclusive(paths.sender_lock(session_id), _SENDER_TIMEOUT, busy):
            yield

    def _deliver(
        self, session_id: str, text: str, deadline: Deadline, *, discard_draft: bool = False
    ) -> tuple[Session, Receipt]:
        if not text.strip():
            raise InvalidRequest("Message is required. Use <message> or --file <path>.")
        with delivering(session_id) as attempt, self._sending(session_id):
            session = self._session(session_id)
            with self._backends(session.cli).prepare(session, text, discard_draft=discard_draft) as message:
                changes: FieldChanges = {**message.changes, "last_used": timestamp(time.time())}
                with self._reverted_unless_begun(session, changes, attempt):
                    session = self._store.update(session_id, changes)
                    sent = message.send(session, attempt, deadline)
            if sent.changes:
                try:
                    session = self._store.update(session_id, sent.changes)
                except (StoreError, SessionNotFound) as error:
                    raise AfterArrival(session_id, summary_of(error)) from error
        return session, sent.receipt

    @contextlib.contextmanager
    def _reverted_unless_begun(self, session: Session, changes: FieldChanges, attempt: Attempt) -> Iterator[None]:
        """Revert changes to a record if the send inside fails before it begins: a wait then follows the send before."""
        try:
            yield
        except BaseException:
            if not attempt.has_begun:
                with contextlib.suppress(DevSessionsError):
                    self._store.update(session.id, undo_changes(session, changes))
            raise

    def _warn_of_answer(self, session_id: str, receipt: Receipt) -> None:
        if receipt.question is not None:
            line = " ".join(receipt.question.split())
            quoted = line if len(line) <= _MAX_QUOTE else f"{line[:_MAX_QUOTE]}…"
            self._warn(f"{session_id} was asking, and the message answered it: {quoted}")

    def _wait_for_turn(self, session: Session, deadline: Deadline, request: Wait) -> WaitOutcome:
        backend = self._backends(session.cli)
        outcome = backend.wait(session, deadline, request.interval, through_limits=request.through_limits)
        if changes := backend.changed_fields(session):
            session = self._record_changes(session, changes)
        if outcome.status == "completed" and not backend.has_conversation(session):
            self._warn(f"no message has been sent to {session.id} yet; completed means only that it is idle")
        return self._outcome_or_raise(session, outcome)

    def _wait_for_next_turn(self, session: Session, deadline: Deadline) -> WaitOutcome:
        backend = self._goal_backend(session, "--next-turn waits")
        outcome = backend.wait_for_next_turn(session, deadline, lambda: self._store.get(session.id))
        return self._outcome_or_raise(session, outcome)

    def _wait_for_goal(self, session: Session, deadline: Deadline) -> tuple[WaitOutcome, Goal | None]:
        """Wait for a goal to end. A failed last turn is no error, as the goal's status shows it; it is a warning."""
        outcome, goal = self._goal_backend(session).wait_for_goal(session, deadline)
        if outcome.status == "waiting_for_input":
            return outcome.status, goal
        if outcome.status == "failed":
            self._record_outcome(session, outcome)
            self._warn(f"the last turn of {session.id} failed: {failures.summary(outcome)}")
        return "completed", goal

    def _goal_backend(self, session: Session, what: str = "Goals") -> SupportsGoals[Any]:
        backend = self._backends(session.cli)
        if not isinstance(backend, SupportsGoals):
            able = " and ".join(cli for cli in SESSION_TYPES if isinstance(self._backends(cli), SupportsGoals))
            raise InvalidRequest(
                f"{what} are only supported for {able} sessions; {session.id} is a {session.cli} session"
            )
        return backend

    def _outcome_or_raise(self, session: Session, outcome: Outcome) -> WaitOutcome:
        """Return the outcome of a wait. Raises TurnFailed, and records it, if the turn failed or was interrupted."""
        if outcome.status == "completed" or outcome.status == "waiting_for_input":
            return outcome.status
        self._record_outcome(session, outcome)
        raise failures.turn_failed(session, outcome)

    def _record_outcome(self, session: Session, outcome: Outcome) -> None:
        if outcome.status == "waiting_for_input":
            return
        if (session.last_turn_status, session.last_turn_error) != (outcome.status, outcome.error):
            self._record_changes(session, {"last_turn_status": outcome.status, "last_turn_error": outcome.error})

    def _record_changes(self, session: Session, changes: FieldChanges) -> Session:
        """Store what a wait has observed. A sandbox may deny that; a later command outside then observes the same."""
        try:
            return self._store.update(session.id, changes)
        except StoreError:
            if pid_namespace.outlasts_command():
                raise
            return with_changes(session, changes)

    def _states(self, sessions: Iterable[Session], *, detail: bool) -> tuple[dict[str, SessionState], str | None]:
        """Return the known states of sessions, and a line about those that a sandbox hides."""
        by_cli: dict[Cli, list[Session]] = {}
        for session in sessions:
            by_cli.setdefault(session.cli, []).append(session)
        states: dict[str, SessionState] = {}
        unseen: list[str] = []
        for cli, group in by_cli.items():
            try:
                found = self._backends(cli).states(group, detail=detail)
            except InSandbox:
                unseen += [session.id for session in group]
                continue
            except DevSessionsError as error:
                self._warn(f"Cannot read the state of {cli} sessions: {error}")
                continue
            for session_id, state in found.items():
                if isinstance(state, InSandbox):
                    unseen.append(session_id)
                elif isinstance(state, ProcessesUnseen):
                    self._warn(str(state))
                else:
                    states[session_id] = state
        if not unseen:
            return states, None
        return states, str(pid_namespace.sandbox_error(f"The state of {', '.join(unseen)} is not known"))

    def _adopt(self, session_id: str) -> Session:
        """Write a record for an orphan, a session that runs without one. Raises SessionNotFound if there is none."""
        from dev_sessions.sessions import create

        for cli in SESSION_TYPES:
            found = self._backends(cli).orphan(session_id)
            if found is not None:
                create.claim(self._context, Create(cli=cli, id=session_id), os.getcwd())
                return self._store.update(session_id, found)
        raise SessionNotFound(session_id)


def _being_created(session: Session) -> DevSessionsError:
    """Return the error for killing a session whose create may still be running."""
    if mark_is_local(session.claimed_by or ""):
        return InvalidRequest(f"{session.id} is still being created; end it when it is ready")
    what = f"Cannot determine whether the create of {session.id} is still running"
    if not pid_namespace.outlasts_command():
        return pid_namespace.sandbox_error(what)
    return ProcessesUnseen(
        f"{what}: it was started in another pid namespace or on another machine; if that is gone for good:"
        f" dev-sessions kill {session.id} --gone"
    )


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
