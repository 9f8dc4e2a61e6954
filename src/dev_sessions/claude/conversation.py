"""Read a conversation from the lines of its transcript: the texts that `logs` and `last-message` print. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from dev_sessions.claude.transcript import TURN_STARTERS, Entry, parse
from dev_sessions.models import LogTurn, parse_timestamp

#: Seconds by which a later entry may have an earlier time; if it is more, the clock was set back.
_CLOCK_JUMP = 60.0
#: Strings that every line with a prompt contains, and no tool's output.
_PROMPT_MARKS = (b'"origin"', b'"promptSource"', b'"queued_command"')
#: How many texts are sorted at a time: more than one flush holds.
_REORDER_WINDOW = 256


def log_turn(entry: Entry) -> LogTurn | None:
    """Return the text of a user or the assistant in an entry, or None if it has none."""
    if (entry.kind in TURN_STARTERS or entry.kind == "queued") and entry.text:
        return LogTurn("human", entry.text, entry.cause)
    if entry.kind == "reply" and entry.text:
        return LogTurn("assistant", entry.text)
    return None


class _Unanswered:
    """The prompts to which no reply has been written yet, and which of them Claude has taken back.

    If Claude is interrupted before a reply begins, it takes the prompts of that turn out of the conversation; the next
    prompt follows the same entry as the first of them (2.1.250 to 2.1.332).
    """

    def __init__(self) -> None:
        #: The number of each prompt, its time, and the id of the entry that it follows.
        self._prompts: list[tuple[int, str, str | None]] = []
        self._interrupted_at = ""
        self.taken_back: set[int] = set()

    def feed(self, number: int, entry: Entry) -> None:
        """Process the next entry of a transcript."""
        if entry.kind == "reply" and self._prompts and entry.at >= self._prompts[0][1]:
            self._prompts.clear()
        elif entry.kind == "interrupted" and entry.message_id is None:
            self._interrupted_at = entry.at
        elif entry.kind == "prompt":
            siblings = [index for index, prompt in enumerate(self._prompts) if prompt[2] == entry.follows is not None]
            if siblings:
                self.taken_back.update(number for number, _, _ in self._prompts[siblings[0] :])
                del self._prompts[siblings[0] :]
            self._prompts.append((number, entry.at, entry.follows))

    def end(self, started_at: float, idle_since: float) -> None:
        """Take back the last prompts, which a Claude that was started before them left without an interruption's mark.

        A Claude that has ended meanwhile may have sent its prompts to the model.
        """
        self.taken_back.update(
            number
            for number, at, _ in self._prompts
            if at > self._interrupted_at and started_at < parse_timestamp(at) < idle_since
        )


def log_turns(lines: Iterable[bytes], idle: tuple[float, float] | None = None) -> Iterator[LogTurn]:
    """Yield the texts of a transcript in order of time; lines that are flushed together may be out of order.

    Prompts that Claude has taken back are left out. `idle`: when a Claude that is idle now began its session file, and
    since when it has been idle (seconds since the epoch); then it has also taken back the last ones, if they have no
    answer.
    """
    window: list[tuple[int, str, int, LogTurn]] = []
    unanswered = _Unanswered()
    clock, latest = 0, 0.0
    for number, line in enumerate(lines):
        if b'"user"' not in line and b'"assistant"' not in line and b'"queued_command"' not in line:
            continue
        entry = parse(line)
        unanswered.feed(number, entry)
        turn = log_turn(entry)
        if turn is not None:
            at = parse_timestamp(entry.at) if entry.at else latest
            clock, latest = clock + (at < latest - _CLOCK_JUMP), at
            heapq.heappush(window, (clock, entry.at, number, turn))
            if len(window) > _REORDER_WINDOW:
                _, _, first, turn = heapq.heappop(window)
                if first not in unanswered.taken_back:
                    yield turn
    if idle is not None:
        unanswered.end(*idle)
    while window:
        _, _, first, turn = heapq.heappop(window)
        if first not in unanswered.taken_back:
            yield turn


def last_texts(lines: Iterable[bytes], count: int) -> tuple[list[str], list[str]]:
    """Return the last `count` texts of the assistant, newest first, and the causes of the skipped turns.

    `lines` come in reverse order. Turns at the end that other sessions' messages or scheduled jobs have caused are
    skipped, unless there are no other turns; the newest cause comes first.
    """
    texts: list[str] = []  # of a turn whose prompt is not reached yet, or of the one that counts
    foreign: list[str] = []
    causes: list[str] = []
    reached = False
    for line in lines:
        if reached and len(texts) >= count:
            break
        # Most of a transcript is tool output; this check saves parsing it.
        if b'"assistant"' not in line and (reached or not any(mark in line for mark in _PROMPT_MARKS)):
            continue
        entry = parse(line)
        if entry.kind == "reply":
            texts += reversed(entry.texts)
        elif reached:
            continue
        elif entry.kind == "foreign":
            causes += [entry.cause or ""] if texts else []
            foreign, texts = foreign + texts, []
        elif entry.kind == "command" or (entry.kind == "queued" and entry.cause is None):
            reached = True
        elif entry.kind != "continuation":  # which belongs to the turn before it
            reached = entry.kind in TURN_STARTERS and not entry.merged
    return (texts[:count], causes) if texts or reached else (foreign[:count], [])
