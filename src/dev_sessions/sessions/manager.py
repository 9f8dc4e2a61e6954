"""SessionManager: the sessions of this machine, whatever agent runs in them."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from dev_sessions.agent import Backends, SupportsGoals
from dev_sessions.attempt import Attempt, after_arrival, delivering, seen
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
    TurnFailed,
    WaitTimedOut,
)
from dev_sessions.models import (
    Cli,
    FieldChanges,
    Goal,
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
    SessionStatus,
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
from dev_sessions.sessions.store import Store, exclusive
from dev_sessions.system import paths, pid_namespace
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.process import mark_is_of_here, owner_is_alive

if TYPE_CHECKING:
    from dev_sessions.sessions.create import Creation
    from dev_sessions.sessions.end import Ending

R = TypeVar("R")

#: Seconds that a sender waits for another one's proof of delivery.
_SENDER_TIMEOUT = 120.0


class SessionManager:
    """Runs operations on the sessions of this machine's store.

    `backends` gives the backend of an agent, made on first use; `warn` takes a line for the user.
    """

    def __init__(self, store: Store, backends: Backends, warn: Callable[[str], None]) -> None:
        self._store = store
        self._backends = backends
        self._warn = warn

    def execute(self, operation: Operation[R]) -> R:
        """Execute an operation on this machine's sessions. Raises the errors of `dev_sessions.errors`."""
        result: R = _METHODS[type(operation)](self, operation)
        return result

    def create(self, request: Create) -> Session:
        """Start a session. On any error nothing is left behind, neither a process nor a record."""
        return self._creation().create(request)

    def claim(self, request: Create, path: str, refused: set[str]) -> Session:
        """Reserve an id under the lock, before anything is spawned."""
        return self._creation().claim(request, path, refused)

    def send(self, request: Send) -> Receipt:
        """Deliver a message; one sender at a time."""
        deadline = Deadline.cancellable(math.inf)
        return self._deliver(request.session_id, request.message, deadline, discard_draft=request.discard_draft)[1]

    def ask(self, request: Ask) -> Reply:
        """Deliver a message, wait for its turn and give the last text of the reply."""
        deadline = Deadline.cancellable(request.timeout)
        session, _ = self._deliver(request.session_id, request.message, deadline)
        with after_arrival(session.id):
            ended, answer = self._backends(session.cli).answer(session, deadline)
            outcome = self._settled(session, ended)
            if outcome == "waiting_for_input":
                return Reply("", outcome)
            return Reply(answer.texts[-1] if answer.texts else "", outcome, answer.messages)

    def wait(self, request: Wait) -> WaitResult:
        """Wait for the turn of the last send and what follows it, for a goal, or for the next turn.

        TurnFailed when it did not end well, WaitTimedOut.
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
                outcome = self._wait_for_turn(session, deadline, request.interval)
        except WaitTimedOut as error:
            raise WaitTimedOut(timed_out(request)) from error
        return WaitResult(outcome, round((time.monotonic() - began) * 1000), goal)

    def last_message(self, request: LastMessage) -> list[str]:
        """The last text blocks of the assistant; they can be read when the session is lost, too."""
        session = self._session(request.session_id)
        return self._backends(session.cli).last_messages(session, request.count)

    def logs(self, request: Logs) -> Iterable[LogTurn]:
        """The whole conversation, read as it is asked for; it can be read when the session is lost, too."""
        session = self._session(request.session_id)
        return self._backends(session.cli).logs(session)

    def status(self, request: Status) -> SessionStatus:
        """What the session does. SessionLost when its process is gone."""
        session = self._session(request.session_id)
        state = self._backends(session.cli).states([session], detail=request.detail)[session.id]
        if isinstance(state, ProcessesUnseen):
            raise state
        if state.state == "lost":
            raise SessionLost(session.id, "its process is gone")
        if state.moved_to is not None:
            raise MovedToBackground(session.id, state.moved_to)
        return SessionStatus(**vars(state), worktree=session.worktree if request.detail else None)

    def respond(self, request: Respond) -> None:
        """Answer what the session asks; one sender at a time, like a message."""
        with delivering(request.session_id, "answer") as attempt, self._sending(request.session_id):
            session = self._session(request.session_id)
            self._backends(session.cli).respond(session, request.answers, attempt, allow=request.allow)

    def interrupt(self, request: Interrupt) -> None:
        """End the running turn; returns when it has ended."""
        session = self._session(request.session_id)
        self._backends(session.cli).interrupt(session, Deadline(request.timeout))

    def terminal(self, session_id: str) -> Terminal:
        """The program that shows a session to a person. SessionLost."""
        session = self._session(session_id)
        return self._backends(session.cli).terminal(session)

    def get_goal(self, request: GetGoal) -> Goal | None:
        """The goal of a session. Nothing is started."""
        session = self._session(request.session_id)
        return self._goal_backend(session).get_goal(session)

    def set_goal(self, request: SetGoal) -> Goal:
        """Set or change a goal; one sender at a time, like a message."""
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
        """Forget the goal of a session; whether it had one."""
        session = self._session(request.session_id)
        return self._goal_backend(session).clear_goal(session)

    def list(self, request: List) -> Listing:
        """Live sessions, last used first, with those that cannot be asked what they do (no standing). Lost ones that
        never had a conversation are forgotten."""
        self._ending.end_abandoned()
        sessions = [session for session in self._store.read().sessions.values() if session.claimed_by is None]
        here = [session for session in sessions if session.host is None]
        states, unseen = self._states(here, detail=request.detail)
        lost = SessionState("lost")
        empty = [session.id for session in sessions if states.get(session.id) == lost and self._is_gone_unused(session)]
        for session in sessions:
            if session.id in empty:
                self._ending.drop(session)
        kept = [Listed(session, states.get(session.id)) for session in here if session.id not in empty]
        rows = [row for row in kept if request.everything or row.state != lost]
        rows.sort(key=lambda row: row.session.last_used, reverse=True)
        return Listing(tuple(rows), len(kept) - len(rows), unseen)

    def _is_gone_unused(self, session: Session) -> bool:
        """Whether a lost session never had a conversation, and nothing else has come to run in its terminal."""
        backend = self._backends(session.cli)
        try:
            return not backend.has_conversation(session) and backend.recovery(session) is not None
        except (DevSessionsError, OSError):
            return False

    def inspect(self, request: Inspect) -> JsonObject:
        """The record as it is stored."""
        return session_to_json(self._session(request.session_id))

    def kill(self, request: Kill) -> KillReport:
        """End a session, lost or not, and forget it; or what runs under its name though no record knows it.

        InSandbox where what runs in the session can't be seen.
        """
        pid_namespace.require_outlasting(f"{request.session_id} was left alone")
        try:
            session = self._store.get(request.session_id)
        except SessionNotFound:
            return KillReport((request.session_id,), notes=self._ending.end(self._orphan(request.session_id)))
        if request.gone:
            from dev_sessions.sessions import recover

            session = self._store.update(session.id, recover.declared_gone(self._backends, session))
        if session.claimed_by is not None and owner_is_alive(session.claimed_by):
            raise _being_created(session)
        return KillReport((session.id,), notes=self._ending.end(session))

    def kill_many(self, request: KillMany) -> KillReport:
        """End all live sessions, or the long unused ones; goes on after a failure. The caller's own is the last."""
        from dev_sessions.sessions.kill_many import kill_each
        from dev_sessions.sessions.process_tree import running_in

        pid_namespace.require_outlasting("No session was killed")
        rows = self.list(List()).rows
        own = running_in(row.session for row in rows)
        rows = tuple(sorted(rows, key=lambda row: row.session.id in own))
        report = kill_each(request, rows, self._ending.end)
        if paths.codex_dir().is_dir():
            # What a kill that was killed has left running.
            self._ending.release("codex")
        return report

    def recover(self, request: Recover) -> RecoverReport:
        """Bring back the sessions that are named, or all lost ones that hold a conversation; or forget the old ones."""
        from dev_sessions.sessions import recover

        pid_namespace.require_outlasting("Nothing was looked for, nor brought back")
        if request.prune:
            return recover.prune(self.list(List(everything=True)).rows, self._ending.end, yes=request.yes)
        return recover.recover(self._store, self._backends, request)

    def _session(self, session_id: str) -> Session:
        session = self._store.get(session_id)
        if session.claimed_by is not None:
            raise InvalidRequest(f"{session_id} is still being created; if its create was killed, kill it too")
        return session

    @contextlib.contextmanager
    def _sending(self, session_id: str) -> Iterator[None]:
        self._session(session_id)  # an unknown name must not leave a lock file
        busy = f"Another message to {session_id} has been on its way"
        with exclusive(paths.sender_lock(session_id), _SENDER_TIMEOUT, busy):
            yield

    def _deliver(
        self, session_id: str, text: str, deadline: Deadline, *, discard_draft: bool = False
    ) -> tuple[Session, Receipt]:
        if not text.strip():
            raise InvalidRequest("Message is required. Use <message> or --file <path>.")
        with delivering(session_id) as attempt, self._sending(session_id):
            session = self._session(session_id)
            message = self._backends(session.cli).prepare(session, text, discard_draft=discard_draft)
            changes: FieldChanges = {**message.changes, "last_used": timestamp(time.time())}
            with self._undone_unless_begun(session, changes, attempt):
                session = self._store.update(session_id, changes)
                sent = message.send(session, attempt, deadline)
            if sent.changes:
                try:
                    session = self._store.update(session_id, sent.changes)
                except (StoreError, SessionNotFound) as error:
                    raise AfterArrival(session_id, seen(error)) from error
        return session, sent.receipt

    @contextlib.contextmanager
    def _undone_unless_begun(self, session: Session, changes: FieldChanges, attempt: Attempt) -> Iterator[None]:
        """Undo the changes to a record when the send inside fails before it begins: the last send is the one before."""
        try:
            yield
        except BaseException:
            if not attempt.has_begun:
                with contextlib.suppress(DevSessionsError):
                    self._store.update(session.id, undo_changes(session, changes))
            raise

    def _wait_for_turn(self, session: Session, deadline: Deadline, interval: float | None) -> WaitOutcome:
        backend = self._backends(session.cli)
        outcome = backend.wait(session, deadline, interval)
        if changes := backend.changed_fields(session):
            session = self._note(session, changes)
        return self._settled(session, outcome)

    def _wait_for_next_turn(self, session: Session, deadline: Deadline) -> WaitOutcome:
        backend = self._goal_backend(session, "--next-turn waits")
        return self._settled(
            session, backend.wait_for_next_turn(session, deadline, lambda: self._store.get(session.id))
        )

    def _wait_for_goal(self, session: Session, deadline: Deadline) -> tuple[WaitOutcome, Goal | None]:
        """A goal that ends with a failure is no error: its status says so. Why is told beside that."""
        outcome, goal = self._goal_backend(session).wait_for_goal(session, deadline)
        if outcome.status == "waiting_for_input":
            return outcome.status, goal
        if outcome.status == "failed":
            self._remember(session, outcome)
            self._warn(f"the last turn of {session.id} failed: {outcome.error}")
        return "completed", goal

    def _goal_backend(self, session: Session, what: str = "Goals") -> SupportsGoals[Any]:
        backend = self._backends(session.cli)
        if not isinstance(backend, SupportsGoals):
            raise InvalidRequest(
                f"{what} are only supported for codex sessions; {session.id} is a {session.cli} session"
            )
        return backend

    def _settled(self, session: Session, outcome: Outcome) -> WaitOutcome:
        """What a wait may report as an answer; a turn that ended badly is an error, and is remembered."""
        if outcome.status == "completed" or outcome.status == "waiting_for_input":
            return outcome.status
        self._remember(session, outcome)
        verb = "was interrupted" if outcome.status == "interrupted" else "failed"
        why = f": {outcome.error}" if outcome.error else ""
        raise TurnFailed(
            f"The turn of {session.id} {verb}{why}; the conversation goes on with: dev-sessions send {session.id}"
        )

    def _remember(self, session: Session, outcome: Outcome) -> None:
        if outcome.status == "waiting_for_input":
            return
        if (session.last_turn_status, session.last_turn_error) != (outcome.status, outcome.error):
            self._note(session, {"last_turn_status": outcome.status, "last_turn_error": outcome.error})

    def _note(self, session: Session, changes: FieldChanges) -> Session:
        """Remember what a wait has seen. In a sandbox it may not be written; whoever is outside sees it, too."""
        try:
            return self._store.update(session.id, changes)
        except StoreError:
            if pid_namespace.outlasts_command():
                raise
            return with_changes(session, changes)

    def _states(self, sessions: Iterable[Session], *, detail: bool) -> tuple[dict[str, SessionState], str | None]:
        """What sessions do, as far as that is known; and the reason why it is not, when we are in a sandbox."""
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
                self._warn(f"{cli} sessions could not be asked what they do: {error}")
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

    def _orphan(self, session_id: str) -> Session:
        """What runs under a name without a record gets one, as a create that was killed leaves it. SessionNotFound."""
        found = self._backends("claude").orphan(session_id)
        if found is None:
            raise SessionNotFound(session_id)
        self.claim(Create(cli="claude", id=session_id), os.getcwd(), set())
        return self._store.update(session_id, found)

    def _creation(self) -> Creation:
        from dev_sessions.sessions.create import Creation

        return Creation(self._store, self._backends, self._ending, self._warn)

    @property
    def _ending(self) -> Ending:
        from dev_sessions.sessions.end import Ending

        return Ending(self._store, self._backends, self._warn)


def _being_created(session: Session) -> DevSessionsError:
    """Why a session that its create has claimed is left alone."""
    if mark_is_of_here(session.claimed_by or ""):
        return InvalidRequest(f"{session.id} is still being created; end it when it is ready")
    what = f"Whether the create of {session.id} goes on is not known"
    if not pid_namespace.outlasts_command():
        return pid_namespace.sandbox_error(what)
    return ProcessesUnseen(
        f"{what}: it was begun in another pid namespace, or on another machine; if that is gone for good: dev-sessions"
        f" kill {session.id} --gone"
    )


_METHODS: dict[type[Operation[Any]], Callable[[SessionManager, Any], Any]] = {
    Create: SessionManager.create,
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
