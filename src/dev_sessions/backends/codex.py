"""Codex sessions: threads of an app-server.

Nothing that reads ever loads a thread (`thread/resume`): that would restart its goal, and what is not loaded can be
read all the same. Only `send` does, and only when the app-server does not have the thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from dev_sessions import paths
from dev_sessions.backends.base import Sent
from dev_sessions.codex import protocol, turns
from dev_sessions.codex.client import CallRefused, Client, ConnectionLost, NotListening
from dev_sessions.codex.daemon import Daemon, legacy_daemon
from dev_sessions.codex.protocol import ItemsView, Probe, ThreadStatus, Turn
from dev_sessions.deadline import Deadline
from dev_sessions.errors import (
    DeliveryFailed,
    DevSessionsError,
    InvalidRequest,
    ProtocolError,
    SessionLost,
    WaitTimedOut,
)
from dev_sessions.models import CodexSession, LogTurn, Outcome, Receipt, State

#: Seconds for a thread to be made or loaded: that starts the tool servers of the user's configuration, too.
_LOAD_TIMEOUT = 60.0
#: Seconds between the acceptance of a turn and its beginning (measured: below 0.1).
_BEGIN_TIMEOUT = 10.0
#: Seconds between a failure's place in the status and its place in the turn, or the event with its reason (measured:
#: milliseconds), and between two looks meanwhile: no event tells those who are not subscribed.
_SETTLE_TIMEOUT, _SETTLE_INTERVAL = 1.0, 0.02
#: How many turns back the turn of the last send is looked for.
_TURNS_BACK = 50
#: Turns in the first page and the largest, by what is asked of each turn. Later pages are larger: the last message
#: costs little, and a long history few calls.
_PAGES: dict[ItemsView, tuple[int, int]] = {"notLoaded": (10, 50), "full": (2, 50)}


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

    def start(self, session: CodexSession) -> Mapping[str, Any]:
        """Make a thread. Codex keeps it in memory only, until its first message."""
        with self._daemon.connect() as client:
            return {"internal_id": _new_thread(client, session)}

    def prepare_send(self, session: CodexSession, text: str) -> Mapping[str, Any]:
        """Refuse what Codex would refuse, or leave without any answer (half of a surrogate pair)."""
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
        """Begin a turn, or steer the one that runs. Returns when the turn is seen to have begun."""
        with self._connected(session) as client:
            thread_id = session.internal_id
            probe = _probe(client, thread_id)
            if not probe.loaded:
                thread_id = self._load(client, session)
                # A goal goes on as soon as its thread is loaded.
                probe = _probe(client, thread_id)
            receipt = _deliver(client, session.id, thread_id, text, probe.turn_id)
        changes = {
            "internal_id": thread_id,
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
        with self._connected(session) as client:
            turn = turns.judged(self._recent(client, session, "full"), session.codex_active_turn_id)
        return turns.reply(turn) if turn is not None else []

    def last_messages(self, session: CodexSession, count: int) -> list[str]:
        """The agent's last `count` messages, read from the end of the thread."""
        messages: list[str] = []
        with self._connected(session) as client:
            for turn in self._history(client, session, "full"):
                if len(messages) >= count:
                    break
                messages[:0] = turns.agent_texts(turn)
        return messages[max(0, len(messages) - count) :]

    def logs(self, session: CodexSession) -> list[LogTurn]:
        """Everything that was said in the thread."""
        with self._connected(session) as client:
            newest_first = list(self._history(client, session, "full"))
        return [said for turn in reversed(newest_first) for said in turns.log(turn)]

    def states(self, sessions: Iterable[CodexSession]) -> dict[str, State]:
        """What each thread does, over one connection to each app-server. A thread that none knows is lost."""
        legacy = legacy_daemon()
        groups: dict[bool, list[CodexSession]] = {}
        for session in sessions:
            groups.setdefault(legacy is not None and legacy.serves(session), []).append(session)
        found: dict[str, State] = {}
        for group in groups.values():
            with self._connected(group[0]) as client:
                for session in group:
                    status = _status(client, session)
                    found[session.id] = turns.state(status) if status is not None else "lost"
        return found

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

    def _load(self, client: Client, session: CodexSession) -> str:
        """Have the thread loaded and return its id: a new one's, when it was lost before its first message."""
        try:
            client.call("thread/resume", protocol.thread_resume(session.internal_id, session.path), _LOAD_TIMEOUT)
        except CallRefused as refusal:
            if not protocol.is_unknown_thread(refusal.error):
                raise
            if self.has_conversation(session):
                raise ConversationGone(session, client) from refusal
            return _new_thread(client, session)
        return session.internal_id

    def _wait(self, session: CodexSession, deadline: Deadline) -> Outcome:
        reason = session.last_turn_error
        settling: Deadline | None = None
        with self._connected(session) as client:
            while True:
                status = _status(client, session)
                if status is None:
                    if self.has_conversation(session):
                        raise ConversationGone(session, client)
                    return Outcome("completed")
                if turns.runs(status):
                    reason = _await_change(client, session, deadline) or reason
                    settling = None
                    continue
                outcome = turns.outcome(
                    status,
                    self._recent(client, session, "notLoaded"),
                    session.codex_active_turn_id,
                    known_error=reason,
                    settled=settling is not None and settling.expired,
                )
                if outcome is not None:
                    return outcome
                if status.kind == "unknown":
                    reason = _await_change(client, session, deadline) or reason
                    continue
                settling = settling or Deadline(_SETTLE_TIMEOUT)
                client.next_event(Deadline(_SETTLE_INTERVAL))

    def _recent(self, client: Client, session: CodexSession, view: ItemsView) -> list[Turn]:
        """The newest turns, newest first, back to that of the last send."""
        recent: list[Turn] = []
        for turn in islice(self._history(client, session, view), _TURNS_BACK):
            recent.append(turn)
            if session.codex_active_turn_id in (None, turn.id):
                break
        return recent

    def _history(self, client: Client, session: CodexSession, view: ItemsView) -> Iterator[Turn]:
        """The thread's turns, newest first, fetched page by page as far as they are asked for."""
        try:
            yield from _pages(client, session.internal_id, view)
        except CallRefused as refusal:
            if protocol.is_unmaterialised(refusal.error):
                return
            if not protocol.is_unknown_thread(refusal.error):
                raise
            if self.has_conversation(session):
                raise ConversationGone(session, client) from refusal


def _new_thread(client: Client, session: CodexSession) -> str:
    return protocol.thread_id(
        client.call("thread/start", protocol.thread_start(session.path, session.model), _LOAD_TIMEOUT)
    )


def _probe(client: Client, thread_id: str) -> Probe:
    """Ask which turn runs, by a request that has to be refused. It changes nothing and takes 1 ms."""
    try:
        client.call("turn/steer", protocol.steer_probe(thread_id))
    except CallRefused as refusal:
        probe = protocol.probe(refusal.error)
        if probe is None:
            raise
        return probe
    raise ProtocolError("Codex accepted a message for a turn that does not exist; try another version of Codex")


def _deliver(client: Client, session_id: str, thread_id: str, text: str, running: str | None) -> Receipt:
    """Send the message, once, and see its turn begin; `running` is the turn that the message will steer."""
    client.forget_events()
    try:
        accepted = protocol.started_turn(client.call("turn/start", protocol.turn_start(thread_id, text)))
    except CallRefused as refusal:
        raise DeliveryFailed(f"The message for {session_id} was not sent: {refusal}") from refusal
    except ProtocolError as error:
        raise DeliveryFailed(
            f"It is not known whether the message reached {session_id}: {error}."
            f" See if it did before you send it again: dev-sessions logs {session_id}"
        ) from error
    try:
        if running is not None and (accepted == running or _steered(client, thread_id, running, accepted)):
            return Receipt("steered", running)
        deadline = Deadline(_BEGIN_TIMEOUT)
        while (event := client.next_event(deadline)) is not None:
            if turns.begins(event, thread_id, accepted):
                return Receipt("submitted", accepted)
    except ProtocolError as error:
        raise _not_begun(session_id, str(error)) from error
    raise _not_begun(session_id, f"nothing happened for {_BEGIN_TIMEOUT:g} s")


def _steered(client: Client, thread_id: str, running: str, accepted: str) -> bool:
    """Whether a message went into the turn that ran just before it, or began a turn because that one had ended.

    Up to 0.149 both are answered with a new id, but in the first case no turn of that id ever exists.
    """
    now = _probe(client, thread_id).turn_id
    if now in (running, accepted):
        return now == running
    return all(turn.id != accepted for turn in islice(_pages(client, thread_id, "notLoaded"), _TURNS_BACK))


def _not_begun(session_id: str, seen: str) -> DeliveryFailed:
    return DeliveryFailed(
        f"Codex took the message for {session_id}, but its turn was not seen to begin: {seen}."
        f" See what became of it before you send it again: dev-sessions logs {session_id}"
    )


def _status(client: Client, session: CodexSession) -> ThreadStatus | None:
    """The thread's status; None when the app-server neither has it nor finds a history of it."""
    try:
        return protocol.read_status(client.call("thread/read", {"threadId": session.internal_id}))
    except CallRefused as refusal:
        if protocol.is_unknown_thread(refusal.error):
            return None
        raise


def _await_change(client: Client, session: CodexSession, deadline: Deadline) -> str | None:
    """Wait until the thread is told to do something else than work; the reason when that is a failure whose reason
    is told only once. WaitTimedOut."""
    thread_id = session.internal_id
    subscribed = protocol.tells_reasons_once(client.version)
    if subscribed:
        # The thread is loaded: it is working. That it may have ended this moment is no reason to fail.
        with contextlib.suppress(CallRefused):
            client.call("thread/resume", protocol.thread_resume(thread_id, session.path), _LOAD_TIMEOUT)
    while (event := client.next_event(deadline)) is not None:
        status = turns.status_change(event, thread_id)
        if status is None or turns.runs(status):
            continue
        if subscribed and status.kind == "systemError":
            soon = Deadline(_SETTLE_TIMEOUT)
            while (event := client.next_event(soon)) is not None:
                if reason := turns.heard_failure(event, thread_id):
                    return reason
        return None
    raise WaitTimedOut(f"Timed out waiting for {session.id}")


def _pages(client: Client, thread_id: str, view: ItemsView) -> Iterator[Turn]:
    cursor: str | None = None
    limit, most = _PAGES[view]
    while True:
        try:
            result = client.call("thread/turns/list", protocol.turns_list(thread_id, limit, view, cursor))
        except CallRefused as refusal:
            if not protocol.is_unknown_method(refusal.error):
                raise
            # Up to 0.120 a thread can only be read whole.
            whole = client.call("thread/read", {"threadId": thread_id, "includeTurns": True})
            yield from reversed(protocol.thread_turns(whole))
            return
        page = protocol.turns_page(result)
        yield from page.turns
        cursor = page.next_cursor
        if cursor is None:
            return
        limit = min(limit * 5, most)


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
