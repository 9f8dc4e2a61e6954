"""A session's thread over one connection: its status, turns and questions, and the messages sent into it.

Only `load` loads a thread that the app-server does not have in memory: that makes its goal continue, and the history of
a thread can be read without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dev_sessions.attempt import Attempt, summary_of
from dev_sessions.codex import protocol, turns
from dev_sessions.codex.client import CallRefused, Client, NoAnswer
from dev_sessions.codex.jsonrpc import ServerRequest
from dev_sessions.codex.protocol import ItemsView, Probe, ThreadStatus, Turn
from dev_sessions.errors import DeliveryFailed, ProtocolError
from dev_sessions.models import CodexSession, JsonObject, Pending, Receipt
from dev_sessions.system import file_locks, process
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.version import version_text

if TYPE_CHECKING:
    from dev_sessions.codex.question_protocol import OpenRequest

#: Seconds for a thread to be started or loaded: that starts the user's MCP servers, too.
_LOAD_TIMEOUT = 60.0
#: Seconds for a response about what a thread does (measured: 1 to 20 ms). Codex 0.171 never gives one about a thread
#: again when a request has come at the moment at which it unloads the thread.
STATUS_TIMEOUT = 10.0
#: Seconds between the acceptance of a turn and its beginning (measured: below 0.1).
BEGIN_TIMEOUT = 10.0
#: Seconds until the open request of a resumed thread is repeated (measured: 0.05).
ASK_TIMEOUT = 2.0
#: Seconds until an answer is confirmed (measured: 0.01), and then until the status changes (measured: 0.001). It does
#: not change when the thread asks something else at once.
ANSWER_TIMEOUT, _CHANGE_TIMEOUT = 10.0, 0.5
#: Seconds for the response to an interrupt (measured: 0.01). 0.150 sends none when the turn has just ended.
INTERRUPT_TIMEOUT = 2.0
#: Seconds between two polls where no event is certain to come.
POLL_INTERVAL = 0.02
#: The number of newest turns in which a turn is searched for.
MAX_TURNS = 50
#: Turns in the first page and in the largest one. Pages grow, so that the last message is read fast, and a long history
#: with few calls.
_PAGES: dict[ItemsView, tuple[int, int]] = {"notLoaded": (10, 50), "full": (2, 50)}


class Thread:
    """The thread of a session. `id` changes when a new thread is started for it."""

    def __init__(self, client: Client, session: CodexSession) -> None:
        self.client = client
        self.id = session.internal_id
        self._session = session
        self._first_page: JsonObject | CallRefused | NoAnswer | None = None

    def start_new(self) -> None:
        """Start a new thread. Codex keeps it only in memory until its first message."""
        session = self._session
        params = protocol.thread_start(session.path, session.model, self._configuration())
        self.id = protocol.thread_id(self.client.call("thread/start", params, _LOAD_TIMEOUT))

    def start_fork(self, thread_id: str, last_turn_id: str) -> None:
        """Start a thread with the history of another one up to the end of a turn."""
        session = self._session
        configuration = self._configuration()
        params = protocol.thread_fork(thread_id, last_turn_id, session.id, session.path, session.model, configuration)
        self.id = protocol.thread_id(self.client.call("thread/fork", params, _LOAD_TIMEOUT))

    def set_name(self) -> None:
        """Give the thread the session's name, for Codex's own lists. That stores a thread without a message, too."""
        self.client.call("thread/name/set", {"threadId": self.id, "name": self._session.display_name})

    def load(self) -> None:
        """Load the thread, and subscribe to its events.

        Raises CallRefused when it has no history, ProtocolError when another Codex has it open.
        """
        try:
            self._resume(self._configuration())
        except CallRefused as refusal:
            if protocol.has_other_writer(refusal.error):
                raise self._open_elsewhere_error() from refusal
            raise

    def _configuration(self) -> JsonObject:
        from dev_sessions.codex import environment

        return environment.configuration(self.client, self._session)

    def _open_elsewhere_error(self) -> ProtocolError:
        """Return the error for a thread that another Codex has open, which holds its lock (0.150 to 0.171).

        In 0.171 that is a daemon, which keeps the thread open when the terminal is closed.
        """
        home = self.client.codex_home
        lock = Path(home) / "thread-writer-locks" / f"{self.id}.lock" if isinstance(home, str) else None
        pid = file_locks.holder(lock) if lock is not None else None
        program, *arguments = (process.command_line(pid) or "?").split(" ") if pid else ["?"]
        if not pid:
            return ProtocolError(f"{self._session.id} is open in another Codex; close it there, and try again")
        who = f"another Codex (process {pid}: {' '.join([Path(program).name, *arguments])})"
        return ProtocolError(
            f"{self._session.id} is open in {who}; close it there, or end that process: kill {pid}, and try again"
        )

    def _resume(self, config: JsonObject) -> None:
        params = protocol.thread_resume(self.id, self._session.path, config)
        self.client.call("thread/resume", params, _LOAD_TIMEOUT)

    def status(self) -> ThreadStatus | None:
        """Return the thread's status; None when the app-server has neither the thread nor a history of it."""
        try:
            return protocol.read_status(self.client.call("thread/read", {"threadId": self.id}, STATUS_TIMEOUT))
        except CallRefused as refusal:
            if protocol.is_unknown_thread(refusal.error):
                return None
            raise

    def probe(self) -> Probe:
        """Return which turn runs, by a request that is always refused. It changes nothing and takes 1 ms."""
        try:
            self.client.call("turn/steer", protocol.steer_probe(self.id), STATUS_TIMEOUT)
        except CallRefused as refusal:
            probe = protocol.probe(refusal.error)
            if probe is None:
                raise
            return probe
        raise ProtocolError("Codex accepted a message for a turn that does not exist; try another version of Codex")

    def turns(self, view: ItemsView) -> Iterator[Turn]:
        """Return the turns, newest first, and fetch pages while it is iterated. Raises CallRefused."""
        cursor: str | None = None
        limit, most = _PAGES[view]
        while True:
            page = protocol.turns_page(self._page(view, limit, cursor))
            yield from page.turns
            cursor = page.next_cursor
            if cursor is None:
                return
            limit = min(limit * 5, most)

    def first_page_request(self) -> tuple[str, JsonObject]:
        """Return the request for the first page of its turns without items, whose response `use_first_page` takes."""
        return "thread/turns/list", protocol.turns_list(self.id, _PAGES["notLoaded"][0], "notLoaded", None)

    def use_first_page(self, page: JsonObject | CallRefused | NoAnswer) -> None:
        """Use a page that was fetched together with those of other threads; its error is raised by who needs it."""
        self._first_page = page

    def _page(self, view: ItemsView, limit: int, cursor: str | None) -> JsonObject:
        if view == "notLoaded" and cursor is None and self._first_page is not None:
            if isinstance(self._first_page, CallRefused | NoAnswer):
                raise self._first_page
            return self._first_page
        return self.client.call("thread/turns/list", protocol.turns_list(self.id, limit, view, cursor))

    def await_change(self, deadline: Deadline) -> None:
        """Wait until the app-server reports that the thread does not work any more, or until the deadline."""
        while (event := self.client.next_event(deadline)) is not None:
            status = turns.status_change(event, self.id)
            if status is not None and not turns.is_running(status):
                return

    def deliver(self, text: str, client_id: str | None, running: str | None, attempt: Attempt) -> Receipt:
        """Send a message once, and wait until its turn has begun.

        `running` is the turn that runs, which the message may steer. Raises DeliveryFailed, and CallRefused when the
        thread is not loaded.
        """
        self.client.forget_events()
        attempt.begin()
        try:
            params = protocol.turn_start(self.id, text, client_id)
            # Codex responds before the thread is active. After SIGTERM it may not start the turn; killed right after
            # its start, it may not have written the message: the turn is then interrupted, and the history lacks it.
            accepted = protocol.started_turn(self.client.call("turn/start", params))
        except CallRefused as refusal:
            attempt.mark_rejected()
            if protocol.is_unknown_thread(refusal.error):
                raise
            raise DeliveryFailed(f"{refusal.words}; fix that, then send it again") from refusal
        try:
            if accepted == running:
                return Receipt("steered", running)
            deadline = Deadline(BEGIN_TIMEOUT)
            while (event := self.client.next_event(deadline)) is not None:
                if turns.is_turn_start(event, self.id, accepted):
                    return Receipt("submitted", accepted)
        except ProtocolError as error:
            raise _not_begun(summary_of(error)) from error
        raise _not_begun(f"nothing happened for {BEGIN_TIMEOUT:g} s")

    def open_request(self) -> OpenRequest | None:
        """Return what the thread asks; None when it asks nothing.

        The request is repeated to a client that resumes the thread, which changes nothing: it is loaded.
        """
        from dev_sessions.codex import question_protocol

        deadline = Deadline(ASK_TIMEOUT)
        while True:
            status = self.status()
            if status is None or status.waiting_for is None:
                return None
            if deadline.expired:
                version = version_text(self.client.version)
                what = f"an answer ({status.waiting_for}), but Codex {version} does not report the question"
                return question_protocol.OpenRequest(Pending("dialog", what))
            request = self._repeated_request(deadline)
            if request is not None:
                return question_protocol.OpenRequest(question_protocol.pending(request), request)

    def answer(self, request: ServerRequest, result: JsonObject, attempt: Attempt) -> None:
        """Answer a request of `open_request`. Raises DeliveryFailed when the app-server does not confirm the answer."""
        from dev_sessions.codex import question_protocol

        attempt.begin()
        self.client.answer(request, result)
        deadline = Deadline(ANSWER_TIMEOUT)
        while (event := self.client.next_event(deadline)) is not None:
            status = turns.status_change(event, self.id)
            if question_protocol.is_resolved(event, request) or (status is not None and status.waiting_for is None):
                break
        else:
            raise DeliveryFailed(
                f"{self._session.id} still waits after it was sent",
                f"see what it asks: dev-sessions last-message {self._session.id}",
            )
        deadline = Deadline(_CHANGE_TIMEOUT)
        while (now := self.status()) is not None and now.waiting_for is not None and not deadline.expired:
            self.client.next_event(Deadline(POLL_INTERVAL))

    def interrupt(self, deadline: Deadline) -> bool:
        """End the running turn with its commands; return False when none runs.

        Raises ProtocolError when the turn still runs at the deadline.
        """
        turn_id = self.running(deadline)
        if turn_id is None:
            return False
        refused = ""
        try:
            params = protocol.turn_interrupt(self.id, turn_id)
            self.client.call("turn/interrupt", params, min(INTERRUPT_TIMEOUT, deadline.remaining()))
        except CallRefused as refusal:
            refused = f" ({refusal.words})"
        except NoAnswer:
            pass  # the status says whether it has ended
        while self._runs(turn_id):
            if self.client.next_event(deadline) is None:
                raise ProtocolError(
                    f"The turn of {self._session.id} does not end{refused}; try again, or end the session:"
                    f" dev-sessions kill {self._session.id}"
                )
        # A command that has run for half a second outlives its turn (0.150 to 0.169), as do those that the agent left
        # in the background. Codex does not say which is which.
        self.client.call("thread/backgroundTerminals/clean", {"threadId": self.id})
        return True

    def running(self, deadline: Deadline) -> str | None:
        """Return the id of the running turn; None when none runs.

        A thread is active for a moment before and after Codex names its turn. Raises ProtocolError at the deadline.
        """
        while True:
            status = self.status()
            if status is None or status.kind != "active":
                return None
            turn_id = self.probe().turn_id
            if turn_id is not None:
                return turn_id
            if deadline.expired:
                raise ProtocolError(f"{self._session.id} is working, but Codex does not name its turn; try again")
            self.client.next_event(Deadline(POLL_INTERVAL))

    def _runs(self, turn_id: str) -> bool:
        """Return whether a turn still runs, and not the next one of a goal."""
        status = self.status()
        if status is None or status.kind != "active":
            return False
        return self.probe().turn_id in (None, turn_id)

    def _repeated_request(self, deadline: Deadline) -> ServerRequest | None:
        """Resume a waiting thread, and return the request that is repeated; None when it does not wait any more."""
        try:
            self._resume({})  # it is loaded, so that its configuration would be ignored
        except CallRefused as refusal:
            # During the first 0.1 s of a thread's first turn (0.169).
            if not protocol.is_unmaterialised(refusal.error):
                raise
            deadline.pause(POLL_INTERVAL)
            return None
        while (event := self.client.next_event(deadline)) is not None:
            if isinstance(event, ServerRequest) and event.params.get("threadId") == self.id:
                return event
            status = turns.status_change(event, self.id)
            if status is not None and status.waiting_for is None:
                return None
        return None


def _not_begun(reason: str) -> DeliveryFailed:
    return DeliveryFailed(f"Codex accepted it, but did not report that its turn began: {reason}")
