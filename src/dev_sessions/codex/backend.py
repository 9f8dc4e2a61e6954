"""The backend of Codex sessions, each a thread of an app-server.

Reading never loads a thread (`thread/resume`): that would make its goal continue, and the history of a thread can be
read without it. Only `send` and `recover` load one that the app-server does not have in memory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dev_sessions.agent import Backend, Forked, PreparedMessage, Recovery, SupportsGoals
from dev_sessions.attempt import Attempt
from dev_sessions.codex.app_server import AppServer
from dev_sessions.codex.client import Client, ConnectionLost, time_limit
from dev_sessions.codex.legacy import connect_to_legacy, legacy_app_server
from dev_sessions.codex.thread import Thread
from dev_sessions.errors import DevSessionsError, InvalidRequest, LivenessUnknown, ProtocolError, WaitTimedOut
from dev_sessions.models import (
    Answer,
    CodexSession,
    FieldChanges,
    Goal,
    GoalChange,
    Interrupted,
    LogTurn,
    Mode,
    Outcome,
    Pending,
    Session,
    SessionState,
    Terminal,
)
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline

if TYPE_CHECKING:
    from dev_sessions.codex.wait import TurnWait

T = TypeVar("T")


class CodexBackend(Backend[CodexSession], SupportsGoals[CodexSession]):
    """The backend of Codex sessions. `warn` prints a warning of one line."""

    def __init__(self, warn: Callable[[str], None] = lambda _: None) -> None:
        self._warn = warn

    def initial_fields(self) -> FieldChanges:
        """Return the CODEX_HOME of the thread."""
        return {"codex_home": str(paths.codex_home())}

    def initial_fork_fields(self, source: CodexSession) -> FieldChanges:
        """Return the CODEX_HOME of the thread."""
        return {"codex_home": source.codex_home}

    def require_mode(self, mode: Mode) -> None:
        """Refuse the docker mode: Codex would run outside the container, with full access."""
        if mode == "docker":
            raise InvalidRequest("Codex has no docker mode: leave out --mode, or use --cli claude")

    def start(self, session: CodexSession, *, trust: bool = False) -> FieldChanges:
        """Start a new thread, and the app-server when it does not run. It asks for no trust."""
        from dev_sessions.codex import preflight, start

        del trust
        server = _app_server(session)
        with server.connect() as client:
            preflight.require_environment(server.state(), paths.codex_home(), os.environ, session.agent_args or ())
            return start.start(client, session)

    def fork(self, session: CodexSession, source: CodexSession) -> Forked:
        """Have the app-server fork the thread."""
        from dev_sessions.codex import fork

        with self._thread(source) as thread:
            return fork.fork(thread, session, source)

    def prepare(
        self, session: CodexSession, text: str, *, discard_draft: bool = False
    ) -> PreparedMessage[CodexSession]:
        """Check that Codex accepts the text. A thread has no drafts."""
        from dev_sessions.codex import send

        del discard_draft
        return send.PreparedPrompt(session, text, self._thread)

    def wait(
        self, session: CodexSession, deadline: Deadline, interval: float | None, *, through_limits: bool = False
    ) -> Outcome:
        """Wait for the app-server's events, which need no interval, until the turns of a goal have stopped, too.

        Codex does not continue by itself after a usage limit.
        """
        del interval, through_limits
        return self._wait(session, deadline, lambda turn_wait: turn_wait.until_idle(deadline))

    def wait_for_next_turn(
        self, session: CodexSession, deadline: Deadline, record: Callable[[], CodexSession]
    ) -> Outcome:
        """Wait for the end of the next turn, whether a message or a goal starts it."""
        return self._wait(session, deadline, lambda turn_wait: turn_wait.for_next_turn(deadline, record))

    def wait_for_goal(self, session: CodexSession, deadline: Deadline) -> tuple[Outcome, Goal | None]:
        """Wait until the goal is over and its last turn has ended."""
        return self._wait(session, deadline, lambda turn_wait: turn_wait.for_goal(deadline))

    def get_goal(self, session: CodexSession) -> Goal | None:
        """Return the goal of the thread, loaded or not."""
        from dev_sessions.codex import goals

        with self._thread(session) as thread:
            return goals.read(thread, session)

    def set_goal(
        self, session: CodexSession, objective: str | None, status: GoalChange | None, token_budget: int | None
    ) -> tuple[Goal, FieldChanges]:
        """Set or change the goal. If work on it begins, that replaces the last send: its newest turn is waited for."""
        from dev_sessions.codex import goals, send

        with self._thread(session) as thread:
            goal = goals.change(thread, session, objective, status, token_budget)
            begun: FieldChanges = {**send.TURN_BEGUN, "internal_id": thread.id, "codex_active_turn_id": None}
        return goal, begun if objective is not None or status == "active" else {}

    def clear_goal(self, session: CodexSession) -> bool:
        """Clear the goal of the thread, loaded or not."""
        from dev_sessions.codex import goals

        with self._thread(session) as thread:
            return goals.clear(thread, session)

    def answer(
        self, session: CodexSession, deadline: Deadline, *, through_limits: bool = False
    ) -> tuple[Outcome, Answer]:
        """Wait for the end of the turn that took the message, and return what follows the message in it."""
        del through_limits
        return self._wait(session, deadline, lambda turn_wait: turn_wait.for_answer(deadline))

    def last_messages(self, session: CodexSession, count: int) -> list[str]:
        """Return the agent's last `count` messages, read from the end of the thread. What it asks is the last one."""
        from dev_sessions.codex import history

        with self._thread(session) as thread:
            return history.last_messages(thread, session, count, self._warn)

    def logs(self, session: CodexSession) -> list[LogTurn]:
        """Return everything that was said in the thread."""
        from dev_sessions.codex import history

        with self._thread(session) as thread:
            return history.logs(thread, session)

    def states(
        self, sessions: Iterable[CodexSession], *, detail: bool = False
    ) -> dict[str, SessionState | DevSessionsError]:
        """Return the state of each thread, over one connection to each app-server."""
        from dev_sessions.codex import states

        legacy = legacy_app_server()
        by_server: dict[tuple[bool, Path], list[CodexSession]] = {}
        for session in sessions:
            is_legacy = legacy is not None and legacy.serves(session)
            by_server.setdefault((is_legacy, paths.codex_dir(session.codex_home)), []).append(session)
        found: dict[str, SessionState | DevSessionsError] = {}
        for group in by_server.values():
            with self._client(group[0]) as client:
                found |= states.states(client, group, detail=detail)
        return found

    def pending(self, session: CodexSession) -> Pending | None:
        """Return the whole question: the app-server repeats its open requests to every client that loads the thread."""
        from dev_sessions.codex import questions

        with self._thread(session) as thread:
            return questions.pending(thread)

    def respond(self, session: CodexSession, answers: Sequence[str], attempt: Attempt, *, allow: bool | None) -> None:
        """Answer the request that the thread waits for."""
        from dev_sessions.codex import questions

        with self._thread(session) as thread:
            questions.respond(thread, session, answers, attempt, allow=allow)

    def cancel(self, session: CodexSession, attempt: Attempt) -> None:
        """Close what an MCP server asks; refuse for any other request, which is answered or ends with its turn."""
        from dev_sessions.codex import questions

        with self._thread(session) as thread:
            questions.cancel(thread, session, attempt)

    def interrupt(self, session: CodexSession, deadline: Deadline) -> tuple[Interrupted, FieldChanges]:
        """End the running turn, also one that asks, and the commands that it or earlier turns left running.

        An active goal is paused.
        """
        from dev_sessions.codex import interrupt

        with time_limit(deadline), self._thread(session) as thread:
            interrupt.interrupt(thread, session, deadline)
        return Interrupted(), {}

    def terminal(self, session: CodexSession) -> Terminal:
        """Return Codex's own terminal, which connects to the app-server as another client."""
        from dev_sessions.codex import terminal

        with self._thread(session) as thread:
            terminal.require_message(thread, session)
        return terminal.terminal(session, _app_server(session).state())

    def stop(self, session: CodexSession) -> None:
        """Archive the thread. Without an app-server nothing runs.

        A killed create may have started a thread that its record does not name: `end_orphans` ends that one, if it is
        no fork.
        """
        from dev_sessions.codex import orphans, stop

        with contextlib.ExitStack() as stack:
            client = stack.enter_context(connect_to_legacy(session)) or stack.enter_context(
                _app_server(session).connect_if_running()
            )
            if client is not None and session.internal_id:
                stop.stop(client, session)
            elif client is not None:
                orphans.end_fork(client, session)

    def release(self, sessions: Callable[[], Iterable[Session]]) -> None:
        """Stop each app-server that no session uses any more, but never that of 0.4."""
        for directory in paths.codex_dirs():
            AppServer(directory).release(partial(is_in_use, directory, sessions))

    def end_orphans(self, sessions: Callable[[], Iterable[Session]]) -> None:
        """End threads without a session. Errors are ignored: doctor lists such threads, and the next kill retries."""
        from dev_sessions.codex import orphans

        for directory in paths.codex_dirs():
            with (
                contextlib.suppress(ProtocolError, LivenessUnknown),
                AppServer(directory).connect_if_running() as client,
            ):
                if client is not None:
                    orphans.end(client, sessions)

    def plan_recovery(self, session: CodexSession) -> Recovery | None:
        """Return a recovery when the app-server does not have the thread in memory."""
        from dev_sessions.codex import recover

        with self._thread(session) as thread:
            return recover.plan(thread, session)

    def recover(self, session: CodexSession) -> FieldChanges:
        """Load the thread."""
        from dev_sessions.codex import recover

        with self._thread(session) as thread:
            return recover.recover(thread, session)

    def has_conversation(self, session: CodexSession) -> bool:
        """Return whether the record shows a message or a goal."""
        from dev_sessions.codex import history

        return history.has_conversation(session)

    @contextlib.contextmanager
    def _client(self, session: CodexSession) -> Iterator[Client]:
        """Connect to the app-server that has the session's thread, or can load it."""
        with connect_to_legacy(session) as legacy, contextlib.ExitStack() as stack:
            yield legacy or stack.enter_context(_app_server(session).connect())

    @contextlib.contextmanager
    def _thread(self, session: CodexSession) -> Iterator[Thread]:
        with self._client(session) as client:
            yield Thread(client, session)

    def _wait(self, session: CodexSession, deadline: Deadline, wait: Callable[[TurnWait], T]) -> T:
        """Wait over a connection; when the app-server ends, connect once more, which starts a new one.

        An app-server that hangs until the deadline is a timeout, too.
        """
        from dev_sessions.codex.wait import TurnWait

        turn_wait = TurnWait(session)
        try:
            with time_limit(deadline):
                try:
                    with self._thread(session) as thread:
                        return wait(turn_wait.use(thread))
                except ConnectionLost:
                    with self._thread(session) as thread:
                        return wait(turn_wait.use(thread))
        except ProtocolError as error:
            if deadline.expired:
                raise WaitTimedOut(str(error)) from error
            raise


def _app_server(session: CodexSession) -> AppServer:
    return AppServer(paths.codex_dir(session.codex_home), session.codex_home)


def is_in_use(directory: Path, sessions: Callable[[], Iterable[Session]]) -> bool:
    """Return whether the app-server of a directory has a session of this machine."""
    return any(
        isinstance(session, CodexSession) and session.host is None and paths.codex_dir(session.codex_home) == directory
        for session in sessions()
    )
