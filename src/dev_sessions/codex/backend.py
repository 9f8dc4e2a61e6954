"""Codex sessions: threads of an app-server.

Nothing that reads ever loads a thread (`thread/resume`): that would restart its goal, and what is not loaded can be
read all the same. Only `send` does, and only when the app-server does not have the thread.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from dev_sessions.agent import Backend, GoalUpdate, PreparedMessage, Recovery, Sent, SupportsGoals
from dev_sessions.attempt import Attempt
from dev_sessions.codex import goals, orphans, protocol, questions, rollout, turns
from dev_sessions.codex.app_server import AppServer, legacy_app_server
from dev_sessions.codex.client import CallRefused, Client, ConnectionLost, NotListening
from dev_sessions.codex.history import ConversationGone, has_conversation, history
from dev_sessions.codex.questions import Asked
from dev_sessions.codex.thread import Thread
from dev_sessions.codex.wait import TurnWait
from dev_sessions.errors import DeliveryFailed, InvalidRequest, ProcessesUnseen, ProtocolError
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
    Receipt,
    Session,
    SessionState,
    Terminal,
)
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.process import find_program

T = TypeVar("T")
#: The variable that tells Codex's terminal the app-server's token.
_TOKEN = "DEV_SESSIONS_CODEX_TOKEN"


class CodexBackend(Backend[CodexSession], SupportsGoals[CodexSession]):
    """The backend of Codex sessions."""

    def __init__(self) -> None:
        self._app_server = AppServer(paths.codex_dir())

    def start(self, session: CodexSession) -> FieldChanges:
        """Make a thread. Codex keeps it in memory only, until its first message."""
        with self._app_server.connect() as client:
            thread = Thread(client, session)
            thread.renew()
            return {"internal_id": thread.id}

    def prepare(
        self, session: CodexSession, text: str, *, discard_draft: bool = False
    ) -> PreparedMessage[CodexSession]:
        """Refuse what Codex would refuse, or leave without any answer (half of a surrogate pair)."""
        del discard_draft  # nobody types into a thread
        if len(text) > protocol.MAX_INPUT:
            raise InvalidRequest(
                f"The message for {session.id} has {len(text)} characters and Codex takes {protocol.MAX_INPUT};"
                " write it to a file and send the path of that file"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"The message for {session.id} is not UTF-8 text; convert it and send it") from error
        return _PreparedMessage(self, session, text)

    def send(self, session: CodexSession, text: str, attempt: Attempt) -> Sent:
        """Begin a turn, steer the one that runs, or answer its question. Returns when the turn is seen to have begun,
        or the answer to be taken."""
        with self._thread(session) as thread:
            probe = thread.probe()
            if not probe.loaded:
                self._load(thread, session)
                # A goal goes on as soon as its thread is loaded.
                probe = thread.probe()
            asked = thread.asked() if probe.turn_id is not None else None
            if asked is not None:
                _say(thread, session, asked, text, attempt)
                receipt = Receipt("answered", probe.turn_id)
            else:
                receipt = thread.deliver(text, session.codex_send_id, probe.turn_id, attempt)
            changes: FieldChanges = {
                "internal_id": thread.id,
                "codex_active_turn_id": receipt.turn_id,
                "codex_turn_in_progress": True,
                "last_turn_status": None,
                "last_turn_error": None,
            }
            if asked is not None:
                changes["codex_send_id"] = None
        return Sent(receipt, changes)

    def wait(self, session: CodexSession, deadline: Deadline, interval: float | None) -> Outcome:
        """Wait for the app-server's events, and until the turns of a goal have stopped, too."""
        del interval  # nothing is polled
        return self._waiting(session, lambda waiting: waiting.for_rest(deadline))

    def wait_for_next_turn(
        self, session: CodexSession, deadline: Deadline, record: Callable[[], CodexSession]
    ) -> Outcome:
        """Whoever begins the turn: a goal does so by itself."""
        return self._waiting(session, lambda waiting: waiting.for_next_turn(deadline, record))

    def wait_for_goal(self, session: CodexSession, deadline: Deadline) -> tuple[Outcome, Goal | None]:
        """Wait for the app-server to tell."""
        return self._waiting(session, lambda waiting: waiting.for_goal(deadline))

    def get_goal(self, session: CodexSession) -> Goal | None:
        """The goal of the thread, loaded or not."""
        with self._thread(session) as thread:
            return goals.read(thread, session)

    def set_goal(
        self, session: CodexSession, objective: str | None, status: GoalChange | None, token_budget: int | None
    ) -> GoalUpdate:
        """Set or change it. What is begun by that takes the place of the last send: its newest turn is judged."""
        with self._thread(session) as thread:
            goal = goals.change(thread, session, objective, status, token_budget)
            begun: FieldChanges = {
                "internal_id": thread.id,
                "codex_active_turn_id": None,
                "codex_turn_in_progress": True,
                "last_turn_status": None,
                "last_turn_error": None,
            }
        return GoalUpdate(goal, begun if objective is not None or status == "active" else {})

    def clear_goal(self, session: CodexSession) -> bool:
        """Forget it, of a thread that is loaded or not."""
        with self._thread(session) as thread:
            return goals.clear(thread, session)

    def answer(self, session: CodexSession, deadline: Deadline) -> tuple[Outcome, Answer]:
        """Wait for the end of the turn that took the message, and look for what follows the message there."""
        return self._waiting(session, lambda waiting: waiting.for_answer(deadline))

    def last_messages(self, session: CodexSession, count: int) -> list[str]:
        """The agent's last `count` messages, read from the end of the thread. What it asks is the last one."""
        with self._thread(session) as thread:
            asked = thread.asked()
            messages = [asked.pending.text] if asked is not None else []
            past = history(thread, session, "full")
            while len(messages) < count and (turn := next(past, None)) is not None:
                messages[:0] = turns.agent_texts(turn)
        return messages[max(0, len(messages) - count) :]

    def logs(self, session: CodexSession) -> list[LogTurn]:
        """Everything that was said in the thread."""
        with self._thread(session) as thread:
            newest_first = list(history(thread, session, "full"))
        return [said for turn in reversed(newest_first) for said in turns.log(turn)]

    def states(self, sessions: Iterable[CodexSession], *, detail: bool = False) -> dict[str, SessionState]:
        """What each thread does, over one connection to each app-server. A thread that none knows is lost, but for one
        that never had a message: Codex drops it from its memory after a minute, and the first message makes it anew."""
        legacy = legacy_app_server()
        groups: dict[bool, list[CodexSession]] = {}
        for session in sessions:
            groups.setdefault(legacy is not None and legacy.serves(session), []).append(session)
        found: dict[str, SessionState] = {}
        for group in groups.values():
            with self._connected(group[0]) as client:
                for session in group:
                    status = Thread(client, session).status()
                    gone = SessionState("lost" if has_conversation(session) else "idle")
                    state = turns.state(status) if status is not None else gone
                    if detail and status is not None and status.rollout is not None:
                        state = state.with_activity(last_activity(Path(status.rollout), rollout.trace))
                    found[session.id] = state
        return found

    def pending(self, session: CodexSession) -> Pending | None:
        """In full, since the app-server asks again whoever comes later."""
        with self._thread(session) as thread:
            asked = thread.asked()
        return asked.pending if asked is not None else None

    def respond(self, session: CodexSession, answers: Sequence[str], attempt: Attempt, *, allow: bool | None) -> None:
        """Answer the request that the thread waits for. To deny lets the turn go on."""
        with self._thread(session) as thread:
            asked = thread.asked()
            if asked is None:
                raise InvalidRequest(f"{session.id} asks nothing; to say something: dev-sessions send {session.id}")
            if asked.request is None or asked.pending.kind == "dialog":
                raise DeliveryFailed(_unanswered(session, asked.pending))
            thread.answer(asked.request, questions.result(asked.request, session.id, answers, allow), attempt)

    def interrupt(self, session: CodexSession, deadline: Deadline) -> None:
        """End the running turn, whether it works or asks, and the commands that it or earlier turns left running.
        An active goal is paused."""
        with self._thread(session) as thread:
            if not goals.interrupt(thread, session, deadline):
                raise InvalidRequest(f"{session.id} is idle; there is nothing to interrupt")

    def terminal(self, session: CodexSession) -> Terminal:
        """Codex's own terminal, as a further client of the app-server."""
        with self._thread(session) as thread:
            if next(history(thread, session, "notLoaded"), None) is None:
                raise InvalidRequest(
                    f"Codex cannot show {session.id} before its first message: dev-sessions send {session.id} MESSAGE"
                )
        legacy, state = legacy_app_server(), self._app_server.state()
        if legacy is not None and legacy.serves(session):
            address, token_file = f"ws://127.0.0.1:{legacy.port}", None
        elif state is not None:
            address, token_file = state.address, state.token_file
        else:
            raise ProtocolError("The app-server has ended this very moment; try again")
        # On a thread without a message, this ends with a backtrace (0.169); so that is an error above.
        argv = [find_program("codex"), "resume", "--remote", address]
        if token_file is None:
            return Terminal((*argv, session.internal_id), session.path)
        token = Path(token_file).read_text()
        return Terminal((*argv, "--remote-auth-token-env", _TOKEN, session.internal_id), session.path, {_TOKEN: token})

    def stop(self, session: CodexSession) -> None:
        """Put the thread away; what runs in it ends. Without an app-server nothing runs.

        A create that was killed may have made one that its record does not name: that is a stranger then.
        """
        if not session.internal_id:
            return
        with contextlib.ExitStack() as stack:
            client = _legacy(stack, session) or stack.enter_context(self._app_server.connect_if_running())
            if client is None:
                return
            try:
                # Codex ends the process group of a command with the command, and with this request (0.150 to 0.171); a
                # command with a group of its own (`setsid`) keeps running.
                client.call("thread/archive", {"threadId": session.internal_id})
            except ConnectionLost:
                return
            except CallRefused as refusal:
                if not protocol.has_nothing_to_archive(refusal.error):
                    raise

    def release(self, in_use: Callable[[], bool]) -> None:
        """Stop our app-server when no session is left. The original's is the original's to stop."""
        self._app_server.release(in_use)

    def end_orphans(self, sessions: Callable[[], Iterable[Session]]) -> None:
        """End threads of ours that no record names. No reason to fail: doctor names them, and there is a next time."""
        with contextlib.suppress(ProtocolError, ProcessesUnseen), self._app_server.connect_if_running() as client:
            if client is not None:
                orphans.end(client, sessions)

    def recovery(self, session: CodexSession) -> Recovery | None:
        """Load the thread, which any command but `send` leaves alone, because that restarts its goal. One that never
        had a message is not lost: the first makes it anew."""
        with self._thread(session) as thread:
            status = thread.status()
            if status is not None:
                resting = status.kind == "notLoaded"
                return Recovery("have Codex load its thread again; a goal that is active goes on") if resting else None
            if self.has_conversation(session):
                raise ConversationGone(session, thread.client)
            return None

    def recover(self, session: CodexSession) -> FieldChanges:
        """Have the thread loaded; it stays so when this connection ends."""
        with self._thread(session) as thread:
            self._load(thread, session)
            return {"internal_id": thread.id}

    def has_conversation(self, session: CodexSession) -> bool:
        """Whether the record shows it."""
        return has_conversation(session)

    @contextlib.contextmanager
    def _connected(self, session: CodexSession) -> Iterator[Client]:
        """A connection to the app-server that has the session's thread, or can load it."""
        with contextlib.ExitStack() as stack:
            yield _legacy(stack, session) or stack.enter_context(self._app_server.connect())

    @contextlib.contextmanager
    def _thread(self, session: CodexSession) -> Iterator[Thread]:
        with self._connected(session) as client:
            yield Thread(client, session)

    def _load(self, thread: Thread, session: CodexSession) -> None:
        """Have the thread loaded, or a new one made when it was lost before its first message."""
        try:
            thread.load()
        except CallRefused as refusal:
            if not protocol.is_unknown_thread(refusal.error):
                raise
            if has_conversation(session):
                raise ConversationGone(session, thread.client) from refusal
            thread.renew()

    def _waiting(self, session: CodexSession, what: Callable[[TurnWait], T]) -> T:
        """Wait, and when the app-server ends meanwhile, go on with what it left, as a new one reads it."""
        waiting = TurnWait(session)
        try:
            with self._thread(session) as thread:
                return what(waiting.on(thread))
        except ConnectionLost:
            with self._thread(session) as thread:
                return what(waiting.on(thread))


class _PreparedMessage(PreparedMessage[CodexSession]):
    """A message for a thread. If its send is cut short, its turn or the one before is the newest, which counts then."""

    def __init__(self, backend: CodexBackend, session: CodexSession, text: str) -> None:
        self._backend = backend
        self._text = text
        self.changes = {
            "codex_active_turn_id": None,
            "codex_send_id": os.urandom(16).hex(),
            "codex_turn_in_progress": has_conversation(session),
        }

    def send(self, session: CodexSession, attempt: Attempt, deadline: Deadline) -> Sent:
        """Send it. Codex lets nothing of its own go before a message, so the deadline does not count."""
        del deadline
        return self._backend.send(session, self._text, attempt)


def _say(thread: Thread, session: CodexSession, asked: Asked, text: str, attempt: Attempt) -> None:
    """Give a message to the one question that is asked; DeliveryFailed, and nothing is sent, if it is no answer."""
    result = questions.spoken(asked.request, text) if asked.request is not None else None
    if asked.request is None or result is None:
        raise DeliveryFailed(_unanswered(session, asked.pending))
    thread.answer(asked.request, result, attempt)


def _unanswered(session: CodexSession, pending: Pending) -> str:
    how = {
        "question": f"answer it: dev-sessions respond {session.id}" + " ANSWER" * len(pending.questions),
        "permission": f"decide: dev-sessions respond {session.id} --allow, or --deny",
        "dialog": f"end its turn: dev-sessions interrupt {session.id}",
    }
    return f"{session.id} waits for {pending.what}; {how[pending.kind]}"


def _legacy(stack: contextlib.ExitStack, session: CodexSession) -> Client | None:
    """A connection to the original's app-server, when that still serves the session."""
    if session.app_server_pid is None:
        return None
    legacy = legacy_app_server()
    if legacy is None or not legacy.serves(session):
        return None
    try:
        return stack.enter_context(legacy.connect())
    except NotListening:
        return None
