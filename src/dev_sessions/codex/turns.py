"""Which event or snapshot begins and ends which turn. Pure.

A thread's status and its turns tell different halves of the truth. `systemError` means that the newest turn failed,
which the turn itself may say a moment later. A thread that is `notLoaded` runs nothing: a turn of
it that has no end was cut off together with the app-server.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field

from dev_sessions.codex import protocol
from dev_sessions.codex.jsonrpc import Event
from dev_sessions.codex.protocol import Item, ThreadStatus, Turn
from dev_sessions.models import Answer, LogTurn, Outcome, SessionState, timestamp
from dev_sessions.system.fast_dataclass import fast_dataclass

_SERVER_ENDED = "the app-server ended while the turn ran"
_NO_REASON = "the turn failed, and Codex gives no reason"


def state(status: ThreadStatus) -> SessionState:
    """A thread's status in our words. When the turn of an active one began is not told."""
    if status.kind != "active":
        return SessionState("idle", since=timestamp(status.updated_at) if status.updated_at else None)
    return SessionState("waiting_for_input", status.waiting_for) if status.waiting_for else SessionState("working")


def runs(status: ThreadStatus) -> bool:
    """Whether there is nothing to do but to wait for the next change."""
    return status.kind == "active" and status.waiting_for is None


def status_change(event: Event, thread_id: str) -> ThreadStatus | None:
    """The thread's new status, when that is what the event tells. Every connection is told, subscribed or not."""
    if event.method != "thread/status/changed" or event.params.get("threadId") != thread_id:
        return None
    return protocol.thread_status(event.params.get("status"))


def begins(event: Event, thread_id: str, turn_id: str) -> bool:
    """Whether the event proves that a turn which was accepted on an idle thread has begun.

    Between the acceptance and this, `thread/read` may still say idle (18 of 60 times on 0.169).
    """
    status = status_change(event, thread_id)
    if status is not None:
        return status.kind in ("active", "systemError")
    return event.method in ("turn/started", "turn/completed") and _turn_of(event).get("id") == turn_id


def judged(turns: Sequence[Turn], turn_id: str | None) -> Turn | None:
    """The turn of the last send among turns that are newest first; else the newest."""
    return next((turn for turn in turns if turn.id == turn_id), turns[0] if turns else None)


def ended(turns: Sequence[Turn], turn_id: str) -> Outcome | None:
    """How a turn ended after which the thread went on with another one; None when its end is not among the turns."""
    turn = next((turn for turn in turns if turn.id == turn_id), None)
    match turn:
        case Turn(state="completed"):
            return Outcome("completed")
        case Turn(state="interrupted"):
            return Outcome("interrupted")
        case Turn(state="failed", error=error):
            return Outcome("failed", error or _NO_REASON)
    return None


def outcome(
    status: ThreadStatus,
    turns: Sequence[Turn],
    turn_id: str | None,
    *,
    settled: bool = False,
) -> Outcome | None:
    """How the turn of the last send ended; None when it has not, or it is too early to tell.

    `turns` are newest first, none when nothing was ever sent. A failure is in the status a moment before it is in the
    turn (one wait of ten met that on 0.169), so a turn without an end counts only when the picture has `settled`.
    """
    if status.kind == "active":
        return Outcome("waiting_for_input") if status.waiting_for else None
    turn = judged(turns, turn_id)
    unfinished = turn is not None and turn.state == "inProgress"
    if unfinished and status.kind != "notLoaded" and not (settled and status.kind != "unknown"):
        return None
    newest_failed = status.kind == "systemError" and (turn is None or turn is turns[0])
    if newest_failed or (turn is not None and turn.state == "failed"):
        return Outcome("failed", (turn and turn.error) or _NO_REASON)
    if turn is None or turn.state == "completed":
        return Outcome("completed")
    return Outcome("interrupted", _SERVER_ENDED if unfinished else None)


@fast_dataclass
class Exchange:
    """Messages that the agent took in before it had answered the first of them, and what it said to them.

    `answered`: the agent had nothing more to say or do when the next message came, or the turn ended.
    """

    client_ids: list[str | None] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    answered: bool = False


@fast_dataclass(frozen=True)
class Found:
    """The answer to a message in a turn. `whole`: other messages follow it there, so that nothing is added to it any
    more. `passed_over`: a turn that ran already took the message in and ended without a word to it."""

    answer: Answer
    whole: bool = False
    passed_over: bool = False


def exchanges(items: Iterable[Item]) -> list[Exchange]:
    """The messages of a turn with what the agent said to them. A turn that was steered holds several."""
    found: list[Exchange] = []
    for item in items:
        if item.kind == "user":
            if not found or found[-1].answered:
                found.append(Exchange())
            found[-1].client_ids.append(item.client_id)
        elif found and item.kind == "agent":
            found[-1].texts += [item.text] if item.text else []
            found[-1].answered = not item.goes_on
        elif found:
            found[-1].answered = found[-1].answered and not item.goes_on
    return found


def answer(turns: Sequence[Turn], client_id: str) -> Found | None:
    """The answer to the message with an id; None when it is in none of the turns, which are newest first."""
    for number, turn in enumerate(turns):
        items = turn.items
        if all(item.client_id != client_id for item in items):
            continue
        if number > 0 and items[-1].kind == "user":
            # 0.150 may take a message into a turn that is just ending: the next turn answers it.
            items += turns[number - 1].items
        found = exchanges(items)
        own = next(exchange for exchange in found if client_id in exchange.client_ids)
        passed_over = items[-1].kind == "user" and own is found[-1] and items[0].client_id != client_id
        return Found(Answer(tuple(own.texts), len(own.client_ids)), own is not found[-1], passed_over)
    return None


def last_answer(turn: Turn) -> Answer:
    """What the agent said after the turn's last message."""
    found = exchanges(turn.items)
    texts = agent_texts(turn) if not found else found[-1].texts
    return Answer(tuple(texts))


def agent_texts(turn: Turn) -> list[str]:
    """Everything that the agent said in a turn."""
    return [item.text for item in turn.items if item.kind == "agent" and item.text]


def log(turn: Turn) -> list[LogTurn]:
    """Everything that was said in a turn."""
    return [
        LogTurn("human" if item.kind == "user" else "assistant", item.text)
        for item in turn.items
        if item.kind != "other" and item.text
    ]


def _turn_of(event: Event) -> dict[str, object]:
    turn = event.params.get("turn")
    return turn if isinstance(turn, dict) else {}
