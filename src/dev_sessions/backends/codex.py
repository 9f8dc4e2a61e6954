"""Codex sessions: threads of an app-server.

Nothing that reads ever loads a thread (`thread/resume`): that would restart its goal, and what is not loaded can be
read all the same. Only `send` does, and only when the app-server does not have the thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from dev_sessions import paths
from dev_sessions.backends.base import Recovery, Sent
from dev_sessions.codex import protocol, requests, turns
from dev_sessions.codex.client import CallRefused, Client, ConnectionLost, NotListening
from dev_sessions.codex.daemon import Daemon, legacy_daemon
from dev_sessions.codex.protocol import ItemsView, Turn
from dev_sessions.codex.requests import Asked
from dev_sessions.codex.thread import TURNS_BACK, Thread
from dev_sessions.deadline import Deadline
from dev_sessions.errors import DeliveryFailed, DevSessionsError, InvalidRequest, SessionLost
from dev_sessions.models import CodexSession, LogTurn, Outcome, Pending, Receipt, Standing

#: Seconds between a failure's place in the status and its place in the turn (measured: milliseconds), and between two
#: looks meanwhile: no event tells those who are not subscribed.
_SETTLE_TIMEOUT, _SETTLE_INTERVAL = 1.0, 0.02


class ConversationGone(SessionLost):
    """Codex has neither a session's thread nor its history, so there is nothing to read either."""

    def __init__(self, session: CodexSession, client: Client) -> None:
        home = f" in {client.codex_home}" if client.codex_home else ""
        DevSessionsError.__init__(
            self,
            f"{session.id} is lost: Codex finds no thread {session.internal_id}{home}. If it lies elsewhere, start the"
            f" app-server with that CODEX_HOME; `dev-sessions kill {session.id}` forgets the session",
        )


class CodexBackend:
    """The backend of Codex sessions; `backends.base.Backend` says what each method promises."""

    def __init__(self) -> None:
        self._daemon = Daemon(paths.codex_dir())

    def whereabouts(self) -> Mapping[str, Any]:
        """There is one app-server."""
        return {}

    def start(self, session: CodexSession) -> Mapping[str, Any]:
        """Make a thread. Codex keeps it in memory only, until its first message."""
        with self._daemon.connect() as client:
            thread = Thread(client, session)
            thread.renew()
            return {"internal_id": thread.id}

    def prepare_send(self, session: CodexSession, text: str, *, discard_draft: bool = False) -> Mapping[str, Any]:
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
        return {}

    def send(self, session: CodexSession, text: str) -> Sent:
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
                _say(thread, session, asked, text)
                receipt = Receipt("answered", probe.turn_id)
            else:
                receipt = thread.deliver(text, probe.turn_id)
            changes = {
                "internal_id": thread.id,
                "codex_active_turn_id": receipt.turn_id,
                "codex_turn_in_progress": True,
                "last_turn_status": None,
                "last_turn_error": None,
            }
        return Sent(receipt, changes)

    def wait(self, session: CodexSession, deadline: Deadline, interval: float | None) -> Outcome:
        """Wait for the app-server to tell. When it ends meanwhile, what it left of the turn is read from a new one."""
        del interval  # nothing is polled
        try:
            return self._wait(session, deadline)
        except ConnectionLost:
            return self._wait(session, deadline)

    def reply(self, session: CodexSession) -> list[str]:
        """What the agent said in the turn of the last send, after its last user message."""
        with self._thread(session) as thread:
            turn = turns.judged(self._recent(thread, session, "full"), session.codex_active_turn_id)
        return turns.reply(turn) if turn is not None else []

    def last_messages(self, session: CodexSession, count: int) -> list[str]:
        """The agent's last `count` messages, read from the end of the thread. What it asks is the last one."""
        with self._thread(session) as thread:
            asked = thread.asked()
            messages = [asked.pending.text] if asked is not None else []
            history = self._history(thread, session, "full")
            while len(messages) < count and (turn := next(history, None)) is not None:
                messages[:0] = turns.agent_texts(turn)
        return messages[max(0, len(messages) - count) :]

    def logs(self, session: CodexSession) -> list[LogTurn]:
        """Everything that was said in the thread."""
        with self._thread(session) as thread:
            newest_first = list(self._history(thread, session, "full"))
        return [said for turn in reversed(newest_first) for said in turns.log(turn)]

    def standings(self, sessions: Iterable[CodexSession]) -> dict[str, Standing]:
        """What each thread does, over one connection to each app-server. A thread that none knows is lost."""
        legacy = legacy_daemon()
        groups: dict[bool, list[CodexSession]] = {}
        for session in sessions:
            groups.setdefault(legacy is not None and legacy.serves(session), []).append(session)
        found: dict[str, Standing] = {}
        for group in groups.values():
            with self._connected(group[0]) as client:
                for session in group:
                    status = Thread(client, session).status()
                    found[session.id] = turns.standing(status) if status is not None else Standing("lost")
        return found

    def pending(self, session: CodexSession) -> Pending | None:
        """In full, since the app-server asks again whoever comes later (0.120 and newer)."""
        with self._thread(session) as thread:
            asked = thread.asked()
        return asked.pending if asked is not None else None

    def respond(self, session: CodexSession, answers: Sequence[str], *, allow: bool | None) -> None:
        """Answer the request that the thread waits for. To deny lets the turn go on."""
        with self._thread(session) as thread:
            asked = thread.asked()
            if asked is None:
                raise InvalidRequest(f"{session.id} asks nothing; nothing was sent")
            if asked.request is None or asked.pending.kind == "dialog":
                raise DeliveryFailed(_unanswered(session, asked.pending))
            thread.answer(asked.request, requests.result(asked.request, session.id, answers, allow))

    def interrupt(self, session: CodexSession, deadline: Deadline) -> None:
        """End the running turn, whether it works or asks, and the commands that it or earlier turns left running."""
        with self._thread(session) as thread:
            if not thread.interrupt(deadline):
                raise InvalidRequest(f"{session.id} is idle; there is nothing to interrupt")

    def news(self, session: CodexSession) -> Mapping[str, Any]:
        """A thread keeps its id."""
        del session
        return {}

    def stop(self, session: CodexSession) -> None:
        """Put the thread away; what runs in it ends. Without an app-server nothing runs."""
        with contextlib.ExitStack() as stack:
            client = _legacy(stack, session) or stack.enter_context(self._daemon.connect_if_running())
            if client is None:
                return
            try:
                client.call("thread/archive", {"threadId": session.internal_id})
            except ConnectionLost:
                return
            except CallRefused as refusal:
                if not protocol.has_nothing_to_archive(refusal.error):
                    raise

    def release(self, in_use: Callable[[], bool]) -> None:
        """Stop our app-server when no session is left. The original's is the original's to stop."""
        self._daemon.release(in_use)

    def recovery(self, session: CodexSession) -> Recovery | None:
        """Load the thread, which any command but `send` leaves alone, because that restarts its goal. Only one that
        never had a message is lost with its app-server; it is made anew."""
        with self._thread(session) as thread:
            status = thread.status()
            if status is not None:
                resting = status.kind == "notLoaded"
                return Recovery("have Codex load its thread again; a goal that is active goes on") if resting else None
            if self.has_conversation(session):
                raise ConversationGone(session, thread.client)
            return Recovery("have Codex make its thread anew; it never had a message")

    def recover(self, session: CodexSession) -> Mapping[str, Any]:
        """Have the thread loaded; it stays so when this connection ends."""
        with self._thread(session) as thread:
            self._load(thread, session)
            return {"internal_id": thread.id}

    def put_back(self, session: CodexSession) -> None:
        """A loaded thread is in nobody's way."""

    def has_conversation(self, session: CodexSession) -> bool:
        """Whether the record shows that a message was sent, by us or by the original."""
        return (
            session.codex_active_turn_id is not None
            or session.codex_last_completed_at is not None
            or session.last_turn_status is not None
            or bool(session.codex_turn_in_progress)
            or bool(session.extra.get("lastAssistantMessages"))
        )

    @contextlib.contextmanager
    def _connected(self, session: CodexSession) -> Iterator[Client]:
        """A connection to the app-server that has the session's thread, or can load it."""
        with contextlib.ExitStack() as stack:
            yield _legacy(stack, session) or stack.enter_context(self._daemon.connect())

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
            if self.has_conversation(session):
                raise ConversationGone(session, thread.client) from refusal
            thread.renew()

    def _wait(self, session: CodexSession, deadline: Deadline) -> Outcome:
        reason = session.last_turn_error
        settling: Deadline | None = None
        with self._thread(session) as thread:
            while True:
                status = thread.status()
                if status is None:
                    if self.has_conversation(session):
                        raise ConversationGone(session, thread.client)
                    return Outcome("completed")
                if turns.runs(status):
                    reason = thread.await_change(deadline) or reason
                    settling = None
                    continue
                outcome = turns.outcome(
                    status,
                    self._recent(thread, session, "notLoaded"),
                    session.codex_active_turn_id,
                    known_error=reason,
                    settled=settling is not None and settling.expired,
                )
                if outcome is not None:
                    return outcome
                if status.kind == "unknown":
                    reason = thread.await_change(deadline) or reason
                    continue
                settling = settling or Deadline(_SETTLE_TIMEOUT)
                thread.client.next_event(Deadline(_SETTLE_INTERVAL))

    def _recent(self, thread: Thread, session: CodexSession, view: ItemsView) -> list[Turn]:
        """The newest turns, newest first, back to that of the last send."""
        recent: list[Turn] = []
        for turn in islice(self._history(thread, session, view), TURNS_BACK):
            recent.append(turn)
            if session.codex_active_turn_id in (None, turn.id):
                break
        return recent

    def _history(self, thread: Thread, session: CodexSession, view: ItemsView) -> Iterator[Turn]:
        """The thread's turns, newest first; none of one that has no history yet."""
        try:
            yield from thread.turns(view)
        except CallRefused as refusal:
            if protocol.is_unmaterialised(refusal.error):
                return
            if not protocol.is_unknown_thread(refusal.error):
                raise
            if self.has_conversation(session):
                raise ConversationGone(session, thread.client) from refusal


def _say(thread: Thread, session: CodexSession, asked: Asked, text: str) -> None:
    """Give a message to the one question that is asked; DeliveryFailed, and nothing is sent, if it is no answer."""
    result = requests.spoken(asked.request, text) if asked.request is not None else None
    if asked.request is None or result is None:
        raise DeliveryFailed(_unanswered(session, asked.pending))
    thread.answer(asked.request, result)


def _unanswered(session: CodexSession, pending: Pending) -> str:
    how = {
        "question": f"answer it: dev-sessions respond {session.id}" + " ANSWER" * len(pending.questions),
        "permission": f"decide: dev-sessions respond {session.id} --allow, or --deny",
        "dialog": f"end its turn: dev-sessions interrupt {session.id}",
    }
    return f"{session.id} waits for {pending.what}; nothing was sent; {how[pending.kind]}"


def _legacy(stack: contextlib.ExitStack, session: CodexSession) -> Client | None:
    """A connection to the original's app-server, when that still serves the session."""
    if session.app_server_pid is None:
        return None
    legacy = legacy_daemon()
    if legacy is None or not legacy.serves(session):
        return None
    try:
        return stack.enter_context(legacy.connect())
    except NotListening:
        return None
