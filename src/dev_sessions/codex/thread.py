"""One session's thread over one connection: its status, turns and questions, and the messages that go into it.

Nothing here loads a thread that is not loaded, but for `load`: that would restart its goal, and what is not loaded can
be read all the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from dev_sessions.attempt import Attempt, seen
from dev_sessions.codex import protocol, questions, turns
from dev_sessions.codex.client import CallRefused, Client, NoAnswer
from dev_sessions.codex.jsonrpc import ServerRequest
from dev_sessions.codex.protocol import ItemsView, Probe, ThreadStatus, Turn
from dev_sessions.codex.questions import Asked
from dev_sessions.errors import DeliveryFailed, ProtocolError
from dev_sessions.models import CodexSession, JsonObject, Pending, Receipt
from dev_sessions.system.deadline import Deadline

#: Seconds for a thread to be made or loaded: that starts the tool servers of the user's configuration, too.
_LOAD_TIMEOUT = 60.0
#: Seconds between the acceptance of a turn and its beginning (measured: below 0.1).
BEGIN_TIMEOUT = 10.0
#: Seconds between a failure's place in the status and the event with its reason (measured: milliseconds).
_REASON_TIMEOUT = 1.0
#: Seconds until a thread that was resumed has asked its questions again (measured: 0.05), and until an answer has been
#: taken (measured: 0.01). The status follows the proof of that by a millisecond, unless something else is asked.
ASK_TIMEOUT, TAKEN_TIMEOUT, _FOLLOW_TIMEOUT = 2.0, 10.0, 0.5
#: Seconds for the answer to an interrupt (measured: 0.01); 0.105 to 0.150 leave it out when the turn has just ended.
INTERRUPT_TIMEOUT = 2.0
#: Seconds between two looks where no event may come.
_POLL_INTERVAL = 0.02
#: How many turns back a turn is looked for.
TURNS_BACK = 50
#: Turns in the first page and the largest, by what is asked of each turn. Later pages are larger: the last message
#: costs little, and a long history few calls.
_PAGES: dict[ItemsView, tuple[int, int]] = {"notLoaded": (10, 50), "full": (2, 50)}


class Thread:
    """`id` is the session's thread, and another one after `renew`."""

    def __init__(self, client: Client, session: CodexSession) -> None:
        self.client = client
        self.id = session.internal_id
        self._session = session

    def renew(self) -> None:
        """Make a new thread. Codex keeps it in memory only, until its first message."""
        session = self._session
        params = protocol.thread_start(session.path, session.model, session.variables)
        self.id = protocol.thread_id(self.client.call("thread/start", params, _LOAD_TIMEOUT))

    def load(self) -> None:
        """Have the thread loaded, and be told what happens in it. CallRefused when it left no history."""
        params = protocol.thread_resume(self.id, self._session.path, self._session.variables)
        self.client.call("thread/resume", params, _LOAD_TIMEOUT)

    def status(self) -> ThreadStatus | None:
        """None when the app-server neither has the thread nor finds a history of it."""
        try:
            return protocol.read_status(self.client.call("thread/read", {"threadId": self.id}))
        except CallRefused as refusal:
            if protocol.is_unknown_thread(refusal.error):
                return None
            raise

    def probe(self) -> Probe:
        """Ask which turn runs, by a request that has to be refused. It changes nothing and takes 1 ms."""
        try:
            self.client.call("turn/steer", protocol.steer_probe(self.id))
        except CallRefused as refusal:
            probe = protocol.probe(refusal.error)
            if probe is None:
                raise
            return probe
        raise ProtocolError("Codex accepted a message for a turn that does not exist; try another version of Codex")

    def turns(self, view: ItemsView) -> Iterator[Turn]:
        """The turns, newest first, fetched page by page as far as they are asked for. CallRefused."""
        cursor: str | None = None
        limit, most = _PAGES[view]
        while True:
            params = protocol.turns_list(self.id, limit, view, cursor)
            page = protocol.turns_page(self.client.call("thread/turns/list", params))
            yield from page.turns
            cursor = page.next_cursor
            if cursor is None:
                return
            limit = min(limit * 5, most)

    def await_change(self, deadline: Deadline) -> None:
        """Wait until the thread is told to do something else than work, or until the deadline."""
        while (event := self.client.next_event(deadline)) is not None:
            status = turns.status_change(event, self.id)
            if status is not None and not turns.runs(status):
                return

    def deliver(self, text: str, client_id: str | None, running: str | None, attempt: Attempt) -> Receipt:
        """Send a message, once, and see its turn begin; `running` is the turn that the message will steer."""
        self.client.forget_events()
        attempt.begin()
        try:
            params = protocol.turn_start(self.id, text, client_id)
            # Codex responds before the thread is active. After SIGTERM it may not start the turn; killed right after
            # its start, it may not have written the message: the turn is then interrupted, and the history lacks it.
            accepted = protocol.started_turn(self.client.call("turn/start", params))
        except CallRefused as refusal:
            attempt.refused()
            raise DeliveryFailed(f"{refusal.reason}; fix that, then send it again") from refusal
        try:
            if accepted == running:
                return Receipt("steered", running)
            deadline = Deadline(BEGIN_TIMEOUT)
            while (event := self.client.next_event(deadline)) is not None:
                if turns.begins(event, self.id, accepted):
                    return Receipt("submitted", accepted)
        except ProtocolError as error:
            raise self._not_begun(seen(error)) from error
        raise self._not_begun(f"nothing happened for {BEGIN_TIMEOUT:g} s")

    def asked(self) -> Asked | None:
        """What the thread asks, if it asks anything."""
        deadline = Deadline(ASK_TIMEOUT)
        while True:
            status = self.status()
            if status is None or status.waiting_for is None:
                return None
            if deadline.expired:
                version = ".".join(map(str, self.client.version or ()))
                what = f"an answer ({status.waiting_for}), but Codex {version} does not tell to what"
                return Asked(Pending("dialog", what))
            request = self._asked_again(deadline)
            if request is not None:
                return Asked(questions.pending(request), request)

    def answer(self, request: ServerRequest, result: JsonObject, attempt: Attempt) -> None:
        """Answer what `asked` gave. DeliveryFailed without a proof that the answer was taken."""
        attempt.begin()
        self.client.answer(request, result)
        self._await_taken(request)

    def interrupt(self, deadline: Deadline) -> bool:
        """End the running turn with its commands and see it ended; False when none runs. ProtocolError: it goes on."""
        turn_id = self.running(deadline)
        if turn_id is None:
            return False
        refused = ""
        try:
            params = protocol.turn_interrupt(self.id, turn_id)
            self.client.call("turn/interrupt", params, min(INTERRUPT_TIMEOUT, deadline.remaining()))
        except CallRefused as refusal:
            refused = f" ({refusal.reason})"
        except NoAnswer:
            pass  # the status tells
        while self._runs(turn_id):
            if self.client.next_event(deadline) is None:
                raise ProtocolError(
                    f"The turn of {self._session.id} does not end{refused}; try again, or end the session:"
                    f" dev-sessions kill {self._session.id}"
                )
        self._end_commands()
        return True

    def running(self, deadline: Deadline) -> str | None:
        """The running turn. A thread is active a moment before and after its turn can be named."""
        while True:
            status = self.status()
            if status is None or status.kind != "active":
                return None
            turn_id = self.probe().turn_id
            if turn_id is not None:
                return turn_id
            if deadline.expired:
                raise ProtocolError(f"{self._session.id} works, but Codex names no turn of it; try again")
            self.client.next_event(Deadline(_POLL_INTERVAL))

    def _runs(self, turn_id: str) -> bool:
        """Whether a turn goes on. After it, a goal may begin another one."""
        status = self.status()
        if status is None or status.kind != "active":
            return False
        return self.probe().turn_id in (None, turn_id)

    def _asked_again(self, deadline: Deadline) -> ServerRequest | None:
        """The request of a thread that waits, asked again because of a resume; None when it waits no longer.

        Such a thread is loaded, so that the resume changes nothing.
        """
        try:
            self.load()
        except CallRefused as refusal:
            # 0.169 refuses so during the first 0.1 s of a thread's first turn.
            if not protocol.is_unmaterialised(refusal.error):
                raise
            deadline.pause(_POLL_INTERVAL)
            return None
        while (event := self.client.next_event(deadline)) is not None:
            if isinstance(event, ServerRequest) and event.params.get("threadId") == self.id:
                return event
            status = turns.status_change(event, self.id)
            if status is not None and status.waiting_for is None:
                return None
        return None

    def _end_commands(self) -> None:
        """End the thread's commands. One that has run for half a second outlives its turn (measured: 0.150 to 0.169),
        as those do that the agent left in the background; which is which, Codex does not tell."""
        self.client.call("thread/backgroundTerminals/clean", {"threadId": self.id})

    def _await_taken(self, request: ServerRequest) -> None:
        deadline = Deadline(TAKEN_TIMEOUT)
        while (event := self.client.next_event(deadline)) is not None:
            status = turns.status_change(event, self.id)
            if questions.is_resolved(event, request) or (status is not None and status.waiting_for is None):
                break
        else:
            raise DeliveryFailed(f"{self._session.id} goes on waiting after it was sent")
        follow = Deadline(_FOLLOW_TIMEOUT)
        while (now := self.status()) is not None and now.waiting_for is not None and not follow.expired:
            self.client.next_event(Deadline(_POLL_INTERVAL))

    def _not_begun(self, reason: str) -> DeliveryFailed:
        return DeliveryFailed(f"Codex took it, but its turn was not seen to begin: {reason}")
