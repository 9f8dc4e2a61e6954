"""The backend of Codex sessions, each a thread of an app-server.

Reading never loads a thread (`thread/resume`): that would make its goal continue, and the history of a thread can be
read without it. Only `send` and `recover` load one that the app-server does not have in memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from dev_sessions.agent import Backend, GoalUpdate, PreparedMessage, Recovery, SupportsGoals
from dev_sessions.attempt import Attempt
from dev_sessions.codex import goals, orphans, recover, rollout, send, start, turns
from dev_sessions.codex.app_server import AppServer
from dev_sessions.codex.client import Client, ConnectionLost
from dev_sessions.codex.history import has_conversation, history
from dev_sessions.codex.legacy import connect_to_legacy, legacy_app_server
from dev_sessions.codex.thread import Thread
from dev_sessions.codex.wait import TurnWait
from dev_sessions.errors import InvalidRequest, ProcessesUnseen, ProtocolError
from dev_sessions.jsonl import last_activity
from dev_sessions.models import (
    Answer,
    CodexSession,
    FieldChanges,
    Goal,
    GoalChange,
    LogTurn,
    Outcome,
    Pending,
    Session,
    SessionState,
    Terminal,
)
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.process import find_program

T = TypeVar("T")
#: The environment variable in which Codex's terminal gets the app-server's token.
_TOKEN_VARIABLE = "DEV_SESSIONS_CODEX_TOKEN"


class CodexBackend(Backend[CodexSession], SupportsGoals[CodexSession]):
    """The backend of Codex sessions."""

    def __init__(self) -> None:
        self._app_server = AppServer(paths.codex_dir())

    def start(self, session: CodexSession) -> FieldChanges:
        """Start a new thread, and the app-server when it does not run."""
        with self._app_server.connect() as client:
            return start.start(client, session)

    def prepare(
        self, session: CodexSession, text: str, *, discard_draft: bool = False
    ) -> PreparedMessage[CodexSession]:
        """Check that Codex accepts the text. A thread has no drafts."""
        del discard_draft
        return send.PreparedPrompt(session, text, self._thread)

    def wait(self, session: CodexSession, deadline: Deadline, interval: float | None) -> Outcome:
        """Wait for the app-server's events, which need no interval, until the turns of a goal have stopped, too."""
        del interval
        return self._wait(session, lambda turn_wait: turn_wait.until_idle(deadline))

    def wait_for_next_turn(
        self, session: CodexSession, deadline: Deadline, record: Callable[[], CodexSession]
    ) -> Outcome:
        """Wait for the end of the next turn, whether a message or a goal starts it."""
        return self._wait(session, lambda turn_wait: turn_wait.for_next_turn(deadline, record))

    def wait_for_goal(self, session: CodexSession, deadline: Deadline) -> tuple[Outcome, Goal | None]:
        """Wait until the goal is over and its last turn has ended."""
        return self._wait(session, lambda turn_wait: turn_wait.for_goal(deadline))

    def get_goal(self, session: CodexSession) -> Goal | None:
        """Return the goal of the thread, loaded or not."""
        with self._thread(session) as thread:
            return goals.read(thread, session)

    def set_goal(
        self, session: CodexSession, objective: str | None, status: GoalChange | None, token_budget: int | None
    ) -> GoalUpdate:
        """Set or change the goal. If work on it begins, that replaces the last send: its newest turn is waited for."""
        with self._thread(session) as thread:
            goal = goals.change(thread, session, objective, status, token_budget)
            begun: FieldChanges = {**send.TURN_BEGUN, "internal_id": thread.id, "codex_active_turn_id": None}
        return GoalUpdate(goal, begun if objective is not None or status == "active" else {})

    def clear_goal(self, session: CodexSession) -> bool:
        """Clear the goal of the thread, loaded or not."""
        with self._thread(session) as thread:
            return goals.clear(thread, session)

    def answer(self, session: CodexSession, deadline: Deadline) -> tuple[Outcome, Answer]:
        """Wait for the end of the turn that took the message, and return what follows the message in it."""
        return self._wait(session, lambda turn_wait: turn_wait.for_answer(deadline))

    def last_messages(self, session: CodexSession, count: int) -> list[str]:
        """Return the agent's last `count` messages, read from the end of the thread. What it asks is the last one."""
        with self._thread(session) as thread:
            open_request = thread.open_request()
            messages = [open_request.pending.text] if open_request is not None else []
            newest_first = history(thread, session, "full")
            while len(messages) < count and (turn := next(newest_first, None)) is not None:
                messages[:0] = turns.agent_texts(turn)
        return messages[max(0, len(messages) - count) :]

    def logs(self, session: CodexSession) -> list[LogTurn]:
        """Return everything that was said in the thread."""
        with self._thread(session) as thread:
            newest_first = list(history(thread, session, "full"))
        return [said for turn in reversed(newest_first) for said in turns.log_turns(turn)]

    def states(self, sessions: Iterable[CodexSession], *, detail: bool = False) -> dict[str, SessionState]:
        """Return the state of each thread, over one connection to each app-server.

        A thread that no app-server knows is lost, unless it never had a message: Codex drops such a thread from memory
        after a minute, and the first message starts a new one.
        """
        legacy = legacy_app_server()
        by_server: dict[bool, list[CodexSession]] = {}
        for session in sessions:
            by_server.setdefault(legacy is not None and legacy.serves(session), []).append(session)
        states: dict[str, SessionState] = {}
        for group in by_server.values():
            with self._client(group[0]) as client:
                for session in group:
                    states[session.id] = _state(Thread(client, session), session, detail=detail)
        return states

    def pending(self, session: CodexSession) -> Pending | None:
        """Return the whole question: the app-server repeats its open requests to every client that loads the thread."""
        with self._thread(session) as thread:
            open_request = thread.open_request()
        return open_request.pending if open_request is not None else None

    def respond(self, session: CodexSession, answers: Sequence[str], attempt: Attempt, *, allow: bool | None) -> None:
        """Answer the request that the thread waits for."""
        with self._thread(session) as thread:
            send.respond(thread, session, answers, attempt, allow=allow)

    def interrupt(self, session: CodexSession, deadline: Deadline) -> None:
        """End the running turn, also one that asks, and the commands that it or earlier turns left running.

        An active goal is paused.
        """
        with self._thread(session) as thread:
            if not goals.interrupt(thread, session, deadline):
                raise InvalidRequest(f"{session.id} is idle; there is nothing to interrupt")

    def terminal(self, session: CodexSession) -> Terminal:
        """Return Codex's own terminal, which connects to the app-server as another client."""
        with self._thread(session) as thread:
            if next(history(thread, session, "notLoaded"), None) is None:
                raise InvalidRequest(
                    f"Codex cannot show {session.id} before its first message: dev-sessions send {session.id} MESSAGE"
                )
        legacy, state = legacy_app_server(), self._app_server.state()
        if legacy is not None and legacy.serves(session):
            address, token_file = legacy.address, None
        elif state is not None:
            address, token_file = state.address, state.token_file
        else:
            raise ProtocolError("Codex's app-server has just ended; try again")
        # On a thread without a message, this ends with a backtrace (0.169); so that is an error above.
        argv = [find_program("codex"), "resume", "--remote", address]
        if token_file is None:
            return Terminal((*argv, session.internal_id), session.path)
        argv += ["--remote-auth-token-env", _TOKEN_VARIABLE, session.internal_id]
        return Terminal(tuple(argv), session.path, {_TOKEN_VARIABLE: Path(token_file).read_text()})

    def stop(self, session: CodexSession) -> None:
        """Archive the thread. Without an app-server nothing runs.

        A killed create may have started a thread that its record does not name: `end_orphans` ends that one.
        """
        if not session.internal_id:
            return
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(connect_to_legacy(session)) or stack.enter_context(
                self._app_server.connect_if_running()
            )
            if client is not None:
                start.stop(client, session)

    def release(self, in_use: Callable[[], bool]) -> None:
        """Stop the shared app-server when no session is left, but never that of 0.4."""
        self._app_server.release(in_use)

    def end_orphans(self, sessions: Callable[[], Iterable[Session]]) -> None:
        """End threads without a session. Errors are ignored: doctor lists such threads, and the next kill retries."""
        with contextlib.suppress(ProtocolError, ProcessesUnseen), self._app_server.connect_if_running() as client:
            if client is not None:
                orphans.end(client, sessions)

    def recovery(self, session: CodexSession) -> Recovery | None:
        """Return a recovery when the app-server does not have the thread in memory."""
        with self._thread(session) as thread:
            return recover.plan(thread, session)

    def recover(self, session: CodexSession) -> FieldChanges:
        """Load the thread."""
        with self._thread(session) as thread:
            return recover.recover(thread, session)

    def has_conversation(self, session: CodexSession) -> bool:
        """Return whether the record shows a message or a goal."""
        return has_conversation(session)

    @contextlib.contextmanager
    def _client(self, session: CodexSession) -> Iterator[Client]:
        """Connect to the app-server that has the session's thread, or can load it."""
        with connect_to_legacy(session) as legacy, contextlib.ExitStack() as stack:
            yield legacy or stack.enter_context(self._app_server.connect())

    @contextlib.contextmanager
    def _thread(self, session: CodexSession) -> Iterator[Thread]:
        with self._client(session) as client:
            yield Thread(client, session)

    def _wait(self, session: CodexSession, wait: Callable[[TurnWait], T]) -> T:
        """Wait over a connection; when the app-server ends, connect once more, which starts a new one."""
        turn_wait = TurnWait(session)
        try:
            with self._thread(session) as thread:
                return wait(turn_wait.on(thread))
        except ConnectionLost:
            with self._thread(session) as thread:
                return wait(turn_wait.on(thread))


def _state(thread: Thread, session: CodexSession, *, detail: bool) -> SessionState:
    status = thread.status()
    if status is None:
        return SessionState("lost" if has_conversation(session) else "idle")
    state = turns.state(status)
    if detail and status.rollout is not None:
        return state.with_activity(last_activity(Path(status.rollout), rollout.activity))
    return state
