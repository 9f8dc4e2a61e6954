"""The beginning, end and answer of a turn, from a thread's status, events and turns. Pure.

Neither the status nor the turns are enough alone. `systemError` means that the newest turn failed, which the turn may
report a moment later. A thread that is `notLoaded` runs nothing: a turn of it without an end was cut off when the
app-server ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dev_sessions.codex import protocol
from dev_sessions.codex.jsonrpc import Event
from dev_sessions.codex.protocol import Item, ThreadStatus, Turn
from dev_sessions.models import Answer, LogTurn, Outcome, SessionState, timestamp
from dev_sessions.system.fast_dataclass import fast_dataclass, field

_SERVER_ENDED = "the app-server ended while the turn ran"
_NO_REASON = "the turn failed, and Codex gives no reason"


def state(status: ThreadStatus) -> SessionState:
    """Return a thread's status as a session's state. Codex does not report when the turn of an active one began."""
    if status.kind != "active":
        return SessionState("idle", since=timestamp(status.updated_at) if status.updated_at else None)
    return SessionState("waiting_for_input", status.waiting_for) if status.waiting_for else SessionState("working")


def is_running(status: ThreadStatus) -> bool:
    """Return whether a turn runs that waits for nobody."""
    return status.kind == "active" and status.waiting_for is None


def status_change(event: Event, thread_id: str) -> ThreadStatus | None:
    """Return the thread's new status; None for any other event. Clients get the event without subscribing.

    `{"method": "thread/status/changed", "params": {"threadId": "01a2…", "status": {"type": "idle"}}}`
    """
    if event.method != "thread/status/changed" or event.params.get("threadId") != thread_id:
        return None
    return protocol.thread_status(event.params.get("status"))


def is_turn_start(event: Event, thread_id: str, turn_id: str) -> bool:
    """Return whether an event proves that a turn has begun which was accepted on an idle thread.

    Between the acceptance and this event, `thread/read` may still say idle (18 of 60 times on 0.169).
    """
    status = status_change(event, thread_id)
    if status is not None:
        return status.kind in ("active", "systemError")
    return event.method in ("turn/started", "turn/completed") and _turn_of(event).get("id") == turn_id


def find_or_newest(turns: Sequence[Turn], turn_id: str | None) -> Turn | None:
    """Return the turn with an id, else the newest; `turns` are newest first."""
    return next((turn for turn in turns if turn.id == turn_id), turns[0] if turns else None)


def ended(turns: Sequence[Turn], turn_id: str) -> Outcome | None:
    """Return the outcome of a turn after which others may run; None when its end is not in the history yet."""
    turn = next((turn for turn in turns if turn.id == turn_id), None)
    match turn:
        case Turn(state="completed"):
            return Outcome("completed")
        case Turn(state="interrupted"):
            return Outcome("interrupted")
        case Turn(state="failed"):
            return _failed(turn)
    return None


def outcome(
    status: ThreadStatus,
    turns: Sequence[Turn],
    turn_id: str | None,
    *,
    settled: bool = False,
) -> Outcome | None:
    """Return the outcome of the turn of the last send, or of the newest one; None when it has not ended yet.

    `turns` are newest first, empty when nothing was ever sent. A failure is in the status a moment before it is in the
    turn (in one wait of ten on 0.169), so a turn without an end counts as ended only when the status has `settled`.
    """
    if status.kind == "active":
        return Outcome("waiting_for_input") if status.waiting_for else None
    turn = find_or_newest(turns, turn_id)
    unfinished = turn is not None and turn.state == "inProgress"
    if unfinished and status.kind != "notLoaded" and not (settled and status.kind != "unknown"):
        return None
    newest_failed = status.kind == "systemError" and (turn is None or turn is turns[0])
    if newest_failed or (turn is not None and turn.state == "failed"):
        return _failed(turn)
    if turn is None or turn.state == "completed":
        return Outcome("completed")
    return Outcome("interrupted", _SERVER_ENDED, "died") if unfinished else Outcome("interrupted")


def _failed(turn: Turn | None) -> Outcome:
    return Outcome("failed", (turn and turn.error) or _NO_REASON, turn.reason if turn is not None else None)


@fast_dataclass
class Exchange:
    """Messages that the agent read before it had answered the first of them, and its texts after them.

    `answered`: the agent had finished its answer when the next message came, or the turn ended.
    """

    client_ids: list[str | None] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    answered: bool = False


@fast_dataclass(frozen=True)
class AnswerInTurn:
    """The answer to a message in a turn.

    `complete`: other messages follow in the turn, so that nothing is added to the answer. `unanswered`: a turn that ran
    already read the message, and ended without a text after it.
    """

    answer: Answer
    complete: bool = False
    unanswered: bool = False


def exchanges(items: Iterable[Item]) -> list[Exchange]:
    """Return the messages of a turn with the agent's answers. A steered turn has several."""
    result: list[Exchange] = []
    for item in items:
        if item.kind == "user":
            if not result or result[-1].answered:
                result.append(Exchange())
            result[-1].client_ids.append(item.client_id)
        elif result and item.kind == "agent":
            result[-1].texts += [item.text] if item.text else []
            result[-1].answered = not item.more_follows
        elif result:
            result[-1].answered = result[-1].answered and not item.more_follows
    return result


def answer(turns: Sequence[Turn], client_id: str) -> AnswerInTurn | None:
    """Return the answer to the message with an id; None when no turn has it. `turns` are newest first."""
    for number, turn in enumerate(turns):
        items = turn.items
        if all(item.client_id != client_id for item in items):
            continue
        if number > 0 and items[-1].kind == "user":
            # 0.150 may add a message to a turn that is just ending: the next turn answers it.
            items += turns[number - 1].items
        all_exchanges = exchanges(items)
        own = next(exchange for exchange in all_exchanges if client_id in exchange.client_ids)
        is_last = own is all_exchanges[-1]
        unanswered = is_last and items[-1].kind == "user" and items[0].client_id != client_id
        return AnswerInTurn(Answer(tuple(own.texts), len(own.client_ids)), not is_last, unanswered)
    return None


def last_answer(turn: Turn) -> Answer:
    """Return the agent's answer to the last message of a turn; all of its texts in a turn without a message."""
    own = exchanges(turn.items)
    return Answer(tuple(own[-1].texts if own else agent_texts(turn)))


def agent_texts(turn: Turn) -> list[str]:
    """Return the agent's texts in a turn."""
    return [item.text for item in turn.items if item.kind == "agent" and item.text]


def log_turns(turn: Turn) -> list[LogTurn]:
    """Return the messages and texts of a turn."""
    return [
        LogTurn("human" if item.kind == "user" else "assistant", item.text)
        for item in turn.items
        if item.kind != "other" and item.text
    ]


def _turn_of(event: Event) -> dict[str, object]:
    turn = event.params.get("turn")
    return turn if isinstance(turn, dict) else {}
